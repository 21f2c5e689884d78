// LayerNorm or RMSNorm of every q and k head, and its gradient; equations and rounding as in
// kernels/cpu/norm.c. A warp a head: lanes sum their elements in fp32, the warp sums the lanes in fp64. Heads
// are read again from cache.
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/device.cuh"

#define WARPS (ER_BLOCK / 32)
// Head `at` of x and y alike: row t of ld, h-th head. All lanes of a warp walk the same heads.
#define EACH_HEAD(i, rows)                                                                                   \
    for (size_t i = (size_t)blockIdx.x * WARPS + threadIdx.x / 32; i < (rows); i += (size_t)gridDim.x * WARPS)
#define IN_WARP(i, width, V) for (size_t i = (size_t)(threadIdx.x % 32) * V; i < (width); i += 32 * V)

// The mean of a head, 0 for RMS. The kind is the same for every thread.
template <int V>
static __device__ __forceinline__ float mean_of(er_norm_kind kind, const float *head, size_t n) {
    if (kind != ER_LAYER_NORM) return 0;
    float total = 0;
    IN_WARP(i, n, V) {
        er_pack<float, V> v = er_load<V>(head + i);
        for (int k = 0; k < V; k++) total += v.at[k];
    }
    return (float)(er_warp_sum((double)total) / (double)n);
}

template <int V>
static __global__ void k_qk_norm(er_norm_kind kind, float *x, size_t ld, const float *w, const float *b,
    float eps, size_t rows, size_t heads, size_t n) {
    EACH_HEAD(row, rows) {
        float *head = x + row / heads * ld + row % heads * n, mean = mean_of<V>(kind, head, n), square = 0;
        const float *scales = w + row % heads * n, *shifts = b ? b + row % heads * n : nullptr;
        IN_WARP(i, n, V) {
            er_pack<float, V> v = er_load<V>(head + i);
            for (int k = 0; k < V; k++) square += (v.at[k] - mean) * (v.at[k] - mean);
        }
        float r = (float)(1 / sqrt(er_warp_sum((double)square) / (double)n + (double)eps));
        IN_WARP(i, n, V) {
            er_pack<float, V> v = er_load<V>(head + i), scale = er_load<V>(scales + i), shift = {};
            if (shifts) shift = er_load<V>(shifts + i);
            for (int k = 0; k < V; k++) v.at[k] = (v.at[k] - mean) * r * scale.at[k] + shift.at[k];
            er_store<V>(head + i, v);
        }
    }
}

template <int V>
static __global__ void k_qk_norm_backward(er_norm_kind kind, float *d, const float *x, size_t ld,
    const float *w, float eps, size_t rows, size_t heads, size_t n) {
    EACH_HEAD(row, rows) {
        size_t at = row / heads * ld + row % heads * n;
        const float *scales = w + row % heads * n;
        float mean = mean_of<V>(kind, x + at, n), square = 0, product = 0, sum = 0;
        IN_WARP(i, n, V) {
            er_pack<float, V> v = er_load<V>(x + at + i), g = er_load<V>(d + at + i),
                              scale = er_load<V>(scales + i);
            for (int k = 0; k < V; k++) {
                square += (v.at[k] - mean) * (v.at[k] - mean);
                product += g.at[k] * scale.at[k] * (v.at[k] - mean);
                sum += g.at[k] * scale.at[k];
            }
        }
        float r = (float)(1 / sqrt(er_warp_sum((double)square) / (double)n + (double)eps)),
              slope = (float)(er_warp_sum((double)product) / (double)n) * r * r,
              shift = (float)(er_warp_sum((double)sum) / (double)n);
        if (kind != ER_LAYER_NORM) shift = 0;
        IN_WARP(i, n, V) {
            er_pack<float, V> v = er_load<V>(x + at + i), g = er_load<V>(d + at + i),
                              scale = er_load<V>(scales + i);
            for (int k = 0; k < V; k++)
                g.at[k] = r * (g.at[k] * scale.at[k] - shift - (v.at[k] - mean) * slope);
            er_store<V>(d + at + i, g);
        }
    }
}

er_status er_cuda_qk_norm(er_device *d, const er_qk_norm_args *a, float *x) {
    const size_t rows = a->tokens * a->heads, n = a->head_dim;
    if (!rows || !n) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    unsigned blocks = er_blocks(rows, WARPS);
    if (n % 4 == 0 && a->ld % 4 == 0 && er_aligned(x, a->w, a->b))
        return ER_LAUNCHED(ER_LAUNCH(
            (k_qk_norm<4>), blocks, ER_BLOCK, at, a->kind, x, a->ld, a->w, a->b, a->eps, rows, a->heads, n));
    return ER_LAUNCHED(ER_LAUNCH(
        (k_qk_norm<1>), blocks, ER_BLOCK, at, a->kind, x, a->ld, a->w, a->b, a->eps, rows, a->heads, n));
}

er_status er_cuda_qk_norm_backward(er_device *d, const er_qk_norm_args *a, float *dy, const float *x) {
    const size_t rows = a->tokens * a->heads, n = a->head_dim;
    if (!rows || !n) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    unsigned blocks = er_blocks(rows, WARPS);
    if (n % 4 == 0 && a->ld % 4 == 0 && er_aligned(dy, x, a->w))
        return ER_LAUNCHED(ER_LAUNCH((k_qk_norm_backward<4>), blocks, ER_BLOCK, at, a->kind, dy, x, a->ld,
            a->w, a->eps, rows, a->heads, n));
    return ER_LAUNCHED(ER_LAUNCH((k_qk_norm_backward<1>), blocks, ER_BLOCK, at, a->kind, dy, x, a->ld, a->w,
        a->eps, rows, a->heads, n));
}

static __global__ void k_clip(float *x, float limit, size_t n) {
    ER_EACH_COLUMN(i, n, 1) x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
}

static __global__ void k_clip_backward(float *d, const float *x, float limit, size_t n) {
    ER_EACH_COLUMN(i, n, 1) d[i] = x[i] >= -limit && x[i] <= limit ? d[i] : 0;
}

er_status er_cuda_clip(er_device *d, float *x, float limit, size_t n) {
    if (!n) return ER_OK;
    return ER_LAUNCHED(ER_LAUNCH(k_clip, er_blocks(n, ER_BLOCK), ER_BLOCK, er_cuda_stream(d), x, limit, n));
}

er_status er_cuda_clip_backward(er_device *d, float *dy, const float *x, float limit, size_t n) {
    if (!n) return ER_OK;
    return ER_LAUNCHED(
        ER_LAUNCH(k_clip_backward, er_blocks(n, ER_BLOCK), ER_BLOCK, er_cuda_stream(d), dy, x, limit, n));
}
