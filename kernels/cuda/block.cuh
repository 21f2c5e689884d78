// Sums and maxima over the threads of a block: the one place. The block is a multiple of 32 threads, all of
// them call, and every one gets the result. Safe to call again at once: the last barrier keeps the next call
// of a fast warp from overwriting `part` under the last read of a slow one. A call is also a barrier for all
// other memory.
#ifndef ER_CUDA_BLOCK_CUH
#define ER_CUDA_BLOCK_CUH
#include <cuda_runtime.h>

#define ER_ALL_LANES 0xffffffffu

static __device__ __forceinline__ double er_warp_sum(double v) {
    for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(ER_ALL_LANES, v, o);
    return v;
}

static __device__ __forceinline__ float er_warp_max(float v) {
    for (int o = 16; o > 0; o >>= 1) v = fmaxf(v, __shfl_xor_sync(ER_ALL_LANES, v, o));
    return v;
}

// fp64, because the fp32 sums of the threads differ in size and there are only a few of them.
static __device__ __forceinline__ double er_block_sum(double v) {
    __shared__ double part[32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    v = er_warp_sum(v);
    if (lane == 0) part[warp] = v;
    __syncthreads();
    v = er_warp_sum(lane < warps ? part[lane] : 0.0);
    __syncthreads();
    return v;
}

// Two sums for the barriers of one.
static __device__ __forceinline__ void er_block_sum2(double *a, double *b) {
    __shared__ double part[2][32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    *a = er_warp_sum(*a), *b = er_warp_sum(*b);
    if (lane == 0) part[0][warp] = *a, part[1][warp] = *b;
    __syncthreads();
    *a = er_warp_sum(lane < warps ? part[0][lane] : 0.0);
    *b = er_warp_sum(lane < warps ? part[1][lane] : 0.0);
    __syncthreads();
}

// NaNs are ignored, as fmaxf ignores them.
static __device__ __forceinline__ float er_block_max(float v) {
    __shared__ float part[32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    v = er_warp_max(v);
    if (lane == 0) part[warp] = v;
    __syncthreads();
    v = er_warp_max(lane < warps ? part[lane] : -INFINITY);
    __syncthreads();
    return v;
}
#endif
