// MEMIT's walk over layers against the slow way: for every layer all rows run whole and from scratch
// through a second copy of the model that carries the edits so far, and the least squares is solved by
// Gauss-Jordan.
#include <sys/wait.h>
#include <unistd.h>

#include "io/base/log.h"
#include "tests/editors/whole_rows.h"

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
// plus its request's delta = z - (the bare row's state before any edit). states, before [rows, o], keys
// [rows, d].
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

// ---- cases ----

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

// ---- what ends an edit ----

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
        cmocka_unit_test(test_lambda_by_traces), cmocka_unit_test(test_no_covariance),
        cmocka_unit_test(test_signal)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
