#include "engine/generate/decode_batch.h"
#include <stdlib.h>

#define MOST_SLOTS 128
#define DEFAULT_MEMORY ((size_t)512 << 20)
#define PREFILL_TOKENS 512  // prompt tokens let in per step besides the rows in flight

static size_t slot_count(const er_model *m, size_t rows, size_t slot_positions, size_t memory) {
    const er_arch *a = &m->arch;
    size_t position_bytes = 2 * sizeof(float) * a->layers * a->kv_heads * a->head_dim;
    size_t n = (memory ? memory : DEFAULT_MEMORY) / position_bytes / slot_positions;
    if (n > MOST_SLOTS) n = MOST_SLOTS;
    if (n > rows) n = rows;
    return n ? n : 1;
}

static er_status take_buffers(er_decode_batch *b, er_arena *a, const er_arch *arch, size_t tokens) {
    er_status rc = ER_OK;
    size_t n = b->slots, f = sizeof(float);
    ER_TRY(er_batch_take(&b->batch, a, tokens, n));
    ER_TRY(er_run_take(&b->run, a, arch, tokens, false));
    ER_TRY(er_kv_take(&b->kv, a, arch, 0, arch->layers, n * b->slot_positions));
    ER_TRY(er_arena_take(a, &b->x, tokens * arch->hidden, f));
    ER_TRY(er_arena_take(a, &b->logits, n * arch->vocab, f));
    ER_TRY(er_arena_take(a, &b->picked, n * arch->hidden, f));
    ER_TRY(er_arena_take(a, &b->picked_stats, n * 2, f));
    ER_TRY(er_arena_take(a, &b->h, n * arch->hidden, f));
    ER_TRY(er_arena_take_host(a, &b->host_logits, n * arch->vocab, f));
out:
    return rc;
}

er_status er_decode_batch_create(
    er_decode_batch **out, er_model *m, size_t rows, size_t longest, size_t max_new, size_t memory) {
    er_status rc = ER_OK;
    er_decode_batch *b = calloc(1, sizeof *b);
    if (!b) ER_FAIL(ER_ENOMEM, "generation: %zu bytes", sizeof *b);
    size_t limit = er_model_positions(m);
    *b = (er_decode_batch){.model = m, .run = {.model = m}, .memory = {.dev = m->dev}};
    b->slot_positions = max_new < limit - longest ? longest + max_new : limit;
    b->slots = slot_count(m, rows, b->slot_positions, memory);
    b->slot = calloc(b->slots, sizeof *b->slot);
    b->active = calloc(b->slots, sizeof *b->active);
    if (!b->slot || !b->active) ER_FAIL(ER_ENOMEM, "generation: %zu slots", b->slots);
    size_t prompts = longest > PREFILL_TOKENS ? longest : PREFILL_TOKENS;
    ER_TRY(take_buffers(b, &b->memory, &m->arch, b->slots + prompts));
    *out = b, b = NULL;
out:
    er_decode_batch_free(b);
    return rc;
}

void er_decode_batch_free(er_decode_batch *b) {
    if (!b) return;
    er_arena_release(&b->memory);
    free(b->slot);
    free(b->active);
    free(b);
}

er_status er_decode_batch_push(er_decode_batch *b, size_t slot, const int32_t *token, size_t n) {
    size_t cached = b->slot[slot].cached, base = slot * b->slot_positions, row = b->batch.rows;
    er_status rc =
        er_batch_row(&b->batch, token, n, (er_kv_range){base, cached}, (er_kv_range){base + cached, n});
    if (rc != ER_OK) return rc;
    b->active[row] = slot;
    b->slot[slot].cached += n;
    return ER_OK;
}

er_status er_decode_batch_step(er_decode_batch *b) {
    er_device *dev = b->model->dev;
    er_batch *rows = &b->batch;
    er_status rc = ER_OK;
    ER_TRY(er_run_begin(&b->run, rows, &b->kv));
    ER_TRY(er_run_embed(&b->run, b->x));
    for (size_t l = 0; l < b->model->arch.layers; l++) ER_TRY(er_run_layer(&b->run, l, b->x, NULL));
    ER_TRY(er_run_head(&b->run, b->logits, b->x, er_batch_dev(rows, rows->last), rows->rows, b->picked,
        b->picked_stats, b->h));
    size_t bytes = rows->rows * b->model->arch.vocab * sizeof(float);
    ER_TRY(dev->op->download(dev, b->host_logits, b->logits, bytes));
out:
    return rc;
}
