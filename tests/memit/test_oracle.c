// Edits of two tiny checkpoints against an independent MEMIT in fp64 (scripts/oracle): token rows, losses
// step by step, target values, then keys, states and dW of every edited layer given the oracle's values.
#include "engine/statistics.h"
#include "engine/editors/editor.h"
#include "engine/targets.h"
#include "io/npz.h"
#include "tests/test.h"

typedef struct job {
    char dir[512];
    er_device *dev;
    er_model *m;
    er_hparams h;
    er_facts *facts;
    er_requests *requests;
    er_npz *oracle;
} job;

static const char *path_in(const job *j, const char *name) {
    static char path[640];
    (void)snprintf(path, sizeof path, "%s/%s", j->dir, name);
    return path;
}

static er_npy golden(job *j, const char *format, size_t layer) {
    char member[32];
    er_npy a;
    (void)snprintf(member, sizeof member, format, layer);
    OK(er_npz_read(&a, j->oracle, member));
    return a;
}

static void job_open(job *j, const char *name) {
    er_device_options any = ER_DEVICE_OPTIONS_DEFAULT;
    memset(j, 0, sizeof *j);
    (void)snprintf(j->dir, sizeof j->dir, TEST_DATA "/golden/memit/%s", name);
    OK(er_device_open(&j->dev, &any));
    char model[640];
    (void)snprintf(model, sizeof model, "%s", path_in(j, "model"));
    er_arch arch;
    OK(er_arch_read(&arch, path_in(j, "model/config.json")));
    OK(er_hparams_resolve(&j->h, &arch, "reference"));
    OK(er_hparams_merge_file(&j->h, path_in(j, "hparams.json"), er_editor_settings_at));
    OK(er_model_open(
        &j->m, j->dev, model, &(er_model_options){.editable = j->h.layers, .n_editable = j->h.n_layers}));
    OK(er_facts_read(&j->facts, path_in(j, "facts.jsonl"), &(er_facts_options){0}));
    er_templates *t = NULL;
    OK(er_templates_read(&t, path_in(j, "templates.json")));
    j->h.n_prefixes = t->count;
    OK(er_requests_build(&j->requests, j->facts, j->m, &j->h, t));
    er_templates_free(t);
    OK(er_npz_open(&j->oracle, path_in(j, "oracle.npz")));
}

static void job_close(job *j) {
    er_npz_close(j->oracle);
    er_requests_free(j->requests);
    er_facts_free(j->facts);
    er_model_free(j->m);
    er_device_close(j->dev);
}

// ---- rows ----

static void check_rows(job *j) {
    er_npy last = golden(j, "subject_last", 0), rows = golden(j, "rows", 0);
    assert_int_equal(j->requests->count, last.elements);
    for (size_t i = 0; i < j->requests->count; i++) {
        const er_request *u = &j->requests->at[i];
        assert_int_equal(u->n_facts, 1);
        assert_int_equal(u->fact[0], i);
        assert_int_equal(u->n_rows, ((const int64_t *)rows.data)[i] + 1);  // and the KL row
        assert_int_equal(u->row[0].subject_last, ((const int64_t *)last.data)[i]);
    }
    er_npy_free(&last);
    er_npy_free(&rows);
}

// ---- values ----

typedef struct found {
    float *z;  // [requests, hidden]
    const double *loss;
    size_t hidden, steps, seen;
    double worst;  // of all losses, relative to the larger of the loss and the stop
} found;

static er_status take(void *ctx, size_t request, const er_target_z *v) {
    found *f = ctx;
    const double *want = f->loss + request * f->steps;
    memcpy(f->z + request * f->hidden, v->z, f->hidden * sizeof *v->z);
    size_t n = 0;
    while (n < f->steps && !isnan(want[n])) n++;
    assert_int_equal(v->n_loss, n);  // it stopped where the oracle stopped
    for (size_t i = 0; i < n; i++)
        f->worst = fmax(f->worst, fabs((double)v->loss[i] - want[i]) / fmax(want[i], 0.05));
    f->seen++;
    return ER_OK;
}

// z against the oracle's, per fact and relative to |delta|; a fact that stopped at once has delta 0.
static void check_z(const er_npy *z, const er_npy *delta, const float *got, size_t hidden) {
    const double *want = z->data, *d = delta->data;
    for (size_t i = 0; i < z->elements / hidden; i++) {
        double off = 0, size = 0, all = 0;
        for (size_t k = i * hidden; k < (i + 1) * hidden; k++) {
            off += ((double)got[k] - want[k]) * ((double)got[k] - want[k]);
            size += d[k] * d[k];
            all += want[k] * want[k];
        }
        BELOW(sqrt(off), 2e-4 * sqrt(size) + 1e-5 * sqrt(all));
    }
}

static void check_values(job *j, bool deterministic, size_t batch_tokens) {
    er_npy loss = golden(j, "loss", 0), z = golden(j, "z", 0), delta = golden(j, "delta", 0);
    size_t hidden = j->m->arch.hidden;
    found f = {
        .z = calloc(z.elements, sizeof(float)), .loss = loss.data, .hidden = hidden, .steps = j->h.steps};
    assert_non_null(f.z);
    assert_int_equal(loss.shape[1], j->h.steps);
    er_targets_stats stats;
    er_targets_options o = {.batch_tokens = batch_tokens, .deterministic = deterministic};
    OK(er_targets_optimise(&stats, j->m, j->requests, &j->h, &o, take, &f));
    assert_int_equal(f.seen, j->requests->count);
    BELOW(f.worst, 1e-3);
    check_z(&z, &delta, f.z, hidden);
    free(f.z);
    er_npy_free(&loss);
    er_npy_free(&z);
    er_npy_free(&delta);
}

// ---- solve ----

typedef struct watch {
    job *j;
    size_t layers;
} watch;

static double off(const double *a, const er_npy *b) {
    const double *w = b->data;
    double d = 0, s = 0;
    for (size_t i = 0; i < b->elements; i++) d += (a[i] - w[i]) * (a[i] - w[i]), s += w[i] * w[i];
    return sqrt(d / s);
}

static void compare_layer(void *ctx, size_t layer, const double *keys, const double *current,
    const double *dw, size_t n, size_t d_in, size_t d_out) {
    watch *w = ctx;
    er_npy k = golden(w->j, "K.%zu", layer), zc = golden(w->j, "Zc.%zu", layer),
           want = golden(w->j, "dW.%zu", layer);
    assert_int_equal(k.elements, n * d_in);
    assert_int_equal(zc.elements, n * d_out);
    assert_int_equal(want.elements, d_out * d_in);
    BELOW(off(keys, &k), 1e-5);
    BELOW(off(current, &zc), 1e-5);
    BELOW(off(dw, &want), 2e-5);
    er_npy_free(&k);
    er_npy_free(&zc);
    er_npy_free(&want);
    w->layers++;
}

// With a column per row only the sum over rows is seen, in dW.
static void compare_per_row(void *ctx, size_t layer, const double *keys, const double *current,
    const double *dw, size_t n, size_t d_in, size_t d_out) {
    (void)keys, (void)current, (void)n;
    watch *w = ctx;
    er_npy want = golden(w->j, "per_row.dW.%zu", layer);
    assert_int_equal(want.type, ER_NPY_F4);
    assert_int_equal(want.elements, d_out * d_in);
    float *mine = malloc(want.elements * sizeof *mine);
    double *theirs = malloc(want.elements * sizeof *theirs);
    assert_true(mine && theirs);
    for (size_t i = 0; i < want.elements; i++)
        mine[i] = (float)dw[i], theirs[i] = (double)((const float *)want.data)[i];
    BELOW(test_rel_error(mine, theirs, want.elements), 2e-5);
    free(mine);
    free(theirs);
    er_npy_free(&want);
    w->layers++;
}

// The solve from the oracle's values; every layer goes to `compare`.
static void solve(job *j, er_apply_report *report,
    void (*compare)(void *, size_t, const double *, const double *, const double *, size_t, size_t, size_t)) {
    er_npy z = golden(j, "z", 0);
    float *values = calloc(z.elements, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < z.elements; i++) values[i] = (float)((const double *)z.data)[i];
    er_second_moment *c[ER_MAX_EDIT_LAYERS] = {0};
    char stats[640];
    (void)snprintf(stats, sizeof stats, "%s", path_in(j, "stats"));
    OK(er_statistics_import(c, j->m, j->h.layers, j->h.n_layers, stats));
    watch w = {.j = j};
    OK(er_apply_edits(report, j->m,
        &(er_apply){.requests = j->requests,
            .z = values,
            .c = c,
            .h = &j->h,
            .observer = &(er_apply_observer){compare, &w}}));
    assert_int_equal(w.layers, j->h.n_layers);
    er_statistics_free(c, j->h.n_layers, j->dev);
    free(values);
    er_npy_free(&z);
}

static void check_solve(job *j) {
    er_npy z = golden(j, "z", 0), end = golden(j, "Zc.end", 0), start = golden(j, "Zc.%zu", j->h.layers[0]);
    size_t hidden = j->m->arch.hidden, n = j->requests->count;
    er_apply_report report;
    solve(j, &report, compare_layer);
    const double *zz = z.data, *first = start.data, *last = end.data;
    double left = 0;
    for (size_t i = 0; i < n; i++) {
        double a = 0, b = 0;
        for (size_t k = i * hidden; k < (i + 1) * hidden; k++) {
            a += (zz[k] - last[k]) * (zz[k] - last[k]);
            b += (zz[k] - first[k]) * (zz[k] - first[k]);
        }
        left += sqrt(a / b) / (double)n;
    }
    NEAR(report.residual_left, left, 1e-3 * left + 1e-6);
    er_npy_free(&z);
    er_npy_free(&end);
    er_npy_free(&start);
}

static void run(const char *name) {
    job j;
    job_open(&j, name);
    check_rows(&j);
    check_values(&j, false, 0);
    check_values(&j, true, 64);  // few slots: facts wait for one another
    check_solve(&j);
    job_close(&j);
}

static void run_per_row(const char *name) {
    job j;
    er_apply_report report;
    job_open(&j, name);
    j.h.key_per_prompt = true;
    solve(&j, &report, compare_per_row);
    job_close(&j);
}

// Only the first layer: at the second one the lambda is another than the oracle's.
static void compare_first(void *ctx, size_t layer, const double *keys, const double *current,
    const double *dw, size_t n, size_t d_in, size_t d_out) {
    watch *w = ctx;
    if (w->layers) w->layers++;
    else compare_layer(ctx, layer, keys, current, dw, n, d_in, d_out);
}

// tr(50 C) / tr(K K^T) of the oracle's keys, asked for as a ratio, gives the oracle's lambda and so its dW.
static void run_by_traces(const char *name) {
    job j;
    er_apply_report report;
    job_open(&j, name);
    size_t first = j.h.layers[0], d = j.m->arch.d_ff;
    er_npy k = golden(&j, "K.%zu", first);
    double keys = 0, moment = 0, *sum = malloc(d * d * sizeof *sum);
    for (size_t i = 0; i < k.elements; i++) keys += ((const double *)k.data)[i] * ((const double *)k.data)[i];
    er_second_moment *c[ER_MAX_EDIT_LAYERS] = {0};
    char stats[640];
    (void)snprintf(stats, sizeof stats, "%s", path_in(&j, "stats"));
    OK(er_statistics_import(c, j.m, j.h.layers, j.h.n_layers, stats));
    OK(j.dev->op->download(j.dev, sum, c[0]->sum, d * d * sizeof *sum));
    for (size_t i = 0; i < d; i++) moment += sum[i * d + i] / (double)c[0]->count;
    er_statistics_free(c, j.h.n_layers, j.dev);
    j.h.trace_ratio = j.h.lambda * moment / keys;
    double lambda = j.h.lambda;
    j.h.lambda = 3;
    solve(&j, &report, compare_first);
    NEAR(report.layer[0].lambda, lambda, 1e-4 * lambda);
    for (size_t i = 0; i < j.h.n_layers; i++)
        NEAR(report.layer[i].trace_ratio, j.h.trace_ratio, 1e-12 * j.h.trace_ratio);
    free(sum);
    er_npy_free(&k);
    job_close(&j);
}

static void gpt2(void **state) {
    (void)state;
    run("gpt2");
    run_per_row("gpt2");
    run_by_traces("gpt2");
}
static void llama_with_bos(void **state) {
    (void)state;
    run("llama");
    run_per_row("llama");
    run_by_traces("llama");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gpt2), cmocka_unit_test(llama_with_bos)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
