// Linear maps and their input gradients. Row-major y = x W^T is, column by column, a GEMM of the stored bytes
// as they are: W [d_out, d_in] and its transposed layout differ only in which operand is transposed.
//   FLOPs 2 m d_out d_in. Besides the GEMM: the 16-bit copy of x (6 bytes a number), the bias (8 bytes a
//   number of y).
#include "kernels/cuda/device.cuh"

// fp16 gradients below 6e-8 would be lost: they are multiplied by 2^10 on the way in and divided on the way
// out.
#define FP16_GRADIENT_SCALE 1024.0f

template <int V> static __global__ void k_bias(float *y, const float *bias, size_t m, size_t n) {
    ER_EACH_ROW(t, m) {
        ER_EACH_COLUMN(i, n, V) {
            er_pack<float, V> v = er_load<V>(y + t * n + i), b = er_load<V>(bias + i);
            for (int k = 0; k < V; k++) v.at[k] += b.at[k];
            er_store<V>(y + t * n + i, v);
        }
    }
}

static er_status add_bias(cudaStream_t at, float *y, const float *bias, size_t m, size_t n) {
    if (n % 4 == 0 && er_aligned(y, bias))
        return ER_LAUNCHED(ER_LAUNCH_ROWS((k_bias<4>), m, n, 4, at, y, bias, m, n));
    return ER_LAUNCHED(ER_LAUNCH_ROWS((k_bias<1>), m, n, 1, at, y, bias, m, n));
}

// The numbers of an fp32 matrix as a GEMM of this device reads them.
static er_status as_input(
    er_device *d, cudaStream_t at, const float *x, size_t n, float factor, const void **out) {
    er_status rc = ER_OK;
    er_dtype t = er_cuda_input_type(d);
    void *copy = NULL;
    *out = x;
    if (t == ER_F32) return ER_OK;
    ER_TRY(er_cuda_scratch(d, ER_SCRATCH_INPUT, n * 2, &copy));
    ER_TRY(er_cuda_convert(d, at, copy, t, x, ER_F32, factor, n));
    *out = copy;
out:
    return rc;
}

// The weight as a GEMM of this device reads it.
static er_status as_weight(er_device *d, cudaStream_t at, er_weight *w, bool backward, const void **out) {
    er_status rc = ER_OK;
    er_dtype t = er_cuda_input_type(d);
    void *copy = NULL;
    const void *stored = NULL;
    if (w->narrow) {
        *out = w->narrow;
        return ER_OK;
    }
    ER_TRY(er_cuda_offload_fetch((er_cuda *)d, at, w, backward, &stored));
    *out = stored;
    if (w->dtype == t) return ER_OK;
    ER_TRY(er_cuda_scratch(d, ER_SCRATCH_WEIGHT, w->d_out * w->d_in * er_dtype_bits(t) / 8, &copy));
    ER_TRY(er_cuda_convert(d, at, copy, t, stored, w->dtype, 1, w->d_out * w->d_in));
    *out = copy;
out:
    return rc;
}

static er_status product(
    er_device *d, float *y, const float *x, er_weight *w, size_t m, float beta, bool backward) {
    er_status rc = ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    const void *input = NULL, *weight = NULL;
    size_t n = backward ? w->d_in : w->d_out, k = backward ? w->d_out : w->d_in,
           ld = w->conv1d ? w->d_out : w->d_in;
    float factor = backward && d->precision == ER_FP16_COMPUTE ? FP16_GRADIENT_SCALE : 1.0f;
    if (!k) return beta == 0 ? er_cuda_zero(d, y, m * n * sizeof *y) : ER_OK;
    ER_TRY(as_input(d, at, x, m * k, factor, &input));
    ER_TRY(as_weight(d, at, w, backward, &weight));
    ER_TRY(er_cuda_gemm(d, at, w->conv1d == backward ? CUBLAS_OP_T : CUBLAS_OP_N, CUBLAS_OP_N, n, m, k,
        1 / factor, weight, ld, input, k, er_cuda_input_type(d), beta, y, n));
    ER_TRY(er_cuda_offload_done((er_cuda *)d, at, w));
out:
    return rc;
}

er_status er_cuda_linear(
    er_device *d, float *y, const float *x, const er_weight *w, const float *bias, size_t m, float beta) {
    if (!m || !w->d_out) return ER_OK;
    er_status rc = product(d, y, x, const_cast<er_weight *>(w), m, beta, false);
    return rc == ER_OK && bias ? add_bias(er_cuda_stream(d), y, bias, m, w->d_out) : rc;
}

er_status er_cuda_linear_backward(
    er_device *d, float *dx, const float *dy, const er_weight *w, size_t m, float beta) {
    if (!m || !w->d_in) return ER_OK;
    return product(d, dx, dy, const_cast<er_weight *>(w), m, beta, true);
}
