// The fp64 ops of the solve that are plain loops. 16 bytes are two doubles.
#include "kernels/cuda/device.cuh"

template <int V> static __global__ void k_cast(double *dst, const float *src, size_t n) {
    ER_EACH_COLUMN(i, n / V * V, V) {
        er_pack<float, V> v = er_load<V>(src + i);
        er_pack<double, V> w;
        for (int k = 0; k < V; k++) w.at[k] = (double)v.at[k];
        er_store<V>(dst + i, w);
    }
    size_t last = n / V * V + threadIdx.x;
    if (blockIdx.x == 0 && last < n) dst[last] = (double)src[last];
}

template <int V> static __global__ void k_axpy(double *y, double alpha, const double *x, size_t n) {
    ER_EACH_COLUMN(i, n / V * V, V) {
        er_pack<double, V> a = er_load<V>(y + i), b = er_load<V>(x + i);
        for (int k = 0; k < V; k++) a.at[k] += alpha * b.at[k];
        er_store<V>(y + i, a);
    }
    size_t last = n / V * V + threadIdx.x;
    if (blockIdx.x == 0 && last < n) y[last] += alpha * x[last];
}

static __global__ void k_add_diagonal(double *a, size_t n, double value) {
    ER_EACH_COLUMN(i, n, 1) a[i * n + i] += value;
}

er_status er_cuda_cast(er_device *d, double *dst, const float *src, size_t n) {
    if (!n) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    if (er_aligned(dst, src))
        return ER_LAUNCHED(ER_LAUNCH((k_cast<2>), er_blocks(n, 2 * ER_BLOCK), ER_BLOCK, at, dst, src, n));
    return ER_LAUNCHED(ER_LAUNCH((k_cast<1>), er_blocks(n, ER_BLOCK), ER_BLOCK, at, dst, src, n));
}

er_status er_cuda_axpy_f64(er_device *d, double *y, double alpha, const double *x, size_t n) {
    if (!n) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    if (er_aligned(y, x))
        return ER_LAUNCHED(ER_LAUNCH((k_axpy<2>), er_blocks(n, 2 * ER_BLOCK), ER_BLOCK, at, y, alpha, x, n));
    return ER_LAUNCHED(ER_LAUNCH((k_axpy<1>), er_blocks(n, ER_BLOCK), ER_BLOCK, at, y, alpha, x, n));
}

er_status er_cuda_add_diagonal(er_device *d, double *a, size_t n, double value) {
    if (!n) return ER_OK;
    return ER_LAUNCHED(
        ER_LAUNCH(k_add_diagonal, er_blocks(n, ER_BLOCK), ER_BLOCK, er_cuda_stream(d), a, n, value));
}
