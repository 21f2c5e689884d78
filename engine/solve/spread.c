// MEMIT's spread of one target over several layers.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/solve/columns.h"
#include "io/log.h"

typedef struct spread {
    er_model *m;
    const er_hparams *h;
    const float *z;
    er_layout *layout;
    er_carry *carry;
    er_columns columns;
    size_t n;
    float *now, *start;           // host [n, o]: the bare rows' outputs (alloc_host); before any edit
    double *traces;               // host [2 d_in] (alloc_host)
    double *keys, *current, *dw;  // host [n, d_in], [n, o], [o, d_in]: only with an observer
    const er_spread_observer *observer;
} spread;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// What the bare rows gave, to the host. Waits for all that was queued.
static er_status fetch(spread *s) {
    er_device *d = s->m->dev;
    size_t bytes = s->n * s->m->arch.hidden * sizeof *s->now;
    return d->op->download(d, NULL, s->now, s->columns.now, bytes);
}

// The mean over units of |Z - Zc| / |Z - Zc at the start|, of the states fetched last.
static double measure(spread *s, bool first) {
    size_t o = s->m->arch.hidden;
    double sum = 0;
    if (first) memcpy(s->start, s->now, s->n * o * sizeof *s->now);
    for (size_t i = 0; i < s->n; i++) {
        double now = 0, then = 0;
        for (size_t j = i * o; j < (i + 1) * o; j++) {
            double z = (double)s->z[j], r = z - (double)s->now[j], r0 = z - (double)s->start[j];
            now += r * r;
            then += r0 * r0;
        }
        sum += then > 0 ? sqrt(now / then) : 0;
    }
    return s->n ? sum / (double)s->n : 0;
}

static er_status observe(spread *s, size_t layer) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t d_in = s->m->arch.inner, o = s->m->arch.hidden, n = s->columns.per_row ? 0 : s->n;
    ER_TRY(d->op->download(d, NULL, s->dw, s->columns.dw, o * d_in * sizeof *s->dw));
    if (n) ER_TRY(d->op->download(d, NULL, s->keys, s->columns.keys, n * d_in * sizeof *s->keys));
    for (size_t i = 0; i < s->n * o; i++) s->current[i] = (double)s->now[i];
    s->observer->layer(s->observer->ctx, layer, n ? s->keys : NULL, s->current, s->dw, n, d_in, o);
out:
    return rc;
}

// A numerical refusal names its layer, what the statistics rest on, and what may help.
static er_status at_layer(er_status rc, size_t layer, const er_moment *c) {
    char why[512];
    bool few = c->count < 10 * c->dim;
    if (rc != ER_ENUMERIC) return rc;
    (void)snprintf(why, sizeof why, "%s", er_last_error());
    return er_fail(rc, "layer %zu: %s; its statistics are of %llu tokens for keys of %zu: %s may help", layer,
        why, (unsigned long long)c->count, c->dim,
        few ? "more tokens (--covariance-tokens, --covariance-text)" : "a larger lambda (--lambda)");
}

static er_status edit_layer(spread *s, er_layer_report *r, size_t index, er_moment *c) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    er_columns *k = &s->columns;
    size_t layer = s->h->layers[index], d_in = s->m->arch.inner, o = s->m->arch.hidden;
    double t0 = seconds(), share = 1.0 / (double)(s->h->n_layers - index);
    er_weight_change change;
    r->layer = layer;
    ER_TRY(k->per_row ? er_columns_sums(k, s->carry, layer, share, index == 0)
                      : er_columns_means(k, s->carry, layer, share));
    bool parked = c->sum == NULL;
    if (parked) ER_TRY(er_moment_fetch(d, c));
    ER_TRY(er_traces_queue(s->traces, k->traces, d, NULL, c, k->square, k->per_row ? NULL : k->keys, s->n));
    ER_TRY(fetch(s));
    r->gather_seconds = seconds() - t0;
    er_traces_weigh(&r->lambda, &r->trace_ratio, s->traces, c, s->h);
    rc = k->per_row ? er_solve_sums(k->dw, k->square, &r->solve, d, NULL, d_in, o, c, r->lambda)
                    : er_solve_update(
                          k->dw, k->square, &r->solve, d, NULL, k->keys, k->r, s->n, d_in, o, c, r->lambda);
    if (parked && rc == ER_OK) rc = er_moment_park(d, c);  // the next one wants its place
    ER_TRY(at_layer(rc, layer, c));
    if (s->observer) ER_TRY(observe(s, layer));
    ER_TRY(at_layer(d->op->weight_add(d, NULL, s->m->block[layer].down, k->dw, &change), layer, c));
    r->w_norm = change.weight, r->dw_norm = change.change;
    r->rounding_loss = change.change > 0 ? change.lost / change.change : 0;
out:
    return rc;
}

static er_status create(spread *s, const er_units *units, size_t last, size_t max_tokens) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t d_in = s->m->arch.inner, o = s->m->arch.hidden, n = s->n;
    void *p = NULL;
    if (!max_tokens) max_tokens = er_spread_tokens(s->m->dev);
    ER_TRY(d->op->alloc_host(d, &p, (n * o + 1) * sizeof *s->now));
    s->now = p;
    ER_TRY(d->op->alloc_host(d, &p, 2 * d_in * sizeof *s->traces));
    s->traces = p;
    s->start = malloc((n * o + 1) * sizeof *s->start);
    if (s->observer) {
        s->keys = malloc((s->h->key_per_row ? 1 : n * d_in + 1) * sizeof *s->keys);
        s->current = malloc((n * o + 1) * sizeof *s->current);
        s->dw = malloc(o * d_in * sizeof *s->dw);
    }
    if (!s->start || (s->observer && !(s->keys && s->current && s->dw)))
        ER_FAIL(ER_ENOMEM, "states of %zu subjects", n);
    ER_TRY(er_layout_create(&s->layout, units, max_tokens));
    ER_TRY(er_columns_create(&s->columns, s->m, s->layout, s->z, s->h->key_per_row, s->h->lambda));
    ER_TRY(er_carry_create(&s->carry, s->m, s->layout, last));
    ER_TRY(er_columns_remember(&s->columns));
out:
    return rc;
}

static void destroy(spread *s, bool failed) {
    er_carry_free(s->carry);
    er_columns_free(&s->columns);
    er_layout_free(s->layout);
    if (failed) (void)s->m->dev->op->sync(s->m->dev, NULL);  // a copy to the host may still be on its way
    if (s->traces) s->m->dev->op->release_host(s->m->dev, s->traces);
    if (s->now) s->m->dev->op->release_host(s->m->dev, s->now);
    free(s->start);
    free(s->keys);
    free(s->current);
    free(s->dw);
}

er_status er_spread(er_spread_report *out, er_model *m, const er_units *units, const float *z,
    er_moment *const *c, const er_hparams *h, size_t max_tokens, const er_spread_observer *observer) {
    er_status rc = ER_OK;
    spread s = {.m = m, .h = h, .z = z, .n = units->count, .observer = observer};
    size_t last = h->layers[h->n_layers - 1], index = 0;
    double t0 = seconds();
    er_progress *p = er_progress_begin("solve", last + 1, "layers");
    *out = (er_spread_report){.n_layers = h->n_layers};
    ER_TRY(create(&s, units, last, max_tokens));
    for (size_t l = 0; l <= last; l++) {
        bool edited = h->layers[index] == l;
        if (edited) ER_TRY(edit_layer(&s, &out->layer[index], index, c[index]));
        ER_TRY(er_stop_check(""));
        // Behind the last layer only the bare rows are looked at.
        ER_TRY(l < last ? er_carry_advance(s.carry, l) : er_columns_now(&s.columns, s.carry, l));
        if (edited) {  // now that the device is busy again
            out->layer[index].residual = measure(&s, index == 0);
            index++;
        }
        er_progress_update(p, l + 1, NULL);
    }
    ER_TRY(fetch(&s));
    out->residual_left = measure(&s, false);
out:
    er_progress_end(p);
    out->flops = s.carry ? er_carry_flops(s.carry) : 0;
    out->seconds = seconds() - t0;
    destroy(&s, rc != ER_OK);
    return er_interrupted_in(rc, "solve", "nothing is written");
}

// A GPU needs more work at a time to be busy.
size_t er_spread_tokens(const er_device *dev) { return dev->runs_behind ? 8192 : 2048; }

er_status er_spread_bytes(
    size_t *out, const er_arch *a, const er_units *units, const er_hparams *h, size_t max_tokens) {
    er_layout *l = NULL;
    er_status rc = er_layout_create(&l, units, max_tokens);
    if (rc != ER_OK) return rc;
    *out =
        er_carry_bytes(a, l, h->layers[h->n_layers - 1]) + er_columns_bytes(a, l, h->key_per_row, h->lambda);
    er_layout_free(l);
    return ER_OK;
}

er_status er_spread_room(size_t *max_tokens, er_device *dev, const er_arch *a, const er_units *units,
    const er_hparams *h, er_moment *const *c) {
    er_status rc = ER_OK;
    size_t need = 0, available = 0, total = 0, moment = a->inner * a->inner * sizeof(double);
    *max_tokens = er_spread_tokens(dev);
    if (!dev->runs_behind) return ER_OK;
    ER_TRY(er_spread_bytes(&need, a, units, h, *max_tokens));
    ER_TRY(er_moment_make_room(dev, c, h->n_layers, need + moment));
    ER_TRY(dev->op->memory(dev, &available, &total));
    while (need + moment > available && *max_tokens > 2048)
        ER_TRY(er_spread_bytes(&need, a, units, h, *max_tokens /= 2));
out:
    return rc;
}
