#include "tests/cuda/seeded_bugs.h"
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/device.cuh"

// er_block_sum without its last barrier: warp 0 may overwrite part[0] for the second sum before another warp
// has read it.
static __device__ double racy_sum(double v) {
    __shared__ double part[32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    v = er_warp_sum(v);
    if (lane == 0) part[warp] = v;
    __syncthreads();
    return er_warp_sum(lane < blockDim.x / 32 ? part[lane] : 0.0);
}

static __global__ void k_missing_barrier(float *out, const float *x, size_t n) {
    double a = 0, b = 0;
    ER_IN_BLOCK(i, n, 1) a += (double)x[i];
    a = racy_sum(a) / (double)n;
    ER_IN_BLOCK(i, n, 1) b += ((double)x[i] - a) * ((double)x[i] - a);
    b = racy_sum(b) / (double)n;
    if (threadIdx.x == blockDim.x - 1) *out = (float)b;
}

static __global__ void k_divergent_barrier(float *out) {
    if (threadIdx.x < 16) __syncthreads();
    out[threadIdx.x] = __shfl_xor_sync(ER_ALL_LANES, (float)threadIdx.x, 1);
}

static __global__ void k_static_overrun(float *out) {
    __shared__ float s[64];
    s[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x ^ 1];
}

int bug_missing_barrier(er_device *d, float *out, const float *x, size_t n) {
    return ER_LAUNCH(k_missing_barrier, 1, 256, er_cuda_stream(d), out, x, n);
}
int bug_divergent_barrier(er_device *d, float *out) {
    return ER_LAUNCH(k_divergent_barrier, 1, 32, er_cuda_stream(d), out);
}
int bug_static_overrun(er_device *d, float *out) {
    return ER_LAUNCH(k_static_overrun, 1, 96, er_cuda_stream(d), out);
}
int bug_default_stream(er_device *d, float *out) {
    (void)d;
    return ER_LAUNCH(k_static_overrun, 1, 64, NULL, out);
}
