// The fake CUDA runtime: device memory as a place of its own, lazy streams and their events.
#include "fibers.h"
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <deque>
#include <map>
#include <memory>
#include <set>

enum : size_t { SHARED = 48u << 10, SHARED_OPTIN = 227u << 10 };

// ---- failures ----

static cudaError_t last_error, fails_with = cudaErrorMemoryAllocation;
static long calls, fail_at;
static bool dies, dead;

void shim_fail_at(long n) {
    if (dead) last_error = cudaSuccess;
    calls = 0, fail_at = n, dies = dead = false;
}
void shim_fail_with(int error) { fails_with = (cudaError_t)error; }
void shim_die_at(long n) {
    shim_fail_at(n);
    dies = true;
}
long shim_calls(void) { return calls; }

static void lose_all(void);

static cudaError_t fail(cudaError_t e) { return last_error = e; }

cudaError_t shim_call(void) {
    if (++calls == fail_at && dies) dead = true, last_error = cudaErrorLaunchFailure, lose_all();
    return dead ? cudaErrorLaunchFailure : calls == fail_at ? fails_with : cudaSuccess;
}
#define FALLIBLE()                                                                                           \
    do {                                                                                                     \
        cudaError_t e_ = shim_call();                                                                        \
        if (e_ != cudaSuccess) return fail(e_);                                                              \
    } while (0)

cudaError_t cudaPeekAtLastError(void) { return last_error; }

cudaError_t cudaGetLastError(void) {
    cudaError_t e = last_error;
    if (!dead) last_error = cudaSuccess;
    return e;
}

// ---- memory ----

struct allocation {
    size_t bytes;
    bool pinned;
};
static std::map<uintptr_t, allocation> &allocs = *new std::map<uintptr_t, allocation>;
static size_t capacity = (size_t)1 << 30, in_use;

void shim_memory(size_t bytes) { capacity = bytes; }

static const std::pair<const uintptr_t, allocation> *find(const void *p) {
    auto it = allocs.upper_bound((uintptr_t)p);
    if (it == allocs.begin()) return nullptr;
    --it;
    return (uintptr_t)p < it->first + it->second.bytes ? &*it : nullptr;
}

static bool on_device(const void *p) {
    auto *a = find(p);
    return a && !a->second.pinned;
}

// The end of an allocation is a device pointer too as long as nothing is read from it.
void shim_check_device_ptr(const char *what, const void *p, size_t n) {
    if (!p) return;
    auto *a = find(p);
    if (!a && n == 0) a = find((const char *)p - 1);
    if (!a || a->second.pinned) shim_die("%s: %p is not device memory", what, p);
    if ((uintptr_t)p + n > a->first + a->second.bytes)
        shim_die("%s: %zu bytes at %p run past the end of their allocation", what, n, p);
}

static void check_pinned(const char *what, const void *p, size_t n) {
    auto *a = find(p);
    if (a && (uintptr_t)p + n > a->first + a->second.bytes)
        shim_die("%s: %zu bytes at %p run past the end of their pinned memory", what, n, p);
}

// Device memory is readable only while device work runs: host code that touches it trips AddressSanitizer.
static void expose(const std::pair<const uintptr_t, allocation> &a, bool on) {
    (void)a, (void)on;
    ASAN(if (!a.second.pinned) {
        if (on) __asan_unpoison_memory_region((void *)a.first, a.second.bytes);
        else __asan_poison_memory_region((void *)a.first, a.second.bytes);
    })
}

static int running;  // depth of device work
static void enter(void) {
    if (running++ == 0)
        for (auto &a : allocs) expose(a, true);
}
static void leave(void) {
    if (--running == 0)
        for (auto &a : allocs) expose(a, false);
}

static cudaError_t allocate(void **p, size_t n, bool pinned) {
    FALLIBLE();
    if (!pinned && (in_use > capacity || n > capacity - in_use)) return fail(cudaErrorMemoryAllocation);
    void *at = nullptr;  // on 256 bytes, as the real one; an overrun by one byte is seen all the same
    if (n && posix_memalign(&at, 256, n)) return fail(cudaErrorMemoryAllocation);
    if (n) {
        memset(at, 0xff, n);
        expose(*allocs.insert({(uintptr_t)at, {n, pinned}}).first, false);
        if (!pinned) in_use += n;
    }
    *p = at;
    return cudaSuccess;
}

static void drain_all(void);

static cudaError_t drop(const char *what, void *p, bool pinned) {
    drain_all();  // freeing waits for the device, as the real call does
    if (p) {
        auto it = allocs.find((uintptr_t)p);
        if (it == allocs.end() || it->second.pinned != pinned)
            shim_die("%s of %p, which was not allocated by its twin", what, p);
        expose(*it, true);
        if (!pinned) in_use -= it->second.bytes;
        allocs.erase(it);
        free(p);
    }
    return dead ? fail(cudaErrorLaunchFailure) : cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t n) { return allocate(p, n, false); }
cudaError_t cudaFree(void *p) { return drop("cudaFree", p, false); }
cudaError_t cudaMallocHost(void **p, size_t n) { return allocate(p, n, true); }
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned flags) {
    if (flags & ~(unsigned)(cudaHostAllocPortable | cudaHostAllocWriteCombined))
        return fail(cudaErrorInvalidValue);
    return allocate(p, n, true);
}
cudaError_t cudaFreeHost(void *p) { return drop("cudaFreeHost", p, true); }

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    FALLIBLE();
    *available = in_use < capacity ? capacity - in_use : 0;
    *total = capacity;
    return cudaSuccess;
}

// ---- the device ----

static cudaError_t version(int *v) {
    FALLIBLE();
    *v = 13000;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *v) { return version(v); }
cudaError_t cudaRuntimeGetVersion(int *v) { return version(v); }

cudaError_t cudaGetDeviceCount(int *count) {
    FALLIBLE();
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    FALLIBLE();
    return device ? fail(cudaErrorInvalidDevice) : cudaSuccess;
}

static const cudaDeviceProp device_prop = {
    "shim on cpu fibers", 0, SHARED, 32, 1024, 9, 0, 4, 8 << 20, 228u << 10, SHARED_OPTIN};

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device) {
    FALLIBLE();
    if (device) return fail(cudaErrorInvalidDevice);
    *prop = device_prop;
    prop->totalGlobalMem = capacity;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attr, int device) {
    static const std::map<cudaDeviceAttr, int> known = {
        {cudaDevAttrMaxThreadsPerBlock, device_prop.maxThreadsPerBlock},
        {cudaDevAttrMaxSharedMemoryPerBlock, (int)device_prop.sharedMemPerBlock},
        {cudaDevAttrWarpSize, device_prop.warpSize},
        {cudaDevAttrMultiProcessorCount, device_prop.multiProcessorCount},
        {cudaDevAttrL2CacheSize, device_prop.l2CacheSize},
        {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
        {cudaDevAttrComputeCapabilityMajor, device_prop.major},
        {cudaDevAttrComputeCapabilityMinor, device_prop.minor},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, (int)device_prop.sharedMemPerMultiprocessor},
        {cudaDevAttrSingleToDoublePrecisionPerfRatio, 2},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, (int)device_prop.sharedMemPerBlockOptin},
    };
    FALLIBLE();
    if (device) return fail(cudaErrorInvalidDevice);
    *value = known.at(attr);
    return cudaSuccess;
}

// ---- streams ----

struct shim_stream {
    std::deque<std::function<void()>> queue;
    uint64_t id, queued, done;
};
static std::set<shim_stream *> &streams = *new std::set<shim_stream *>;
static uint64_t streams_made;

static void drain(shim_stream *s, uint64_t upto) {
    if (s->done >= upto) return;
    enter();
    while (s->done < upto) {
        auto work = std::move(s->queue.front());
        s->queue.pop_front();
        work();
        s->done++;
    }
    leave();
}

static void drain_all(void) {
    for (auto *s : streams) drain(s, s->queued);
}

static void lose_all(void) {
    for (auto *s : streams) s->queue.clear(), s->done = s->queued;
}

static void check_stream(const char *what, cudaStream_t s) {
    if (!streams.count(s)) shim_die("%s: not on an explicit stream", what);
}

cudaError_t shim_enqueue(const char *what, cudaStream_t s, std::function<void()> work) {
    check_stream(what, s);
    s->queue.push_back(std::move(work));
    s->queued++;
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *dst, size_t dpitch, const void *src, size_t spitch, size_t width,
    size_t height, cudaMemcpyKind kind, cudaStream_t s) {
    FALLIBLE();
    if (width > dpitch || width > spitch) return fail(cudaErrorInvalidValue);
    bool to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (on_device(dst) != to || on_device(src) != from) return fail(cudaErrorInvalidMemcpyDirection);
    if (to) shim_check_device_ptr("copy to", dst, height ? (height - 1) * dpitch + width : 0);
    if (from) shim_check_device_ptr("copy from", src, height ? (height - 1) * spitch + width : 0);
    if (!to) check_pinned("copy to", dst, height ? (height - 1) * dpitch + width : 0);
    if (!from) check_pinned("copy from", src, height ? (height - 1) * spitch + width : 0);
    return shim_enqueue("copy", s, [=] {
        for (size_t i = 0; i < height; i++)
            memcpy((char *)dst + i * dpitch, (const char *)src + i * spitch, width);
    });
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, cudaMemcpyKind kind, cudaStream_t s) {
    return cudaMemcpy2DAsync(dst, n, src, n, n, 1, kind, s);
}

cudaError_t cudaMemsetAsync(void *dst, int v, size_t n, cudaStream_t s) {
    FALLIBLE();
    shim_check_device_ptr("cudaMemsetAsync", dst, n);
    return shim_enqueue("cudaMemsetAsync", s, [=] { memset(dst, v, n); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
    FALLIBLE();
    if (flags != cudaStreamNonBlocking) return fail(cudaErrorInvalidValue);
    *s = new shim_stream();
    (*s)->id = ++streams_made;
    streams.insert(*s);
    return cudaSuccess;
}

// A sync that fails waits all the same: work still queued then would reach memory that its owner, told of the
// failure, has freed.
static cudaError_t before_sync(void) {
    cudaError_t e = shim_call();
    return e == cudaSuccess ? e : fail(e);
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    check_stream("cudaStreamSynchronize", s);
    cudaError_t rc = before_sync();
    drain(s, s->queued);
    return rc;
}

cudaError_t cudaDeviceSynchronize(void) {
    cudaError_t rc = before_sync();
    drain_all();
    return rc;
}

cudaError_t cudaStreamQuery(cudaStream_t s) {
    FALLIBLE();
    check_stream("cudaStreamQuery", s);
    return s->done < s->queued ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) {
    check_stream("cudaStreamDestroy", s);
    drain(s, s->queued);
    streams.erase(s);
    delete s;
    return dead ? fail(cudaErrorLaunchFailure) : cudaSuccess;
}

// ---- events: a place in the queue of a stream ----

struct shim_event {
    unsigned flags;
    uint64_t stream, at;  // the stream's number; 0: never recorded
    std::shared_ptr<double> when;
};
static std::set<shim_event *> &events = *new std::set<shim_event *>;

static void check_event(const char *what, cudaEvent_t e) {
    if (!events.count(e)) shim_die("%s: not an event", what);
}

// The stream in which the event is still to come, or NULL when it has.
static shim_stream *awaited(const shim_event &e) {
    for (auto *s : streams)
        if (s->id == e.stream) return s->done < e.at ? s : nullptr;
    return nullptr;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
    FALLIBLE();
    *e = new shim_event();
    (*e)->flags = flags;
    events.insert(*e);
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t e) {
    check_event("cudaEventDestroy", e);
    events.erase(e);
    delete e;
    return dead ? fail(cudaErrorLaunchFailure) : cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    FALLIBLE();
    check_event("cudaEventRecord", e);
    std::shared_ptr<double> when = std::make_shared<double>(0);
    (void)shim_enqueue("cudaEventRecord", s, [when] {
        struct timespec t;
        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        *when = 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
    });
    e->stream = s->id, e->at = s->queued, e->when = when;
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e) {
    FALLIBLE();
    check_event("cudaEventQuery", e);
    return awaited(*e) ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    check_event("cudaEventSynchronize", e);
    cudaError_t rc = before_sync();
    if (auto *s = awaited(*e)) drain(s, e->at);
    return rc;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags) {
    FALLIBLE();
    if (flags) return fail(cudaErrorInvalidValue);
    check_event("cudaStreamWaitEvent", e);
    shim_event now = *e;  // a later record does not move what is waited for
    return shim_enqueue("cudaStreamWaitEvent", s, [now] {
        if (auto *other = awaited(now)) drain(other, now.at);
    });
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end) {
    FALLIBLE();
    check_event("cudaEventElapsedTime", start), check_event("cudaEventElapsedTime", end);
    if (!start->when || !end->when || ((start->flags | end->flags) & cudaEventDisableTiming))
        return fail(cudaErrorInvalidResourceHandle);
    if (awaited(*start) || awaited(*end)) return cudaErrorNotReady;
    *ms = (float)(*end->when - *start->when);
    return cudaSuccess;
}

// ---- kernels ----

static std::map<const void *, size_t> &shared_limit = *new std::map<const void *, size_t>;

cudaError_t cudaFuncSetAttribute(const void *func, cudaFuncAttribute attr, int value) {
    FALLIBLE();
    if (attr == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    if (value < 0 || (size_t)value > SHARED_OPTIN) return fail(cudaErrorInvalidValue);
    shared_limit[func] = (size_t)value;
    return cudaSuccess;
}

cudaError_t shim_enqueue_grid(const char *name, const void *kernel, dim3 grid, dim3 block, size_t smem,
    cudaStream_t s, std::function<void()> body) {
    FALLIBLE();
    uint64_t n = (uint64_t)block.x * block.y * block.z;
    if (!n || n > 1024 || block.z > 64 || !grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu ||
        grid.y > 65535 || grid.z > 65535)
        return fail(cudaErrorInvalidConfiguration);
    auto limit = shared_limit.find(kernel);
    if (smem > (limit != shared_limit.end() && limit->second > SHARED ? limit->second : (size_t)SHARED))
        return fail(cudaErrorInvalidValue);
    return shim_enqueue(name, s, [=] { shim_run_grid(name, grid, block, smem, body); });
}

// ---- leaks ----

static std::map<const void *, const char *> &handles = *new std::map<const void *, const char *>;

void shim_handle_made(const char *what, const void *handle) { handles[handle] = what; }
void shim_handle_check(const char *what, const void *handle) {
    auto it = handles.find(handle);
    if (it == handles.end() || strcmp(it->second, what)) shim_die("%p is not a handle of %s", handle, what);
}
void shim_handle_dropped(const char *what, const void *handle) {
    shim_handle_check(what, handle);
    handles.erase(handle);
}

int shim_leaks(void) {
    for (auto &a : allocs)
        fprintf(stderr, "cuda shim: leaked %zu bytes of %s memory\n", a.second.bytes,
            a.second.pinned ? "pinned" : "device");
    for (size_t i = 0; i < streams.size(); i++) fputs("cuda shim: leaked a stream\n", stderr);
    for (size_t i = 0; i < events.size(); i++) fputs("cuda shim: leaked an event\n", stderr);
    for (auto &h : handles) fprintf(stderr, "cuda shim: leaked a handle of %s\n", h.second);
    return (int)(allocs.size() + streams.size() + events.size() + handles.size());
}
