// The work memory of a run, the batch on the device, and the cache of keys and values.
#include "engine/forward.h"
#include <stdlib.h>

// ---- keys and values ----

static er_status take_kv(er_kv *kv, er_arena *a, const er_arch *arch) {
    er_status rc = ER_OK;
    size_t n = kv->layers * kv->capacity * arch->kv_heads * arch->head_dim;
    ER_TRY(er_arena_take(a, &kv->k, n, sizeof *kv->k));
    ER_TRY(er_arena_take(a, &kv->v, n, sizeof *kv->v));
out:
    return rc;
}

er_status er_kv_create(er_kv **out, const er_model *m, size_t first, size_t layers, size_t capacity) {
    er_status rc = ER_OK;
    er_kv *kv = calloc(1, sizeof *kv);
    if (!kv) ER_FAIL(ER_ENOMEM, "a cache");
    if (first + layers > m->arch.layers)
        ER_FAIL(ER_EARG, "a cache for layers %zu to %zu of %zu", first, first + layers, m->arch.layers);
    *kv = (er_kv){.first = first, .layers = layers, .capacity = capacity, .memory = {.dev = m->dev}};
    ER_TRY(take_kv(kv, &kv->memory, &m->arch));
    *out = kv;
    kv = NULL;
out:
    er_kv_free(kv);
    return rc;
}

void er_kv_free(er_kv *kv) {
    if (!kv) return;
    er_arena_release(&kv->memory);
    free(kv);
}

size_t er_kv_bytes(const er_arch *a, size_t layers, size_t capacity) {
    er_kv kv = {.layers = layers, .capacity = capacity};
    (void)take_kv(&kv, &kv.memory, a);
    return kv.memory.bytes;
}

// ---- tape ----

er_status er_tape_take(er_tape *t, er_arena *m, const er_arch *a, size_t max_tokens) {
    er_status rc = ER_OK;
    const struct {
        float **to;
        size_t width;
    } part[] = {{&t->x_in, a->hidden}, {&t->stats1, 2}, {&t->qkv, er_arch_qkv_rows(a)},
        {&t->attn, a->heads * a->head_dim}, {&t->lse, a->heads},
        {&t->x_mid, a->parallel_residual ? 0 : a->hidden}, {&t->stats2, 2}, {&t->u, er_arch_up_rows(a)}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        ER_TRY(er_arena_take(m, part[i].to, max_tokens * part[i].width, sizeof(float)));
out:
    return rc;
}

// ---- run ----

static er_status take_run(er_run *r, er_arena *m, const er_arch *a, bool backward) {
    er_status rc = ER_OK;
    size_t tokens = r->max_tokens, rows = r->max_rows + 1, qkv = er_arch_qkv_rows(a), up = er_arch_up_rows(a);
    int32_t **of_token[] = {&r->token, &r->pos, &r->store_at},
            **of_row[] = {&r->row_start, &r->prefix_at, &r->prefix_len};
    for (size_t i = 0; i < 3; i++) {
        ER_TRY(er_arena_take(m, of_token[i], tokens, sizeof(int32_t)));
        ER_TRY(er_arena_take(m, of_row[i], rows, sizeof(int32_t)));
    }
    const struct {
        float **to;
        size_t width;
        bool needed;
    } work[] = {{&r->h, a->hidden, true}, {&r->qkv, qkv, true}, {&r->attn, a->heads * a->head_dim, true},
        {&r->u, up, true}, {&r->act, a->d_ff, true}, {&r->lse, a->heads, true}, {&r->stats, 2, true},
        {&r->dh, a->hidden, backward}, {&r->dqkv, qkv, backward}, {&r->du, up, backward}};
    for (size_t i = 0; i < sizeof work / sizeof *work; i++)
        if (work[i].needed) ER_TRY(er_arena_take(m, work[i].to, tokens * work[i].width, sizeof(float)));
out:
    return rc;
}

size_t er_run_bytes(const er_arch *a, size_t max_tokens, size_t max_rows, bool backward) {
    er_run r = {.max_tokens = max_tokens, .max_rows = max_rows};
    (void)take_run(&r, &r.memory, a, backward);
    return r.memory.bytes;
}

er_status er_run_create(er_run **out, er_model *m, size_t max_tokens, size_t max_rows, bool backward) {
    er_status rc = ER_OK;
    er_run *r = calloc(1, sizeof *r);
    if (!r) ER_FAIL(ER_ENOMEM, "a run");
    *r = (er_run){.model = m, .max_tokens = max_tokens, .max_rows = max_rows, .memory = {.dev = m->dev}};
    ER_TRY(take_run(r, &r->memory, &m->arch, backward));
    *out = r;
    r = NULL;
out:
    er_run_free(r);
    return rc;
}

void er_run_free(er_run *r) {
    if (!r) return;
    er_arena_release(&r->memory);
    free(r);
}

static er_status check_tokens(const er_run *r, const er_batch *b, const er_kv *kv) {
    const er_model *m = r->model;
    size_t positions = m->rope_table ? m->rope_positions : m->arch.max_position_embeddings;
    for (size_t t = 0; t < b->tokens; t++) {
        if (b->token[t] < 0 || (size_t)b->token[t] >= m->arch.vocab)
            return er_fail(
                ER_EARG, "token %zu has id %d; the embedding has %zu rows", t, b->token[t], m->arch.vocab);
        if (b->pos[t] < 0 || (size_t)b->pos[t] >= positions)
            return er_fail(
                ER_EARG, "token %zu stands at position %d; the model has %zu", t, b->pos[t], positions);
        if (b->store_at && b->store_at[t] >= 0 && (!kv || (size_t)b->store_at[t] >= kv->capacity))
            return er_fail(ER_EARG, "token %zu goes to cache position %d of %zu", t, b->store_at[t],
                kv ? kv->capacity : 0);
    }
    return ER_OK;
}

static er_status check_rows(const er_batch *b, const er_kv *kv) {
    if (b->row_start[0] != 0 || (size_t)b->row_start[b->rows] != b->tokens)
        return er_fail(
            ER_EARG, "rows span tokens %d to %d of %zu", b->row_start[0], b->row_start[b->rows], b->tokens);
    for (size_t i = 0; i < b->rows; i++) {
        if (b->row_start[i] > b->row_start[i + 1])
            return er_fail(ER_EARG, "row %zu ends before it starts", i);
        if (!b->prefix_at || !b->prefix_len[i]) continue;
        int64_t at = b->prefix_at[i], len = b->prefix_len[i];
        if (!kv || at < 0 || len < 0 || at + len > (int64_t)kv->capacity)
            return er_fail(ER_EARG, "row %zu continues cache positions %lld to %lld of %zu", i, (long long)at,
                (long long)(at + len), kv ? kv->capacity : 0);
    }
    return ER_OK;
}

er_status er_run_begin(er_run *r, const er_batch *b, er_kv *kv) {
    er_status rc = ER_OK;
    er_device *d = r->model->dev;
    if (b->tokens > r->max_tokens || b->rows > r->max_rows)
        ER_FAIL(ER_EARG, "a batch of %zu tokens in %zu rows; the run holds %zu in %zu", b->tokens, b->rows,
            r->max_tokens, r->max_rows);
    ER_TRY(check_tokens(r, b, kv));
    ER_TRY(check_rows(b, kv));
    r->tokens = b->tokens, r->rows = b->rows, r->kv = kv;
    r->longest = r->longest_prefix = 0;
    for (size_t i = 0; i < b->rows; i++) {
        size_t own = (size_t)(b->row_start[i + 1] - b->row_start[i]),
               prefix = b->prefix_at ? (size_t)b->prefix_len[i] : 0;
        if (own > r->longest) r->longest = own;
        if (prefix > r->longest_prefix) r->longest_prefix = prefix;
    }
    r->has_prefix = b->prefix_at != NULL, r->has_store = b->store_at != NULL;
    const struct {
        int32_t *to;
        const int32_t *from;
        size_t n;
    } copy[] = {{r->token, b->token, b->tokens}, {r->pos, b->pos, b->tokens},
        {r->row_start, b->row_start, b->rows + 1}, {r->store_at, b->store_at, b->tokens},
        {r->prefix_at, b->prefix_at, b->rows}, {r->prefix_len, b->prefix_len, b->rows}};
    for (size_t i = 0; i < sizeof copy / sizeof copy[0]; i++)
        if (copy[i].from) ER_TRY(d->op->upload(d, copy[i].to, copy[i].from, copy[i].n * sizeof(int32_t)));
out:
    return rc;
}
