// One layer's least squares, primal or dual (identity I2).
#include <time.h>

#include "engine/solve.h"

typedef struct problem {
    er_device *dev;
    er_stream *s;
    const double *keys, *r;  // [n, d], [n, o]
    size_t n, d, o;
    const er_moment *c;
    double lambda;
} problem;

// a [d, d] = lambda C
static er_status start(double *a, const problem *p) {
    er_status rc = p->dev->op->zero(p->dev, p->s, a, p->d * p->d * sizeof *a);
    if (rc != ER_OK) return rc;
    return p->dev->op->axpy_f64(p->dev, p->s, a, p->lambda / (double)p->c->count, p->c->sum, p->d * p->d);
}

// A = K K^T + lambda C;  dW = (R K^T) A^-1: one right-hand side per row of R K^T.
static er_status primal(double *dw, double *a, const problem *p) {
    er_status rc = ER_OK;
    const er_device_ops *op = p->dev->op;
    size_t n = p->n, d = p->d, o = p->o;
    ER_TRY(start(a, p));
    ER_TRY(op->syrk_f64(p->dev, p->s, d, n, 1.0, p->keys, d, 1.0, a));
    ER_TRY(op->potrf(p->dev, p->s, a, d));
    ER_TRY(op->gemm_f64(p->dev, p->s, true, false, o, d, n, 1.0, p->r, o, p->keys, d, 0.0, dw, d));
    ER_TRY(op->potrs(p->dev, p->s, a, d, dw, o));
out:
    return rc;
}

// dW = R (I + K^T A0^-1 K)^-1 K^T A0^-1 with A0 = lambda C: n right-hand sides on A0, then an n x n solve
// with d_out of them.
static er_status dual(double *dw, double *work, const problem *p) {
    er_status rc = ER_OK;
    const er_device_ops *op = p->dev->op;
    size_t n = p->n, d = p->d, o = p->o;
    double *a0 = work, *y = a0 + d * d, *g = y + n * d, *x = g + n * n;
    ER_TRY(start(a0, p));
    ER_TRY(op->potrf(p->dev, p->s, a0, d));
    ER_TRY(op->copy(p->dev, p->s, y, p->keys, n * d * sizeof *y));
    ER_TRY(op->potrs(p->dev, p->s, a0, d, y, n));
    // The identity that g starts from also turns R's columns into the contiguous right-hand sides of potrs.
    ER_TRY(op->zero(p->dev, p->s, g, n * n * sizeof *g));
    ER_TRY(op->add_diagonal(p->dev, p->s, g, n, 1.0));
    ER_TRY(op->gemm_f64(p->dev, p->s, true, false, o, n, n, 1.0, p->r, o, g, n, 0.0, x, n));
    ER_TRY(op->gemm_f64(p->dev, p->s, false, true, n, n, d, 1.0, y, d, p->keys, d, 1.0, g, n));
    ER_TRY(op->potrf(p->dev, p->s, g, n));
    ER_TRY(op->potrs(p->dev, p->s, g, n, x, o));
    ER_TRY(op->gemm_f64(p->dev, p->s, false, false, o, d, n, 1.0, x, n, y, d, 0.0, dw, d));
out:
    return rc;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool choose(double *flops, size_t rows, size_t d_in, size_t d_out, double lambda) {
    double n = (double)rows, d = (double)d_in, o = (double)d_out, factor = d * d * d / 3;
    double as_primal = factor + n * d * d + 2 * n * o * d + 2 * o * d * d;
    double as_dual = factor + 2 * n * d * d + 2 * n * n * d + n * n * n / 3 + 4 * o * n * n + 2 * n * o * d;
    bool small = as_dual < as_primal && lambda > 0;
    *flops = small ? as_dual : as_primal;
    return small;
}

bool er_solve_is_dual(size_t n, size_t d_in, size_t d_out, double lambda) {
    double flops;
    return choose(&flops, n, d_in, d_out, lambda);
}

size_t er_solve_room(size_t n, size_t d_in, size_t d_out, double lambda) {
    double flops;
    return d_in * d_in + (choose(&flops, n, d_in, d_out, lambda) ? n * (d_in + n + d_out) : 0);
}

er_status er_solve_update(double *dw, double *work, er_solve_info *info, er_device *dev, er_stream *s,
    const double *keys, const double *residuals, size_t n, size_t d_in, size_t d_out, const er_moment *c,
    double lambda) {
    double flops, from = seconds();
    bool small = choose(&flops, n, d_in, d_out, lambda);
    if (!n) return dev->op->zero(dev, s, dw, d_in * d_out * sizeof(double));
    if (c->dim != d_in) return er_fail(ER_EARG, "covariance of %zu rows for keys of %zu", c->dim, d_in);
    if (!c->count) return er_fail(ER_ENUMERIC, "covariance of no tokens");
    problem p = {dev, s, keys, residuals, n, d_in, d_out, c, lambda};
    er_status rc = small ? dual(dw, work, &p) : primal(dw, work, &p);
    if (rc == ER_OK) rc = dev->op->sync(dev, s);
    if (info) *info = (er_solve_info){.dual = small, .flops = flops, .seconds = seconds() - from};
    return rc;
}

er_status er_solve_sums(double *rk, double *kk, er_solve_info *info, er_device *dev, er_stream *s,
    size_t d_in, size_t d_out, const er_moment *c, double lambda) {
    er_status rc = ER_OK;
    double from = seconds(), d = (double)d_in;
    if (c->dim != d_in) ER_FAIL(ER_EARG, "covariance of %zu rows for keys of %zu", c->dim, d_in);
    if (!c->count) ER_FAIL(ER_ENUMERIC, "covariance of no tokens");
    ER_TRY(dev->op->axpy_f64(dev, s, kk, lambda / (double)c->count, c->sum, d_in * d_in));
    ER_TRY(dev->op->potrf(dev, s, kk, d_in));
    ER_TRY(dev->op->potrs(dev, s, kk, d_in, rk, d_out));
    ER_TRY(dev->op->sync(dev, s));
    if (info)
        *info =
            (er_solve_info){.flops = d * d * d / 3 + 2 * (double)d_out * d * d, .seconds = seconds() - from};
out:
    return rc;
}
