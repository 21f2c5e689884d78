// A host program that asks a job to stop from another thread, again and again, and in the end lets it finish:
// to the bits of an unbroken job, with nothing left behind, and with the host's handlers and masks as they
// were.
#include "engine/job/job.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "io/base/log.h"
#include "io/base/signals.h"
#include "tests/io/scratch.h"

#define MODEL SOURCE_ROOT "/examples/world"
enum { TRIES = 8 };

static er_job_options job(const char *out, const char *cache) {
    er_job_options o = ER_JOB_OPTIONS_DEFAULT;
    o.model = MODEL, o.facts = MODEL "/facts_80.jsonl", o.out = out, o.cache = cache;
    o.limit = 8, o.steps = 4, o.cov_tokens = 2000, o.batch_tokens = 64;
    o.deterministic = true;
    o.device.threads = 1;
    return o;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *ask_later(void *after) {
    double s = *(double *)after;
    (void)nanosleep(
        &(struct timespec){.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)}, NULL);
    er_stop_request();
    return NULL;
}

static bool partial_in(const char *dir) {
    bool found = false;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) found |= strstr(e->d_name, ".partial-") != NULL;
    if (d) closedir(d);
    return found;
}

static void same_weights(const char *a, const char *b) {
    char *bytes = NULL, path[1024];
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s/model.safetensors", a);
    OK(er_file_read(&bytes, &n, path, 1 << 26));
    (void)snprintf(path, sizeof path, "%s/model.safetensors", b);
    file_holds(path, bytes, n);
    free(bytes);
}

static void test_asked_from_another_thread(void **state) {
    (void)state;
    char whole[512], broken[512], cache[512];
    er_job_report *r = NULL;
    uint64_t seed = 11;
    size_t stopped = 0;
    (void)snprintf(whole, sizeof whole, "%s", in_scratch("whole"));
    (void)snprintf(broken, sizeof broken, "%s", in_scratch("broken"));
    (void)snprintf(cache, sizeof cache, "%s", in_scratch("cache"));
    er_job_options o = job(whole, in_scratch("cache-whole")), b = job(broken, cache);
    double begin = seconds();
    OK(er_job_edit(&r, &o));
    er_job_report_free(r);
    double took = seconds() - begin;
    for (int i = 0; i < TRIES; i++) {
        pthread_t t;
        double after = took * (test_uniform(&seed) + 1) / 2;
        assert_int_equal(pthread_create(&t, NULL, ask_later, &after), 0);
        er_status rc = er_job_edit(&r, &b);
        assert_int_equal(pthread_join(t, NULL), 0);
        er_stop_clear();
        assert_false(partial_in(scratch_dir));
        assert_false(partial_in(cache));
        if (rc == ER_OK) {  // the question came too late
            er_job_report_free(r);
            same_weights(whole, broken);
            OK(er_remove_tree(broken));
            continue;
        }
        stopped++;
        assert_int_equal(rc, ER_EINTERRUPTED);
        assert_non_null(strstr(er_last_error(), "interrupted in "));
        assert_false(er_dir_exists(broken));
    }
    assert_true(stopped >= 1);
    OK(er_job_edit(&r, &b));
    er_job_report_free(r);
    same_weights(whole, broken);
}

static void handler_of_the_host(int signal_number) { (void)signal_number; }

static void test_host_keeps_its_signals(void **state) {
    (void)state;
    struct sigaction before[32], after, act = {.sa_handler = handler_of_the_host};
    sigset_t mask_before, mask_after;
    er_job_report *r = NULL;
    (void)sigaction(SIGTERM, &act, NULL);
    for (int s = 1; s < 32; s++) (void)sigaction(s, NULL, &before[s]);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask_before);
    er_job_options o = job(in_scratch("kept"), in_scratch("cache-whole"));
    OK(er_job_edit(&r, &o));
    er_job_report_free(r);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask_after);
    for (int s = 1; s < 32; s++) {
        (void)sigaction(s, NULL, &after);
        assert_true(after.sa_handler == before[s].sa_handler);
        assert_int_equal(sigismember(&mask_before, s), sigismember(&mask_after, s));
    }
    assert_false(er_signals_blocked());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asked_from_another_thread), cmocka_unit_test(test_host_keeps_its_signals)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
