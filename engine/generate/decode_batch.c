#include "engine/generate/decode_batch.h"
#include <stdlib.h>

#define MOST_SLOTS 128
#define DEFAULT_MEMORY ((size_t)512 << 20)
#define PREFILL_TOKENS 512  // prompt tokens let in per step besides the rows in flight

size_t er_model_positions(const er_model *m) {
    bool bounded = m->rope_table && m->rope_positions < m->arch.max_position_embeddings;
    return bounded ? m->rope_positions : m->arch.max_position_embeddings;
}

static size_t slot_count(const er_model *m, size_t rows, size_t slot_positions, size_t memory) {
    const er_arch *a = &m->arch;
    size_t position_bytes = 2 * sizeof(float) * a->layers * a->kv_heads * a->head_dim;
    size_t n = (memory ? memory : DEFAULT_MEMORY) / position_bytes / slot_positions;
    if (n > MOST_SLOTS) n = MOST_SLOTS;
    if (n > rows) n = rows;
    return n ? n : 1;
}

static er_status make_host(er_decode_batch *b) {
    size_t t = b->max_tokens, r = b->slots;
    b->slot = calloc(r, sizeof *b->slot);
    b->active = calloc(r, sizeof *b->active);
    b->ints = calloc(3 * t + 4 * r + 1, sizeof *b->ints);
    b->host_logits = malloc(r * b->model->arch.vocab * sizeof *b->host_logits);
    if (!b->slot || !b->active || !b->ints || !b->host_logits)
        return er_fail(ER_ENOMEM, "generation: %zu slots, %zu tokens", r, t);
    b->token = b->ints, b->pos = b->token + t, b->store_at = b->pos + t;
    b->row_start = b->store_at + t, b->prefix_at = b->row_start + r + 1;
    b->prefix_len = b->prefix_at + r, b->last = b->prefix_len + r;
    return ER_OK;
}

static er_status make_device(er_decode_batch *b) {
    er_device *dev = b->model->dev;
    size_t hidden = b->model->arch.hidden, vocab = b->model->arch.vocab, n = b->slots;
    struct {
        float **at;
        size_t count;
    } want[] = {{&b->x, b->max_tokens * hidden}, {&b->logits, n * vocab}, {&b->picked, n * hidden},
        {&b->picked_stats, n * 2}, {&b->h, n * hidden}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        void *p = NULL;
        er_status rc = dev->op->alloc(dev, &p, want[i].count * sizeof(float));
        if (rc != ER_OK) return rc;
        *want[i].at = p;
    }
    void *p = NULL;
    er_status rc = dev->op->alloc(dev, &p, n * sizeof *b->index);
    b->index = p;
    return rc;
}

er_status er_decode_batch_create(
    er_decode_batch **out, er_model *m, size_t rows, size_t longest, size_t max_new, size_t memory) {
    er_status rc = ER_OK;
    er_decode_batch *b = calloc(1, sizeof *b);
    if (!b) ER_FAIL(ER_ENOMEM, "generation: %zu bytes", sizeof *b);
    size_t limit = er_model_positions(m);
    b->model = m;
    b->slot_positions = max_new < limit - longest ? longest + max_new : limit;
    b->slots = slot_count(m, rows, b->slot_positions, memory);
    b->max_tokens = b->slots + (longest > PREFILL_TOKENS ? longest : PREFILL_TOKENS);
    ER_TRY(make_host(b));
    ER_TRY(make_device(b));
    ER_TRY(er_run_create(&b->run, m, b->max_tokens, b->slots, false));
    ER_TRY(er_kv_create(&b->kv, m, 0, m->arch.layers, b->slots * b->slot_positions));
    *out = b, b = NULL;
out:
    er_decode_batch_free(b);
    return rc;
}

void er_decode_batch_free(er_decode_batch *b) {
    if (!b) return;
    er_device *dev = b->model->dev;
    void *device[] = {b->x, b->logits, b->picked, b->picked_stats, b->h, b->index};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i]) dev->op->release(dev, device[i]);
    if (b->kv) er_kv_free(b->kv);
    if (b->run) er_run_free(b->run);
    free(b->slot);
    free(b->active);
    free(b->ints);
    free(b->host_logits);
    free(b);
}

void er_decode_batch_clear(er_decode_batch *b) { b->rows = b->tokens = 0; }

bool er_decode_batch_fits(const er_decode_batch *b, size_t n) { return b->tokens + n <= b->max_tokens; }

void er_decode_batch_push(er_decode_batch *b, size_t slot, const int32_t *token, size_t n) {
    size_t cached = b->slot[slot].cached, base = slot * b->slot_positions;
    b->active[b->rows] = slot;
    b->row_start[b->rows] = (int32_t)b->tokens;
    b->prefix_at[b->rows] = (int32_t)base;
    b->prefix_len[b->rows] = (int32_t)cached;
    for (size_t i = 0; i < n; i++, b->tokens++) {
        b->token[b->tokens] = token[i];
        b->pos[b->tokens] = (int32_t)(cached + i);
        b->store_at[b->tokens] = (int32_t)(base + cached + i);
    }
    b->slot[slot].cached += n;
    b->last[b->rows++] = (int32_t)(b->tokens - 1);
    b->row_start[b->rows] = (int32_t)b->tokens;
}

er_status er_decode_batch_step(er_decode_batch *b) {
    er_device *dev = b->model->dev;
    er_status rc = ER_OK;
    er_batch rows = {.rows = b->rows,
        .tokens = b->tokens,
        .token = b->token,
        .pos = b->pos,
        .row_start = b->row_start,
        .prefix_at = b->prefix_at,
        .prefix_len = b->prefix_len,
        .store_at = b->store_at};
    ER_TRY(er_run_begin(b->run, &rows, b->kv));
    ER_TRY(dev->op->upload(dev, b->index, b->last, b->rows * sizeof *b->index));
    ER_TRY(er_run_embed(b->run, b->x));
    for (size_t l = 0; l < b->model->arch.layers; l++) ER_TRY(er_run_layer(b->run, l, b->x, NULL));
    ER_TRY(er_run_head(b->run, b->logits, b->x, b->index, b->rows, b->picked, b->picked_stats, b->h));
    size_t bytes = b->rows * b->model->arch.vocab * sizeof(float);
    ER_TRY(dev->op->download(dev, b->host_logits, b->logits, bytes));
out:
    return rc;
}
