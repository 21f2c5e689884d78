#include "engine/solve/columns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OPS(c) ((c)->m->dev->op)

enum { BUFFERS = 11 };

// In the order of `create`.
static void sizes(size_t bytes[BUFFERS], const er_arch *a, const er_layout *l, bool per_row, double lambda) {
    size_t d_in = a->inner, o = a->hidden, f = sizeof(float), n = l->units,
           columns = per_row ? (l->rows < ER_CHUNK_ROWS ? l->rows : ER_CHUNK_ROWS) : n;
    size_t all[BUFFERS] = {l->most_rows * d_in * f, l->most_rows * o * f, l->rows * sizeof(int32_t),
        l->rows * f, n * o * f, n * o * f, columns * d_in * sizeof(double), columns * o * sizeof(double),
        (per_row ? d_in * d_in : er_solve_room(n, d_in, o, lambda)) * sizeof(double),
        o * d_in * sizeof(double), er_traces_room(d_in) * sizeof(double)};
    for (size_t i = 0; i < BUFFERS; i++) bytes[i] = all[i] ? all[i] : sizeof(double);
}

size_t er_columns_bytes(const er_arch *a, const er_layout *l, bool per_row, double lambda) {
    size_t bytes[BUFFERS], sum = per_row ? l->rows * a->hidden * sizeof(float) : l->units * sizeof(float);
    sizes(bytes, a, l, per_row, lambda);
    for (size_t i = 0; i < BUFFERS; i++) sum += bytes[i];
    return sum;
}

static er_status take(er_device *d, void *out, size_t bytes) {
    void *p = NULL;
    er_status rc = d->op->alloc(d, &p, bytes ? bytes : sizeof(double));
    if (rc == ER_OK) memcpy(out, &p, sizeof p);
    return rc;
}

static er_status upload_scales(er_columns *c) {
    const er_layout *l = c->l;
    float *scale = malloc((l->rows + 1) * sizeof *scale);
    if (!scale) return er_fail(ER_ENOMEM, "weights of %zu rows", l->rows);
    for (size_t i = 0; i < l->rows; i++)
        scale[i] = c->per_row ? (float)sqrt((double)l->weight[i]) : l->weight[i];
    er_status rc = OPS(c)->upload(c->m->dev, NULL, c->scale, scale, l->rows * sizeof *scale);
    free(scale);
    return rc;
}

er_status er_columns_create(
    er_columns *c, er_model *m, const er_layout *l, const float *z, bool per_row, double lambda) {
    er_status rc = ER_OK;
    er_device *d = m->dev;
    size_t bytes[BUFFERS], o = m->arch.hidden;
    *c = (er_columns){.m = m, .l = l, .per_row = per_row};
    void *at[BUFFERS] = {&c->key, &c->state, &c->unit, &c->scale, &c->z, &c->now, &c->keys, &c->r, &c->square,
        &c->dw, &c->traces};
    sizes(bytes, &m->arch, l, per_row, lambda);
    for (size_t i = 0; i < BUFFERS; i++) ER_TRY(take(d, at[i], bytes[i]));
    c->room = l->rows < ER_CHUNK_ROWS ? l->rows : ER_CHUNK_ROWS;
    if (!per_row) {
        ER_TRY(take(d, &c->share, l->units * sizeof(float)));
        if (!(c->host_share = malloc((l->units + 1) * sizeof(float))))
            ER_FAIL(ER_ENOMEM, "shares of %zu subjects", l->units);
    }
    ER_TRY(d->op->upload(d, NULL, c->z, z, l->units * o * sizeof *z));
    ER_TRY(d->op->upload(d, NULL, c->unit, l->unit, l->rows * sizeof *l->unit));
    ER_TRY(upload_scales(c));
    ER_TRY(er_traces_begin(c->traces, d, m->arch.inner));
out:
    return rc;
}

er_status er_columns_remember(er_columns *c) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    const er_layout *l = c->l;
    size_t row = c->m->arch.hidden * sizeof(float);
    bool fits = false;
    void *p = NULL;
    if (!c->per_row) return ER_OK;
    ER_TRY(er_carry_fits(&fits, d, l->rows * row, c->m->arch.inner));
    c->kept = fits ? l->rows : l->units;
    ER_TRY(take(d, &c->then, c->kept * row));
    if (fits) return ER_OK;
    ER_TRY(take(d, &c->chunk_then, l->most_rows * row));
    ER_TRY(d->op->alloc_host(d, &p, (l->rows - c->kept + 1) * row));
    c->host_then = p;
out:
    return rc;
}

void er_columns_free(er_columns *c) {
    if (!c->m) return;
    er_device *d = c->m->dev;
    void *all[] = {c->key, c->state, c->unit, c->scale, c->z, c->now, c->keys, c->r, c->square, c->dw,
        c->traces, c->share, c->then, c->chunk_then};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) d->op->release(d, all[i]);
    if (c->host_then) {
        (void)d->op->sync(d, NULL);  // after a failure, copies into it may still be on their way
        d->op->release_host(d, c->host_then);
    }
    free(c->host_share);
}

// ---- one per unit ----

er_status er_columns_means(er_columns *c, er_carry *carry, size_t layer, double share) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    const er_layout *l = c->l;
    size_t d_in = c->m->arch.inner, o = c->m->arch.hidden;
    ER_TRY(d->op->zero(d, NULL, c->keys, l->units * d_in * sizeof *c->keys));
    ER_TRY(er_carry_look(carry, layer, false));
    for (size_t i = l->n_shared; i < l->n_chunks; i++) {
        size_t row = l->chunk[i].first - l->shared, n = l->chunk[i].rows;
        ER_TRY(er_carry_open(carry, i));
        ER_TRY(er_carry_key(carry, layer, c->key));
        ER_TRY(d->op->rows_f64(d, NULL, c->keys, c->key, c->scale + row, c->unit + row, n, d_in));
        if (i < l->n_shared + l->n_bare) ER_TRY(er_carry_rest(carry, layer, c->now + row * o));
    }
    for (size_t u = 0; u < l->units; u++) c->host_share[u] = (float)share;
    ER_TRY(d->op->upload(d, NULL, c->share, c->host_share, l->units * sizeof *c->share));
    // With one and the same state as `then`, `start` and `now` the target is z itself; and the first units'
    // worth of row indices, those of the bare rows, count the units.
    er_residual_rows p = {.rows = l->units,
        .width = o,
        .then = c->now,
        .now = c->now,
        .z = c->z,
        .start = c->now,
        .unit = c->unit,
        .scale = c->share};
    ER_TRY(d->op->residual_rows(d, NULL, c->r, &p));
out:
    return rc;
}

// ---- one per row ----

// The sums take in the columns that stand ready.
static er_status add_columns(er_columns *c, double share) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    size_t d_in = c->m->arch.inner, o = c->m->arch.hidden, n = c->filled;
    ER_TRY(d->op->syrk_f64(d, NULL, d_in, n, 1.0, c->keys, d_in, 1.0, c->square));
    ER_TRY(
        d->op->gemm_f64(d, NULL, true, false, o, d_in, n, share, c->r, o, c->keys, d_in, 1.0, c->dw, d_in));
    c->filled = 0;
out:
    return rc;
}

// What n rows from `row` on gave before any edit; with `first` that is `now`. Copies to and from the host are
// in order: a layer's last ones are waited for before the next layer reads them.
static er_status targets(
    er_columns *c, const float **out, size_t row, size_t n, const float *now, bool first) {
    er_device *d = c->m->dev;
    size_t o = c->m->arch.hidden, bytes = n * o * sizeof *now;
    if (row < c->kept) {
        *out = c->then + row * o;
        return first ? d->op->copy(d, NULL, c->then + row * o, now, bytes) : ER_OK;
    }
    float *host = c->host_then + (row - c->kept) * o;
    *out = first ? now : c->chunk_then;
    return first ? d->op->download_later(d, NULL, host, now, bytes)
                 : d->op->upload(d, NULL, c->chunk_then, host, bytes);
}

// r = h0 + delta - h: the value optimisation added delta to every row's own state h0, so that is each row's
// own target.
static er_status add_chunk(er_columns *c, er_carry *carry, size_t i, size_t layer, double share, bool first) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    const er_layout *l = c->l;
    size_t d_in = c->m->arch.inner, o = c->m->arch.hidden, row = l->chunk[i].first - l->shared,
           n = l->chunk[i].rows;
    float *now = i < l->n_shared + l->n_bare ? c->now + row * o : c->state;
    const float *then = NULL;
    if (c->filled + n > c->room) ER_TRY(add_columns(c, share));
    ER_TRY(er_carry_open(carry, i));
    ER_TRY(er_carry_key(carry, layer, c->key));
    ER_TRY(d->op->rows_f64(d, NULL, c->keys + c->filled * d_in, c->key, c->scale + row, NULL, n, d_in));
    ER_TRY(er_carry_rest(carry, layer, now));
    ER_TRY(targets(c, &then, row, n, now, first));
    er_residual_rows p = {.rows = n,
        .width = o,
        .then = then,
        .now = now,
        .z = c->z,
        .start = c->then,
        .unit = c->unit + row,
        .scale = c->scale + row};
    ER_TRY(d->op->residual_rows(d, NULL, c->r + c->filled * o, &p));
    c->filled += n;
out:
    return rc;
}

er_status er_columns_sums(er_columns *c, er_carry *carry, size_t layer, double share, bool first) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    const er_layout *l = c->l;
    size_t d_in = c->m->arch.inner, o = c->m->arch.hidden;
    c->filled = 0;
    ER_TRY(d->op->zero(d, NULL, c->square, d_in * d_in * sizeof(double)));
    ER_TRY(d->op->zero(d, NULL, c->dw, o * d_in * sizeof(double)));
    ER_TRY(er_carry_look(carry, layer, true));
    for (size_t i = l->n_shared; i < l->n_chunks; i++) ER_TRY(add_chunk(c, carry, i, layer, share, first));
    ER_TRY(add_columns(c, share));  // behind it, sums over the rows of other processes could be added
out:
    return rc;
}

er_status er_columns_now(er_columns *c, er_carry *carry, size_t layer) {
    er_status rc = ER_OK;
    const er_layout *l = c->l;
    for (size_t i = l->n_shared; i < l->n_shared + l->n_bare; i++) {
        ER_TRY(er_carry_open(carry, i));
        ER_TRY(er_carry_state(carry, layer, c->now + (l->chunk[i].first - l->shared) * c->m->arch.hidden));
    }
out:
    return rc;
}
