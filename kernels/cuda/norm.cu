// LayerNorm and RMSNorm, and their gradients; equations and rounding as in kernels/cpu/norm.c. A block a
// token. Threads sum their elements in fp32, the block sums the threads in fp64. Rows are read again from
// cache, not kept.
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/device.cuh"

template <int V>
static __global__ void k_norm(bool centred, float *y, float *stats, const float *x, const float *w,
    const float *b, float eps, size_t tokens, size_t n) {
    ER_BLOCK_ROW(t, tokens) {
        const float *row = x + t * n;
        float mean = 0, sum = 0, square = 0;
        if (centred) {
            ER_IN_BLOCK(i, n, V) {
                er_pack<float, V> v = er_load<V>(row + i);
                for (int k = 0; k < V; k++) sum += v.at[k];
            }
            mean = (float)(er_block_sum((double)sum) / (double)n);
        }
        ER_IN_BLOCK(i, n, V) {
            er_pack<float, V> v = er_load<V>(row + i);
            for (int k = 0; k < V; k++) square += (v.at[k] - mean) * (v.at[k] - mean);
        }
        float r = (float)(1 / sqrt(er_block_sum((double)square) / (double)n + (double)eps));
        ER_IN_BLOCK(i, n, V) {
            er_pack<float, V> v = er_load<V>(row + i), scale = er_load<V>(w + i);
            for (int k = 0; k < V; k++) v.at[k] = (v.at[k] - mean) * r * scale.at[k];
            if (b) {
                er_pack<float, V> shift = er_load<V>(b + i);
                for (int k = 0; k < V; k++) v.at[k] += shift.at[k];
            }
            er_store<V>(y + t * n + i, v);
        }
        if (stats && threadIdx.x == 0) stats[2 * t] = mean, stats[2 * t + 1] = r;
    }
}

template <int V>
static __global__ void k_norm_backward(bool centred, float *dx, const float *dy, const float *x,
    const float *w, const float *stats, size_t tokens, size_t n) {
    ER_BLOCK_ROW(t, tokens) {
        const float *row = x + t * n, *up = dy + t * n;
        float mean = stats[2 * t], r = stats[2 * t + 1], part_g = 0, part_gx = 0;
        ER_IN_BLOCK(i, n, V) {
            er_pack<float, V> v = er_load<V>(row + i), g = er_load<V>(up + i), scale = er_load<V>(w + i);
            for (int k = 0; k < V; k++) {
                part_g += g.at[k] * scale.at[k];
                part_gx += g.at[k] * scale.at[k] * (v.at[k] - mean);
            }
        }
        double sum_g = (double)part_g, sum_gx = (double)part_gx;
        er_block_sum2(&sum_g, &sum_gx);
        float shift = centred ? (float)(sum_g / (double)n) : 0.0f,
              slope = (float)(sum_gx / (double)n) * r * r;
        ER_IN_BLOCK(i, n, V) {
            er_pack<float, V> v = er_load<V>(row + i), g = er_load<V>(up + i), scale = er_load<V>(w + i),
                              d = er_load<V>(dx + t * n + i);
            for (int k = 0; k < V; k++)
                d.at[k] += r * (g.at[k] * scale.at[k] - shift - (v.at[k] - mean) * slope);
            er_store<V>(dx + t * n + i, d);
        }
    }
}

er_status er_cuda_norm(er_device *d, const er_norm_args *a, float *y, float *stats) {
    const size_t tokens = a->tokens, n = a->hidden;
    if (!tokens || !n) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    bool centred = a->kind == ER_LAYER_NORM;
    if (n % 4 == 0 && er_aligned(y, a->x, a->w, a->b))
        return ER_LAUNCHED(ER_LAUNCH_BLOCKS(
            (k_norm<4>), tokens, n, 4, at, centred, y, stats, a->x, a->w, a->b, a->eps, tokens, n));
    return ER_LAUNCHED(ER_LAUNCH_BLOCKS(
        (k_norm<1>), tokens, n, 1, at, centred, y, stats, a->x, a->w, a->b, a->eps, tokens, n));
}

er_status er_cuda_norm_backward(
    er_device *d, const er_norm_args *a, float *dx, const float *dy, const float *stats) {
    const size_t tokens = a->tokens, n = a->hidden;
    if (!tokens || !n) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    bool centred = a->kind == ER_LAYER_NORM;
    if (n % 4 == 0 && er_aligned(dx, dy, a->x, a->w))
        return ER_LAUNCHED(ER_LAUNCH_BLOCKS(
            (k_norm_backward<4>), tokens, n, 4, at, centred, dx, dy, a->x, a->w, stats, tokens, n));
    return ER_LAUNCHED(ER_LAUNCH_BLOCKS(
        (k_norm_backward<1>), tokens, n, 1, at, centred, dx, dy, a->x, a->w, stats, tokens, n));
}

static __global__ void k_row_norm(float *out, const float *x, size_t rows, size_t width) {
    ER_BLOCK_ROW(r, rows) {
        double sum = 0;
        ER_IN_BLOCK(i, width, 1) sum += (double)x[r * width + i] * (double)x[r * width + i];
        sum = er_block_sum(sum);
        if (threadIdx.x == 0) out[r] = (float)sqrt(sum);
    }
}

er_status er_cuda_row_norm(er_device *d, float *out, const float *x, size_t rows, size_t width) {
    if (!rows) return ER_OK;
    size_t work = width ? width : 1;
    return ER_LAUNCHED(ER_LAUNCH_BLOCKS(k_row_norm, rows, work, 1, er_cuda_stream(d), out, x, rows, width));
}
