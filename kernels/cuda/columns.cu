// Columns of the least-squares problem: keys and residuals widened to fp64 where they stand.
// scaled_scatter reads 4 and writes 8 bytes a number (adding: reads 8 more); residual reads 16 and writes 8.
#include "kernels/cuda/device.cuh"

template <int V>
static __global__ void k_scale_rows(
    double *dst, const float *src, const float *scale, size_t n, size_t width) {
    ER_EACH_ROW(i, n) {
        double by = (double)scale[i];
        ER_EACH_COLUMN(j, width, V) {
            er_pack<float, V> v = er_load<V>(src + i * width + j);
            er_pack<double, V> w;
            for (int k = 0; k < V; k++) w.at[k] = by * (double)v.at[k];
            er_store<V>(dst + i * width + j, w);
        }
    }
}

// The block of a target's first row adds all rows of that target, in order: no atomics, the same bits on
// every run. It looks for them as many at a time as it has threads, and leaves when one comes before its own.
//   Measured on an H100, 8,192 rows of 16,384 into 1,024: 259 ms when each thread looked for itself.
template <int V>
static __global__ void k_add_rows(
    double *dst, const float *src, const float *scale, const int32_t *index, size_t n, size_t width) {
    __shared__ unsigned same[ER_ROW_BLOCK / 32];
    ER_BLOCK_ROW(i, n) {
        int32_t to = index[i];
        bool mine = to >= 0;
        for (size_t base = 0; mine && base < n; base += blockDim.x) {
            size_t j = base + threadIdx.x;
            unsigned hits = __ballot_sync(0xffffffffu, j < n && index[j] == to);
            if (threadIdx.x % 32 == 0) same[threadIdx.x / 32] = hits;
            __syncthreads();
            for (unsigned w = 0; mine && w < blockDim.x / 32; w++)
                for (unsigned left = same[w]; mine && left; left &= left - 1) {
                    size_t row = base + w * 32 + (unsigned)__ffs((int)left) - 1;
                    mine = row >= i;  // the same for all threads of the block
                    double by = (double)scale[row];
                    ER_IN_BLOCK(c, mine ? width : 0, V) {
                        er_pack<double, V> a = er_load<V>(dst + (size_t)to * width + c);
                        er_pack<float, V> b = er_load<V>(src + row * width + c);
                        for (int k = 0; k < V; k++) a.at[k] += by * (double)b.at[k];
                        er_store<V>(dst + (size_t)to * width + c, a);
                    }
                }
            __syncthreads();
        }
    }
}

static __global__ void k_residual_rows(double *r, er_residual p) {
    ER_EACH_ROW(i, p.rows) {
        size_t at = i * p.width, u = (size_t)p.request[i] * p.width;
        double by = (double)p.scale[i];
        ER_EACH_COLUMN(j, p.width, 1)
        r[at + j] = by * ((double)p.h_orig[at + j] + ((double)p.target_z[u + j] - (double)p.z_start[u + j]) -
                             (double)p.h_cur[at + j]);
    }
}

er_status er_cuda_scaled_scatter(er_device *d, double *dst, const float *src, const float *scale,
    const int32_t *index, size_t n, size_t width) {
    if (!n || !width) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    bool pairs = width % 2 == 0 && er_aligned(dst, src);
    if (index && pairs)
        return ER_LAUNCHED(
            ER_LAUNCH_BLOCKS((k_add_rows<2>), n, width, 2, at, dst, src, scale, index, n, width));
    if (index)
        return ER_LAUNCHED(
            ER_LAUNCH_BLOCKS((k_add_rows<1>), n, width, 1, at, dst, src, scale, index, n, width));
    if (pairs)
        return ER_LAUNCHED(ER_LAUNCH_ROWS((k_scale_rows<2>), n, width, 2, at, dst, src, scale, n, width));
    return ER_LAUNCHED(ER_LAUNCH_ROWS((k_scale_rows<1>), n, width, 1, at, dst, src, scale, n, width));
}

er_status er_cuda_residual(er_device *d, double *r, const er_residual *p) {
    if (!p->rows || !p->width) return ER_OK;
    return ER_LAUNCHED(ER_LAUNCH_ROWS(k_residual_rows, p->rows, p->width, 1, er_cuda_stream(d), r, *p));
}
