// The pass: rows in packed batches through the lower layers, keys into their sums.
#include <stdlib.h>
#include "engine/statistics.h"
#include "engine/forward.h"
#include "io/base/log.h"

#define BATCH_TOKENS 2048

typedef struct er_pass {
    er_model *model;
    const er_sequences *rows;
    er_batch batch;
    er_run run;
    float *x, *scratch;  // [dev] [tokens of a batch, hidden], [d_ff, d_ff]
    size_t *order_of;    // [layers] index into moments + 1; 0: not wanted
    size_t last;         // highest wanted layer
    double flops;
    er_arena memory;
} er_pass;

static er_status take_buffers(er_pass *p, er_arena *a, const er_arch *arch, size_t tokens) {
    er_status rc = ER_OK;
    ER_TRY(er_batch_take(&p->batch, a, tokens, tokens));
    ER_TRY(er_run_take(&p->run, a, arch, tokens, false));
    ER_TRY(er_arena_take(a, &p->x, tokens * arch->hidden, sizeof *p->x));
    ER_TRY(er_arena_take(a, &p->scratch, arch->d_ff * arch->d_ff, sizeof *p->scratch));
out:
    return rc;
}

size_t er_statistics_pass_bytes(const er_arch *a, size_t batch_tokens) {
    er_pass p = {0};
    (void)take_buffers(&p, &p.memory, a, batch_tokens);
    return p.memory.bytes;
}

static er_status pass_open(er_pass *p, const size_t *layers, size_t n_layers, size_t batch_tokens) {
    const er_arch *a = &p->model->arch;
    size_t most = batch_tokens;
    for (size_t r = 0; r < p->rows->rows; r++)
        if (er_sequences_length(p->rows, r) > most) most = er_sequences_length(p->rows, r);
    if (!(p->order_of = calloc(a->layers, sizeof *p->order_of)))
        return er_fail(ER_ENOMEM, "covariance: %zu layers", a->layers);
    for (size_t i = 0; i < n_layers; i++) {
        if (layers[i] >= a->layers)
            return er_fail(ER_EARG, "layer %zu: the model has %zu", layers[i], a->layers);
        if (p->order_of[layers[i]]) return er_fail(ER_EARG, "layer %zu is named twice", layers[i]);
        p->order_of[layers[i]] = i + 1;
        if (layers[i] > p->last) p->last = layers[i];
    }
    return take_buffers(p, &p->memory, a, most);
}

// Rows first .. end-1, end the first that no longer fits.
static er_status begin_batch(er_pass *p, size_t first, size_t *end) {
    er_status rc = ER_OK;
    const er_sequences *t = p->rows;
    size_t r = first;
    er_batch_clear(&p->batch);
    for (; r < t->rows && er_batch_fits(&p->batch, 1, er_sequences_length(t, r)); r++)
        ER_TRY(er_batch_row(&p->batch, er_sequences_at(t, r), er_sequences_length(t, r), ER_NO_KV, ER_NO_KV));
    *end = r;
    ER_TRY(er_run_begin(&p->run, &p->batch, NULL));
out:
    return rc;
}

static er_status run_batch(er_pass *p, er_second_moment *const *moments) {
    er_device *dev = p->model->dev;
    er_run *r = &p->run;
    size_t tokens = p->batch.tokens;
    er_status rc = er_run_embed(r, p->x);
    for (size_t l = 0; rc == ER_OK && l <= p->last; l++) {
        size_t at = p->order_of[l];
        // A wanted layer is run in two halves: its key stands in `act` between them.
        if ((rc = at || l == p->last ? er_run_layer_to_key(r, l, p->x, NULL)
                                     : er_run_layer(r, l, p->x, NULL)) != ER_OK)
            break;
        if (!at) continue;
        if ((rc = er_second_moment_update(dev, moments[at - 1], r->act, p->scratch, tokens)) != ER_OK) break;
        p->flops += 2.0 * (double)tokens * (double)p->model->arch.d_ff * (double)p->model->arch.d_ff;
        if (l < p->last) rc = er_run_layer_finish(r, l, p->x);
    }
    return rc;
}

er_status er_statistics_rows(er_second_moment *const *moments, er_model *m, const size_t *layers,
    size_t n_layers, const er_sequences *rows, size_t batch_tokens, double *flops) {
    er_status rc = ER_OK;
    er_progress *progress = NULL;
    er_pass p = {.model = m, .rows = rows, .run = {.model = m}, .memory = {.dev = m->dev}};
    size_t done = 0;
    if (n_layers == 0 || rows->tokens == 0) return ER_OK;
    ER_TRY(pass_open(&p, layers, n_layers, batch_tokens ? batch_tokens : BATCH_TOKENS));
    progress = er_progress_begin("covary", rows->tokens, "tokens");
    for (size_t first = 0, end; first < rows->rows; first = end) {
        done = rows->start[first];
        ER_TRY(er_stop_check(""));
        ER_TRY(begin_batch(&p, first, &end));
        ER_TRY(run_batch(&p, moments));
        er_progress_update(progress, rows->start[end]);
    }
    for (size_t i = 0; i < n_layers; i++) ER_TRY(er_second_moment_finish(m->dev, moments[i]));
    ER_TRY(m->dev->op->sync(m->dev));
    if (flops) *flops = p.run.flops + p.flops;
out:
    if (progress) er_progress_end(progress);
    er_arena_release(&p.memory);
    free(p.order_of);
    if (rc == ER_EINTERRUPTED)
        return er_fail(rc, "stopped at token %zu of %zu; the pass starts over", done, rows->tokens);
    return rc;
}
