// Columns in, sums out. The solves are in normal_solve.c.
#include "engine/solve/normal.h"

#include "engine/solve/normal_internal.h"

er_status er_normal_take(er_normal *s, er_arena *a, const er_normal_shape *shape) {
    er_status rc = ER_OK;
    size_t d = shape->d_key, o = shape->d_out, held = shape->summed ? shape->capacity : shape->n,
           f64 = sizeof(double);
    double flops = 0;
    *s = (er_normal){.dev = a->dev, .shape = *shape, .spread = 1, .ridge = 1};
    ER_TRY(er_arena_take(a, &s->keys, held * d, f64));
    ER_TRY(er_arena_take(a, &s->resid, held * o, f64));
    ER_TRY(er_arena_take(a, &s->kk, d * d, f64));
    ER_TRY(er_arena_take(a, &s->rk, o * d, f64));
    if (shape->restricted) {
        ER_TRY(er_arena_take(a, &s->basis, d * d, f64));
        ER_TRY(er_arena_take(a, &s->reduced, d * d, f64));
        ER_TRY(er_arena_take(a, &s->scratch, (d > o ? d : o) * d, f64));
    } else if (!shape->summed && (shape->hard || er_normal_dual_pays(&flops, shape))) {
        ER_TRY(er_arena_take(a, &s->dual, shape->n * (d + shape->n + o), f64));
    }
out:
    return rc;
}

er_status er_normal_begin(er_normal *s, double spread) {
    er_status rc = ER_OK;
    size_t d = s->shape.d_key, o = s->shape.d_out;
    s->held = s->rank = 0;
    s->ridge = 1, s->spread = spread;
    if (!s->shape.summed) return ER_OK;
    ER_TRY(s->dev->op->zero(s->dev, s->kk, d * d * sizeof *s->kk));
    ER_TRY(s->dev->op->zero(s->dev, s->rk, o * d * sizeof *s->rk));
out:
    return rc;
}

// The sums take in the columns that are held.
static er_status sum_held(er_normal *s) {
    er_status rc = ER_OK;
    const er_device_ops *op = s->dev->op;
    size_t d = s->shape.d_key, o = s->shape.d_out, n = s->held;
    if (!n) return ER_OK;
    ER_TRY(op->syrk_f64(s->dev, d, n, 1.0, s->keys, d, 1.0, s->kk));
    ER_TRY(op->gemm_f64(s->dev,
        &(er_gemm_args){o, d, n, s->spread, {s->resid, o, true}, {s->keys, d, false}, 1.0, s->rk, d}));
    s->held = 0;
out:
    return rc;
}

er_status er_normal_room(er_normal *s, double **keys, double **resid, size_t n) {
    size_t capacity = s->shape.summed ? s->shape.capacity : s->shape.n;
    if (s->shape.summed && s->held + n > capacity) {
        er_status rc = sum_held(s);
        if (rc != ER_OK) return rc;
    }
    if (s->held + n > capacity)
        return er_fail(ER_EARG, "%zu columns behind %zu of %zu", n, s->held, capacity);
    *keys = s->keys + s->held * s->shape.d_key;
    *resid = s->resid + s->held * s->shape.d_out;
    return ER_OK;
}

void er_normal_added(er_normal *s, size_t n) { s->held += n; }

er_status er_normal_close(er_normal *s) { return s->shape.summed ? sum_held(s) : ER_OK; }

er_status er_normal_reduce(er_normal *s, const er_comm *c) {
    er_status rc = ER_OK;
    size_t d = s->shape.d_key, o = s->shape.d_out;
    double n = (double)s->shape.n;
    if (c->size == 1) return ER_OK;
    if (!s->shape.summed) ER_FAIL(ER_EARG, "columns of other ranks are asked for; there are sums alone");
    ER_TRY(er_comm_sum_f64(c, s->dev, s->kk, d * d));
    ER_TRY(er_comm_sum_f64(c, s->dev, s->rk, o * d));
    ER_TRY(er_comm_sum_host(c, &n, 1));
    s->shape.n = (size_t)n;
out:
    return rc;
}

er_status er_normal_begin_prior(er_normal *s) {
    size_t bytes = s->shape.d_key * s->shape.d_key * sizeof *s->kk;
    return s->shape.summed ? ER_OK : s->dev->op->zero(s->dev, s->kk, bytes);
}

er_status er_normal_add_matrix(er_normal *s, double alpha, const double *m) {
    return s->dev->op->axpy_f64(s->dev, s->kk, alpha, m, s->shape.d_key * s->shape.d_key);
}

er_status er_normal_add_identity(er_normal *s, double alpha) {
    return s->dev->op->add_diagonal(s->dev, s->kk, s->shape.d_key, alpha);
}

er_status er_normal_restrict(er_normal *s, size_t rank) {
    if (!s->shape.restricted || rank > s->shape.d_key)
        return er_fail(ER_EARG, "a basis of %zu for keys of %zu", rank, s->shape.d_key);
    s->rank = rank;
    return ER_OK;
}
