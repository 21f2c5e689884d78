#include "engine/keys/hidden_pass.h"

#include <stdlib.h>

struct er_hidden_pass {
    er_model *m;
    const er_microbatches *l;
    er_run run;
    er_kv kv;
    er_batch *batch;   // [micro-batches] on the device for good; their host side is one staging for all
    int32_t *staging;  // host, of the largest
    int32_t *words;    // [dev] of all
    size_t last_layer;
    const er_batch *loaded;  // the micro-batch in hand
    float *states;           // [tokens, hidden], [dev] when `resident`, else of alloc_host
    bool resident;
    float *x;  // [dev] [most_tokens, hidden]
    er_arena memory;
};

#define OPS(c) ((c)->m->dev->op)
#define AT(c) (c)->m->dev

void er_hidden_pass_free(er_hidden_pass *c) {
    if (!c) return;
    er_arena_release(&c->memory);
    free(c->batch);
    free(c->staging);
    free(c);
}

double er_hidden_pass_flops(const er_hidden_pass *c) { return c->run.flops; }

er_status er_hidden_pass_fits(bool *fits, er_device *d, size_t bytes, size_t d_ff) {
    size_t solve =
        d_ff * d_ff * (sizeof(double) + sizeof(float));  // a second moment that comes back, and a workspace
    size_t available = 0, total = 0;
    er_status rc = d->op->memory(d, &available, &total);
    if (rc == ER_OK) *fits = bytes <= available / 2 && bytes + solve <= available;
    return rc;
}

static er_status take_buffers(
    er_hidden_pass *c, er_arena *a, const er_arch *m, const er_microbatches *l, size_t last_layer) {
    er_status rc = ER_OK;
    size_t words = 0;
    for (size_t i = 0; i < l->n_microbatches; i++)
        words += er_batch_words(l->microbatch[i].tokens, l->microbatch[i].rows);
    ER_TRY(er_run_take(&c->run, a, m, l->most_tokens, false));
    ER_TRY(er_kv_take(&c->kv, a, m, 0, last_layer + 1, l->cached + 1));
    ER_TRY(er_arena_take(a, &c->x, l->most_tokens * m->hidden, sizeof *c->x));
    ER_TRY(er_arena_take(a, &c->words, words, sizeof *c->words));
out:
    return rc;
}

// They may have to stay on the host.
static er_status take_states(
    er_hidden_pass *c, er_arena *a, const er_arch *m, const er_microbatches *l, bool resident) {
    return (resident ? er_arena_take : er_arena_take_host)(
        a, &c->states, l->tokens * m->hidden, sizeof *c->states);
}

er_status er_hidden_pass_measure(
    er_arena *counted, const er_arch *a, const er_microbatches *l, size_t last_layer) {
    er_hidden_pass c = {0};
    er_status rc = take_buffers(&c, counted, a, l, last_layer);
    return rc == ER_OK ? take_states(&c, counted, a, l, true) : rc;
}

static er_status create_buffers(er_hidden_pass *c) {
    er_status rc = ER_OK;
    const er_arch *a = &c->m->arch;
    const er_microbatches *l = c->l;
    c->batch = calloc(l->n_microbatches + 1, sizeof *c->batch);
    c->staging = malloc(er_batch_words(l->most_tokens, l->most_rows) * sizeof *c->staging);
    if (!c->batch || !c->staging) ER_FAIL(ER_ENOMEM, "%zu micro-batches", l->n_microbatches);
    ER_TRY(take_buffers(c, &c->memory, a, l, c->last_layer));
    ER_TRY(er_hidden_pass_fits(&c->resident, c->m->dev, l->tokens * a->hidden * sizeof *c->states, a->d_ff));
    ER_TRY(take_states(c, &c->memory, a, l, c->resident));
out:
    return rc;
}

// ---- a micro-batch ----

static er_status begin(er_hidden_pass *c, size_t i) {
    c->loaded = &c->batch[i];
    return er_run_begin(&c->run, &c->batch[i], &c->kv);
}

// Packs and uploads all of them, one behind the other: an upload has taken its source when it returns.
static er_status upload_batches(er_hidden_pass *c) {
    er_status rc = ER_OK;
    int32_t *at = c->words;
    for (size_t i = 0; i < c->l->n_microbatches; i++) {
        const er_microbatch *k = &c->l->microbatch[i];
        er_batch_bind(&c->batch[i], c->staging, at, k->tokens, k->rows);
        at += er_batch_words(k->tokens, k->rows);
        for (size_t r = k->first; r < k->first + k->rows; r++) {
            const er_microbatch_row *row = &c->l->row[r];
            ER_TRY(er_batch_row(&c->batch[i], row->token, row->n, row->prefix, row->store));
        }
        ER_TRY(begin(c, i));
    }
out:
    return rc;
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
    const er_batch *b = c->loaded;
    return OPS(c)->gather_rows(AT(c), out, src, er_batch_dev(b, b->last), b->rows, width);
}

er_status er_hidden_pass_run_to_key(er_hidden_pass *c, size_t layer, float *keys) {
    er_status rc = er_run_layer_to_key(&c->run, layer, c->x, NULL);
    return rc == ER_OK ? pick_last(c, keys, c->run.act, c->m->arch.d_ff) : rc;
}

er_status er_hidden_pass_run_to_end(er_hidden_pass *c, size_t layer, float *out) {
    er_status rc = ER_OK;
    for (size_t l = layer; l <= c->last_layer; l++) ER_TRY(er_run_layer(&c->run, l, c->x, NULL));
    ER_TRY(pick_last(c, out, c->x, c->m->arch.hidden));
out:
    return rc;
}

er_status er_hidden_pass_finish_layer(er_hidden_pass *c, size_t layer, float *out) {
    er_status rc = er_run_layer_finish(&c->run, layer, c->x);
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
        for (size_t l = layer; l < to; l++) ER_TRY(er_run_layer(&c->run, l, c->x, NULL));
        ER_TRY(er_run_layer_to_key(&c->run, to, c->x, NULL));
    }
out:
    return rc;
}

// Micro-batch i's states from x to where they are kept. A copy to the host is there after the next wait.
static er_status keep(er_hidden_pass *c, size_t i) {
    return OPS(c)->download_async(AT(c), slice(c, i), c->x, slice_bytes(c, i));
}

er_status er_hidden_pass_step_layer(er_hidden_pass *c, size_t layer) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < c->l->n_microbatches; i++) {  // shared rows first: the others continue them
        ER_TRY(c->resident ? begin(c, i) : er_hidden_pass_load(c, i));
        ER_TRY(er_run_layer(&c->run, layer, c->resident ? slice(c, i) : c->x, NULL));
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
        ER_TRY(er_run_embed(&c->run, c->resident ? slice(c, i) : c->x));
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
    *c = (er_hidden_pass){
        .m = m, .l = l, .run = {.model = m}, .last_layer = last_layer, .memory = {.dev = m->dev}};
    ER_TRY(create_buffers(c));
    ER_TRY(upload_batches(c));
    ER_TRY(embed(c));
    *out = c;
    c = NULL;
out:
    er_hidden_pass_free(c);
    return rc;
}
