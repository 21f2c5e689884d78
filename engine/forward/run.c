// The memory of a run and of the cache of keys and values, and the batch in hand.
#include "engine/forward.h"

er_status er_kv_take(
    er_kv *kv, er_arena *memory, const er_arch *a, size_t first, size_t layers, size_t capacity) {
    er_status rc = ER_OK;
    size_t n = layers * capacity * a->kv_heads * a->head_dim;
    if (first + layers > a->layers)
        ER_FAIL(ER_EARG, "a cache for layers %zu to %zu of %zu", first, first + layers, a->layers);
    *kv = (er_kv){.first = first, .layers = layers, .capacity = capacity};
    ER_TRY(er_arena_take(memory, &kv->k, n, sizeof *kv->k));
    ER_TRY(er_arena_take(memory, &kv->v, n, sizeof *kv->v));
out:
    return rc;
}

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

er_status er_run_take(er_run *r, er_arena *m, const er_arch *a, size_t tokens, bool backward) {
    er_status rc = ER_OK;
    size_t qkv = er_arch_qkv_rows(a), up = er_arch_up_rows(a);
    const struct {
        float **to;
        size_t width;
        bool needed;
    } work[] = {{&r->h, a->hidden, true}, {&r->qkv, qkv, true}, {&r->attn, a->heads * a->head_dim, true},
        {&r->u, up, true}, {&r->act, a->d_ff, true}, {&r->lse, a->heads, true}, {&r->stats, 2, true},
        {&r->dh, a->hidden, backward}, {&r->dqkv, qkv, backward}, {&r->du, up, backward}};
    r->max_tokens = tokens;
    for (size_t i = 0; i < sizeof work / sizeof *work; i++)
        if (work[i].needed) ER_TRY(er_arena_take(m, work[i].to, tokens * work[i].width, sizeof(float)));
out:
    return rc;
}

size_t er_model_positions(const er_model *m) {
    bool bounded = m->rope_table && m->rope_positions < m->arch.max_position_embeddings;
    return bounded ? m->rope_positions : m->arch.max_position_embeddings;
}

static er_status check_tokens(const er_model *m, const er_batch *b) {
    int32_t positions = (int32_t)er_model_positions(m);
    for (size_t t = 0; t < b->tokens; t++) {
        if (b->token[t] < 0 || (size_t)b->token[t] >= m->arch.vocab)
            return er_fail(
                ER_EARG, "token %zu has id %d; the embedding has %zu rows", t, b->token[t], m->arch.vocab);
        if (b->pos[t] >= positions)
            return er_fail(
                ER_EARG, "token %zu stands at position %d; the model has %d", t, b->pos[t], positions);
    }
    return ER_OK;
}

er_status er_run_begin(er_run *r, er_batch *b, er_kv *kv) {
    er_status rc = ER_OK;
    if (b->tokens > r->max_tokens)
        ER_FAIL(ER_EARG, "a batch of %zu tokens; the run holds %zu", b->tokens, r->max_tokens);
    if (b->cache_end > (kv ? kv->capacity : 0))
        ER_FAIL(ER_EARG, "a batch uses %zu positions of a cache of %zu", b->cache_end, kv ? kv->capacity : 0);
    if (!b->uploaded) ER_TRY(check_tokens(r->model, b));
    ER_TRY(er_batch_upload(b, r->model->dev));
    r->batch = b, r->kv = kv;
out:
    return rc;
}
