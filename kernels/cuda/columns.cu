// Columns of the least-squares problem: keys and residuals widened to fp64 where they stand.
//   rows_f64 reads 4 and writes 8 bytes a number (adding: reads 8 more); residual_rows reads 16 and writes 8.
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

// The row that is the first of its target adds all of them, in order: no atomics, the same bits on every run.
// Finding out costs each row a look at n indices, which stay in cache; n is a chunk of some hundreds.
static __global__ void k_add_rows(
    double *dst, const float *src, const float *scale, const int32_t *index, size_t n, size_t width) {
    ER_EACH_ROW(i, n) {
        int32_t to = index[i];
        bool first = to >= 0;
        for (size_t j = 0; first && j < i; j++) first = index[j] != to;
        if (!first) continue;
        ER_EACH_COLUMN(c, width, 1) {
            double sum = dst[(size_t)to * width + c];
            for (size_t j = i; j < n; j++)
                if (index[j] == to) sum += (double)scale[j] * (double)src[j * width + c];
            dst[(size_t)to * width + c] = sum;
        }
    }
}

static __global__ void k_residual_rows(double *r, er_residual_rows p) {
    ER_EACH_ROW(i, p.rows) {
        size_t at = i * p.width, u = (size_t)p.unit[i] * p.width;
        double by = (double)p.scale[i];
        ER_EACH_COLUMN(j, p.width, 1)
        r[at + j] = by * ((double)p.then[at + j] + ((double)p.z[u + j] - (double)p.start[u + j]) -
                             (double)p.now[at + j]);
    }
}

er_status er_cuda_rows_f64(er_device *d, er_stream *s, double *dst, const float *src, const float *scale,
    const int32_t *index, size_t n, size_t width) {
    if (!n || !width) return ER_OK;
    cudaStream_t at = er_cuda_stream(d, s);
    if (index)
        return ER_LAUNCHED(ER_LAUNCH_ROWS(k_add_rows, n, width, 1, at, dst, src, scale, index, n, width));
    if (width % 2 == 0 && er_aligned(dst, src))
        return ER_LAUNCHED(ER_LAUNCH_ROWS((k_scale_rows<2>), n, width, 2, at, dst, src, scale, n, width));
    return ER_LAUNCHED(ER_LAUNCH_ROWS((k_scale_rows<1>), n, width, 1, at, dst, src, scale, n, width));
}

er_status er_cuda_residual_rows(er_device *d, er_stream *s, double *r, const er_residual_rows *p) {
    if (!p->rows || !p->width) return ER_OK;
    return ER_LAUNCHED(ER_LAUNCH_ROWS(k_residual_rows, p->rows, p->width, 1, er_cuda_stream(d, s), r, *p));
}
