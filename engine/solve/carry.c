#include "engine/solve/carry.h"

#include <stdlib.h>

struct er_carry {
    er_model *m;
    const er_layout *l;
    er_run *run;
    er_kv *kv;
    size_t last_layer, open;  // the chunk in hand
    float *states;            // [tokens, hidden], [dev] when `resident`, else of alloc_host
    bool resident;
    float *x;       // [dev] [most_tokens, hidden]
    int32_t *last;  // [dev] [rows]
};

#define OPS(c) ((c)->m->dev->op)
#define AT(c) (c)->m->dev, (c)->run->stream

void er_carry_free(er_carry *c) {
    if (!c) return;
    er_device *d = c->m->dev;
    if (c->resident) d->op->release(d, c->states);
    else if (c->states) {
        (void)d->op->sync(d, NULL);  // after a failure, copies into it may still be on their way
        d->op->release_host(d, c->states);
    }
    d->op->release(d, c->x);
    d->op->release(d, c->last);
    er_run_free(c->run);
    er_kv_free(c->kv);
    free(c);
}

double er_carry_flops(const er_carry *c) { return c->run->flops; }

er_status er_carry_fits(bool *fits, er_device *d, size_t bytes, size_t inner) {
    size_t solve =
        inner * inner * (sizeof(double) + sizeof(float));  // a parked sum that comes back, and a workspace
    size_t available = 0, total = 0;
    er_status rc = d->op->memory(d, &available, &total);
    if (rc == ER_OK) *fits = bytes <= available / 2 && bytes + solve <= available;
    return rc;
}

static size_t state_bytes(const er_arch *a, size_t tokens) {
    return (tokens ? tokens : 1) * a->hidden * sizeof(float);
}

size_t er_carry_bytes(const er_arch *a, const er_layout *l, size_t last_layer) {
    size_t token = er_arch_qkv_rows(a) + a->heads * a->head_dim + er_arch_up_rows(a) + a->inner + a->heads +
                   a->hidden + 2;
    size_t run = l->most_tokens * (token * sizeof(float) + 3 * sizeof(int32_t)) +
                 3 * (l->most_rows + 1) * sizeof(int32_t);
    size_t cache = 2 * (last_layer + 1) * (l->cached + 1) * a->kv_heads * a->head_dim * sizeof(float);
    return run + cache + state_bytes(a, l->most_tokens) + state_bytes(a, l->tokens) +
           (l->rows + 1) * sizeof(int32_t);
}

static er_status create_buffers(er_carry *c) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    const er_layout *l = c->l;
    size_t bytes = state_bytes(&c->m->arch, l->tokens);
    bool fits = false;
    void *p = NULL;
    ER_TRY(er_run_create(&c->run, c->m, l->most_tokens, l->most_rows, false));
    ER_TRY(er_kv_create(&c->kv, c->m, 0, c->last_layer + 1, l->cached + 1));
    ER_TRY(d->op->alloc(d, &p, state_bytes(&c->m->arch, l->most_tokens)));
    c->x = p;
    ER_TRY(d->op->alloc(d, &p, (l->rows + 1) * sizeof *c->last));
    c->last = p;
    ER_TRY(er_carry_fits(&fits, d, bytes, c->m->arch.inner));
    ER_TRY(fits ? d->op->alloc(d, &p, bytes) : d->op->alloc_host(d, &p, bytes));
    c->states = p, c->resident = fits;
    ER_TRY(d->op->upload(AT(c), c->last, l->last, l->rows * sizeof *c->last));
out:
    return rc;
}

// ---- a chunk ----

static er_status begin(er_carry *c, size_t i) {
    const er_layout *l = c->l;
    const er_chunk *k = &l->chunk[i];
    er_rows rows = {.rows = k->rows,
        .tokens = k->tokens,
        .token = l->token + k->at,
        .pos = l->pos + k->at,
        .row_start = l->row_start + k->first + i,
        .prefix_at = k->continues ? l->prefix_at + k->first : NULL,
        .prefix_len = k->continues ? l->prefix_len + k->first : NULL,
        .store_at = i < l->n_shared ? l->store_at + k->at : NULL};
    c->open = i;
    return er_run_begin(c->run, &rows, c->kv);
}

static float *slice(const er_carry *c, size_t i) { return c->states + c->l->chunk[i].at * c->m->arch.hidden; }

static size_t slice_bytes(const er_carry *c, size_t i) {
    return c->l->chunk[i].tokens * c->m->arch.hidden * sizeof(float);
}

er_status er_carry_open(er_carry *c, size_t i) {
    er_status rc = begin(c, i);
    if (rc != ER_OK) return rc;
    return c->resident ? OPS(c)->copy(AT(c), c->x, slice(c, i), slice_bytes(c, i))
                       : OPS(c)->upload(AT(c), c->x, slice(c, i), slice_bytes(c, i));
}

// rows of `src` [dev] at the last token of each row of the chunk in hand
static er_status pick_last(er_carry *c, float *out, const float *src, size_t width) {
    const er_chunk *k = &c->l->chunk[c->open];
    return OPS(c)->gather_rows(AT(c), out, src, c->last + (k->first - c->l->shared), k->rows, width);
}

er_status er_carry_key(er_carry *c, size_t layer, float *keys) {
    er_status rc = er_run_layer_to_key(c->run, layer, c->x, NULL);
    return rc == ER_OK ? pick_last(c, keys, c->run->act, c->m->arch.inner) : rc;
}

er_status er_carry_state(er_carry *c, size_t layer, float *out) {
    er_status rc = ER_OK;
    for (size_t l = layer; l <= c->last_layer; l++) ER_TRY(er_run_layer(c->run, l, c->x, NULL));
    ER_TRY(pick_last(c, out, c->x, c->m->arch.hidden));
out:
    return rc;
}

er_status er_carry_rest(er_carry *c, size_t layer, float *out) {
    er_status rc = er_run_layer_finish(c->run, layer, c->x);
    return rc == ER_OK ? er_carry_state(c, layer + 1, out) : rc;
}

// ---- all of them ----

// Layer by layer the shared rows leave their keys and values in the cache; of the last layer only that is
// wanted.
er_status er_carry_look(er_carry *c, size_t layer, bool far) {
    er_status rc = ER_OK;
    size_t to = far ? c->last_layer : layer;
    for (size_t i = 0; i < c->l->n_shared; i++) {
        ER_TRY(er_carry_open(c, i));
        for (size_t l = layer; l < to; l++) ER_TRY(er_run_layer(c->run, l, c->x, NULL));
        ER_TRY(er_run_layer_to_key(c->run, to, c->x, NULL));
    }
out:
    return rc;
}

// Chunk i's states from x to where they are kept. A copy to the host is there after the next wait.
static er_status keep(er_carry *c, size_t i) {
    return OPS(c)->download_later(AT(c), slice(c, i), c->x, slice_bytes(c, i));
}

er_status er_carry_advance(er_carry *c, size_t layer) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < c->l->n_chunks; i++) {  // shared rows first: the others continue them
        ER_TRY(c->resident ? begin(c, i) : er_carry_open(c, i));
        ER_TRY(er_run_layer(c->run, layer, c->resident ? slice(c, i) : c->x, NULL));
        if (!c->resident) ER_TRY(keep(c, i));
    }
    if (!c->resident) ER_TRY(OPS(c)->sync(AT(c)));
out:
    return rc;
}

static er_status embed(er_carry *c) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < c->l->n_chunks; i++) {
        ER_TRY(begin(c, i));
        ER_TRY(er_run_embed(c->run, c->resident ? slice(c, i) : c->x));
        if (!c->resident) ER_TRY(keep(c, i));
    }
    if (!c->resident) ER_TRY(OPS(c)->sync(AT(c)));
out:
    return rc;
}

er_status er_carry_create(er_carry **out, er_model *m, const er_layout *l, size_t last_layer) {
    er_status rc = ER_OK;
    er_carry *c = calloc(1, sizeof *c);
    if (!c) return er_fail(ER_ENOMEM, "carried states");
    *c = (er_carry){.m = m, .l = l, .last_layer = last_layer};
    ER_TRY(create_buffers(c));
    ER_TRY(embed(c));
    *out = c;
    c = NULL;
out:
    er_carry_free(c);
    return rc;
}
