// One layer's least squares, primal or dual (identity I2).
#include <time.h>

#include "engine/solve.h"

typedef struct work {
    er_device *d;
    er_stream *s;
    void *owned[4];
    size_t n_owned;
} work;

static er_status take(work *w, double **out, size_t elements) {
    void *p = NULL;
    er_status rc = w->d->op->alloc(w->d, &p, elements * sizeof(double));
    if (rc != ER_OK) return rc;
    w->owned[w->n_owned++] = p;
    *out = p;
    return ER_OK;
}

// A = K K^T + lambda C;  dW = (R K^T) A^-1: one right-hand side per row of R K^T.
static er_status primal(double *dw, work *w, const double *keys, const double *r, size_t n, size_t d,
    size_t o, const er_moment *c, double lambda) {
    er_status rc = ER_OK;
    double *a = NULL;
    ER_TRY(take(w, &a, d * d));
    ER_TRY(w->d->op->gemm_f64(w->d, w->s, true, false, d, d, n, 1.0, keys, d, keys, d, 0.0, a, d));
    ER_TRY(w->d->op->axpy_f64(w->d, w->s, a, lambda / (double)c->count, c->sum, d * d));
    ER_TRY(w->d->op->potrf(w->d, w->s, a, d));
    ER_TRY(w->d->op->gemm_f64(w->d, w->s, false, false, o, d, n, 1.0, r, n, keys, d, 0.0, dw, d));
    ER_TRY(w->d->op->potrs(w->d, w->s, a, d, dw, o));
out:
    return rc;
}

// dW = R (I + K^T A0^-1 K)^-1 K^T A0^-1 with A0 = lambda C: n right-hand sides on A0, then an n x n solve
// with d_out of them.
static er_status dual(double *dw, work *w, const double *keys, const double *r, size_t n, size_t d, size_t o,
    const er_moment *c, double lambda) {
    er_status rc = ER_OK;
    double *a0 = NULL, *y = NULL, *g = NULL, *x = NULL;
    ER_TRY(take(w, &a0, d * d));
    ER_TRY(take(w, &y, n * d));
    ER_TRY(take(w, &g, n * n));
    ER_TRY(take(w, &x, o * n));
    ER_TRY(w->d->op->zero(w->d, w->s, a0, d * d * sizeof(double)));
    ER_TRY(w->d->op->axpy_f64(w->d, w->s, a0, lambda / (double)c->count, c->sum, d * d));
    ER_TRY(w->d->op->potrf(w->d, w->s, a0, d));
    ER_TRY(w->d->op->copy(w->d, w->s, y, keys, n * d * sizeof(double)));
    ER_TRY(w->d->op->potrs(w->d, w->s, a0, d, y, n));
    ER_TRY(w->d->op->gemm_f64(w->d, w->s, false, true, n, n, d, 1.0, y, d, keys, d, 0.0, g, n));
    ER_TRY(w->d->op->add_diagonal(w->d, w->s, g, n, 1.0));
    ER_TRY(w->d->op->potrf(w->d, w->s, g, n));
    ER_TRY(w->d->op->copy(w->d, w->s, x, r, o * n * sizeof(double)));
    ER_TRY(w->d->op->potrs(w->d, w->s, g, n, x, o));
    ER_TRY(w->d->op->gemm_f64(w->d, w->s, false, false, o, d, n, 1.0, x, n, y, d, 0.0, dw, d));
out:
    return rc;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

er_status er_solve_update(double *dw, er_solve_info *info, er_device *dev, er_stream *s, const double *keys,
    const double *residuals, size_t n, size_t d_in, size_t d_out, const er_moment *c, double lambda) {
    double nn = (double)n, d = (double)d_in, o = (double)d_out, start = seconds();
    if (!n) return dev->op->zero(dev, s, dw, d_in * d_out * sizeof(double));
    if (c->dim != d_in) return er_fail(ER_EARG, "covariance of %zu rows for keys of %zu", c->dim, d_in);
    if (!c->count) return er_fail(ER_ENUMERIC, "covariance of no tokens");
    double flops_primal = 2 * nn * d * d + d * d * d / 3 + 2 * nn * o * d + 2 * o * d * d;
    double flops_dual = d * d * d / 3 + 2 * nn * d * d + 2 * nn * nn * d + nn * nn * nn / 3 +
                        2 * o * nn * nn + 2 * nn * o * d;
    work w = {.d = dev, .s = s};
    bool small = flops_dual < flops_primal && lambda > 0;
    er_status rc = small ? dual(dw, &w, keys, residuals, n, d_in, d_out, c, lambda)
                         : primal(dw, &w, keys, residuals, n, d_in, d_out, c, lambda);
    if (rc == ER_OK) rc = dev->op->sync(dev, s);
    for (size_t i = 0; i < w.n_owned; i++) dev->op->release(dev, w.owned[i]);
    if (info) {
        info->dual = small;
        info->flops = small ? flops_dual : flops_primal;
        info->seconds = seconds() - start;
    }
    return rc;
}

er_status er_solve_sums(double *rk, double *kk, er_solve_info *info, er_device *dev, er_stream *s,
    size_t d_in, size_t d_out, const er_moment *c, double lambda) {
    er_status rc = ER_OK;
    double start = seconds(), d = (double)d_in;
    if (c->dim != d_in) ER_FAIL(ER_EARG, "covariance of %zu rows for keys of %zu", c->dim, d_in);
    if (!c->count) ER_FAIL(ER_ENUMERIC, "covariance of no tokens");
    ER_TRY(dev->op->axpy_f64(dev, s, kk, lambda / (double)c->count, c->sum, d_in * d_in));
    ER_TRY(dev->op->potrf(dev, s, kk, d_in));
    ER_TRY(dev->op->potrs(dev, s, kk, d_in, rk, d_out));
    ER_TRY(dev->op->sync(dev, s));
    if (info)
        *info =
            (er_solve_info){.flops = d * d * d / 3 + 2 * (double)d_out * d * d, .seconds = seconds() - start};
out:
    return rc;
}
