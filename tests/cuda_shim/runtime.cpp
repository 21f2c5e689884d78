// The fake CUDA runtime: failures on demand, what the device says of itself, leaks.
#include "runtime.h"

#include <stdio.h>
#include <map>

// ---- failures ----

static cudaError_t last_error, fails_with = cudaErrorMemoryAllocation;
static long calls, fail_at;
static bool dies;
bool shim_dead;

void shim_fail_at(long n) {
    if (shim_dead) last_error = cudaSuccess;
    calls = 0, fail_at = n, dies = shim_dead = false;
}
void shim_fail_with(int error) { fails_with = (cudaError_t)error; }
void shim_die_at(long n) {
    shim_fail_at(n);
    dies = true;
}
long shim_calls(void) { return calls; }

cudaError_t shim_fail(cudaError_t e) { return last_error = e; }

cudaError_t shim_call(void) {
    if (++calls == fail_at && dies) shim_dead = true, last_error = cudaErrorLaunchFailure, shim_lose_all();
    return shim_dead ? cudaErrorLaunchFailure : calls == fail_at ? fails_with : cudaSuccess;
}

cudaError_t cudaPeekAtLastError(void) { return last_error; }

cudaError_t cudaGetLastError(void) {
    cudaError_t e = last_error;
    if (!shim_dead) last_error = cudaSuccess;
    return e;
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
    return device ? shim_fail(cudaErrorInvalidDevice) : cudaSuccess;
}

static const cudaDeviceProp device_prop = {
    "shim on cpu fibers", 0, SHARED, 32, 1024, 9, 0, 4, 8 << 20, 228u << 10, SHARED_OPTIN};

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device) {
    FALLIBLE();
    if (device) return shim_fail(cudaErrorInvalidDevice);
    *prop = device_prop;
    prop->totalGlobalMem = shim_capacity();
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
    if (device) return shim_fail(cudaErrorInvalidDevice);
    *value = known.at(attr);
    return cudaSuccess;
}

// ---- handles of libraries, leaks ----

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
    for (auto &h : handles) fprintf(stderr, "cuda shim: leaked a handle of %s\n", h.second);
    return shim_memory_leaks() + shim_stream_leaks() + (int)handles.size();
}
