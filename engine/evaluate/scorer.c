// Packed batches through the whole model, and label losses at chosen positions of them.
#include "engine/evaluate/evaluate_internal.h"

#include <stdlib.h>

#define LOGITS_BYTES ((size_t)96 << 20)  // of one head call
#define CACHE_BYTES ((size_t)1 << 30)
#define BATCH_TOKENS 2048

size_t er_eval_batch_tokens(const er_model *m, size_t wanted) {
    const er_arch *a = &m->arch;
    size_t position = 2 * a->layers * a->kv_heads * a->head_dim * sizeof(float);
    if (wanted) return wanted;
    return BATCH_TOKENS * position > CACHE_BYTES ? CACHE_BYTES / position + 1 : BATCH_TOKENS;
}

static er_status take_buffers(er_scorer *s, er_arena *a, const er_arch *arch, size_t tokens, bool cache) {
    er_status rc = ER_OK;
    size_t n = s->max_labels, f = sizeof(float), i32 = sizeof(int32_t);
    ER_TRY(er_batch_take(&s->batch, a, tokens, tokens));
    ER_TRY(er_run_take(&s->run, a, arch, tokens, false));
    if (cache) ER_TRY(er_kv_take(&s->kv, a, arch, 0, arch->layers, tokens));
    const struct {
        void *at;
        size_t count, element;
    } want[] = {{&s->x, tokens * arch->hidden, f}, {&s->logits, n * arch->vocab, f},
        {&s->picked, n * arch->hidden, f}, {&s->scratch, n * arch->hidden, f}, {&s->stats, n * 2, f},
        {&s->loss, n, f}, {&s->weight, n, f}, {&s->index, 2 * n, i32}, {&s->hit, n, i32}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        ER_TRY(er_arena_take(a, want[i].at, want[i].count, want[i].element));
    ER_TRY(er_arena_take_host(a, &s->host_loss, n, f));
    ER_TRY(er_arena_take_host(a, &s->host_index, 2 * n, i32));
    ER_TRY(er_arena_take_host(a, &s->host_hit, n, i32));
out:
    return rc;
}

er_status er_scorer_create(er_scorer **out, er_model *m, size_t max_tokens, bool cache) {
    er_status rc = ER_OK;
    er_scorer *s = calloc(1, sizeof *s);
    if (!s) return er_fail(ER_ENOMEM, "a scorer");
    *s = (er_scorer){.model = m,
        .run = {.model = m},
        .max_labels = LOGITS_BYTES / (m->arch.vocab * sizeof(float)) + 1,
        .memory = {.dev = m->dev}};
    if (s->max_labels > max_tokens) s->max_labels = max_tokens;
    ER_TRY(take_buffers(s, &s->memory, &m->arch, max_tokens, cache));
    ER_TRY(m->dev->op->zero(m->dev, s->weight, s->max_labels * sizeof *s->weight));
    *out = s;
    s = NULL;
out:
    er_scorer_free(s);
    return rc;
}

void er_scorer_free(er_scorer *s) {
    if (!s) return;
    er_arena_release(&s->memory);
    free(s->label);
    free(s);
}

void er_scorer_clear(er_scorer *s) {
    er_batch_clear(&s->batch);
    s->labels = 0;
}

er_status er_scorer_label(er_scorer *s, size_t at, int32_t label, size_t owner) {
    if (s->labels == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 1024;
        er_scored *more = realloc(s->label, capacity * sizeof *more);
        if (!more) return er_fail(ER_ENOMEM, "%zu labels", capacity);
        s->label = more, s->capacity = capacity;
    }
    s->label[s->labels++] = (er_scored){.at = (int32_t)at, .label = label, .owner = owner};
    return ER_OK;
}

// n labels from `first` on.
static er_status score(er_scorer *s, er_scored *first, size_t n) {
    er_status rc = ER_OK;
    er_device *dev = s->model->dev;
    er_label_loss loss = {.rows = n,
        .vocab = s->model->arch.vocab,
        .logits = s->logits,
        .label = s->index + n,
        .weight = s->weight,
        .loss = s->loss,
        .hit = s->hit};
    for (size_t i = 0; i < n; i++) s->host_index[i] = first[i].at, s->host_index[n + i] = first[i].label;
    ER_TRY(dev->op->upload(dev, s->index, s->host_index, 2 * n * sizeof *s->index));
    ER_TRY(er_run_head(&s->run, s->logits, s->x, s->index, n, s->picked, s->stats, s->scratch));
    ER_TRY(dev->op->label_loss(dev, &loss));
    ER_TRY(dev->op->download_async(dev, s->host_loss, s->loss, n * sizeof *s->loss));
    ER_TRY(dev->op->download_async(dev, s->host_hit, s->hit, n * sizeof *s->hit));
    ER_TRY(dev->op->sync(dev));
    for (size_t i = 0; i < n; i++) first[i].nll = s->host_loss[i], first[i].hit = s->host_hit[i] != 0;
out:
    return rc;
}

er_status er_scorer_run(er_scorer *s) {
    er_status rc = ER_OK;
    if (s->batch.rows == 0) return ER_OK;
    ER_TRY(er_run_begin(&s->run, &s->batch, &s->kv));
    ER_TRY(er_run_embed(&s->run, s->x));
    for (size_t l = 0; l < s->model->arch.layers; l++) ER_TRY(er_run_layer(&s->run, l, s->x, NULL));
    for (size_t at = 0, n; at < s->labels; at += n) {
        n = s->labels - at < s->max_labels ? s->labels - at : s->max_labels;
        ER_TRY(score(s, s->label + at, n));
    }
out:
    return rc;
}
