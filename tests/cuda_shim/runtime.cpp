// The fake CUDA runtime: device memory as a place of its own, lazy streams, failures on demand.
#include "fibers.h"
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <deque>
#include <map>
#include <set>

// ---- failures ----

static cudaError_t last_error;
static long calls, fail_at;

void shim_fail_at(long n) { calls = 0, fail_at = n; }
long shim_calls(void) { return calls; }

static cudaError_t fail(cudaError_t e) { return last_error = e; }
#define FALLIBLE()                                                                                           \
    do {                                                                                                     \
        if (++calls == fail_at) return fail(cudaErrorMemoryAllocation);                                      \
    } while (0)

const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorInvalidMemcpyDirection:
        return "invalid copy direction for memcpy";
    case cudaErrorInvalidValue:
        break;
    }
    return "invalid argument";
}

cudaError_t cudaGetLastError(void) {
    cudaError_t e = last_error;
    last_error = cudaSuccess;
    return e;
}

// ---- the device ----

cudaError_t cudaGetDeviceCount(int *count) {
    FALLIBLE();
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    FALLIBLE();
    return device ? fail(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device) {
    FALLIBLE();
    if (device) return fail(cudaErrorInvalidValue);
    *prop = {"shim on cpu fibers", (size_t)1 << 30, 9, 0};
    return cudaSuccess;
}

// ---- memory ----

static std::map<uintptr_t, size_t> &allocs = *new std::map<uintptr_t, size_t>;  // address, bytes

static const std::pair<const uintptr_t, size_t> *find(const void *p) {
    auto it = allocs.upper_bound((uintptr_t)p);
    if (it == allocs.begin()) return nullptr;
    --it;
    return (uintptr_t)p <= it->first + it->second ? &*it : nullptr;
}

void shim_check_device_ptr(const char *what, const void *p, size_t n) {
    if (!p) return;
    auto *a = find(p);
    if (!a) shim_die("%s: %p is not device memory", what, p);
    if ((uintptr_t)p + n > a->first + a->second)
        shim_die("%s: %zu bytes at %p run past the end of their allocation", what, n, p);
}

// Device memory is readable only while device work runs: host code that touches it trips AddressSanitizer.
static void expose(bool on) {
    (void)on;
    ASAN(for (auto &a
              : allocs) {
        if (on) __asan_unpoison_memory_region((void *)a.first, a.second);
        else __asan_poison_memory_region((void *)a.first, a.second);
    })
}

cudaError_t cudaMalloc(void **p, size_t n) {
    FALLIBLE();
    void *at = n ? malloc(n) : nullptr;
    if (n && !at) return fail(cudaErrorMemoryAllocation);
    if (n) memset(at, 0xff, n), allocs[(uintptr_t)at] = n;
    expose(false);
    *p = at;
    return cudaSuccess;
}

static void drain_all(void);

cudaError_t cudaFree(void *p) {
    drain_all();  // freeing waits for the device, as the real call does
    if (!p) return cudaSuccess;
    if (!allocs.count((uintptr_t)p)) shim_die("free of %p, which was never allocated", p);
    expose(true);
    allocs.erase((uintptr_t)p);
    free(p);
    expose(false);
    return cudaSuccess;
}

// ---- streams ----

struct shim_stream {
    std::deque<std::function<void()>> queue;
};
static std::set<shim_stream *> &streams = *new std::set<shim_stream *>;

static void drain(shim_stream *s) {
    for (; !s->queue.empty(); s->queue.pop_front()) {
        expose(true);
        s->queue.front()();
        expose(false);
    }
}

static void drain_all(void) {
    for (auto *s : streams) drain(s);
}

static cudaError_t enqueue(const char *what, cudaStream_t s, std::function<void()> work) {
    if (!streams.count(s)) shim_die("%s: not on an explicit stream", what);
    s->queue.push_back(std::move(work));
    return cudaSuccess;
}

cudaError_t shim_enqueue_grid(
    const char *name, dim3 grid, dim3 block, size_t smem, cudaStream_t s, std::function<void()> body) {
    FALLIBLE();
    uint64_t n = (uint64_t)block.x * block.y * block.z;
    if (!n || n > 1024 || block.z > 64 || !grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu ||
        grid.y > 65535 || grid.z > 65535 || smem)  // dynamic shared memory is not modelled
        return fail(cudaErrorInvalidConfiguration);
    return enqueue(name, s, [=] { shim_run_grid(name, grid, block, body); });
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, cudaMemcpyKind kind, cudaStream_t s) {
    FALLIBLE();
    bool to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if ((find(dst) != nullptr) != to || (find(src) != nullptr) != from)
        return fail(cudaErrorInvalidMemcpyDirection);
    if (to) shim_check_device_ptr("cudaMemcpyAsync to", dst, n);
    if (from) shim_check_device_ptr("cudaMemcpyAsync from", src, n);
    return enqueue("cudaMemcpyAsync", s, [=] { memcpy(dst, src, n); });
}

cudaError_t cudaMemsetAsync(void *dst, int v, size_t n, cudaStream_t s) {
    FALLIBLE();
    shim_check_device_ptr("cudaMemsetAsync", dst, n);
    return enqueue("cudaMemsetAsync", s, [=] { memset(dst, v, n); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
    FALLIBLE();
    if (flags != cudaStreamNonBlocking) return fail(cudaErrorInvalidValue);
    *s = new shim_stream;
    streams.insert(*s);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    FALLIBLE();
    if (!streams.count(s)) shim_die("cudaStreamSynchronize: not an explicit stream");
    drain(s);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) {
    if (!streams.count(s)) shim_die("cudaStreamDestroy: not a stream");
    drain(s);
    streams.erase(s);
    delete s;
    return cudaSuccess;
}

int shim_leaks(void) {
    for (auto &a : allocs) fprintf(stderr, "cuda shim: leaked %zu bytes of device memory\n", a.second);
    for (size_t i = 0; i < streams.size(); i++) fputs("cuda shim: leaked a stream\n", stderr);
    return (int)(allocs.size() + streams.size());
}
