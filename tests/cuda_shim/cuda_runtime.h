// CUDA's execution model on CPU fibers: just enough of <cuda_runtime.h> to compile the .cu files of
// kernels/cuda with a C++17 compiler and to run them, one block at a time, under sanitizers. Only what those
// files use is here; a call that is missing fails to compile, which is the moment to add it.
//
// Threads of a block are fibers. A fiber runs until __syncthreads() or a warp intrinsic, so any order that
// those do not enforce is up to the scheduler: SHIM_SCHED=asc|desc|<seed> permutes threads, warps and blocks
// alike. Streams are lazy: queued work runs at the next sync that covers it and never earlier, so a missing
// sync reads stale data.
#ifndef SHIM_CUDA_RUNTIME_H
#define SHIM_CUDA_RUNTIME_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <functional>
#include <tuple>
#include <type_traits>

#define __global__
#define __device__
#define __shared__ static __attribute__((section("shim_shared")))
#define __forceinline__ inline __attribute__((always_inline))

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
    unsigned x, y, z;
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

// ---- runtime API ----

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidMemcpyDirection = 21,
};
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice
};
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor;
};
typedef struct shim_stream *cudaStream_t;
enum { cudaStreamNonBlocking = 1 };

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError(void);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device);
cudaError_t cudaMalloc(void **p, size_t n);
cudaError_t cudaFree(void *p);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemsetAsync(void *dst, int v, size_t n, cudaStream_t s);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);

// ---- launch ----

void shim_check_device_ptr(const char *what, const void *p, size_t n);
cudaError_t shim_enqueue_grid(
    const char *name, dim3 grid, dim3 block, size_t smem, cudaStream_t s, std::function<void()> body);

template <class T> void shim_check_arg(const char *name, const T &v) {
    if constexpr (std::is_pointer_v<T>) shim_check_device_ptr(name, (const void *)v, 0);
}

template <class... P, class... A>
cudaError_t shim_launch(
    const char *name, void (*k)(P...), dim3 grid, dim3 block, size_t smem, cudaStream_t s, A... a) {
    std::tuple<P...> args(static_cast<P>(a)...);  // by value, as a real launch copies them
    std::apply([&](const P &...p) { (shim_check_arg(name, p), ...); }, args);
    return shim_enqueue_grid(name, grid, block, smem, s, [=] { std::apply(k, args); });
}

// ---- device intrinsics ----

enum shim_op { SHIM_BAR, SHIM_XOR, SHIM_BALLOT };
void shim_barrier(const char *file, int line);
uint64_t shim_warp(shim_op op, unsigned mask, uint64_t in, int arg, const char *file, int line);

template <class T> T shim_shfl(shim_op op, const char *file, int line, unsigned mask, T v, int arg) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles move 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    bits = shim_warp(op, mask, bits, arg, file, line);
    memcpy(&v, &bits, sizeof v);
    return v;
}

#define __syncthreads() shim_barrier(__FILE__, __LINE__)
#define __shfl_xor_sync(...) shim_shfl(SHIM_XOR, __FILE__, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, p) ((unsigned)shim_warp(SHIM_BALLOT, mask, (p) ? 1 : 0, 0, __FILE__, __LINE__))
static inline int __ffs(int x) { return __builtin_ffs(x); }
#endif
