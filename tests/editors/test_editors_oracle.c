// Every closed-form editor's dW, from target values that are given, against the equations of its paper in
// fp64 (scripts/oracle/editors_oracle.py): on two checkpoints, layer by layer, in one job and in two jobs
// with history.
#include "engine/editors/editor.h"
#include "engine/statistics.h"
#include "io/base/log.h"
#include "io/npz.h"
#include "tests/test.h"

// Keys and states are computed in fp32 here and in fp64 there; the oracle's dW is stored to 8e-6.
#define SAME 2e-5

typedef struct job {
    const char *name;
    er_device *dev;
    er_model *m;
    er_hparams h;
    er_facts *facts;
    er_requests *requests;
    er_second_moment *c[ER_MAX_EDIT_LAYERS], *history[ER_MAX_EDIT_LAYERS];
    er_npz *memit, *oracle;
    float *z;  // [requests, hidden]
} job;

static const char *path_in(const job *j, const char *file) {
    static char path[2][640];
    static int turn;
    char *p = path[turn ^= 1];
    (void)snprintf(p, sizeof path[0], TEST_DATA "/golden/memit/%s/%s", j->name, file);
    return p;
}

static double number(const job *j, const char *member) {
    er_npy a;
    OK(er_npz_read(&a, j->oracle, member));
    assert_int_equal(a.elements, 1);
    double x = a.type == ER_NPY_F8 ? *(const double *)a.data : (double)*(const int64_t *)a.data;
    er_npy_free(&a);
    return x;
}

// The editor's own numbers: those of the oracle.
static void choose(job *j, const char *editor) {
    OK(er_hparams_set_editor(&j->h, editor, er_editor_settings_at));
    for (size_t i = 0; i < j->h.editor.n_fields; i++) j->h.own[i] = number(j, j->h.editor.fields[i].key);
}

static double *own(job *j, const char *key) {
    for (size_t i = 0; i < j->h.editor.n_fields; i++)
        if (!strcmp(j->h.editor.fields[i].key, key)) return &j->h.own[i];
    fail_msg("%s has no %s", j->h.editor.name, key);
    return NULL;
}

static void read_settings(job *j) {
    char oracle[640];
    er_arch arch;
    OK(er_arch_read(&arch, path_in(j, "model/config.json")));
    OK(er_hparams_resolve(&j->h, &arch, "reference"));
    OK(er_hparams_merge_file(&j->h, path_in(j, "hparams.json"), er_editor_settings_at));
    OK(er_npz_open(&j->memit, path_in(j, "oracle.npz")));
    (void)snprintf(oracle, sizeof oracle, TEST_DATA "/golden/editors/%s.npz", j->name);
    OK(er_npz_open(&j->oracle, oracle));
}

static void job_open(job *j, const char *name) {
    er_device_options any = ER_DEVICE_OPTIONS_DEFAULT;
    er_templates *t = NULL;
    er_npy z;
    *j = (job){.name = name};
    OK(er_device_open(&j->dev, &any));
    read_settings(j);
    OK(er_model_open(&j->m, j->dev, path_in(j, "model"),
        &(er_model_options){.editable = j->h.layers, .n_editable = j->h.n_layers}));
    OK(er_facts_read(&j->facts, path_in(j, "facts.jsonl"), &(er_facts_options){0}));
    OK(er_templates_read(&t, path_in(j, "templates.json")));
    j->h.n_prefixes = t->count;
    OK(er_requests_build(&j->requests, j->facts, j->m, &j->h, t));
    er_templates_free(t);
    OK(er_statistics_import(j->c, j->m, j->h.layers, j->h.n_layers, path_in(j, "stats")));
    for (size_t i = 0; i < j->h.n_layers; i++)
        OK(er_second_moment_create(&j->history[i], j->dev, j->m->arch.d_ff));
    OK(er_npz_read(&z, j->memit, "z"));
    assert_int_equal(z.elements, j->requests->count * j->m->arch.hidden);
    assert_non_null(j->z = calloc(z.elements, sizeof *j->z));
    for (size_t i = 0; i < z.elements; i++) j->z[i] = (float)((const double *)z.data)[i];
    er_npy_free(&z);
}

static void job_close(job *j) {
    er_statistics_free(j->c, j->h.n_layers, j->dev);
    for (size_t i = 0; i < j->h.n_layers; i++) er_second_moment_free(j->dev, j->history[i]);
    er_npz_close(j->memit);
    er_npz_close(j->oracle);
    er_requests_free(j->requests);
    er_facts_free(j->facts);
    er_model_free(j->m);
    er_device_close(j->dev);
    free(j->z);
}

typedef struct watch {
    job *j;
    const char *answer;  // the oracle's name for what is being done
    double worst;
    size_t layers;
} watch;

static void compare(void *ctx, size_t layer, const double *keys, const double *current, const double *dw,
    size_t n, size_t d_in, size_t d_out) {
    (void)keys, (void)current, (void)n;
    watch *w = ctx;
    char member[64];
    er_npy want;
    double off = 0, size = 0;
    w->layers++;
    if (!w->answer) return;
    (void)snprintf(member, sizeof member, "%s.dW.%zu", w->answer, layer);
    OK(er_npz_read(&want, w->j->oracle, member));
    assert_int_equal(want.type, ER_NPY_F4);
    assert_int_equal(want.elements, d_out * d_in);
    for (size_t i = 0; i < want.elements; i++) {
        double theirs = (double)((const float *)want.data)[i];
        off += (dw[i] - theirs) * (dw[i] - theirs), size += theirs * theirs;
    }
    off = sqrt(off / size);
    if (!(off <= SAME)) fail_msg("%s: %s is off by %.3g, bound %.3g", w->j->name, member, off, SAME);
    if (off > w->worst) w->worst = off;
    er_npy_free(&want);
}

// Facts [first, first + n) on the model as it is; `answer` NULL: nothing is compared.
static void edit(job *j, const char *editor, const char *answer, size_t first, size_t n, er_apply_report *r) {
    er_requests part = *j->requests;
    watch w = {.j = j, .answer = answer};
    const er_editor *e = er_editor_find(editor);
    part.at += first, part.count = n;
    OK(er_apply_edits(r, j->m,
        &(er_apply){.editor = e,
            .requests = &part,
            .z = j->z + first * j->m->arch.hidden,
            .c = j->c,
            .history = e->keeps_history ? j->history : NULL,
            .h = &j->h,
            .observer = &(er_apply_observer){compare, &w}}));
    assert_int_equal(w.layers, j->h.n_layers);
    if (answer) print_message("%-6s %-22s dW off by %.1e\n", j->name, answer, w.worst);
}

// All facts in one job.
static void one_job(const char *name, const char *editor, const char *answer, bool hard) {
    job j;
    er_apply_report r;
    job_open(&j, name);
    choose(&j, editor);
    if (hard) *own(&j, "emmet_lambda") = 0;
    edit(&j, editor, answer, 0, j.requests->count, &r);
    for (size_t i = 0; !strcmp(editor, "alphaedit") && i < j.h.n_layers; i++) {
        char member[32];
        (void)snprintf(member, sizeof member, "rank.%zu", j.h.layers[i]);
        assert_int_equal(r.layer[i].rank, (size_t)number(&j, member));
    }
    job_close(&j);
}

// Two jobs, the second on what the first left: its own edit and the keys in the history.
static void two_jobs(const char *name, const char *editor, const char *answer, bool per_row) {
    job j;
    er_apply_report r;
    job_open(&j, name);
    choose(&j, editor);
    j.h.key_per_prompt = per_row;
    size_t first = (size_t)number(&j, "first");
    edit(&j, editor, NULL, 0, first, &r);
    for (size_t i = 0; i < j.h.n_layers; i++) assert_true(j.history[i]->count >= first);
    edit(&j, editor, answer, first, j.requests->count - first, &r);
    job_close(&j);
}

// One fact and the last layer alone: ROME's update r (C^-1 k)^T / (k^T C^-1 k), which no lambda changes.
static void one_fact(const char *name) {
    job j;
    er_apply_report r;
    job_open(&j, name);
    size_t last = j.h.n_layers - 1;
    er_second_moment *c = j.c[0];
    choose(&j, "emmet");
    *own(&j, "update_norm_lambda") = 0;
    j.c[0] = j.c[last], j.c[last] = c;
    j.h.layers[0] = j.h.layers[last], j.h.n_layers = 1;
    edit(&j, "emmet", "rome", 0, 1, &r);
    j.h.n_layers = last + 1;
    job_close(&j);
}

static void check(const char *name) {
    one_job(name, "emmet", "emmet.soft", false);
    one_job(name, "emmet", "emmet.hard", true);
    one_job(name, "alphaedit", "alphaedit", false);
    one_fact(name);
    two_jobs(name, "alphaedit", "alphaedit_seq", false);
    two_jobs(name, "memit_seq", "memit_seq", false);
    two_jobs(name, "alphaedit", "per_row.alphaedit_seq", true);
    two_jobs(name, "memit_seq", "per_row.memit_seq", true);
}

static void gpt2(void **state) {
    (void)state;
    check("gpt2");
}
static void llama_with_bos(void **state) {
    (void)state;
    check("llama");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gpt2), cmocka_unit_test(llama_with_bos)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
