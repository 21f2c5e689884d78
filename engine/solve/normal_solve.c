// dW from the sums or the columns: by a Cholesky factor of A [d, d], of the n x n system, or of A in a
// subspace.
#include "engine/solve/normal_internal.h"
#include "io/base/clock.h"

bool er_normal_dual_pays(double *flops, const er_normal_shape *shape) {
    double n = (double)shape->n, d = (double)shape->d_key, o = (double)shape->d_out;
    double factor = d * d * d / 3;
    double primal = factor + n * d * d + 2 * n * o * d + 2 * o * d * d;
    double dual = factor + 2 * n * d * d + 2 * n * n * d + n * n * n / 3 + 4 * o * n * n + 2 * n * o * d;
    bool pays = dual < primal && shape->definite;
    *flops = pays ? dual : primal;
    return pays;
}

bool er_normal_is_dual(const er_normal_shape *shape) {
    double flops;
    return !shape->summed && er_normal_dual_pays(&flops, shape);
}

// The column form's K K^T and R K^T, as the summed form has them already.
static er_status sum_columns(er_normal *s) {
    er_status rc = ER_OK;
    const er_device_ops *op = s->dev->op;
    size_t n = s->held, d = s->shape.d_key, o = s->shape.d_out;
    if (s->shape.summed) return ER_OK;
    ER_TRY(op->syrk_f64(s->dev, d, n, 1.0, s->keys, d, 1.0, s->kk));
    ER_TRY(op->gemm_f64(s->dev,
        &(er_gemm_args){o, d, n, s->spread, {s->resid, o, true}, {s->keys, d, false}, 0.0, s->rk, d}));
out:
    return rc;
}

static er_status primal(er_normal *s) {
    er_status rc = ER_OK;
    ER_TRY(sum_columns(s));
    ER_TRY(s->dev->op->potrf(s->dev, s->kk, s->shape.d_key));
    ER_TRY(s->dev->op->potrs(s->dev, s->kk, s->shape.d_key, s->rk, s->shape.d_out));
out:
    return rc;
}

// With U = basis^T: U^T A U by two products, then its factor; the right-hand sides R K^T U come back through
// U^T.
static er_status restricted(er_normal *s) {
    er_status rc = ER_OK;
    const er_device_ops *op = s->dev->op;
    er_device *dev = s->dev;
    size_t d = s->shape.d_key, o = s->shape.d_out, r = s->rank;
    ER_TRY(sum_columns(s));
    ER_TRY(op->symmetrise(dev, s->kk, d));
    ER_TRY(op->gemm_f64(
        dev, &(er_gemm_args){r, d, d, 1.0, {s->basis, d, false}, {s->kk, d, false}, 0.0, s->scratch, d}));
    ER_TRY(op->gemm_f64(
        dev, &(er_gemm_args){r, r, d, 1.0, {s->scratch, d, false}, {s->basis, d, true}, 0.0, s->reduced, r}));
    ER_TRY(op->potrf(dev, s->reduced, r));
    ER_TRY(op->gemm_f64(
        dev, &(er_gemm_args){o, r, d, 1.0, {s->rk, d, false}, {s->basis, d, true}, 0.0, s->scratch, r}));
    ER_TRY(op->potrs(dev, s->reduced, r, s->scratch, o));
    ER_TRY(op->gemm_f64(
        dev, &(er_gemm_args){o, d, r, 1.0, {s->scratch, r, false}, {s->basis, d, false}, 0.0, s->rk, d}));
out:
    return rc;
}

// dW = R (ridge I + K^T P^-1 K)^-1 K^T P^-1: n right-hand sides on P, then an n x n solve with d_out of them.
static er_status dual(er_normal *s) {
    er_status rc = ER_OK;
    const er_device_ops *op = s->dev->op;
    er_device *dev = s->dev;
    size_t n = s->held, d = s->shape.d_key, o = s->shape.d_out;
    double *y = s->dual, *g = y + n * d, *x = g + n * n;
    ER_TRY(op->potrf(dev, s->kk, d));
    ER_TRY(op->copy(dev, y, s->keys, n * d * sizeof *y));
    ER_TRY(op->potrs(dev, s->kk, d, y, n));
    // The identity turns R's columns into the contiguous right-hand sides of potrs.
    ER_TRY(op->zero(dev, g, n * n * sizeof *g));
    ER_TRY(op->add_diagonal(dev, g, n, 1.0));
    ER_TRY(op->gemm_f64(
        dev, &(er_gemm_args){o, n, n, s->spread, {s->resid, o, true}, {g, n, false}, 0.0, x, n}));
    if (s->ridge != 1) ER_TRY(op->add_diagonal(dev, g, n, s->ridge - 1));
    ER_TRY(op->gemm_f64(dev, &(er_gemm_args){n, n, d, 1.0, {y, d, false}, {s->keys, d, true}, 1.0, g, n}));
    ER_TRY(op->potrf(dev, g, n));
    ER_TRY(op->potrs(dev, g, n, x, o));
    ER_TRY(op->gemm_f64(dev, &(er_gemm_args){o, d, n, 1.0, {x, n, false}, {y, d, false}, 0.0, s->rk, d}));
out:
    return rc;
}

static double restricted_flops(const er_normal *s) {
    double d = (double)s->shape.d_key, o = (double)s->shape.d_out, r = (double)s->rank;
    return 2 * r * d * d + 2 * r * r * d + r * r * r / 3 + 4 * o * r * d + 2 * o * r * r;
}

er_status er_normal_solve(er_normal *s, er_solve_info *info) {
    er_status rc = ER_OK;
    const er_normal_shape *shape = &s->shape;
    double flops = 0, from = er_clock(), d = (double)shape->d_key;
    bool pays = er_normal_dual_pays(&flops, shape), by_columns = false;
    if (!shape->n) return s->dev->op->zero(s->dev, s->rk, shape->d_out * shape->d_key * sizeof *s->rk);
    if (shape->restricted) {
        ER_TRY(restricted(s));
        flops = restricted_flops(s);
    } else if (shape->summed) {
        ER_TRY(primal(s));
        flops = d * d * d / 3 + 2 * (double)shape->d_out * d * d;
    } else {
        by_columns = s->ridge == 0 || pays;
        ER_TRY(by_columns ? dual(s) : primal(s));
    }
    ER_TRY(s->dev->op->sync(s->dev));
    if (info) *info = (er_solve_info){.dual = by_columns, .flops = flops, .seconds = er_clock() - from};
out:
    return rc;
}
