// MEMIT's spread of one target over several layers.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/solve/carry.h"
#include "io/log.h"

typedef struct spread {
    er_model *m;
    er_carry *carry;
    const er_hparams *h;
    const float *z;
    size_t n;
    double *keys, *current, *start, *residual;  // host [n, d_in]; [n, o]; [n, o] before any edit; [o, n]
    double *dev_keys, *dev_residual, *dev_dw;   // [dev]
    double *host_dw;                            // only with an observer
    const er_spread_observer *observer;
    float *row_start;  // host [rows, o] before any edit; only with key_per_row
} spread;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// R [o, n] = share (Z - Zc); returns the mean over units of |Z - Zc| / |Z - Zc at the start|.
static double residuals(spread *s, double share) {
    size_t o = s->m->arch.hidden;
    double ratio = 0;
    for (size_t i = 0; i < s->n; i++) {
        double now = 0, then = 0;
        for (size_t j = 0; j < o; j++) {
            double z = (double)s->z[i * o + j], r = z - s->current[i * o + j], r0 = z - s->start[i * o + j];
            s->residual[j * s->n + i] = share * r;
            now += r * r;
            then += r0 * r0;
        }
        ratio += then > 0 ? sqrt(now / then) : 0;
    }
    return s->n ? ratio / (double)s->n : 0;
}

static er_status finish_layer(spread *s, er_layer_report *r, size_t layer, const double *keys, size_t n) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t d_in = s->m->arch.inner, o = s->m->arch.hidden;
    er_weight_change change;
    if (s->observer) {
        ER_TRY(d->op->download(d, NULL, s->host_dw, s->dev_dw, o * d_in * sizeof(double)));
        s->observer->layer(s->observer->ctx, layer, keys, s->current, s->host_dw, n, d_in, o);
    }
    ER_TRY(d->op->weight_add(d, NULL, s->m->block[layer].down, s->dev_dw, &change));
    r->w_norm = change.weight, r->dw_norm = change.change;
    r->rounding_loss = change.change > 0 ? change.lost / change.change : 0;
out:
    return rc;
}

// A numerical refusal names its layer.
static er_status at_layer(er_status rc, size_t layer) {
    char why[512];
    if (rc != ER_ENUMERIC) return rc;
    (void)snprintf(why, sizeof why, "%s", er_last_error());
    return er_fail(rc, "layer %zu: %s", layer, why);
}

static er_status edit_layer(spread *s, er_layer_report *r, size_t index, const er_moment *c) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t layer = s->h->layers[index], d_in = s->m->arch.inner, o = s->m->arch.hidden, n = s->n;
    double t0 = seconds();
    r->layer = layer;
    ER_TRY(er_carry_keys(s->carry, layer, s->keys));
    ER_TRY(er_carry_current(s->carry, layer, s->current));
    if (!index) memcpy(s->start, s->current, n * o * sizeof *s->start);
    r->residual = residuals(s, 1.0 / (double)(s->h->n_layers - index));
    r->gather_seconds = seconds() - t0;
    ER_TRY(d->op->upload(d, NULL, s->dev_keys, s->keys, n * d_in * sizeof(double)));
    ER_TRY(d->op->upload(d, NULL, s->dev_residual, s->residual, n * o * sizeof(double)));
    ER_TRY(at_layer(er_solve_update(s->dev_dw, &r->solve, d, NULL, s->dev_keys, s->dev_residual, n, d_in, o,
                        c, s->h->lambda),
        layer));
    ER_TRY(finish_layer(s, r, layer, s->keys, n));
out:
    return rc;
}

static er_status take(er_device *d, double **out, size_t elements) {
    void *p = NULL;
    er_status rc = d->op->alloc(d, &p, (elements ? elements : 1) * sizeof(double));
    if (rc == ER_OK) *out = p;
    return rc;
}

// ---- every row a column ----

typedef struct sums {
    spread *s;
    double share;
    bool first;                       // before any edit: what the rows give is what delta is added to
    double *kk;                       // [dev] [d_in, d_in]; R K^T grows in dev_dw
    double *keys, *residual;          // host [rows, d_in], [o, rows] of a chunk
    double *dev_keys, *dev_residual;  // [dev]
} sums;

// Columns sqrt(w) k and sqrt(w) r of one chunk; r = share (h0 + delta - h): the value optimisation added
// delta to every row's own state h0, so that is each row's own target.
static void fill_columns(sums *t, const er_carry_chunk *c) {
    spread *s = t->s;
    size_t d_in = s->m->arch.inner, o = s->m->arch.hidden;
    if (t->first) memcpy(s->row_start + c->first * o, c->current, c->n * o * sizeof *c->current);
    for (size_t i = 0; i < c->n; i++) {
        size_t u = c->unit[i] * o;
        double w = sqrt((double)c->weight[i]);
        const float *now = c->current + i * o, *then = s->row_start + (c->first + i) * o;
        for (size_t j = 0; j < d_in; j++) t->keys[i * d_in + j] = w * (double)c->keys[i * d_in + j];
        if (c->bare[i])
            for (size_t j = 0; j < o; j++) s->current[u + j] = (double)now[j];
        if (c->bare[i] && t->first)
            for (size_t j = 0; j < o; j++) s->start[u + j] = (double)now[j];
        for (size_t j = 0; j < o; j++) {
            double delta = (double)s->z[u + j] - s->start[u + j];
            t->residual[j * c->n + i] = w * t->share * ((double)then[j] + delta - (double)now[j]);
        }
    }
}

static er_status add_rows(void *ctx, const er_carry_chunk *c) {
    er_status rc = ER_OK;
    sums *t = ctx;
    spread *s = t->s;
    er_device *d = s->m->dev;
    size_t d_in = s->m->arch.inner, o = s->m->arch.hidden, n = c->n;
    fill_columns(t, c);
    ER_TRY(d->op->upload(d, NULL, t->dev_keys, t->keys, n * d_in * sizeof(double)));
    ER_TRY(d->op->upload(d, NULL, t->dev_residual, t->residual, n * o * sizeof(double)));
    ER_TRY(d->op->gemm_f64(
        d, NULL, true, false, d_in, d_in, n, 1.0, t->dev_keys, d_in, t->dev_keys, d_in, 1.0, t->kk, d_in));
    ER_TRY(d->op->gemm_f64(
        d, NULL, false, false, o, d_in, n, 1.0, t->dev_residual, n, t->dev_keys, d_in, 1.0, s->dev_dw, d_in));
    ER_TRY(d->op->sync(d, NULL));
out:
    return rc;
}

// K K^T and R K^T over all rows of all units, a chunk at a time: memory does not grow with the number of
// facts.
static er_status edit_layer_by_rows(spread *s, er_layer_report *r, size_t index, const er_moment *c) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t layer = s->h->layers[index], d_in = s->m->arch.inner, o = s->m->arch.hidden,
           rows = er_carry_max_rows(s->carry);
    sums t = {.s = s, .share = 1.0 / (double)(s->h->n_layers - index), .first = index == 0};
    double t0 = seconds();
    r->layer = layer;
    t.keys = malloc(rows * d_in * sizeof(double));
    t.residual = malloc(rows * o * sizeof(double));
    if (!t.keys || !t.residual) ER_FAIL(ER_ENOMEM, "%zu keys", rows);
    ER_TRY(take(d, &t.kk, d_in * d_in));
    ER_TRY(take(d, &t.dev_keys, rows * d_in));
    ER_TRY(take(d, &t.dev_residual, rows * o));
    ER_TRY(d->op->zero(d, NULL, t.kk, d_in * d_in * sizeof(double)));
    ER_TRY(d->op->zero(d, NULL, s->dev_dw, o * d_in * sizeof(double)));
    ER_TRY(er_carry_rows(s->carry, layer, add_rows, &t));
    r->residual = residuals(s, t.share);
    r->gather_seconds = seconds() - t0;
    ER_TRY(at_layer(er_solve_sums(s->dev_dw, t.kk, &r->solve, d, NULL, d_in, o, c, s->h->lambda), layer));
    ER_TRY(finish_layer(s, r, layer, NULL, 0));
out:
    free(t.keys);
    free(t.residual);
    d->op->release(d, t.kk);
    d->op->release(d, t.dev_keys);
    d->op->release(d, t.dev_residual);
    return rc;
}

static er_status create(spread *s) {
    er_status rc = ER_OK;
    size_t d_in = s->m->arch.inner, o = s->m->arch.hidden, n = s->n;
    size_t own = s->h->key_per_row ? 0 : n;  // per-row columns are added up a chunk at a time
    s->keys = malloc((own * d_in + 1) * sizeof(double));
    s->current = malloc((n * o + 1) * sizeof(double));
    s->start = malloc((n * o + 1) * sizeof(double));
    s->residual = malloc((n * o + 1) * sizeof(double));
    s->host_dw = malloc((s->observer ? o * d_in : 1) * sizeof(double));
    if (!s->keys || !s->current || !s->start || !s->residual || !s->host_dw)
        ER_FAIL(ER_ENOMEM, "keys and residuals of %zu facts", n);
    ER_TRY(take(s->m->dev, &s->dev_keys, own * d_in));
    ER_TRY(take(s->m->dev, &s->dev_residual, own * o));
    ER_TRY(take(s->m->dev, &s->dev_dw, o * d_in));
out:
    return rc;
}

static void destroy(spread *s) {
    er_device *d = s->m->dev;
    er_carry_free(s->carry);
    free(s->keys);
    free(s->current);
    free(s->start);
    free(s->residual);
    free(s->host_dw);
    free(s->row_start);
    d->op->release(d, s->dev_keys);
    d->op->release(d, s->dev_residual);
    d->op->release(d, s->dev_dw);
}

er_status er_spread(er_spread_report *out, er_model *m, const er_units *units, const float *z,
    er_moment *const *c, const er_hparams *h, const er_spread_observer *observer) {
    er_status rc = ER_OK;
    spread s = {.m = m, .h = h, .z = z, .n = units->count, .observer = observer};
    size_t last = h->layers[h->n_layers - 1], index = 0;
    double t0 = seconds();
    er_progress *p = er_progress_begin("solve", last + 1, "layers");
    *out = (er_spread_report){.n_layers = h->n_layers};
    ER_TRY(create(&s));
    ER_TRY(er_carry_create(&s.carry, m, units, last, 2048));
    size_t rows = er_carry_n_rows(s.carry);
    if (h->key_per_row && !(s.row_start = malloc((rows * m->arch.hidden + 1) * sizeof *s.row_start)))
        ER_FAIL(ER_ENOMEM, "states of %zu rows", rows);
    for (size_t l = 0; l <= last; l++) {
        if (index < h->n_layers && h->layers[index] == l) {
            ER_TRY(h->key_per_row ? edit_layer_by_rows(&s, &out->layer[index], index, c[index])
                                  : edit_layer(&s, &out->layer[index], index, c[index]));
            index++;
        }
        if (er_stop_requested()) ER_FAIL(ER_EINTERRUPTED, "interrupted in solve: nothing is written");
        ER_TRY(er_carry_advance(s.carry, l));
        er_progress_update(p, l + 1, NULL);
    }
    ER_TRY(er_carry_current(s.carry, last + 1, s.current));
    out->residual_left = residuals(&s, 1.0);
out:
    er_progress_end(p);
    out->flops = s.carry ? er_carry_flops(s.carry) : 0;
    out->seconds = seconds() - t0;
    destroy(&s);
    return rc;
}
