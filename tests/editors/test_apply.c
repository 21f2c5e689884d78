// MEMIT's spread over layers against the slow way: for every layer all rows run whole and from scratch
// through a second copy of the model that carries the edits so far, and the least squares is solved by
// Gauss-Jordan.
#include <sys/wait.h>
#include <unistd.h>

#include "engine/editors/apply.h"
#include "engine/keys/hidden_pass.h"
#include "io/base/log.h"
#include "tests/support/letter_requests.h"

enum { MAX_D = 256, MAX_N = 16 };

typedef struct slow {
    er_model *m;
    const er_requests *requests;
    const er_hparams *h;
    er_batch batch;
    er_run run;
    er_arena memory;
    float *x;  // [dev] [longest row, hidden]
} slow;

static double *zeros(size_t n) {
    double *x = calloc(n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

// Layers 0.. of one whole row: its key at `layer`, or with key NULL its state behind the last edited layer.
static void run_row(slow *s, const er_prompt *r, size_t layer, double *key, double *state) {
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

static void slow_keys(slow *s, size_t layer, double *keys) {
    size_t d = s->m->arch.d_ff;
    memset(keys, 0, s->requests->count * d * sizeof *keys);
    for (size_t u = 0; u < s->requests->count; u++)
        for (size_t r = 0; r < s->requests->at[u].n_rows; r++)
            if (s->requests->at[u].row[r].n_labels)
                run_row(s, &s->requests->at[u].row[r], layer, keys + u * d, NULL);
}
static void slow_current(slow *s, double *current) {
    for (size_t u = 0; u < s->requests->count; u++)
        run_row(s, &s->requests->at[u].row[0], 0, NULL, current + u * s->m->arch.hidden);
}

// X with X A = B for symmetric A [d, d], B [o, d]; Gauss-Jordan with pivoting on [A | B^T].
static void solve_right(double *x, const double *a_in, const double *b_in, size_t d, size_t o) {
    size_t w = d + o;
    double *a = zeros(d * w);
    for (size_t i = 0; i < d; i++) {
        memcpy(a + i * w, a_in + i * d, d * sizeof *a);
        for (size_t j = 0; j < o; j++) a[i * w + d + j] = b_in[j * d + i];
    }
    for (size_t k = 0; k < d; k++) {
        size_t p = k;
        for (size_t i = k + 1; i < d; i++)
            if (fabs(a[i * w + k]) > fabs(a[p * w + k])) p = i;
        for (size_t j = k; j < w; j++) {
            double t = a[k * w + j];
            a[k * w + j] = a[p * w + j], a[p * w + j] = t;
        }
        double pivot = 1 / a[k * w + k];
        for (size_t j = k; j < w; j++) a[k * w + j] *= pivot;
        for (size_t i = 0; i < d; i++) {
            double f = a[i * w + k];
            for (size_t j = k; i != k && j < w; j++) a[i * w + j] -= f * a[k * w + j];
        }
    }
    for (size_t j = 0; j < o; j++)
        for (size_t i = 0; i < d; i++) x[j * d + i] = a[i * w + d + j];
    free(a);
}

// dW = R K^T (K K^T + lambda C)^-1 with R = share (Z - Zc); keys [n, d], z and current [n, o].
static void slow_update(double *dw, const double *keys, const double *current, const float *z,
    const double *c, double count, double lambda, double share, size_t n, size_t d, size_t o) {
    double *a = zeros(d * d), *b = zeros(o * d);
    for (size_t i = 0; i < d * d; i++) a[i] = lambda * c[i] / count;
    for (size_t u = 0; u < n; u++) {
        const double *k = keys + u * d;
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j < d; j++) a[i * d + j] += k[i] * k[j];
        for (size_t i = 0; i < o; i++)
            for (size_t j = 0; j < d; j++)
                b[i * d + j] += share * ((double)z[u * o + i] - current[u * o + i]) * k[j];
    }
    solve_right(dw, a, b, d, o);
    free(a);
    free(b);
}

// The default profile's form: every row a column of weight w, whose target is its own state before any edit
// plus its request's delta = z - (the bare row's state before any edit). states, before [rows, o], keys [rows,
// d].
static void slow_rows(slow *s, size_t layer, double *keys, double *states) {
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
static void slow_update_rows(double *dw, const slow *s, const double *keys, const double *states,
    const double *before, const float *z, const double *c, double count, double lambda, double share) {
    size_t d = s->m->arch.d_ff, o = s->m->arch.hidden, at = 0;
    double *a = zeros(d * d), *b = zeros(o * d);
    for (size_t i = 0; i < d * d; i++) a[i] = lambda * c[i] / count;
    for (size_t u = 0; u < s->requests->count; u++) {
        const double *bare = before + at * o;  // the request's first row
        for (size_t r = 0; r < s->requests->at[u].n_rows; r++) {
            const er_prompt *row = &s->requests->at[u].row[r];
            const double *k = keys + at * d, w = (double)row->key_weight;
            if (!row->n_labels) continue;
            for (size_t i = 0; i < d; i++)
                for (size_t j = 0; j < d; j++) a[i * d + j] += w * k[i] * k[j];
            for (size_t i = 0; i < o; i++) {
                double target = before[at * o + i] + (double)z[u * o + i] - bare[i];
                for (size_t j = 0; j < d; j++)
                    b[i * d + j] += w * share * (target - states[at * o + i]) * k[j];
            }
            at++;
        }
    }
    solve_right(dw, a, b, d, o);
    free(a);
    free(b);
}

// ---- weights as they are stored ----

static double value_of(er_dtype t, const void *bytes, size_t i) {
    float f;
    er_to_f32(&f, (const char *)bytes + i * er_dtype_bits(t) / 8, t, 1);
    return (double)f;
}
// The stored number nearest to x, by looking at the neighbours of a first guess.
static void put_nearest(er_dtype t, void *bytes, size_t i, double x) {
    if (t == ER_F32) {
        ((float *)bytes)[i] = (float)x;
        return;
    }
    uint16_t guess = t == ER_BF16 ? er_bf16_from_f32((float)x) : er_f16_from_f32((float)x), best = guess;
    for (int k = -1; k <= 1; k++) {
        uint16_t h = (uint16_t)(guess + k), *at = (uint16_t *)bytes + i;
        *at = best;
        double b = fabs(value_of(t, bytes, i) - x);
        *at = h;
        if (fabs(value_of(t, bytes, i) - x) < b) best = h;
    }
    ((uint16_t *)bytes)[i] = best;
}
// bytes [stored layout] += dw [o, d], each rounded once
static void add_stored(const er_tensor *t, void *bytes, bool conv1d, const double *dw, size_t d, size_t o) {
    for (size_t i = 0; i < o; i++)
        for (size_t j = 0; j < d; j++) {
            size_t at = conv1d ? j * o + i : i * d + j;
            put_nearest(t->dtype, bytes, at, value_of(t->dtype, bytes, at) + dw[i * d + j]);
        }
}
static void *read_weight(er_model *m, size_t layer) {
    void *bytes = malloc(m->block[layer].down_tensor->bytes);
    assert_non_null(bytes);
    OK(m->dev->op->weight_read(m->dev, m->block[layer].down, bytes));
    return bytes;
}

// ---- what the engine did ----

typedef struct seen {
    size_t layer[4], n_layers, requests;
    double *keys[4], *current[4], *dw[4];
} seen;

static double *copy_of(const double *x, size_t n) {
    double *y = zeros(n);
    if (n) memcpy(y, x, n * sizeof *y);
    return y;
}
static void see(void *ctx, size_t layer, const double *keys, const double *current, const double *dw,
    size_t n, size_t d, size_t o) {
    seen *s = ctx;
    size_t i = s->n_layers++;
    assert_true(i < 4);
    s->layer[i] = layer;
    s->keys[i] = copy_of(keys, n * d), s->current[i] = copy_of(current, s->requests * o);
    s->dw[i] = copy_of(dw, o * d);
}
static void unsee(seen *s) {
    for (size_t i = 0; i < s->n_layers; i++) free(s->keys[i]), free(s->current[i]), free(s->dw[i]);
}

static double distance(const double *a, const double *b, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) d += (a[i] - b[i]) * (a[i] - b[i]), s += b[i] * b[i];
    return sqrt(d) / (sqrt(s) + 1e-300);
}
static double norm(const double *x, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += x[i] * x[i];
    return sqrt(s);
}
// mean over requests of |Z - now| / |Z - then|
static double mean_ratio(const float *z, const double *now, const double *then, size_t n, size_t o) {
    double sum = 0;
    for (size_t u = 0; u < n; u++) {
        double a = 0, b = 0;
        for (size_t i = u * o; i < (u + 1) * o; i++) {
            a += ((double)z[i] - now[i]) * ((double)z[i] - now[i]);
            b += ((double)z[i] - then[i]) * ((double)z[i] - then[i]);
        }
        sum += sqrt(a / b);
    }
    return sum / (double)n;
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

static void open_case(fixture *f, const char *name, bool bos, size_t n_layers, const size_t *layers) {
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
static void close_case(fixture *f) {
    er_arena_release(&f->s.memory);
    for (size_t l = 0; l < f->x.h.n_layers; l++) er_second_moment_free(f->x.dev, f->c[l]), free(f->host_c[l]);
    free(f->z);
    free(f->start);
    free(f->before);
    lettered_close(&f->x);
    lettered_close(&f->y);
}

// fp32 passes in different shapes: keys and states agree to 1e-6 or so. dW inherits that through the
// residual, and from the second layer on through stored weights that a rounding may have moved by one request.
#define SAME 2e-5

static double trace_of_keys(const fixture *f, const double *keys, bool per_row) {
    double sum = 0;
    if (!per_row)
        for (size_t i = 0; i < f->n * f->d; i++) sum += keys[i] * keys[i];
    for (size_t u = 0, at = 0; per_row && u < f->n; u++)
        for (size_t r = 0; r < f->y.requests->at[u].n_rows; r++) {
            const er_prompt *row = &f->y.requests->at[u].row[r];
            if (!row->n_labels) continue;
            for (size_t i = 0; i < f->d; i++, at++) sum += (double)row->key_weight * keys[at] * keys[at];
        }
    return sum;
}
// What the settings ask for at layer i, whose keys these are; the report must say the same.
static double expected_lambda(const fixture *f, const er_layer_report *r, size_t i, double keys) {
    double moment = 0, lambda = f->x.h.lambda;
    for (size_t j = 0; j < f->d; j++) moment += f->host_c[i][j * f->d + j] / (double)f->c[i]->count;
    if (f->x.h.trace_ratio > 0) lambda = f->x.h.trace_ratio * keys / moment;
    NEAR(r->lambda, lambda, 2 * SAME * lambda);
    NEAR(r->trace_ratio, lambda * moment / keys, 2 * SAME * r->trace_ratio);
    return lambda;
}

static void check_layer(fixture *f, const seen *e, const er_apply_report *r, size_t i) {
    size_t n = f->n, d = f->d, o = f->o, layer = f->x.h.layers[i];
    const er_tensor *t = f->y.m->block[layer].down_tensor;
    double *keys = zeros(n * d), *current = zeros(n * o), *dw = zeros(o * d);
    bool conv1d = !strcmp(f->y.m->arch.family, "gpt2");
    assert_int_equal(e->layer[i], layer);
    assert_int_equal(r->layer[i].layer, layer);
    slow_current(&f->s, current);
    BELOW(distance(e->current[i], current, n * o), SAME);
    double share = 1.0 / (double)(f->x.h.n_layers - i), count = (double)f->c[i]->count;
    if (f->x.h.key_per_prompt) {
        double *row_keys = zeros(f->rows * d), *states = zeros(f->rows * o);
        slow_rows(&f->s, layer, row_keys, states);
        double lambda = expected_lambda(f, &r->layer[i], i, trace_of_keys(f, row_keys, true));
        slow_update_rows(dw, &f->s, row_keys, states, f->before, f->z, f->host_c[i], count, lambda, share);
        free(row_keys);
        free(states);
    } else {
        slow_keys(&f->s, layer, keys);
        BELOW(distance(e->keys[i], keys, n * d), SAME);
        double lambda = expected_lambda(f, &r->layer[i], i, trace_of_keys(f, keys, false));
        slow_update(dw, keys, current, f->z, f->host_c[i], count, lambda, share, n, d, o);
    }
    BELOW(distance(e->dw[i], dw, o * d), 10 * SAME);
    NEAR(r->layer[i].dw_norm, norm(dw, o * d), 10 * SAME * norm(dw, o * d));
    NEAR(r->layer[i].residual, mean_ratio(f->z, current, f->start, n, o), SAME);
    void *bytes = read_weight(f->y.m, layer);
    double w = 0;
    for (size_t j = 0; j < t->elements; j++) w += value_of(t->dtype, bytes, j) * value_of(t->dtype, bytes, j);
    NEAR(r->layer[i].w_norm, sqrt(w), 1e-6 * sqrt(w));
    // The engine's weight is the old one plus its own dW, rounded once to the stored type, to the bit.
    add_stored(t, bytes, conv1d, e->dw[i], d, o);
    void *kept = read_weight(f->x.m, layer);
    assert_memory_equal(bytes, kept, t->bytes);
    OK(f->y.dev->op->weight_set(f->y.dev, f->y.m->block[layer].down, kept));
    free(bytes);
    free(kept);
    free(keys);
    free(current);
    free(dw);
}

static double ratio;  // the trace ratio that cases run with

static void check_case(const char *name, bool bos, bool per_row, size_t n_layers, const size_t *layers) {
    fixture f;
    seen e = {0};
    er_apply_report r;
    open_case(&f, name, bos, n_layers, layers);
    f.x.h.key_per_prompt = per_row;
    f.x.h.trace_ratio = ratio;
    e.requests = f.n;
    er_apply_observer observer = {see, &e};
    OK(er_apply_edits(&r, f.x.m,
        &(er_apply){.requests = f.x.requests, .z = f.z, .c = f.c, .h = &f.x.h, .observer = &observer}));
    assert_int_equal(r.n_layers, n_layers);
    assert_int_equal(e.n_layers, n_layers);
    for (size_t i = 0; i < n_layers; i++) check_layer(&f, &e, &r, i);
    double *after = zeros(f.n * f.o);
    slow_current(&f.s, after);
    NEAR(r.residual_left, mean_ratio(f.z, after, f.start, f.n, f.o), SAME);
    assert_true(r.residual_left < 0.9);  // it went towards the targets
    free(after);
    unsee(&e);
    close_case(&f);
}

static void check_all(bool per_row) {
    check_case("llama_gqa", true, per_row, 2, (const size_t[]){0, 1});
    check_case("gpt2_prefixed", true, per_row, 2, (const size_t[]){0, 2});      // a layer between them
    check_case("gpt2_bare_f16", false, per_row, 3, (const size_t[]){1, 2, 3});  // f16, up to the last layer
    check_case("llama_tied_bf16", false, per_row, 2, (const size_t[]){1, 2});   // bf16
    check_case("llama_bias_sharded", true, per_row, 2, (const size_t[]){0, 2});
    check_case("gpt2_prefixed", false, per_row, 1, (const size_t[]){1});
}
static void test_mean_keys(void **state) {
    (void)state;
    check_all(false);
}
static void test_lambda_by_traces(void **state) {
    (void)state;
    ratio = 0.4;
    check_all(false);
    check_all(true);
    ratio = 0;
}
static void test_key_per_row(void **state) {
    (void)state;
    check_all(true);
}

// Without template indices every row runs whole: the same edit.
static void same_without_sharing(bool per_row) {
    static const size_t layers[] = {0, 1, 2};
    fixture f, g;
    seen a = {0}, b = {0};
    er_apply_report r, q;
    open_case(&f, "gpt2_prefixed", true, 3, layers);
    open_case(&g, "gpt2_prefixed", true, 3, layers);
    f.x.h.key_per_prompt = g.x.h.key_per_prompt = per_row;
    a.requests = b.requests = f.n;
    size_t behind = 0;
    for (size_t u = 0; u < g.n; u++)
        for (size_t i = 0; i < g.x.requests->at[u].n_rows; i++) {
            behind += g.x.requests->at[u].row[i].template_index >= 0;
            g.x.requests->at[u].row[i].template_index = -1;
        }
    assert_true(behind > g.n);
    OK(er_apply_edits(&r, f.x.m,
        &(er_apply){.requests = f.x.requests,
            .z = f.z,
            .c = f.c,
            .h = &f.x.h,
            .observer = &(er_apply_observer){see, &a}}));
    OK(er_apply_edits(&q, g.x.m,
        &(er_apply){.requests = g.x.requests,
            .z = g.z,
            .c = g.c,
            .h = &g.x.h,
            .observer = &(er_apply_observer){see, &b}}));
    assert_true(r.flops < q.flops);
    for (size_t i = 0; i < 3; i++) {
        if (!per_row) BELOW(distance(a.keys[i], b.keys[i], f.n * f.d), SAME);
        BELOW(distance(a.current[i], b.current[i], f.n * f.o), SAME);
        BELOW(distance(a.dw[i], b.dw[i], f.o * f.d), 10 * SAME);
    }
    NEAR(r.residual_left, q.residual_left, SAME);
    unsee(&a);
    unsee(&b);
    close_case(&f);
    close_case(&g);
}
static void test_shared_prefixes(void **state) {
    (void)state;
    same_without_sharing(false);
    same_without_sharing(true);
}

// Every request's weighted mean key at `layer`, and its bare row's output, through the carried states.
static void carried(
    fixture *f, const er_microbatches *l, er_hidden_pass *c, size_t layer, double *keys, double *current) {
    er_device *dev = f->x.dev;
    void *key = NULL, *state = NULL;
    float *host = malloc(l->most_rows * MAX_D * sizeof *host);
    assert_non_null(host);
    OK(dev->op->alloc(dev, &key, l->most_rows * f->d * sizeof(float)));
    OK(dev->op->alloc(dev, &state, l->most_rows * f->o * sizeof(float)));
    memset(keys, 0, f->n * f->d * sizeof *keys);
    if (layer < 2) OK(er_hidden_pass_prefill_shared(c, layer, false));
    for (size_t i = l->n_prefix_groups; i < l->n_microbatches; i++) {
        size_t row = l->microbatch[i].first - l->shared, n = l->microbatch[i].rows;
        bool bare = i < l->n_prefix_groups + l->n_base;
        OK(er_hidden_pass_load(c, i));
        if (layer < 2) {
            OK(er_hidden_pass_run_to_key(c, layer, key));
            OK(dev->op->download(dev, host, key, n * f->d * sizeof *host));
            for (size_t r = 0; r < n; r++)
                for (size_t j = 0; j < f->d; j++)
                    keys[(size_t)l->request[row + r] * f->d + j] +=
                        (double)l->weight[row + r] * (double)host[r * f->d + j];
        }
        if (!bare) continue;
        if (layer < 2) OK(er_hidden_pass_finish_layer(c, layer, state));
        else OK(er_hidden_pass_run_to_end(c, layer, state));
        OK(dev->op->download(dev, host, state, n * f->o * sizeof *host));
        for (size_t j = 0; j < n * f->o; j++) current[row * f->o + j] = (double)host[j];
    }
    dev->op->release(dev, key);
    dev->op->release(dev, state);
    free(host);
}

// The shared row that stands at `prefix` in the cache.
static const er_microbatch_row *shared_row(const er_microbatches *l, er_kv_range prefix) {
    for (size_t i = 0; i < l->shared; i++)
        if (l->row[i].store.at == prefix.at && l->row[i].n == prefix.n) return &l->row[i];
    return NULL;
}

// What a layout promises: every row in one micro-batch, behind a shared one where it continues it, none too long.
static void check_layout(const fixture *f, const er_microbatches *l, size_t max_tokens) {
    size_t at = 0, first = 0, cached = 0;
    assert_int_equal(l->requests, f->n);
    assert_int_equal(l->rows, f->rows);
    assert_true(l->shared > 0 && l->cached > 0);
    for (size_t i = 0; i < l->n_microbatches; i++) {
        const er_microbatch *k = &l->microbatch[i];
        assert_int_equal(k->at, at);
        assert_int_equal(k->first, first);
        assert_true(k->rows > 0 && (k->tokens <= max_tokens || k->rows == 1));
        assert_true(k->tokens <= l->most_tokens && k->rows <= l->most_rows);
        size_t own = 0;
        for (size_t r = 0; r < k->rows; r++) {
            size_t row = first + r;
            const er_microbatch_row *x = &l->row[row];
            own += x->n;
            assert_int_equal(i < l->n_prefix_groups, row < l->shared);
            if (row < l->shared) {  // one behind the other in the cache
                assert_int_equal(x->store.at, cached);
                assert_int_equal(x->store.n, x->n);
                assert_int_equal(x->prefix.n, 0);
                cached += x->n;
                continue;
            }
            assert_int_equal(x->store.n, 0);
            bool base = row - l->shared < l->requests;
            assert_int_equal(base, i < l->n_prefix_groups + l->n_base);
            if (base) assert_int_equal(l->request[row - l->shared], row - l->shared);
            const er_request *u = &f->x.requests->at[l->request[row - l->shared]];
            const er_microbatch_row *g = shared_row(l, x->prefix);
            bool found = false;
            for (size_t q = base ? 0 : 1; q < (base ? 1 : u->n_rows); q++) {
                const er_prompt *from = &u->row[q];
                size_t skip = x->prefix.n;
                found =
                    found || (from->n_labels && skip + x->n == from->subject_last + 1 &&
                                 (!skip || (g && !memcmp(from->token, g->token, skip * sizeof(int32_t)))) &&
                                 !memcmp(from->token + skip, x->token, x->n * sizeof(int32_t)));
            }
            assert_true(found);
        }
        assert_int_equal(own, k->tokens);
        at += k->tokens, first += k->rows;
    }
    assert_int_equal(at, l->tokens);
    assert_int_equal(first, l->shared + l->rows);
    assert_int_equal(cached, l->cached);
}

// Chunks of any size pass the same states.
static void test_chunks(void **state) {
    (void)state;
    static const size_t layers[] = {0, 1}, sizes[] = {1, 40, 65, 4096};
    fixture f;
    open_case(&f, "llama_gqa", true, 2, layers);
    double *keys = zeros(f.n * f.d), *current = zeros(f.n * f.o), *slow_k = zeros(f.n * f.d);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        er_microbatches *l = NULL;
        er_hidden_pass *c = NULL;
        OK(er_microbatches_create(&l, f.x.requests, sizes[i]));
        check_layout(&f, l, sizes[i]);
        OK(er_hidden_pass_create(&c, f.x.m, l, 1));
        for (size_t layer = 0; layer < 2; layer++) {
            carried(&f, l, c, layer, keys, current);
            slow_keys(&f.s, layer, slow_k);
            BELOW(distance(keys, slow_k, f.n * f.d), SAME);
            BELOW(distance(current, f.start, f.n * f.o), SAME);
            OK(er_hidden_pass_step_layer(c, layer));
        }
        carried(&f, l, c, 2, keys, current);
        BELOW(distance(current, f.start, f.n * f.o), SAME);
        er_hidden_pass_free(c);
        er_microbatches_free(l);
    }
    free(keys);
    free(current);
    free(slow_k);
    close_case(&f);
}

static void test_no_covariance(void **state) {
    (void)state;
    fixture f;
    er_apply_report r;
    open_case(&f, "llama_gqa", true, 2, (const size_t[]){0, 1});
    OK(f.x.dev->op->zero(f.x.dev, f.c[0]->sum, f.d * f.d * sizeof(double)));
    FAILS(er_apply_edits(&r, f.x.m, &(er_apply){.requests = f.x.requests, .z = f.z, .c = f.c, .h = &f.x.h}),
        ER_ENUMERIC, "layer 0: ");
    f.x.h.key_per_prompt = true;  // few columns beside so many dimensions: as singular as before
    FAILS(er_apply_edits(&r, f.x.m, &(er_apply){.requests = f.x.requests, .z = f.z, .c = f.c, .h = &f.x.h}),
        ER_ENUMERIC, "layer 0: ");
    close_case(&f);
}

static void test_signal(void **state) {
    (void)state;
    pid_t child = fork();
    if (!child) {
        fixture f;
        er_apply_report r;
        open_case(&f, "llama_gqa", true, 2, (const size_t[]){0, 1});
        er_stop_request();
        er_status rc =
            er_apply_edits(&r, f.x.m, &(er_apply){.requests = f.x.requests, .z = f.z, .c = f.c, .h = &f.x.h});
        bool told = !strcmp(er_last_error(), "interrupted in solve: nothing is written");
        close_case(&f);
        _exit(rc == ER_EINTERRUPTED && told ? er_exit_code(rc) : 1);
    }
    int status = 0;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 75);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mean_keys), cmocka_unit_test(test_key_per_row),
        cmocka_unit_test(test_lambda_by_traces), cmocka_unit_test(test_shared_prefixes),
        cmocka_unit_test(test_chunks), cmocka_unit_test(test_no_covariance), cmocka_unit_test(test_signal)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
