// The work memory of a run, the batch on the device, and the cache of keys and values.
#include "engine/forward.h"
#include <stdlib.h>
#include <string.h>

#define ALIGN 64u

static size_t aligned(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

static er_status allocate(er_device *d, void *out, size_t elements, size_t element) {
    void *p = NULL;
    er_status rc = d->op->alloc(d, &p, (elements ? elements : 1) * element);
    if (rc == ER_OK) memcpy(out, &p, sizeof p);
    return rc;
}

// ---- keys and values ----

er_status er_kv_create(er_kv **out, const er_model *m, size_t first, size_t layers, size_t capacity) {
    er_status rc = ER_OK;
    size_t n = layers * capacity * m->arch.kv_heads * m->arch.head_dim;
    er_kv *kv = calloc(1, sizeof *kv);
    if (!kv) ER_FAIL(ER_ENOMEM, "a cache");
    if (first + layers > m->arch.layers)
        ER_FAIL(ER_EARG, "a cache for layers %zu to %zu of %zu", first, first + layers, m->arch.layers);
    kv->first = first, kv->layers = layers, kv->capacity = capacity;
    ER_TRY(allocate(m->dev, &kv->k, n, sizeof(float)));
    ER_TRY(allocate(m->dev, &kv->v, n, sizeof(float)));
    *out = kv;
    kv = NULL;
out:
    er_kv_free(m, kv);
    return rc;
}

void er_kv_free(const er_model *m, er_kv *kv) {
    if (!kv) return;
    if (kv->k) m->dev->op->release(m->dev, kv->k);
    if (kv->v) m->dev->op->release(m->dev, kv->v);
    free(kv);
}

// ---- tape ----

static void tape_sizes(size_t bytes[8], const er_arch *a, size_t max_tokens) {
    size_t width[8] = {a->hidden, 2, er_arch_qkv_rows(a), a->heads * a->head_dim, a->heads,
        a->parallel_residual ? 0 : a->hidden, 2, er_arch_up_rows(a)};
    for (size_t i = 0; i < 8; i++) bytes[i] = aligned(width[i] * max_tokens * sizeof(float));
}

size_t er_tape_bytes(const er_arch *a, size_t max_tokens) {
    size_t bytes[8], sum = 0;
    tape_sizes(bytes, a, max_tokens);
    for (size_t i = 0; i < 8; i++) sum += bytes[i];
    return sum;
}

void er_tape_carve(er_tape *t, const er_arch *a, size_t max_tokens, void *dev_memory) {
    float **part[8] = {&t->x_in, &t->stats1, &t->qkv, &t->attn, &t->lse, &t->x_mid, &t->stats2, &t->u};
    size_t bytes[8], at = 0;
    tape_sizes(bytes, a, max_tokens);
    for (size_t i = 0; i < 8; i++) {
        *part[i] = (float *)(void *)((char *)dev_memory + at);
        at += bytes[i];
    }
}

// ---- run ----

size_t er_run_bytes(const er_arch *a, size_t max_tokens, size_t max_rows, bool backward) {
    size_t qkv = er_arch_qkv_rows(a), up = er_arch_up_rows(a),
           floats = a->hidden + qkv + a->heads * a->head_dim + up + a->inner + a->heads + 2;
    if (backward) floats += a->hidden + qkv + up;
    return max_tokens * floats * sizeof(float) + (3 * max_tokens + 3 * (max_rows + 1)) * sizeof(int32_t);
}

er_status er_run_create(er_run **out, er_model *m, size_t max_tokens, size_t max_rows, bool backward) {
    er_status rc = ER_OK;
    const er_arch *a = &m->arch;
    er_device *d = m->dev;
    er_run *r = calloc(1, sizeof *r);
    if (!r) ER_FAIL(ER_ENOMEM, "a run");
    r->model = m, r->max_tokens = max_tokens, r->max_rows = max_rows;
    int32_t **ints[] = {&r->token, &r->pos, &r->store_at, &r->row_start, &r->prefix_at, &r->prefix_len};
    for (size_t i = 0; i < 6; i++)
        ER_TRY(allocate(d, ints[i], i < 3 ? max_tokens : max_rows + 1, sizeof(int32_t)));
    size_t qkv = er_arch_qkv_rows(a), up = er_arch_up_rows(a);
    float **floats[] = {
        &r->h, &r->qkv, &r->attn, &r->u, &r->act, &r->lse, &r->stats, &r->dh, &r->dqkv, &r->du};
    size_t width[] = {a->hidden, qkv, a->heads * a->head_dim, up, a->inner, a->heads, 2, a->hidden, qkv, up};
    for (size_t i = 0; i < (backward ? 10u : 7u); i++)
        ER_TRY(allocate(d, floats[i], width[i] * max_tokens, sizeof(float)));
    *out = r;
    r = NULL;
out:
    er_run_free(r);
    return rc;
}

void er_run_free(er_run *r) {
    if (!r) return;
    er_device *d = r->model->dev;
    void *all[] = {r->token, r->pos, r->store_at, r->row_start, r->prefix_at, r->prefix_len, r->h, r->qkv,
        r->attn, r->u, r->act, r->lse, r->stats, r->dh, r->dqkv, r->du};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i]) d->op->release(d, all[i]);
    free(r);
}

static er_status check_tokens(const er_run *r, const er_rows *b, const er_kv *kv) {
    const er_model *m = r->model;
    size_t positions = m->rope_table ? m->rope_positions : m->arch.positions;
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

static er_status check_rows(const er_rows *b, const er_kv *kv) {
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

er_status er_run_begin(er_run *r, const er_rows *b, er_kv *kv) {
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
        if (copy[i].from)
            ER_TRY(d->op->upload(d, r->stream, copy[i].to, copy[i].from, copy[i].n * sizeof(int32_t)));
out:
    return rc;
}
