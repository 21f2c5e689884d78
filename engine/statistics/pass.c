// The pass: rows in packed batches through the lower layers, keys into their sums.
#include <stdlib.h>
#include "engine/statistics.h"
#include "engine/forward.h"
#include "io/base/log.h"

#define BATCH_TOKENS 2048

typedef struct er_pass {
    er_model *model;
    const er_sequences *rows;
    er_run *run;
    float *x, *scratch;  // [dev] [max_tokens, hidden], [d_ff, d_ff]
    int32_t *pos, *row_start;
    size_t *order_of;  // [layers] index into moments + 1; 0: not wanted
    size_t last;       // highest wanted layer
    double flops;
} er_pass;

static er_status pass_open(er_pass *p, const size_t *layers, size_t n_layers, size_t batch_tokens) {
    er_device *dev = p->model->dev;
    const er_arch *a = &p->model->arch;
    size_t longest = 0;
    for (size_t r = 0; r < p->rows->rows; r++)
        if (er_sequences_length(p->rows, r) > longest) longest = er_sequences_length(p->rows, r);
    size_t max = batch_tokens > longest ? batch_tokens : longest;
    p->pos = malloc(max * sizeof *p->pos);
    p->row_start = malloc((max + 1) * sizeof *p->row_start);
    p->order_of = calloc(a->layers, sizeof *p->order_of);
    if (!p->pos || !p->row_start || !p->order_of)
        return er_fail(ER_ENOMEM, "covariance: batches of %zu tokens", max);
    for (size_t i = 0; i < n_layers; i++) {
        if (layers[i] >= a->layers)
            return er_fail(ER_EARG, "layer %zu: the model has %zu", layers[i], a->layers);
        if (p->order_of[layers[i]]) return er_fail(ER_EARG, "layer %zu is named twice", layers[i]);
        p->order_of[layers[i]] = i + 1;
        if (layers[i] > p->last) p->last = layers[i];
    }
    void *x = NULL, *scratch = NULL;
    er_status rc = dev->op->alloc(dev, &x, max * a->hidden * sizeof(float));
    p->x = x;
    if (rc == ER_OK) rc = dev->op->alloc(dev, &scratch, a->d_ff * a->d_ff * sizeof(float));
    p->scratch = scratch;
    return rc == ER_OK ? er_run_create(&p->run, p->model, max, max, false) : rc;
}

static void pass_close(er_pass *p) {
    er_device *dev = p->model->dev;
    if (p->x) dev->op->release(dev, p->x);
    if (p->scratch) dev->op->release(dev, p->scratch);
    if (p->run) er_run_free(p->run);
    free(p->pos);
    free(p->row_start);
    free(p->order_of);
}

// Rows first .. end-1, end the first that no longer fits.
static er_status begin_batch(er_pass *p, size_t first, size_t *end) {
    const er_sequences *t = p->rows;
    size_t r = first, base = t->start[first];
    p->row_start[0] = 0;
    for (; r < t->rows && t->start[r + 1] - base <= p->run->max_tokens && r - first < p->run->max_rows; r++) {
        for (size_t i = t->start[r]; i < t->start[r + 1]; i++) p->pos[i - base] = (int32_t)(i - t->start[r]);
        p->row_start[r - first + 1] = (int32_t)(t->start[r + 1] - base);
    }
    *end = r;
    er_batch rows = {.rows = r - first,
        .tokens = t->start[r] - base,
        .token = t->token + base,
        .pos = p->pos,
        .row_start = p->row_start};
    return er_run_begin(p->run, &rows, NULL);
}

static er_status run_batch(er_pass *p, er_second_moment *const *moments) {
    er_device *dev = p->model->dev;
    er_run *r = p->run;
    er_status rc = er_run_embed(r, p->x);
    for (size_t l = 0; rc == ER_OK && l <= p->last; l++) {
        size_t at = p->order_of[l];
        // A wanted layer is run in two halves: its key stands in `act` between them.
        if ((rc = at || l == p->last ? er_run_layer_to_key(r, l, p->x, NULL)
                                     : er_run_layer(r, l, p->x, NULL)) != ER_OK)
            break;
        if (!at) continue;
        if ((rc = er_second_moment_update(dev, moments[at - 1], r->act, p->scratch, r->tokens)) != ER_OK)
            break;
        p->flops += 2.0 * (double)r->tokens * (double)p->model->arch.d_ff * (double)p->model->arch.d_ff;
        if (l < p->last) rc = er_run_layer_finish(r, l, p->x);
    }
    return rc;
}

er_status er_statistics_rows(er_second_moment *const *moments, er_model *m, const size_t *layers,
    size_t n_layers, const er_sequences *rows, size_t batch_tokens, double *flops) {
    er_status rc = ER_OK;
    er_progress *progress = NULL;
    er_pass p = {.model = m, .rows = rows};
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
    if (flops) *flops = p.run->flops + p.flops;
out:
    if (progress) er_progress_end(progress);
    pass_close(&p);
    if (rc == ER_EINTERRUPTED)
        return er_fail(rc, "stopped at token %zu of %zu; the pass starts over", done, rows->tokens);
    return rc;
}
