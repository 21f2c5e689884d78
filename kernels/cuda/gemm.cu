// GEMMs through cuBLAS in the device's precision, and the conversions they need. Activations are fp32; a GEMM
// reads 16-bit numbers (bf16, fp16), or fp32 ones whole or rounded to TF32. Sums are fp32 always.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <limits.h>
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/number.cuh"

er_dtype er_cuda_input_type(const er_device *d) {
    switch (d->precision) {
    case ER_BF16_COMPUTE:
        return ER_BF16;
    case ER_FP16_COMPUTE:
        return ER_F16;
    case ER_FP32:
    case ER_TF32_COMPUTE:
        break;
    }
    return ER_F32;
}

cudaDataType er_cuda_data_type(er_dtype t) {
    return t == ER_BF16 ? CUDA_R_16BF : t == ER_F16 ? CUDA_R_16F : CUDA_R_32F;
}

template <typename To, typename From, int V>
static __global__ void k_convert(To *dst, const From *src, float factor, size_t n) {
    ER_EACH_COLUMN(i, n / V * V, V) {
        er_pack<From, V> v = er_load<V>(src + i);
        er_pack<To, V> w;
        for (int k = 0; k < V; k++) w.at[k] = er_narrow<To>(factor * er_widen(v.at[k]));
        er_store<V>(dst + i, w);
    }
    size_t last = n / V * V + threadIdx.x;
    if (blockIdx.x == 0 && last < n) dst[last] = er_narrow<To>(factor * er_widen(src[last]));
}

template <typename To, typename From>
static er_status convert(cudaStream_t at, void *dst, const void *src, float factor, size_t n) {
    To *to = (To *)dst;
    const From *from = (const From *)src;
    if (er_aligned(to, from))
        return ER_LAUNCHED(ER_LAUNCH(
            (k_convert<To, From, 4>), er_blocks(n, 4 * ER_BLOCK), ER_BLOCK, at, to, from, factor, n));
    return ER_LAUNCHED(
        ER_LAUNCH((k_convert<To, From, 1>), er_blocks(n, ER_BLOCK), ER_BLOCK, at, to, from, factor, n));
}

template <typename To>
static er_status convert_to(
    cudaStream_t at, void *dst, const void *src, er_dtype from, float factor, size_t n) {
    if (from == ER_BF16) return convert<To, __nv_bfloat16>(at, dst, src, factor, n);
    if (from == ER_F16) return convert<To, __half>(at, dst, src, factor, n);
    return convert<To, float>(at, dst, src, factor, n);
}

er_status er_cuda_convert(er_device *d, cudaStream_t at, void *dst, er_dtype to, const void *src,
    er_dtype from, float factor, size_t n) {
    (void)d;
    if (!n) return ER_OK;
    if (to == ER_BF16) return convert_to<__nv_bfloat16>(at, dst, src, from, factor, n);
    if (to == ER_F16) return convert_to<__half>(at, dst, src, from, factor, n);
    return convert_to<float>(at, dst, src, from, factor, n);
}

er_status er_cuda_blas(er_device *d, cudaStream_t at, cublasHandle_t *out) {
    er_status rc = ER_OK;
    er_cuda *c = (er_cuda *)d;
    if (at != c->blas_stream) {
        ER_BLAS(cublasSetStream(c->blas, at));
        c->blas_stream = at;
        ER_BLAS(cublasSetWorkspace(c->blas, c->blas_space, ER_BLAS_SPACE));
    }
    *out = c->blas;
out:
    return rc;
}

er_status er_cuda_gemm(er_device *d, cudaStream_t at, cublasOperation_t op_a, cublasOperation_t op_b,
    size_t m, size_t n, size_t k, float alpha, const void *a, size_t lda, const void *b, size_t ldb,
    er_dtype t, float beta, float *c, size_t ldc) {
    er_status rc = ER_OK;
    cublasHandle_t blas = NULL;
    cudaDataType type = er_cuda_data_type(t);
    cublasComputeType_t compute =
        d->precision == ER_TF32_COMPUTE ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    if (m > INT_MAX || n > INT_MAX || k > INT_MAX || lda > INT_MAX || ldb > INT_MAX || ldc > INT_MAX)
        return er_fail(ER_EUNSUPPORTED, "a product of %zu x %zu x %zu; %d at most a side", m, n, k, INT_MAX);
    ER_TRY(er_cuda_blas(d, at, &blas));
    ER_BLAS(cublasGemmEx(blas, op_a, op_b, (int)m, (int)n, (int)k, &alpha, a, type, (int)lda, b, type,
        (int)ldb, &beta, c, CUDA_R_32F, (int)ldc, compute, CUBLAS_GEMM_DEFAULT));
out:
    return rc;
}
