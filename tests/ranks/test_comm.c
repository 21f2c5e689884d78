// The communicator: alone, and as ranks in threads of this process; and an edit shared by ranks is the edit
// of one.
#include <pthread.h>

#include "engine/editors/editor.h"
#include "io/base/log.h"
#include "tests/support/letter_requests.h"
#include "tests/support/thread_comm.h"

static void test_shares(void **state) {
    (void)state;
    for (size_t size = 1; size <= 7; size++)
        for (size_t n = 0; n < 20; n++) {
            size_t next = 0, least = n, most = 0;
            for (size_t r = 0; r < size; r++) {
                size_t first = 99, count = 99;
                er_comm_share(&(er_comm){.rank = r, .size = size}, n, &first, &count);
                assert_int_equal(first, next);
                next += count;
                least = count < least ? count : least, most = count > most ? count : most;
            }
            assert_int_equal(next, n);
            assert_true(most - least <= 1);
        }
}

static void test_alone(void **state) {
    (void)state;
    const er_comm *c = er_comm_self();
    double x[] = {1.5, -2};
    OK(er_comm_sum_host(c, x, 2));
    NEAR(x[0], 1.5, 0);
    OK(er_comm_agree(c, ER_OK, "stopped"));
    (void)er_fail(ER_ENUMERIC, "layer 3");
    FAILS(er_comm_agree(c, ER_ENUMERIC, "stopped"), ER_ENUMERIC, "layer 3");
}

// ---- an edit shared by ranks ----

enum { LAYERS = 3 };
typedef struct job {
    const er_comm *comm;
    const er_editor *editor;
    bool per_prompt;
    lettered x;
    er_second_moment *c[LAYERS], *history[LAYERS];
    float *z;
    double *dw[LAYERS];
    size_t seen, fails_at;  // fails_at: the call of `filter` that fails; 0: none
    er_apply_report report;
    er_status rc;
    char message[256];
} job;

static void see(void *ctx, size_t layer, const double *keys, const double *current, const double *dw,
    size_t n, size_t d, size_t o) {
    job *j = ctx;
    (void)layer, (void)keys, (void)current, (void)n;
    j->dw[j->seen] = malloc(o * d * sizeof(double));
    memcpy(j->dw[j->seen++], dw, o * d * sizeof(double));
}

// Every rank has a model of its own; statistics, targets and facts are the same.
static void job_open(job *j) {
    uint64_t seed = 3;
    lettered_open(&j->x, "gpt2_prefixed", true, letter_facts);
    j->x.h.n_layers = LAYERS;
    for (size_t l = 0; l < LAYERS; l++) j->x.h.layers[l] = l;
    j->x.h.lambda = 0.3, j->x.h.key_per_prompt = j->per_prompt;
    j->x.h.own[0] = 0.4, j->x.h.own[1] = 0.03;  // L2 and nullspace_threshold
    size_t d = j->x.m->arch.d_ff, o = j->x.m->arch.hidden;
    double *c = calloc(d * d, sizeof *c), *v = calloc(d, sizeof *v);
    for (size_t l = 0; l < LAYERS; l++) {
        memset(c, 0, d * d * sizeof *c);
        for (size_t t = 0; t < 3 * d; t++) {
            for (size_t i = 0; i < d; i++) v[i] = 0.3 * test_uniform(&seed);
            for (size_t i = 0; i < d * d; i++) c[i] += v[i / d] * v[i % d];
        }
        OK(er_second_moment_create(&j->c[l], j->x.dev, d));
        OK(j->x.dev->op->upload(j->x.dev, j->c[l]->sum, c, d * d * sizeof *c));
        j->c[l]->count = 3 * d;
        OK(er_second_moment_create(&j->history[l], j->x.dev, d));
    }
    j->z = malloc(j->x.requests->count * o * sizeof *j->z);
    for (size_t i = 0; i < j->x.requests->count * o; i++) j->z[i] = (float)(1.5 * test_uniform(&seed));
    free(c);
    free(v);
}

static void job_close(job *j) {
    for (size_t l = 0; l < LAYERS; l++) {
        er_second_moment_free(j->x.dev, j->c[l]);
        er_second_moment_free(j->x.dev, j->history[l]);
        free(j->dw[l]);
    }
    free(j->z);
    lettered_close(&j->x);
}

static void *job_run(void *ctx) {
    job *j = ctx;
    er_apply a = {.editor = j->editor,
        .requests = j->x.requests,
        .z = j->z,
        .c = j->c,
        .history = j->editor && j->editor->keeps_history ? j->history : NULL,
        .h = &j->x.h,
        .comm = j->comm,
        .observer = &(er_apply_observer){see, j}};
    j->rc = er_apply_edits(&j->report, j->x.m, &a);
    (void)snprintf(j->message, sizeof j->message, "%s", j->rc == ER_OK ? "" : er_last_error());
    return NULL;
}

static double distance(const double *a, const double *b, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) d += (a[i] - b[i]) * (a[i] - b[i]), s += b[i] * b[i];
    return sqrt(d / s);
}

static void run_ranks(job *j, size_t size, thread_comms *t) {
    pthread_t thread[THREAD_RANKS];
    (void)t;
    for (size_t r = 0; r < size; r++) assert_int_equal(pthread_create(&thread[r], NULL, job_run, &j[r]), 0);
    for (size_t r = 0; r < size; r++) assert_int_equal(pthread_join(thread[r], NULL), 0);
}

static void check_ranks(const char *editor, bool per_prompt, size_t size) {
    job alone = {.editor = er_editor_find(editor), .per_prompt = per_prompt}, j[THREAD_RANKS];
    const er_comm *comm[THREAD_RANKS];
    thread_comms *t = NULL;
    OK(thread_comms_create(&t, comm, size, 60));
    job_open(&alone);
    (void)job_run(&alone);
    if (alone.rc != ER_OK) fail_msg("%s: %s", editor, alone.message);
    size_t n = alone.x.m->arch.d_ff * alone.x.m->arch.hidden;
    for (size_t r = 0; r < size; r++) {
        j[r] = (job){.comm = comm[r], .editor = alone.editor, .per_prompt = per_prompt};
        job_open(&j[r]);
    }
    run_ranks(j, size, t);
    for (size_t r = 0; r < size; r++) {
        if (j[r].rc != ER_OK) fail_msg("%s: rank %zu: %s", editor, r, j[r].message);
        NEAR(j[r].report.residual_left, alone.report.residual_left, 1e-5);
        for (size_t l = 0; l < LAYERS; l++) {
            // The first layer differs by reordered sums, later ones by what rounding of the edited weights
            // makes of that.
            BELOW(distance(j[r].dw[l], alone.dw[l], n), l ? 1e-5 : 1e-10);
            if (memcmp(j[r].dw[l], j[0].dw[l], n * sizeof(double)) != 0)
                fail_msg("%s: ranks 0 and %zu of %zu differ at layer %zu by %.3g", editor, r, size, l,
                    distance(j[r].dw[l], j[0].dw[l], n));
        }
    }
    for (size_t r = 0; r < size; r++) job_close(&j[r]);
    job_close(&alone);
    thread_comms_free(t);
}

static void test_an_edit_by_ranks(void **state) {
    (void)state;
    const char *const editors[] = {"memit", "memit_seq", "alphaedit"};
    for (size_t e = 0; e < 3; e++)
        for (size_t size = 2; size <= 3; size++) check_ranks(editors[e], size == 2, size);
    check_ranks("memit", true, 8);  // more ranks than subjects: one has none
    check_ranks("emmet", false, 2);
}

// One rank's failure ends all with its message; so does a stop that one was asked for; a rank that is missing
// is named.
static er_status refuse(const er_site_edit *e, er_normal *s) {
    (void)s;
    return e->index == 1 ? er_fail(ER_ENUMERIC, "rank one refuses") : er_memit_system(e, s);
}

static void test_failures_are_shared(void **state) {
    (void)state;
    static const er_editor refusing = {.name = "refusing", .alg_name = "x", .system = refuse};
    for (int how = 0; how < 3; how++) {
        job j[2];
        const er_comm *comm[THREAD_RANKS];
        thread_comms *t = NULL;
        OK(thread_comms_create(&t, comm, 2, how == 2 ? 0 : 60));
        for (size_t r = 0; r < 2; r++) {
            j[r] = (job){.comm = comm[r], .editor = how == 0 && r ? &refusing : er_editor_at(0)};
            job_open(&j[r]);
        }
        if (how == 1) thread_comms_stop(t, 1);
        run_ranks(j, how == 2 ? 1 : 2, t);
        for (size_t r = 0; r < (how == 2 ? 1 : 2); r++) {
            assert_int_equal(j[r].rc, how == 0 ? ER_ENUMERIC : how == 1 ? ER_EINTERRUPTED : ER_EDEVICE);
            const char *part = how == 0   ? "layer 1: rank one refuses"
                               : how == 1 ? "interrupted in solve"
                                          : "in agree for rank 1";
            if (!strstr(j[r].message, part)) fail_msg("'%s' lacks '%s'", j[r].message, part);
        }
        for (size_t r = 0; r < 2; r++) job_close(&j[r]);
        thread_comms_free(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares), cmocka_unit_test(test_alone),
        cmocka_unit_test(test_an_edit_by_ranks), cmocka_unit_test(test_failures_are_shared)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
