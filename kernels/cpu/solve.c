// Double precision: products and Cholesky solves for the edit itself, and second moments.
#include "kernels/cpu/cpu.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>

// LAPACK, column-major: our row-major lower triangle is its upper one.
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
void dpotrs_(const char *uplo, const int *n, const int *nrhs, const double *a, const int *lda, double *b,
    const int *ldb, int *info);
void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work,
    const int *lwork, int *iwork, const int *liwork, int *info);

// OpenMP's number of threads belongs to the calling thread, and OpenBLAS asks for it.
static void take_threads(const er_device *d) { omp_set_num_threads(d->threads); }

er_status er_cpu_gemm_f64(er_device *d, er_stream *s, bool trans_a, bool trans_b, size_t m, size_t n,
    size_t k, double alpha, const double *a, size_t lda, const double *b, size_t ldb, double beta, double *c,
    size_t ldc) {
    (void)d, (void)s;
    if (!m || !n) return ER_OK;
    if (m > INT_MAX || n > INT_MAX || k > INT_MAX || lda > INT_MAX || ldb > INT_MAX || ldc > INT_MAX)
        return er_fail(
            ER_EUNSUPPORTED, "a product of %zu x %zu x %zu is beyond the 32-bit sizes of BLAS", m, n, k);
    take_threads(d);
    cblas_dgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans,
        (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    return ER_OK;
}

er_status er_cpu_syrk_f64(er_device *d, er_stream *s, size_t n, size_t k, double alpha, const double *a,
    size_t lda, double beta, double *c) {
    (void)d, (void)s;
    if (!n) return ER_OK;
    if (n > INT_MAX || k > INT_MAX || lda > INT_MAX)
        return er_fail(ER_EUNSUPPORTED, "a product of %zu x %zu is beyond the 32-bit sizes of BLAS", n, k);
    take_threads(d);
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, (int)n, (int)k, alpha, a, (int)lda, beta, c, (int)n);
    return ER_OK;
}

er_status er_cpu_widen(er_device *d, er_stream *s, double *dst, const float *src, size_t n) {
    (void)s;
#pragma omp parallel for simd num_threads(d->threads) if (n > 1 << 15)
    for (size_t i = 0; i < n; i++) dst[i] = (double)src[i];
    return ER_OK;
}

er_status er_cpu_axpy_f64(er_device *d, er_stream *s, double *y, double alpha, const double *x, size_t n) {
    (void)s;
#pragma omp parallel for simd num_threads(d->threads) if (n > 1 << 15)
    for (size_t i = 0; i < n; i++) y[i] += alpha * x[i];
    return ER_OK;
}

er_status er_cpu_add_diagonal(er_device *d, er_stream *s, double *a, size_t n, double value) {
    (void)d, (void)s;
    for (size_t i = 0; i < n; i++) a[i * n + i] += value;
    return ER_OK;
}

er_status er_cpu_potrf(er_device *d, er_stream *s, double *a, size_t n) {
    (void)d, (void)s;
    if (!n) return ER_OK;
    if (n > INT_MAX)
        return er_fail(ER_EUNSUPPORTED, "a matrix of %zu rows is beyond the 32-bit sizes of LAPACK", n);
    int size = (int)n, info = 0;
    take_threads(d);
    dpotrf_("U", &size, a, &size, &info);
    if (info > 0)
        return er_fail(ER_ENUMERIC, "matrix of %zu rows is not positive definite at pivot %d", n, info - 1);
    // A NaN slips through comparisons with zero; it always reaches the diagonal below and to its right.
    for (size_t i = 0; i < n; i++)
        if (!isfinite(a[i * n + i]) || a[i * n + i] <= 0)
            return er_fail(ER_ENUMERIC, "matrix of %zu rows is not positive definite at pivot %zu: %g", n, i,
                a[i * n + i]);
    return ER_OK;
}

er_status er_cpu_potrs(er_device *d, er_stream *s, const double *factor, size_t n, double *b, size_t rhs) {
    (void)d, (void)s;
    if (!n || !rhs) return ER_OK;
    if (n > INT_MAX || rhs > INT_MAX)
        return er_fail(ER_EUNSUPPORTED,
            "%zu right-hand sides of %zu rows are beyond the 32-bit sizes of LAPACK", rhs, n);
    int size = (int)n, sides = (int)rhs, info = 0;
    take_threads(d);
    dpotrs_("U", &size, &sides, factor, &size, b, &size, &info);
    return info ? er_fail(ER_ENUMERIC, "triangular solve of %zu rows refused argument %d", n, -info) : ER_OK;
}

er_status er_cpu_syevd(er_device *d, double *a, size_t n, double *values) {
    er_status rc = ER_OK;
    double *work = NULL, least = 0;
    int *iwork = NULL, size = (int)n, info = 0, query = -1, i_least = 0;
    if (!n) return ER_OK;
    if (n > 30000)  // LAPACK counts its 1 + 6 n + 2 n^2 doubles of workspace in an int
        return er_fail(ER_EUNSUPPORTED, "eigenvectors of %zu rows are beyond the 32-bit sizes of LAPACK", n);
    dsyevd_("V", "U", &size, a, &size, values, &least, &query, &i_least, &query, &info);
    int lwork = (int)least, liwork = i_least;
    work = malloc((size_t)lwork * sizeof *work);
    iwork = malloc((size_t)liwork * sizeof *iwork);
    if (!work || !iwork) ER_FAIL(ER_ENOMEM, "workspace for the eigenvectors of %zu rows", n);
    take_threads(d);
    dsyevd_("V", "U", &size, a, &size, values, work, &lwork, iwork, &liwork, &info);
    if (info) ER_FAIL(ER_ENUMERIC, "the eigenvectors of a matrix of %zu rows are not found (%d)", n, info);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i])) ER_FAIL(ER_ENUMERIC, "eigenvalue %zu of %zu is not finite", i, n);
out:
    free(work);
    free(iwork);
    return rc;
}
