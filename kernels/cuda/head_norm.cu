// RMS norm of every q and k head, and its gradient; equations and rounding as in kernels/cpu/norm.c. A warp a
// head: lanes sum their elements in fp32, the warp sums the lanes in fp64. Heads are read again from cache.
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/device.cuh"

#define WARPS (ER_BLOCK / 32)
// Head `at` of x and y alike: row t of ld, h-th head. All lanes of a warp walk the same heads.
#define EACH_HEAD(i, rows)                                                                                   \
    for (size_t i = (size_t)blockIdx.x * WARPS + threadIdx.x / 32; i < (rows); i += (size_t)gridDim.x * WARPS)
#define IN_WARP(i, width, V) for (size_t i = (size_t)(threadIdx.x % 32) * V; i < (width); i += 32 * V)

template <int V>
static __global__ void k_head_norm(
    float *x, size_t ld, const float *w, float eps, size_t rows, size_t heads, size_t n) {
    EACH_HEAD(row, rows) {
        float *head = x + row / heads * ld + row % heads * n, square = 0;
        IN_WARP(i, n, V) {
            er_pack<float, V> v = er_load<V>(head + i);
            for (int k = 0; k < V; k++) square += v.at[k] * v.at[k];
        }
        float r = (float)(1 / sqrt(er_warp_sum((double)square) / (double)n + (double)eps));
        IN_WARP(i, n, V) {
            er_pack<float, V> v = er_load<V>(head + i), scale = er_load<V>(w + i);
            for (int k = 0; k < V; k++) v.at[k] *= r * scale.at[k];
            er_store<V>(head + i, v);
        }
    }
}

template <int V>
static __global__ void k_head_norm_backward(
    float *d, const float *x, size_t ld, const float *w, float eps, size_t rows, size_t heads, size_t n) {
    EACH_HEAD(row, rows) {
        size_t at = row / heads * ld + row % heads * n;
        float square = 0, product = 0;
        IN_WARP(i, n, V) {
            er_pack<float, V> v = er_load<V>(x + at + i), g = er_load<V>(d + at + i),
                              scale = er_load<V>(w + i);
            for (int k = 0; k < V; k++) {
                square += v.at[k] * v.at[k];
                product += g.at[k] * scale.at[k] * v.at[k];
            }
        }
        float r = (float)(1 / sqrt(er_warp_sum((double)square) / (double)n + (double)eps)),
              slope = (float)(er_warp_sum((double)product) / (double)n) * r * r;
        IN_WARP(i, n, V) {
            er_pack<float, V> v = er_load<V>(x + at + i), g = er_load<V>(d + at + i),
                              scale = er_load<V>(w + i);
            for (int k = 0; k < V; k++) g.at[k] = r * (g.at[k] * scale.at[k] - v.at[k] * slope);
            er_store<V>(d + at + i, g);
        }
    }
}

er_status er_cuda_head_norm(er_device *d, er_stream *s, float *x, size_t ld, const float *w, float eps,
    size_t tokens, size_t heads, size_t head_dim) {
    size_t rows = tokens * heads;
    if (!rows || !head_dim) return ER_OK;
    cudaStream_t at = er_cuda_stream(d, s);
    unsigned blocks = er_blocks(rows, WARPS);
    if (head_dim % 4 == 0 && ld % 4 == 0 && er_aligned(x, w))
        return ER_LAUNCHED(
            ER_LAUNCH((k_head_norm<4>), blocks, ER_BLOCK, at, x, ld, w, eps, rows, heads, head_dim));
    return ER_LAUNCHED(
        ER_LAUNCH((k_head_norm<1>), blocks, ER_BLOCK, at, x, ld, w, eps, rows, heads, head_dim));
}

er_status er_cuda_head_norm_backward(er_device *d, er_stream *s, float *dy, const float *x, size_t ld,
    const float *w, float eps, size_t tokens, size_t heads, size_t head_dim) {
    size_t rows = tokens * heads;
    if (!rows || !head_dim) return ER_OK;
    cudaStream_t at = er_cuda_stream(d, s);
    unsigned blocks = er_blocks(rows, WARPS);
    if (head_dim % 4 == 0 && ld % 4 == 0 && er_aligned(dy, x, w))
        return ER_LAUNCHED(ER_LAUNCH(
            (k_head_norm_backward<4>), blocks, ER_BLOCK, at, dy, x, ld, w, eps, rows, heads, head_dim));
    return ER_LAUNCHED(
        ER_LAUNCH((k_head_norm_backward<1>), blocks, ER_BLOCK, at, dy, x, ld, w, eps, rows, heads, head_dim));
}
