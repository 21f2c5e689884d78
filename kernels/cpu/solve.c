// Double precision: products and Cholesky solves for the edit itself, and second moments.
#include "kernels/cpu/cpu.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>

#include "io/base/signals.h"

// Calls that would take a CPU many seconds are made in pieces, with a question between them whether to stop:
// a key of 11008 makes 4e11 operations of one factor and 1e12 of its right-hand sides.
#define PIECE_FLOPS 4e10
#define PIECE_ROWS ((size_t)512)   // of a factor
#define WHOLE_ROWS ((size_t)2048)  // a factor of at most so many is LAPACK's alone

static er_status next_piece(size_t at) { return at ? er_stop_check("stopped in a product") : ER_OK; }

// How many of `n` equal parts of a call, each of `flops`, make a piece.
static size_t piece_of(size_t n, double flops) {
    double most = PIECE_FLOPS / (flops > 1 ? flops : 1);
    return most >= (double)n ? n : most < 64 ? (n < 64 ? n : 64) : (size_t)most;
}

// LAPACK, column-major: our row-major lower triangle is its upper one.
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
void dpotrs_(const char *uplo, const int *n, const int *nrhs, const double *a, const int *lda, double *b,
    const int *ldb, int *info);
void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,
    double *work, const int *lwork, int *iwork, const int *liwork, int *info);

er_status er_cpu_gemm_f64(er_device *d, const er_gemm_args *a) {
    const size_t m = a->m, n = a->n, k = a->k;
    if (!m || !n) return ER_OK;
    if (m > INT_MAX || n > INT_MAX || k > INT_MAX || a->a.ld > INT_MAX || a->b.ld > INT_MAX ||
        a->ldc > INT_MAX)
        return er_fail(
            ER_EUNSUPPORTED, "a product of %zu x %zu x %zu is beyond the 32-bit sizes of BLAS", m, n, k);
    for (size_t at = 0, part = piece_of(m, 2.0 * (double)n * (double)k); at < m; at += part) {
        size_t rows = m - at < part ? m - at : part;
        er_status rc = next_piece(at);
        if (rc != ER_OK) return rc;
        er_cpu_blas_begin(d);
        cblas_dgemm(CblasRowMajor, a->a.transposed ? CblasTrans : CblasNoTrans,
            a->b.transposed ? CblasTrans : CblasNoTrans, (int)rows, (int)n, (int)k, a->alpha,
            a->a.at + (a->a.transposed ? at : at * a->a.ld), (int)a->a.ld, a->b.at, (int)a->b.ld, a->beta,
            a->c + at * a->ldc, (int)a->ldc);
        er_cpu_blas_end();
    }
    return ER_OK;
}

er_status er_cpu_syrk_f64(
    er_device *d, size_t n, size_t k, double alpha, const double *a, size_t lda, double beta, double *c) {
    (void)d;
    if (!n) return ER_OK;
    if (n > INT_MAX || k > INT_MAX || lda > INT_MAX)
        return er_fail(ER_EUNSUPPORTED, "a product of %zu x %zu is beyond the 32-bit sizes of BLAS", n, k);
    const size_t part = piece_of(k, (double)n * (double)n);
    size_t at = 0;
    do {
        er_status rc = next_piece(at);
        if (rc != ER_OK) return rc;
        er_cpu_blas_begin(d);
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, (int)n, (int)(k - at < part ? k - at : part),
            alpha, a + at * lda, (int)lda, at ? 1.0 : beta, c, (int)n);
        er_cpu_blas_end();
        at += part;
    } while (at < k);
    return ER_OK;
}

er_status er_cpu_cast(er_device *d, double *dst, const float *src, size_t n) {
#pragma omp parallel for simd num_threads(d->threads) if (n > 1 << 15)
    for (size_t i = 0; i < n; i++) dst[i] = (double)src[i];
    return ER_OK;
}

er_status er_cpu_axpy_f64(er_device *d, double *y, double alpha, const double *x, size_t n) {
#pragma omp parallel for simd num_threads(d->threads) if (n > 1 << 15)
    for (size_t i = 0; i < n; i++) y[i] += alpha * x[i];
    return ER_OK;
}

er_status er_cpu_add_diagonal(er_device *d, double *a, size_t n, double value) {
    (void)d;
    for (size_t i = 0; i < n; i++) a[i * n + i] += value;
    return ER_OK;
}

// Column-major, as LAPACK sees it: A = U^T U, a block row of U at a time and what it takes from the rest.
static er_status factor_in_pieces(er_device *d, int *pivot, double *a, size_t n) {
    const int ld = (int)n;
    for (size_t at = 0, size; at < n; at += size) {
        size = n <= WHOLE_ROWS ? n : n - at < PIECE_ROWS ? n - at : PIECE_ROWS;
        const int rows = (int)size, rest = (int)(n - at - size);
        double *own = a + at * n + at, *right = own + size * n, *below = right + size;
        er_status rc = next_piece(at);
        if (rc != ER_OK) return rc;
        int info = 0;
        er_cpu_blas_begin(d);
        dpotrf_("U", &rows, own, &ld, &info);
        if (!info && rest) {
            cblas_dtrsm(CblasColMajor, CblasLeft, CblasUpper, CblasTrans, CblasNonUnit, rows, rest, 1.0, own,
                ld, right, ld);
            cblas_dsyrk(CblasColMajor, CblasUpper, CblasTrans, rest, rows, -1.0, right, ld, 1.0, below, ld);
        }
        er_cpu_blas_end();
        if (info > 0) {
            *pivot = (int)at + info;
            return ER_OK;
        }
    }
    return ER_OK;
}

er_status er_cpu_potrf(er_device *d, double *a, size_t n) {
    (void)d;
    if (!n) return ER_OK;
    if (n > INT_MAX)
        return er_fail(ER_EUNSUPPORTED, "a matrix of %zu rows is beyond the 32-bit sizes of LAPACK", n);
    int info = 0;
    er_status rc = factor_in_pieces(d, &info, a, n);
    if (rc != ER_OK) return rc;
    if (info > 0)
        return er_fail(ER_ENUMERIC, "matrix of %zu rows is not positive definite at pivot %d", n, info - 1);
    // A NaN slips through comparisons with zero; it always reaches the diagonal below and to its right.
    for (size_t i = 0; i < n; i++)
        if (!isfinite(a[i * n + i]) || a[i * n + i] <= 0)
            return er_fail(ER_ENUMERIC, "matrix of %zu rows is not positive definite at pivot %zu: %g", n, i,
                a[i * n + i]);
    return ER_OK;
}

er_status er_cpu_potrs(er_device *d, const double *factor, size_t n, double *b, size_t rhs) {
    (void)d;
    if (!n || !rhs) return ER_OK;
    if (n > INT_MAX || rhs > INT_MAX)
        return er_fail(ER_EUNSUPPORTED,
            "%zu right-hand sides of %zu rows are beyond the 32-bit sizes of LAPACK", rhs, n);
    for (size_t at = 0, part = piece_of(rhs, 2.0 * (double)n * (double)n); at < rhs; at += part) {
        int size = (int)n, sides = (int)(rhs - at < part ? rhs - at : part), info = 0;
        er_status rc = next_piece(at);
        if (rc != ER_OK) return rc;
        er_cpu_blas_begin(d);
        dpotrs_("U", &size, &sides, factor, &size, b + at * n, &size, &info);
        er_cpu_blas_end();
        if (info) return er_fail(ER_ENUMERIC, "triangular solve of %zu rows refused argument %d", n, -info);
    }
    return ER_OK;
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
    er_cpu_blas_begin(d);
    dsyevd_("V", "U", &size, a, &size, values, work, &lwork, iwork, &liwork, &info);
    er_cpu_blas_end();
    if (info) ER_FAIL(ER_ENUMERIC, "the eigenvectors of a matrix of %zu rows are not found (%d)", n, info);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i])) ER_FAIL(ER_ENUMERIC, "eigenvalue %zu of %zu is not finite", i, n);
out:
    free(work);
    free(iwork);
    return rc;
}
