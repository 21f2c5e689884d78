// Packed batches through the whole model, and label losses at chosen positions of them.
#include "engine/evaluate/evaluate_internal.h"

#include <stdlib.h>

#define LOGITS_BYTES ((size_t)96 << 20)  // of one head call
#define CACHE_BYTES ((size_t)1 << 30)
#define BATCH_TOKENS 2048

size_t er_eval_positions(const er_model *m) {
    bool bounded = m->rope_table && m->rope_positions < m->arch.max_position_embeddings;
    return bounded ? m->rope_positions : m->arch.max_position_embeddings;
}

size_t er_eval_batch_tokens(const er_model *m, size_t wanted) {
    const er_arch *a = &m->arch;
    size_t position = 2 * a->layers * a->kv_heads * a->head_dim * sizeof(float);
    if (wanted) return wanted;
    return BATCH_TOKENS * position > CACHE_BYTES ? CACHE_BYTES / position + 1 : BATCH_TOKENS;
}

static er_status make_buffers(er_scorer *s) {
    const er_arch *a = &s->model->arch;
    er_device *dev = s->model->dev;
    size_t n = s->max_labels;
    struct {
        void **at;
        size_t bytes;
    } want[] = {{(void **)&s->x, s->max_tokens * a->hidden * sizeof(float)},
        {(void **)&s->logits, n * a->vocab * sizeof(float)},
        {(void **)&s->picked, n * a->hidden * sizeof(float)},
        {(void **)&s->scratch, n * a->hidden * sizeof(float)}, {(void **)&s->stats, n * 2 * sizeof(float)},
        {(void **)&s->loss, n * sizeof(float)}, {(void **)&s->weight, n * sizeof(float)},
        {(void **)&s->index, n * sizeof(int32_t)}, {(void **)&s->label, n * sizeof(int32_t)},
        {(void **)&s->hit, n * sizeof(int32_t)}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        er_status rc = dev->op->alloc(dev, want[i].at, want[i].bytes);
        if (rc != ER_OK) return rc;
    }
    return dev->op->zero(dev, s->weight, n * sizeof(float));
}

er_status er_scorer_create(er_scorer **out, er_model *m, size_t max_tokens, bool cache) {
    er_status rc = ER_OK;
    er_scorer *s = calloc(1, sizeof *s);
    if (!s) return er_fail(ER_ENOMEM, "a scorer");
    s->model = m;
    s->max_tokens = max_tokens;
    s->max_labels = LOGITS_BYTES / (m->arch.vocab * sizeof(float)) + 1;
    if (s->max_labels > max_tokens) s->max_labels = max_tokens;
    ER_TRY(er_run_create(&s->run, m, max_tokens, max_tokens, false));
    if (cache) ER_TRY(er_kv_create(&s->kv, m, 0, m->arch.layers, max_tokens));
    ER_TRY(make_buffers(s));
    *out = s;
    s = NULL;
out:
    er_scorer_free(s);
    return rc;
}

void er_scorer_free(er_scorer *s) {
    if (!s) return;
    er_device *dev = s->model->dev;
    void *device[] = {
        s->x, s->logits, s->picked, s->stats, s->scratch, s->loss, s->weight, s->index, s->label, s->hit};
    for (size_t i = 0; i < sizeof device / sizeof device[0]; i++)
        if (device[i]) dev->op->release(dev, device[i]);
    if (s->kv) er_kv_free(s->kv);
    if (s->run) er_run_free(s->run);
    free(s);
}

er_status er_scorer_forward(er_scorer *s, const er_batch *rows) {
    er_status rc = ER_OK;
    ER_TRY(er_run_begin(s->run, rows, s->kv));
    ER_TRY(er_run_embed(s->run, s->x));
    for (size_t l = 0; l < s->model->arch.layers; l++) ER_TRY(er_run_layer(s->run, l, s->x, NULL));
out:
    return rc;
}

er_status er_scorer_labels(
    er_scorer *s, float *nll, int32_t *hit, const int32_t *index, const int32_t *label, size_t n) {
    er_status rc = ER_OK;
    er_device *dev = s->model->dev;
    for (size_t at = 0; at < n; at += s->max_labels) {
        size_t k = n - at < s->max_labels ? n - at : s->max_labels;
        er_label_loss loss = {.rows = k,
            .vocab = s->model->arch.vocab,
            .logits = s->logits,
            .label = s->label,
            .weight = s->weight,
            .loss = s->loss,
            .hit = s->hit};
        ER_TRY(dev->op->upload(dev, s->index, index + at, k * sizeof *index));
        ER_TRY(dev->op->upload(dev, s->label, label + at, k * sizeof *label));
        ER_TRY(er_run_head(s->run, s->logits, s->x, s->index, k, s->picked, s->stats, s->scratch));
        ER_TRY(dev->op->label_loss(dev, &loss));
        ER_TRY(dev->op->download(dev, nll + at, s->loss, k * sizeof *nll));
        ER_TRY(dev->op->download(dev, hit + at, s->hit, k * sizeof *hit));
    }
out:
    return rc;
}
