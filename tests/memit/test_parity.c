// `--profile reference` against an independent fp64 MEMIT (scripts/oracle, written from the equations): on
// shared facts, templates, covariances and hyper-parameters the target values, their loss curves, the keys,
// the current values and the updates agree.
#include <math.h>

#include "engine/covary.h"
#include "engine/solve.h"
#include "engine/values.h"
#include "io/log.h"
#include "io/npz.h"
#include "tests/test.h"

typedef struct job {
    const char *name;
    char dir[512];
    er_device *dev;
    er_facts *facts;
    er_model *m;
    er_hparams h;
    er_templates *templates;
    er_units *units;
    er_moment *moments[ER_MAX_EDIT_LAYERS];
    er_npz *oracle;
    float *z;        // [n, hidden]
    size_t *n_loss;  // [n]
    float *loss;     // [n, steps]
} job;

static char *path(const job *j, const char *name) {
    static char out[1024];
    (void)snprintf(out, sizeof out, "%s/%s", j->dir, name);
    return out;
}

static er_npy member(job *j, const char *name) {
    er_npy a = {0};
    OK(er_npz_read(&a, j->oracle, name));
    assert_int_equal(a.type, ER_NPY_F8);
    return a;
}

static void open_job(job *j, const char *name) {
    *j = (job){.name = name};
    (void)snprintf(j->dir, sizeof j->dir, "%s/golden/memit/%s", TEST_DATA, name);
    er_device_options o = {.kind = "cpu", .threads = 1};
    er_facts_options fo = {0};
    OK(er_device_open(&j->dev, &o));
    OK(er_facts_read(&j->facts, path(j, "facts.jsonl"), &fo));
    er_arch arch;
    OK(er_arch_read(&arch, path(j, "model/config.json")));
    OK(er_hparams_resolve(&j->h, &arch, "reference"));
    OK(er_hparams_merge_file(&j->h, path(j, "hparams.json")));
    OK(er_hparams_check(&j->h, &arch));
    er_model_options mo = {.editable = j->h.layers, .n_editable = j->h.n_layers};
    OK(er_model_open(&j->m, j->dev, path(j, "model"), &mo));
    OK(er_templates_read(&j->templates, path(j, "templates.json")));
    j->h.n_prefixes = j->templates->count;
    OK(er_units_build(&j->units, j->facts, j->m, &j->h, j->templates));
    OK(er_covary_import(j->moments, j->m, j->h.layers, j->h.n_layers, path(j, "stats")));
    OK(er_npz_open(&j->oracle, path(j, "oracle.npz")));
    j->z = calloc(j->units->count * j->m->arch.hidden, sizeof *j->z);
    j->loss = calloc(j->units->count * j->h.steps, sizeof *j->loss);
    j->n_loss = calloc(j->units->count, sizeof *j->n_loss);
    assert_true(j->z && j->loss && j->n_loss);
}

static void close_job(job *j) {
    free(j->z);
    free(j->loss);
    free(j->n_loss);
    er_npz_close(j->oracle);
    er_covary_free(j->moments, j->h.n_layers, j->dev);
    er_units_free(j->units);
    er_templates_free(j->templates);
    er_model_free(j->m);
    er_facts_free(j->facts);
    er_device_close(j->dev);
}

static er_status keep(void *ctx, size_t unit, const er_value *v) {
    job *j = ctx;
    size_t hidden = j->m->arch.hidden;
    memcpy(j->z + unit * hidden, v->z, hidden * sizeof *j->z);
    memcpy(j->loss + unit * j->h.steps, v->loss, v->n_loss * sizeof *v->loss);
    j->n_loss[unit] = v->n_loss;
    return ER_OK;
}

static double row_error(const float *a, const double *b, const double *base, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++)
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]), s += (b[i] - base[i]) * (b[i] - base[i]);
    return sqrt(d / s);  // against the size of delta, which is what was optimised
}

static void check_values(job *j) {
    er_values_stats stats;
    er_values_options vo = {0};
    OK(er_values_optimise(&stats, j->m, j->units, &j->h, &vo, keep, j));
    er_npy z = member(j, "z"), z0 = member(j, "z0"), loss = member(j, "loss");
    size_t hidden = j->m->arch.hidden, early = 0;
    assert_int_equal(z.shape[0], j->units->count);
    assert_int_equal(loss.shape[1], j->h.steps);
    for (size_t i = 0; i < j->units->count; i++) {
        const double *l = (const double *)loss.data + i * j->h.steps;
        size_t steps = 0;
        while (steps < j->h.steps && !isnan(l[steps])) steps++;
        assert_int_equal(j->n_loss[i], steps);
        early += steps < j->h.steps;
        for (size_t s = 0; s < steps; s++) NEAR(j->loss[i * j->h.steps + s], l[s], 1e-3 * (1 + fabs(l[s])));
        BELOW(row_error(
                  j->z + i * hidden, (double *)z.data + i * hidden, (double *)z0.data + i * hidden, hidden),
            1e-3);
    }
    assert_true(early > 0 && early < j->units->count);  // the golden data shows both ends of a run
    er_npy_free(&z);
    er_npy_free(&z0);
    er_npy_free(&loss);
}

static double distance(const double *a, const double *b, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) d += (a[i] - b[i]) * (a[i] - b[i]), s += b[i] * b[i];
    return sqrt(d / s);
}
static double cosine(const double *a, const double *b, size_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
    return ab / sqrt(aa * bb);
}

static void check_layer(void *ctx, size_t layer, const double *keys, const double *current, const double *dw,
    size_t n, size_t d_in, size_t d_out) {
    job *j = ctx;
    char name[32];
    (void)snprintf(name, sizeof name, "K.%zu", layer);
    er_npy k = member(j, name);
    (void)snprintf(name, sizeof name, "Zc.%zu", layer);
    er_npy zc = member(j, name);
    (void)snprintf(name, sizeof name, "dW.%zu", layer);
    er_npy w = member(j, name);
    assert_int_equal(w.elements, d_in * d_out);
    BELOW(distance(keys, k.data, n * d_in), 2e-4);
    BELOW(distance(current, zc.data, n * d_out), 2e-4);
    BELOW(distance(dw, w.data, d_in * d_out), 1e-3);
    BELOW(1 - cosine(dw, w.data, d_in * d_out), 1e-4);
    er_npy_free(&k);
    er_npy_free(&zc);
    er_npy_free(&w);
}

static void parity(const char *name) {
    job j;
    open_job(&j, name);
    check_values(&j);
    // the update is compared with z given, as the equations define it; our own z then goes the same way
    er_npy z = member(&j, "z"), end = member(&j, "Zc.end");
    float *given = calloc(z.elements, sizeof *given);
    assert_non_null(given);
    for (size_t i = 0; i < z.elements; i++) given[i] = (float)((double *)z.data)[i];
    er_spread_observer watch = {.layer = check_layer, .ctx = &j};
    er_spread_report report;
    OK(er_spread(&report, j.m, j.units, given, j.moments, &j.h, &watch));
    assert_int_equal(report.n_layers, j.h.n_layers);
    NEAR(report.layer[0].residual, 1.0, 1e-12);
    assert_true(report.residual_left < 1 && report.residual_left > 0);
    free(given);
    er_npy_free(&z);
    er_npy_free(&end);
    close_job(&j);
}

static void test_gpt2(void **state) {
    (void)state;
    parity("gpt2");
}
static void test_llama(void **state) {
    (void)state;
    parity("llama");
}

int main(void) {
    er_log_set_level(ER_LOG_QUIET);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gpt2), cmocka_unit_test(test_llama)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
