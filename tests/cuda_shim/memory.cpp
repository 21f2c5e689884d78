// Memory of the fake runtime: the device's is a place of its own and has an end, pinned memory is the host's.
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <map>

struct allocation {
    size_t bytes;
    bool pinned;
};
static std::map<uintptr_t, allocation> &allocs = *new std::map<uintptr_t, allocation>;
static size_t capacity = (size_t)1 << 30, in_use;

void shim_memory(size_t bytes) { capacity = bytes; }
size_t shim_capacity(void) { return capacity; }

static const std::pair<const uintptr_t, allocation> *find(const void *p) {
    auto it = allocs.upper_bound((uintptr_t)p);
    if (it == allocs.begin()) return nullptr;
    --it;
    return (uintptr_t)p < it->first + it->second.bytes ? &*it : nullptr;
}

bool shim_on_device(const void *p) {
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

void shim_check_pinned(const char *what, const void *p, size_t n) {
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
void shim_enter(void) {
    if (running++ == 0)
        for (auto &a : allocs) expose(a, true);
}
void shim_leave(void) {
    if (--running == 0)
        for (auto &a : allocs) expose(a, false);
}

static cudaError_t allocate(void **p, size_t n, bool pinned) {
    FALLIBLE();
    if (!pinned && (in_use > capacity || n > capacity - in_use)) return shim_fail(cudaErrorMemoryAllocation);
    void *at = nullptr;  // on 256 bytes, as the real one; an overrun by one byte is seen all the same
    if (n && posix_memalign(&at, 256, n)) return shim_fail(cudaErrorMemoryAllocation);
    if (n) {
        memset(at, 0xff, n);
        expose(*allocs.insert({(uintptr_t)at, {n, pinned}}).first, false);
        if (!pinned) in_use += n;
    }
    *p = at;
    return cudaSuccess;
}

static cudaError_t drop(const char *what, void *p, bool pinned) {
    shim_drain_all();  // freeing waits for the device, as the real call does
    if (p) {
        auto it = allocs.find((uintptr_t)p);
        if (it == allocs.end() || it->second.pinned != pinned)
            shim_die("%s of %p, which was not allocated by its twin", what, p);
        expose(*it, true);
        if (!pinned) in_use -= it->second.bytes;
        allocs.erase(it);
        free(p);
    }
    return shim_dead ? shim_fail(cudaErrorLaunchFailure) : cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t n) { return allocate(p, n, false); }
cudaError_t cudaFree(void *p) { return drop("cudaFree", p, false); }
cudaError_t cudaMallocHost(void **p, size_t n) { return allocate(p, n, true); }
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned flags) {
    if (flags & ~(unsigned)(cudaHostAllocPortable | cudaHostAllocWriteCombined))
        return shim_fail(cudaErrorInvalidValue);
    return allocate(p, n, true);
}
cudaError_t cudaFreeHost(void *p) { return drop("cudaFreeHost", p, true); }

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    FALLIBLE();
    *available = in_use < capacity ? capacity - in_use : 0;
    *total = capacity;
    return cudaSuccess;
}

int shim_memory_leaks(void) {
    for (auto &a : allocs)
        fprintf(stderr, "cuda shim: leaked %zu bytes of %s memory\n", a.second.bytes,
            a.second.pinned ? "pinned" : "device");
    return (int)allocs.size();
}
