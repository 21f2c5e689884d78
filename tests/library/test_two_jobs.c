// Two jobs in two threads at the same time, of different models, facts, caches, outputs and contexts: each
// gives the bits that it gives alone and hears nothing of the other, and a third thread stops one of them
// without the other noticing. ThreadSanitizer's build runs it.
#include "engine/errata.h"

#include <pthread.h>
#include <semaphore.h>

#include "tests/io/scratch.h"

#define GOLDEN TEST_DATA "/golden/memit/"
#define PROSE SOURCE_ROOT "/examples/prose.txt"
enum { ROUNDS = 3 };

static const char *const prose[] = {PROSE};

typedef struct job {
    const char *name;  // "gpt2" or "llama"
    char model[512], facts[512], out[512], cache[512];
    er_context *context;
    pthread_barrier_t *together;  // met at the first line that is heard, or NULL
    sem_t *values_began;          // posted at the first value, then `go_on` is waited for; or NULL
    sem_t *go_on;
    size_t lines, models, values;
    er_status rc;
    uint64_t edited;
    char error[512];
} job;

static void on_log(void *user, er_log_level level, const char *line) {
    job *j = user;
    (void)level;
    if (!j->lines++ && j->together) (void)pthread_barrier_wait(j->together);
    if (strncmp(line, "model       ", 12)) return;
    j->models += strstr(line, j->model) != NULL;
    if (!strstr(line, j->model)) j->models += 100;  // the other's
}

static void on_progress(void *user, const er_progress_event *e) {
    job *j = user;
    if (strcmp(e->stage, "values") || e->phase != ER_PROGRESS_UPDATE || j->values++ || !j->values_began)
        return;
    (void)sem_post(j->values_began);
    (void)sem_wait(j->go_on);
}

static void set_up(job *j, const char *name, const char *what) {
    memset(j, 0, sizeof *j);
    j->name = name;
    (void)snprintf(j->model, sizeof j->model, GOLDEN "%s/model", name);
    (void)snprintf(j->facts, sizeof j->facts, GOLDEN "%s/facts.jsonl", name);
    (void)snprintf(j->out, sizeof j->out, "%s/%s-%s", scratch_dir, name, what);
    (void)snprintf(j->cache, sizeof j->cache, "%s/cache-%s-%s", scratch_dir, name, what);
    OK(er_context_new(&j->context));
    er_context_on_log(j->context, ER_LOG_INFO, on_log, j);
    er_context_on_progress(j->context, on_progress, j);
}

static void *run(void *of) {
    job *j = of;
    er_edit_report *r = NULL;
    er_edit_options o = ER_EDIT_OPTIONS_INIT;
    o.model = j->model, o.facts = j->facts, o.out = j->out, o.cache = j->cache;
    o.texts = prose, o.n_texts = 1, o.statistics_tokens = 2000;
    o.steps = 12, o.threads = 1, o.device = "cpu", o.flags = ER_DETERMINISTIC | ER_FORCE;
    o.batch_tokens = 1;  // one fact at a time: there is something to stop between
    if (!strcmp(j->name, "llama")) o.limit = 5;
    j->rc = er_edit(&r, j->context, &o);
    (void)snprintf(j->error, sizeof j->error, "%s", er_last_error());
    j->edited = j->rc == ER_OK ? r->facts : 0;
    er_edit_report_free(r);
    return NULL;
}

static void is_as_alone(const job *j) {
    char *bytes = NULL, path[1024];
    size_t n = 0;
    if (j->rc != ER_OK) fail_msg("%s: %s", j->name, j->error);
    (void)snprintf(path, sizeof path, "%s/%s-alone/model.safetensors", scratch_dir, j->name);
    OK(er_file_read(&bytes, &n, path, 1 << 26));
    (void)snprintf(path, sizeof path, "%s/model.safetensors", j->out);
    file_holds(path, bytes, n);
    free(bytes);
    assert_int_equal(j->edited, strcmp(j->name, "llama") ? 8 : 5);
    assert_int_equal(j->models, 1);
    assert_true(j->lines > 6);
    assert_string_equal(j->error, "");
}

// A thread of its own for each job, so that each has a last error of its own.
static void in_threads(job *const *jobs, size_t n) {
    pthread_t t[4];
    for (size_t i = 0; i < n; i++) assert_int_equal(pthread_create(&t[i], NULL, run, jobs[i]), 0);
    for (size_t i = 0; i < n; i++) assert_int_equal(pthread_join(t[i], NULL), 0);
}

static void tidy(job *j) {
    er_context_free(j->context);
    (void)er_remove_tree(j->cache);
}

static int alone(void **state) {
    static const char *const names[] = {"gpt2", "llama"};
    if (scratch_make(state)) return -1;
    for (size_t i = 0; i < 2; i++) {
        job j, *jobs[] = {&j};
        set_up(&j, names[i], "alone");
        in_threads(jobs, 1);
        if (j.rc != ER_OK) fail_msg("%s: %s", names[i], j.error);
        tidy(&j);
    }
    return 0;
}

static void side_by_side(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        job a, b, lost, *jobs[] = {&a, &b, &lost};
        pthread_barrier_t together;
        assert_int_equal(pthread_barrier_init(&together, NULL, 2), 0);
        set_up(&a, "gpt2", "beside");
        set_up(&b, "llama", "beside");
        set_up(&lost, "gpt2", "lost");
        (void)snprintf(lost.model, sizeof lost.model, "/nowhere/%d", round);
        a.together = b.together = &together;
        in_threads(jobs, 3);
        is_as_alone(&a);
        is_as_alone(&b);
        assert_int_equal(lost.rc, ER_ENOENT);  // and neither of the others has its message
        assert_non_null(strstr(lost.error, lost.model));
        tidy(&a), tidy(&b), tidy(&lost);
        (void)pthread_barrier_destroy(&together);
    }
}

typedef struct stopper {
    job *victim;
} stopper;

static void *stop_it(void *of) {
    job *j = ((stopper *)of)->victim;
    (void)sem_wait(j->values_began);
    er_context_stop(j->context);
    (void)sem_post(j->go_on);
    return NULL;
}

static void one_is_stopped(void **state) {
    (void)state;
    job a, b, *jobs[] = {&a, &b};
    pthread_barrier_t together;
    sem_t began, go_on;
    pthread_t third;
    assert_int_equal(pthread_barrier_init(&together, NULL, 2), 0);
    assert_int_equal(sem_init(&began, 0, 0), 0);
    assert_int_equal(sem_init(&go_on, 0, 0), 0);
    set_up(&a, "gpt2", "stopped");
    set_up(&b, "llama", "going-on");
    a.together = b.together = &together;
    a.values_began = &began, a.go_on = &go_on;
    stopper s = {&a};
    assert_int_equal(pthread_create(&third, NULL, stop_it, &s), 0);
    in_threads(jobs, 2);
    assert_int_equal(pthread_join(third, NULL), 0);
    assert_int_equal(a.rc, ER_EINTERRUPTED);
    assert_non_null(strstr(a.error, "interrupted in values"));
    assert_false(er_dir_exists(a.out));
    is_as_alone(&b);

    // The same call goes on, to the bits of an unbroken one, with the values that are kept.
    er_context_resume(a.context);
    a.together = NULL, a.values_began = NULL;
    a.models = a.lines = 0;
    jobs[0] = &a;
    in_threads(jobs, 1);
    is_as_alone(&a);
    tidy(&a), tidy(&b);
    (void)sem_destroy(&began), (void)sem_destroy(&go_on);
    (void)pthread_barrier_destroy(&together);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(side_by_side), cmocka_unit_test(one_is_stopped)};
    return cmocka_run_group_tests(tests, alone, scratch_remove);
}
