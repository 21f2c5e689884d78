// Target values the slow way: every row of a request by itself, from its first token through all layers, in
// every step, delta added to the z layer's output at the subject's last token; losses, Adam, decay, clamp and
// stop rule from the equations, in double. Of the engine it uses the forward and backward pass of one whole
// row (which tests/model holds to Hugging Face) and nothing of engine/targets: no packing, no cached prefix,
// no slots.
#ifndef ER_TEST_NAIVE_H
#define ER_TEST_NAIVE_H
#include "engine/forward.h"
#include "engine/prompts.h"
#include "tests/test.h"

enum { NAIVE_STEPS = 64, NAIVE_HIDDEN = 256 };

typedef struct naive {
    er_model *m;
    const er_hparams *h;
    er_batch batch;
    er_run run;
    er_tape *tape;
    float *x, *dx, *logits, *picked, *dpicked, *stats, *scratch;  // [dev]
    int32_t *index;
    er_arena memory;
    double log_p0[512];  // of the KL position before any step
    // results
    double z[NAIVE_HIDDEN], z0_norm, delta_norm, loss[NAIVE_STEPS];
    size_t n_loss;
} naive;

static inline void *naive_dev(naive *n, size_t bytes) {
    void *p = NULL;
    OK(er_arena_take(&n->memory, &p, bytes, 1));
    return p;
}
static inline void naive_open(naive *n, er_model *m, const er_hparams *h, size_t tokens, size_t labels) {
    const er_arch *a = &m->arch;
    *n = (naive){.m = m, .h = h, .memory = {.dev = m->dev}};
    assert_true(a->hidden <= NAIVE_HIDDEN && a->vocab <= 512 && h->steps <= NAIVE_STEPS && a->layers < 16);
    n->run.model = m;
    OK(er_batch_take(&n->batch, &n->memory, tokens, 1));
    OK(er_run_take(&n->run, &n->memory, a, tokens, true));
    n->tape = calloc(a->layers, sizeof *n->tape);
    for (size_t l = 0; l < a->layers; l++) OK(er_tape_take(&n->tape[l], &n->memory, a, tokens));
    size_t f = sizeof(float), rows = tokens > labels ? tokens : labels;
    n->x = naive_dev(n, rows * a->hidden * f), n->dx = naive_dev(n, rows * a->hidden * f);
    n->logits = naive_dev(n, labels * a->vocab * f);
    n->picked = naive_dev(n, rows * a->hidden * f), n->dpicked = naive_dev(n, rows * a->hidden * f);
    n->stats = naive_dev(n, 2 * rows * f);
    n->scratch = naive_dev(n, rows * a->hidden * f), n->index = naive_dev(n, rows * sizeof(int32_t));
}
static inline void naive_close(naive *n) {
    er_arena_release(&n->memory);
    free(n->tape);
}

static inline void naive_up(naive *n, void *dev, const void *host, size_t bytes) {
    OK(n->m->dev->op->upload(n->m->dev, dev, host, bytes));
}
static inline void naive_down(naive *n, void *host, const void *dev, size_t bytes) {
    OK(n->m->dev->op->download(n->m->dev, host, dev, bytes));
}

// State [hidden] behind the z layer at the subject's last token, delta not added.
static inline void naive_begin(naive *n, const er_prompt *r, const double *delta, double *state) {
    size_t hidden = n->m->arch.hidden, z = n->h->layers[n->h->n_layers - 1];
    float at[NAIVE_HIDDEN];
    er_batch_clear(&n->batch);
    OK(er_batch_row(&n->batch, r->token, r->length, ER_NO_KV, ER_NO_KV));
    OK(er_run_begin(&n->run, &n->batch, NULL));
    OK(er_run_embed(&n->run, n->x));
    for (size_t l = 0; l <= z; l++) OK(er_run_layer(&n->run, l, n->x, NULL));
    naive_down(n, at, n->x + r->subject_last * hidden, hidden * sizeof *at);
    for (size_t i = 0; i < hidden; i++) state[i] = (double)at[i], at[i] = (float)((double)at[i] + delta[i]);
    naive_up(n, n->x + r->subject_last * hidden, at, hidden * sizeof *at);
    for (size_t l = z + 1; l < n->m->arch.layers; l++) OK(er_run_layer(&n->run, l, n->x, &n->tape[l]));
}

static inline void naive_log_softmax(double *out, const float *x, size_t n) {
    double top = (double)-INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) top = fmax(top, (double)x[i]);
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - top);
    for (size_t i = 0; i < n; i++) out[i] = (double)x[i] - top - log(sum);
}

// The weighted loss of one row at this delta; adds its gradient to grad [hidden].
static inline double naive_row(
    naive *n, const er_prompt *r, const double *delta, double *grad, double *state, bool first) {
    size_t hidden = n->m->arch.hidden, vocab = n->m->arch.vocab, z = n->h->layers[n->h->n_layers - 1];
    size_t rows = r->n_labels ? r->n_labels : 1;
    int32_t index[64];
    double total = 0, log_p[512];
    for (size_t j = 0; j < rows; j++)
        index[j] = (int32_t)((r->n_labels ? r->first_label : r->subject_last) + j);
    naive_begin(n, r, delta, state);
    naive_up(n, n->index, index, rows * sizeof *index);
    OK(er_run_head(&n->run, n->logits, n->x, n->index, rows, n->picked, n->stats, n->scratch));
    float *logits = malloc(rows * vocab * sizeof *logits), *dx = calloc(r->length * hidden, sizeof *dx);
    naive_down(n, logits, n->logits, rows * vocab * sizeof *logits);
    for (size_t j = 0; j < rows; j++) {
        float *at = logits + j * vocab;
        naive_log_softmax(log_p, at, vocab);
        if (r->n_labels) {  // -log p(label), averaged over the target's tokens
            double w = (double)r->nll_weight / (double)r->n_labels;
            total -= w * log_p[r->label[j]];
            for (size_t i = 0; i < vocab; i++)
                at[i] = (float)(w * (exp(log_p[i]) - (i == (size_t)r->label[j] ? 1.0 : 0.0)));
            continue;
        }
        if (first) memcpy(n->log_p0, log_p, vocab * sizeof *log_p);
        double kl = 0;  // KL(now || before)
        for (size_t i = 0; i < vocab; i++) kl += exp(log_p[i]) * (log_p[i] - n->log_p0[i]);
        total += n->h->kl * kl;
        for (size_t i = 0; i < vocab; i++)
            at[i] = (float)(n->h->kl * exp(log_p[i]) * (log_p[i] - n->log_p0[i] - kl));
    }
    naive_up(n, n->logits, logits, rows * vocab * sizeof *logits);
    OK(er_run_head_backward(&n->run, n->dpicked, n->logits, rows, n->picked, n->stats, n->scratch));
    float *picked = malloc(rows * hidden * sizeof *picked), g[NAIVE_HIDDEN];
    naive_down(n, picked, n->dpicked, rows * hidden * sizeof *picked);
    for (size_t j = 0; j < rows; j++)
        memcpy(dx + (size_t)index[j] * hidden, picked + j * hidden, hidden * sizeof *dx);
    naive_up(n, n->dx, dx, r->length * hidden * sizeof *dx);
    for (size_t l = n->m->arch.layers; l-- > z + 1;)
        OK(er_run_layer_backward(&n->run, l, n->dx, &n->tape[l]));
    naive_down(n, g, n->dx + r->subject_last * hidden, hidden * sizeof *g);
    for (size_t i = 0; i < hidden; i++) grad[i] += (double)g[i];
    free(picked);
    free(logits);
    free(dx);
    return total;
}

static inline double naive_norm(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

static inline void naive_request(naive *n, const er_request *u) {
    size_t hidden = n->m->arch.hidden;
    double delta[NAIVE_HIDDEN] = {0}, m[NAIVE_HIDDEN] = {0}, v[NAIVE_HIDDEN] = {0}, z0[NAIVE_HIDDEN] = {0};
    const er_hparams *h = n->h;
    n->n_loss = 0;
    for (size_t step = 0;; step++) {
        double total = 0, grad[NAIVE_HIDDEN] = {0}, state[NAIVE_HIDDEN], size = naive_norm(delta, hidden);
        for (size_t r = 0; r < u->n_rows; r++) {
            total += naive_row(n, &u->row[r], delta, grad, state, step == 0);
            if (step == 0 && r == 0) memcpy(z0, state, sizeof z0);
        }
        n->z0_norm = naive_norm(z0, hidden);
        total += h->decay * size / (n->z0_norm * n->z0_norm);
        n->loss[n->n_loss++] = total;
        if (total < h->stop || step + 1 == h->steps) break;
        double t = (double)step + 1;
        for (size_t i = 0; i < hidden; i++) {
            double g = grad[i] + (size > 0 ? h->decay * delta[i] / (size * n->z0_norm * n->z0_norm) : 0);
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            delta[i] -= h->lr * (m[i] / (1 - pow(0.9, t))) / (sqrt(v[i] / (1 - pow(0.999, t))) + 1e-8);
        }
        size = naive_norm(delta, hidden);
        if (size > h->clamp * n->z0_norm)
            for (size_t i = 0; i < hidden; i++) delta[i] *= h->clamp * n->z0_norm / size;
    }
    n->delta_norm = naive_norm(delta, hidden);
    for (size_t i = 0; i < hidden; i++) n->z[i] = z0[i] + delta[i];
}
#endif
