// Linear maps and their input gradients: on the tile unit where that is exact enough, else by fp32 GEMM.
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"

#include <cblas.h>
#include <limits.h>
#include <omp.h>
#include <string.h>

er_status er_cpu_sgemm(er_device *d, bool trans_a, bool trans_b, size_t m, size_t n, size_t k, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *out, size_t ldo) {
    bool done = false;
    omp_set_dynamic(0);               // of the calling thread, as the next: both libraries ask for it, and
    omp_set_num_threads(d->threads);  // take for granted that they get as many
    er_status rc =
        er_onednn_sgemm(&done, ((er_cpu *)d)->dnn, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, out, ldo);
    if (rc != ER_OK || done) return rc;
    er_cpu_blas_begin(d);
    cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans,
        (int)m, (int)n, (int)k, 1.0f, a, (int)lda, b, (int)ldb, beta, out, (int)ldo);
    er_cpu_blas_end();
    return ER_OK;
}

// y [m, n] += or = bias in every row, before the product is added to it.
static void spread_bias(er_device *d, float *y, const float *bias, size_t m, size_t n, float beta) {
#pragma omp parallel for num_threads(d->threads) if (m * n > 1 << 15)
    for (size_t i = 0; i < m; i++) {
        if (beta == 0.0f) memcpy(y + i * n, bias, n * sizeof *y);
        else
            for (size_t j = 0; j < n; j++) y[i * n + j] += bias[j];
    }
}

static er_status check_rows(size_t m) {
    return m <= INT_MAX ? ER_OK : er_fail(ER_EUNSUPPORTED, "%zu rows in one product; %d at most", m, INT_MAX);
}

// How many bf16 terms of the activations the tile unit multiplies for this weight; 0: it is not used. fp32
// needs a weight that bf16 holds exactly; measured on one Xeon core with AMX: 420-650 GFLOP/s against 165 for
// fp32 GEMM, and half its error.
static int tile_terms(const er_device *d, er_dtype stored) {
    const er_bf16_unit unit = ((const er_cpu *)d)->unit;
    if (d->precision == ER_BF16_COMPUTE) return unit == ER_BF16_NONE ? 0 : 1;
    return unit == ER_BF16_TILES && stored == ER_BF16 ? 3 : 0;
}

// Two packed forms in bf16, one for each direction, or one in fp32 for both.
size_t er_cpu_weight_copy_bits(const er_device *d, er_dtype stored, bool backward) {
    if (tile_terms(d, stored)) return 16;
    return backward || stored == ER_F32 ? 0 : 32;
}

er_status er_cpu_linear(
    er_device *d, float *y, const float *x, const er_weight *w, const float *bias, size_t m, float beta) {
    er_status rc = ER_OK;
    const float *f32 = NULL;
    const uint16_t *pack = NULL;
    const int terms = tile_terms(d, w->dtype);
    if (!m || !w->d_out) return ER_OK;
    ER_TRY(check_rows(m));
    if (terms) {
        ER_TRY(er_cpu_weight_pack(d, (er_weight *)w, false, &pack));
        return er_tiles_product(d, y, x, pack, bias, m, w->d_out, w->d_in, beta, terms);
    }
    ER_TRY(er_cpu_weight_f32(d, (er_weight *)w, &f32));
    if (bias) spread_bias(d, y, bias, m, w->d_out, beta), beta = 1.0f;
    ER_TRY(er_cpu_sgemm(d, false, !w->conv1d, m, w->d_out, w->d_in, x, w->d_in, f32,
        w->conv1d ? w->d_out : w->d_in, beta, y, w->d_out));
out:
    return rc;
}

er_status er_cpu_linear_backward(
    er_device *d, float *dx, const float *dy, const er_weight *w, size_t m, float beta) {
    er_status rc = ER_OK;
    const float *f32 = NULL;
    const uint16_t *pack = NULL;
    const int terms = tile_terms(d, w->dtype);
    if (!m || !w->d_in) return ER_OK;
    ER_TRY(check_rows(m));
    if (terms) {
        ER_TRY(er_cpu_weight_pack(d, (er_weight *)w, true, &pack));
        return er_tiles_product(d, dx, dy, pack, NULL, m, w->d_in, w->d_out, beta, terms);
    }
    ER_TRY(er_cpu_weight_f32(d, (er_weight *)w, &f32));
    ER_TRY(er_cpu_sgemm(d, false, w->conv1d, m, w->d_in, w->d_out, dy, w->d_out, f32,
        w->conv1d ? w->d_out : w->d_in, beta, dx, w->d_in));
out:
    return rc;
}
