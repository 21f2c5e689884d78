// Double precision: products through cuBLAS, Cholesky through cuSOLVER. Both are column-major: our row-major
// lower triangle is their upper one, and A = L L^T is their U^T U.
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include "kernels/cuda/device.cuh"

er_status er_cuda_gemm_f64(er_device *d, const er_gemm_args *a) {
    er_status rc = ER_OK;
    cublasHandle_t blas = NULL;
    const size_t m = a->m, n = a->n, k = a->k;
    if (!m || !n) return ER_OK;
    if (m > INT_MAX || n > INT_MAX || k > INT_MAX || a->a.ld > INT_MAX || a->b.ld > INT_MAX ||
        a->ldc > INT_MAX)
        return er_fail(ER_EUNSUPPORTED, "a product of %zu x %zu x %zu; %d at most a side", m, n, k, INT_MAX);
    ER_TRY(er_cuda_blas(d, er_cuda_stream(d), &blas));
    ER_BLAS(cublasDgemm(blas, a->b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
        a->a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, (int)n, (int)m, (int)k, &a->alpha, a->b.at, (int)a->b.ld,
        a->a.at, (int)a->a.ld, &a->beta, a->c, (int)a->ldc));
out:
    return rc;
}

// Block rows up to their diagonal block: half the FLOPs of the whole product, at the rate of a GEMM.
#define BLOCK ((size_t)2048)
er_status er_cuda_syrk_f64(
    er_device *d, size_t n, size_t k, double alpha, const double *a, size_t lda, double beta, double *c) {
    er_status rc = ER_OK;
    for (size_t i0 = 0; i0 < n; i0 += BLOCK) {
        size_t block = n - i0 < BLOCK ? n - i0 : BLOCK;
        er_gemm_args row = {
            block, i0 + block, k, alpha, {a + i0, lda, true}, {a, lda, false}, beta, c + i0 * n, n};
        ER_TRY(er_cuda_gemm_f64(d, &row));
    }
out:
    return rc;
}

static er_status host_space(er_cuda *c, size_t bytes) {
    if (bytes <= c->solver_host_bytes) return ER_OK;
    free(c->solver_host);
    c->solver_host_bytes = 0;
    if (!(c->solver_host = malloc(bytes))) return er_fail(ER_ENOMEM, "%zu bytes for cuSOLVER", bytes);
    c->solver_host_bytes = bytes;
    return ER_OK;
}

// 64-byte aligned room for the status word behind the workspace.
static er_status potrf(er_device *d, cudaStream_t at, double *a, size_t n, int *info) {
    er_status rc = ER_OK;
    er_cuda *c = (er_cuda *)d;
    size_t on_device = 0, on_host = 0, padded;
    void *space = NULL;
    int *dev_info = NULL;
    ER_SOLVER(cusolverDnSetStream(c->solver, at));
    ER_SOLVER(cusolverDnXpotrf_bufferSize(c->solver, c->solver_params, CUBLAS_FILL_MODE_UPPER, (int64_t)n,
        CUDA_R_64F, a, (int64_t)n, CUDA_R_64F, &on_device, &on_host));
    padded = (on_device + 63) & ~(size_t)63;
    ER_TRY(er_cuda_scratch(d, ER_SCRATCH_SOLVER, padded + 64, &space));
    ER_TRY(host_space(c, on_host));
    dev_info = (int *)((char *)space + padded);
    ER_SOLVER(cusolverDnXpotrf(c->solver, c->solver_params, CUBLAS_FILL_MODE_UPPER, (int64_t)n, CUDA_R_64F, a,
        (int64_t)n, CUDA_R_64F, space, on_device, c->solver_host, on_host, dev_info));
    ER_CUDA(cudaMemcpyAsync(info, dev_info, sizeof *info, cudaMemcpyDeviceToHost, at));
    ER_CUDA(cudaStreamSynchronize(at));
out:
    return rc;
}

static __global__ void k_diagonal(double *out, const double *a, size_t n) {
    ER_EACH_COLUMN(i, n, 1) out[i] = a[i * n + i];
}

er_status er_cuda_potrf(er_device *d, double *a, size_t n) {
    er_status rc = ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    int info = 0;
    void *scratch = NULL;
    double *diagonal = NULL;
    if (!n) return ER_OK;
    if (!(diagonal = (double *)malloc(n * sizeof *diagonal))) ER_FAIL(ER_ENOMEM, "a diagonal of %zu", n);
    ER_TRY(potrf(d, at, a, n, &info));
    if (info > 0)
        ER_FAIL(ER_ENUMERIC, "matrix of %zu rows is not positive definite at pivot %d", n, info - 1);
    if (info < 0)
        ER_FAIL(ER_EDEVICE, "cuSOLVER refused argument %d of a factorisation of %zu rows", -info, n);
    // A NaN slips through comparisons with zero; it always reaches the diagonal below and to its right.
    ER_TRY(er_cuda_scratch(d, ER_SCRATCH_SUMS, n * sizeof *diagonal, &scratch));
    ER_TRY(ER_LAUNCHED(ER_LAUNCH(k_diagonal, er_blocks(n, ER_BLOCK), ER_BLOCK, at, (double *)scratch, a, n)));
    ER_TRY(er_cuda_download(d, diagonal, scratch, n * sizeof *diagonal));
    for (size_t i = 0; i < n; i++)
        if (!isfinite(diagonal[i]) || diagonal[i] <= 0)
            ER_FAIL(ER_ENUMERIC, "matrix of %zu rows is not positive definite at pivot %zu: %g", n, i,
                diagonal[i]);
out:
    free(diagonal);
    return rc;
}

er_status er_cuda_potrs(er_device *d, const double *factor, size_t n, double *b, size_t rhs) {
    er_status rc = ER_OK;
    er_cuda *c = (er_cuda *)d;
    void *info = NULL;
    if (!n || !rhs) return ER_OK;
    ER_TRY(er_cuda_scratch(d, ER_SCRATCH_SUMS, 64, &info));
    ER_SOLVER(cusolverDnSetStream(c->solver, er_cuda_stream(d)));
    ER_SOLVER(cusolverDnXpotrs(c->solver, c->solver_params, CUBLAS_FILL_MODE_UPPER, (int64_t)n, (int64_t)rhs,
        CUDA_R_64F, factor, (int64_t)n, CUDA_R_64F, b, (int64_t)n, (int *)info));
out:
    return rc;
}

// On the device behind the workspace: the eigenvalues, and behind them the status word.
er_status er_cuda_syevd(er_device *d, double *a, size_t n, double *values) {
    er_status rc = ER_OK;
    er_cuda *c = (er_cuda *)d;
    cudaStream_t at = c->stream;
    size_t on_device = 0, on_host = 0, padded;
    void *space = NULL;
    double *dev_values = NULL;
    int *dev_info = NULL, info = 0;
    int64_t size = (int64_t)n;
    if (!n) return ER_OK;
    ER_SOLVER(cusolverDnSetStream(c->solver, at));
    ER_SOLVER(cusolverDnXsyevd_bufferSize(c->solver, c->solver_params, CUSOLVER_EIG_MODE_VECTOR,
        CUBLAS_FILL_MODE_UPPER, size, CUDA_R_64F, a, size, CUDA_R_64F, a, CUDA_R_64F, &on_device, &on_host));
    padded = (on_device + 63) & ~(size_t)63;
    ER_TRY(er_cuda_scratch(d, ER_SCRATCH_SOLVER, padded + n * sizeof *values + 64, &space));
    ER_TRY(host_space(c, on_host));
    dev_values = (double *)((char *)space + padded);
    dev_info = (int *)(dev_values + n);
    ER_SOLVER(cusolverDnXsyevd(c->solver, c->solver_params, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_UPPER,
        size, CUDA_R_64F, a, size, CUDA_R_64F, dev_values, CUDA_R_64F, space, on_device, c->solver_host,
        on_host, dev_info));
    ER_CUDA(cudaMemcpyAsync(values, dev_values, n * sizeof *values, cudaMemcpyDeviceToHost, at));
    ER_CUDA(cudaMemcpyAsync(&info, dev_info, sizeof info, cudaMemcpyDeviceToHost, at));
    ER_CUDA(cudaStreamSynchronize(at));
    if (info) ER_FAIL(ER_ENUMERIC, "the eigenvectors of a matrix of %zu rows are not found (%d)", n, info);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i])) ER_FAIL(ER_ENUMERIC, "eigenvalue %zu of %zu is not finite", i, n);
out:
    return rc;
}
