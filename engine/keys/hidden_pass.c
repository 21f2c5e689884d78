#include "engine/keys/hidden_pass.h"

#include <stdlib.h>

struct er_hidden_pass {
    er_model *m;
    const er_microbatches *l;
    er_run *run;
    er_kv *kv;
    size_t last_layer, loaded;  // the micro-batch in hand
    float *states;              // [tokens, hidden], [dev] when `resident`, else of alloc_host
    bool resident;
    float *x;       // [dev] [most_tokens, hidden]
    int32_t *last;  // [dev] [rows]
    er_arena memory;
};

#define OPS(c) ((c)->m->dev->op)
#define AT(c) (c)->m->dev

void er_hidden_pass_free(er_hidden_pass *c) {
    if (!c) return;
    er_arena_release(&c->memory);
    er_run_free(c->run);
    er_kv_free(c->kv);
    free(c);
}

double er_hidden_pass_flops(const er_hidden_pass *c) { return c->run->flops; }

er_status er_hidden_pass_fits(bool *fits, er_device *d, size_t bytes, size_t d_ff) {
    size_t solve =
        d_ff * d_ff * (sizeof(double) + sizeof(float));  // a second moment that comes back, and a workspace
    size_t available = 0, total = 0;
    er_status rc = d->op->memory(d, &available, &total);
    if (rc == ER_OK) *fits = bytes <= available / 2 && bytes + solve <= available;
    return rc;
}

// All but the states themselves, which may have to stay on the host.
static er_status take_buffers(er_hidden_pass *c, er_arena *a, const er_arch *m, const er_microbatches *l) {
    er_status rc = ER_OK;
    ER_TRY(er_arena_take(a, &c->x, l->most_tokens * m->hidden, sizeof *c->x));
    ER_TRY(er_arena_take(a, &c->last, l->rows, sizeof *c->last));
out:
    return rc;
}

size_t er_hidden_pass_bytes(const er_arch *a, const er_microbatches *l, size_t last_layer) {
    er_hidden_pass c = {0};
    (void)take_buffers(&c, &c.memory, a, l);
    (void)er_arena_take(&c.memory, &c.states, l->tokens * a->hidden, sizeof *c.states);
    return c.memory.bytes + er_run_bytes(a, l->most_tokens, l->most_rows, false) +
           er_kv_bytes(a, last_layer + 1, l->cached + 1);
}

static er_status create_buffers(er_hidden_pass *c) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    const er_arch *a = &c->m->arch;
    const er_microbatches *l = c->l;
    size_t n = l->tokens * a->hidden;
    ER_TRY(er_run_create(&c->run, c->m, l->most_tokens, l->most_rows, false));
    ER_TRY(er_kv_create(&c->kv, c->m, 0, c->last_layer + 1, l->cached + 1));
    ER_TRY(take_buffers(c, &c->memory, a, l));
    ER_TRY(er_hidden_pass_fits(&c->resident, d, n * sizeof *c->states, a->d_ff));
    ER_TRY(c->resident ? er_arena_take(&c->memory, &c->states, n, sizeof *c->states)
                       : er_arena_take_host(&c->memory, &c->states, n, sizeof *c->states));
    ER_TRY(d->op->upload(AT(c), c->last, l->last, l->rows * sizeof *c->last));
out:
    return rc;
}

// ---- a micro-batch ----

static er_status begin(er_hidden_pass *c, size_t i) {
    const er_microbatches *l = c->l;
    const er_microbatch *k = &l->microbatch[i];
    er_batch rows = {.rows = k->rows,
        .tokens = k->tokens,
        .token = l->token + k->at,
        .pos = l->pos + k->at,
        .row_start = l->row_start + k->first + i,
        .prefix_at = k->continues ? l->prefix_at + k->first : NULL,
        .prefix_len = k->continues ? l->prefix_len + k->first : NULL,
        .store_at = i < l->n_prefix_groups ? l->store_at + k->at : NULL};
    c->loaded = i;
    return er_run_begin(c->run, &rows, c->kv);
}

static float *slice(const er_hidden_pass *c, size_t i) {
    return c->states + c->l->microbatch[i].at * c->m->arch.hidden;
}

static size_t slice_bytes(const er_hidden_pass *c, size_t i) {
    return c->l->microbatch[i].tokens * c->m->arch.hidden * sizeof(float);
}

er_status er_hidden_pass_load(er_hidden_pass *c, size_t i) {
    er_status rc = begin(c, i);
    if (rc != ER_OK) return rc;
    return c->resident ? OPS(c)->copy(AT(c), c->x, slice(c, i), slice_bytes(c, i))
                       : OPS(c)->upload(AT(c), c->x, slice(c, i), slice_bytes(c, i));
}

// rows of `src` [dev] at the last token of each row of the micro-batch in hand
static er_status pick_last(er_hidden_pass *c, float *out, const float *src, size_t width) {
    const er_microbatch *k = &c->l->microbatch[c->loaded];
    return OPS(c)->gather_rows(AT(c), out, src, c->last + (k->first - c->l->shared), k->rows, width);
}

er_status er_hidden_pass_run_to_key(er_hidden_pass *c, size_t layer, float *keys) {
    er_status rc = er_run_layer_to_key(c->run, layer, c->x, NULL);
    return rc == ER_OK ? pick_last(c, keys, c->run->act, c->m->arch.d_ff) : rc;
}

er_status er_hidden_pass_run_to_end(er_hidden_pass *c, size_t layer, float *out) {
    er_status rc = ER_OK;
    for (size_t l = layer; l <= c->last_layer; l++) ER_TRY(er_run_layer(c->run, l, c->x, NULL));
    ER_TRY(pick_last(c, out, c->x, c->m->arch.hidden));
out:
    return rc;
}

er_status er_hidden_pass_finish_layer(er_hidden_pass *c, size_t layer, float *out) {
    er_status rc = er_run_layer_finish(c->run, layer, c->x);
    return rc == ER_OK ? er_hidden_pass_run_to_end(c, layer + 1, out) : rc;
}

// ---- all of them ----

// Layer by layer the shared rows leave their keys and values in the cache; of the last layer only that is
// wanted.
er_status er_hidden_pass_prefill_shared(er_hidden_pass *c, size_t layer, bool far) {
    er_status rc = ER_OK;
    size_t to = far ? c->last_layer : layer;
    for (size_t i = 0; i < c->l->n_prefix_groups; i++) {
        ER_TRY(er_hidden_pass_load(c, i));
        for (size_t l = layer; l < to; l++) ER_TRY(er_run_layer(c->run, l, c->x, NULL));
        ER_TRY(er_run_layer_to_key(c->run, to, c->x, NULL));
    }
out:
    return rc;
}

// Chunk i's states from x to where they are kept. A copy to the host is there after the next wait.
static er_status keep(er_hidden_pass *c, size_t i) {
    return OPS(c)->download_async(AT(c), slice(c, i), c->x, slice_bytes(c, i));
}

er_status er_hidden_pass_step_layer(er_hidden_pass *c, size_t layer) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < c->l->n_microbatches; i++) {  // shared rows first: the others continue them
        ER_TRY(c->resident ? begin(c, i) : er_hidden_pass_load(c, i));
        ER_TRY(er_run_layer(c->run, layer, c->resident ? slice(c, i) : c->x, NULL));
        if (!c->resident) ER_TRY(keep(c, i));
    }
    if (!c->resident) ER_TRY(OPS(c)->sync(AT(c)));
out:
    return rc;
}

static er_status embed(er_hidden_pass *c) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < c->l->n_microbatches; i++) {
        ER_TRY(begin(c, i));
        ER_TRY(er_run_embed(c->run, c->resident ? slice(c, i) : c->x));
        if (!c->resident) ER_TRY(keep(c, i));
    }
    if (!c->resident) ER_TRY(OPS(c)->sync(AT(c)));
out:
    return rc;
}

er_status er_hidden_pass_create(
    er_hidden_pass **out, er_model *m, const er_microbatches *l, size_t last_layer) {
    er_status rc = ER_OK;
    er_hidden_pass *c = calloc(1, sizeof *c);
    if (!c) return er_fail(ER_ENOMEM, "carried states");
    *c = (er_hidden_pass){.m = m, .l = l, .last_layer = last_layer, .memory = {.dev = m->dev}};
    ER_TRY(create_buffers(c));
    ER_TRY(embed(c));
    *out = c;
    c = NULL;
out:
    er_hidden_pass_free(c);
    return rc;
}
