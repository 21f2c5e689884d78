// A case of an edit and the slow way to its keys and states: every row of every request runs whole, by itself
// and from its first token, through a second copy of the model. Of the engine it uses the forward pass of one
// whole row (which tests/model holds to Hugging Face); nothing of engine/keys or engine/editors.
#ifndef ER_TEST_WHOLE_ROWS_H
#define ER_TEST_WHOLE_ROWS_H
#include "engine/editors/apply.h"
#include "tests/support/letter_requests.h"

enum { MAX_D = 256, MAX_N = 16 };

// fp32 passes in different shapes: keys and states agree to 1e-6 or so. dW inherits that through the
// residual, and from the second layer on through stored weights that a rounding may have moved by one
// request.
#define SAME 2e-5

typedef struct slow {  // the slow way's copy of the model, which carries the edits so far
    er_model *m;
    const er_requests *requests;
    const er_hparams *h;
    er_batch batch;
    er_run run;
    er_arena memory;
    float *x;  // [dev] [longest row, hidden]
} slow;

static inline double *zeros(size_t n) {
    double *x = calloc(n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

// Layers 0.. of one whole row: its key at `layer`, or with key NULL its state behind the last edited layer.
static inline void run_row(slow *s, const er_prompt *r, size_t layer, double *key, double *state) {
    const er_arch *a = &s->m->arch;
    er_device *d = s->m->dev;
    float out[MAX_D];
    er_batch_clear(&s->batch);
    OK(er_batch_row(&s->batch, r->token, r->length, ER_NO_KV, ER_NO_KV));
    OK(er_run_begin(&s->run, &s->batch, NULL));
    OK(er_run_embed(&s->run, s->x));
    size_t last = s->h->layers[s->h->n_layers - 1], end = key ? layer : last + 1;
    for (size_t l = 0; l < end; l++) OK(er_run_layer(&s->run, l, s->x, NULL));
    if (key) {
        OK(er_run_layer_to_key(&s->run, layer, s->x, NULL));
        OK(d->op->download(d, out, s->run.act + r->subject_last * a->d_ff, a->d_ff * sizeof *out));
        for (size_t i = 0; i < a->d_ff; i++) key[i] += (double)r->key_weight * (double)out[i];
        return;
    }
    OK(d->op->download(d, out, s->x + r->subject_last * a->hidden, a->hidden * sizeof *out));
    for (size_t i = 0; i < a->hidden; i++) state[i] = (double)out[i];
}

static inline void slow_keys(slow *s, size_t layer, double *keys) {
    size_t d = s->m->arch.d_ff;
    memset(keys, 0, s->requests->count * d * sizeof *keys);
    for (size_t u = 0; u < s->requests->count; u++)
        for (size_t r = 0; r < s->requests->at[u].n_rows; r++)
            if (s->requests->at[u].row[r].n_labels)
                run_row(s, &s->requests->at[u].row[r], layer, keys + u * d, NULL);
}
static inline void slow_current(slow *s, double *current) {
    for (size_t u = 0; u < s->requests->count; u++)
        run_row(s, &s->requests->at[u].row[0], 0, NULL, current + u * s->m->arch.hidden);
}

// Every row by itself: keys [rows, d], states [rows, o] behind the last edited layer.
static inline void slow_rows(slow *s, size_t layer, double *keys, double *states) {
    size_t d = s->m->arch.d_ff, o = s->m->arch.hidden, at = 0;
    for (size_t u = 0; u < s->requests->count; u++)
        for (size_t r = 0; r < s->requests->at[u].n_rows; r++) {
            er_prompt row = s->requests->at[u].row[r];
            if (!row.n_labels) continue;
            row.key_weight = 1;
            memset(keys + at * d, 0, d * sizeof *keys);
            run_row(s, &row, layer, keys + at * d, NULL);
            run_row(s, &row, layer, NULL, states + at * o);
            at++;
        }
}

// ---- what the engine did ----

typedef struct seen {
    size_t layer[4], n_layers, requests;
    double *keys[4], *current[4], *dw[4];
} seen;

static inline double *copy_of(const double *x, size_t n) {
    double *y = zeros(n);
    if (n) memcpy(y, x, n * sizeof *y);
    return y;
}
static inline void see(void *ctx, size_t layer, const double *keys, const double *current, const double *dw,
    size_t n, size_t d, size_t o) {
    seen *s = ctx;
    size_t i = s->n_layers++;
    assert_true(i < 4);
    s->layer[i] = layer;
    s->keys[i] = copy_of(keys, n * d), s->current[i] = copy_of(current, s->requests * o);
    s->dw[i] = copy_of(dw, o * d);
}
static inline void unsee(seen *s) {
    for (size_t i = 0; i < s->n_layers; i++) free(s->keys[i]), free(s->current[i]), free(s->dw[i]);
}

static inline double distance(const double *a, const double *b, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) d += (a[i] - b[i]) * (a[i] - b[i]), s += b[i] * b[i];
    return sqrt(d) / (sqrt(s) + 1e-300);
}

// ---- cases ----

typedef struct fixture {
    lettered x, y;  // the engine's copy of the model, and the slow way's
    slow s;
    er_second_moment *c[4];
    double *host_c[4];
    float *z;
    double *start, *before;  // [n, o] of the bare rows; [rows, o]
    size_t n, d, o, rows;
} fixture;

static inline void open_case(fixture *f, const char *name, bool bos, size_t n_layers, const size_t *layers) {
    uint64_t seed = 3;
    *f = (fixture){0};
    lettered_open(&f->x, name, bos, letter_facts);
    lettered_open(&f->y, name, bos, letter_facts);
    f->x.h.n_layers = n_layers;
    memcpy(f->x.h.layers, layers, n_layers * sizeof *layers);
    f->x.h.lambda = 0.3;
    f->n = f->x.requests->count, f->d = f->x.m->arch.d_ff, f->o = f->x.m->arch.hidden;
    assert_true(f->d <= MAX_D && f->n <= MAX_N);
    f->s = (slow){.m = f->y.m, .requests = f->y.requests, .h = &f->x.h};
    size_t longest = f->y.requests->max_prompt_tokens;
    f->s.run.model = f->y.m, f->s.memory.dev = f->y.dev;
    OK(er_batch_take(&f->s.batch, &f->s.memory, longest, 1));
    OK(er_run_take(&f->s.run, &f->s.memory, &f->y.m->arch, longest, false));
    OK(er_arena_take(&f->s.memory, &f->s.x, longest * f->o, sizeof *f->s.x));
    for (size_t l = 0; l < n_layers; l++) {  // a positive definite sum of 3 d outer products
        double *c = f->host_c[l] = zeros(f->d * f->d), v[MAX_D];
        for (size_t t = 0; t < 3 * f->d; t++) {
            for (size_t i = 0; i < f->d; i++) v[i] = 0.3 * test_uniform(&seed);
            for (size_t i = 0; i < f->d; i++)
                for (size_t j = 0; j < f->d; j++) c[i * f->d + j] += v[i] * v[j];
        }
        OK(er_second_moment_create(&f->c[l], f->x.dev, f->d));
        OK(f->x.dev->op->upload(f->x.dev, f->c[l]->sum, c, f->d * f->d * sizeof *c));
        f->c[l]->count = 3 * f->d;
    }
    f->start = zeros(f->n * f->o);
    slow_current(&f->s, f->start);
    for (size_t u = 0; u < f->n; u++) f->rows += f->y.requests->at[u].n_rows - 1;
    f->before = zeros(f->rows * f->o);
    double *keys = zeros(f->rows * f->d);
    slow_rows(&f->s, 0, keys, f->before);
    free(keys);
    f->z = malloc(f->n * f->o * sizeof *f->z);
    for (size_t i = 0; i < f->n * f->o; i++) f->z[i] = (float)(f->start[i] + 1.5 * test_uniform(&seed));
}
static inline void close_case(fixture *f) {
    er_arena_release(&f->s.memory);
    for (size_t l = 0; l < f->x.h.n_layers; l++) er_second_moment_free(f->x.dev, f->c[l]), free(f->host_c[l]);
    free(f->z);
    free(f->start);
    free(f->before);
    lettered_close(&f->x);
    lettered_close(&f->y);
}
#endif
