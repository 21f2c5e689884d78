// The whole job on a device that fails: an error that says so, nothing leaked, nothing half written, and the
// same command goes on where it was. And a device too small: a smaller batch, then a refusal.
#include "engine/job/job.h"
#include "io/base/log.h"
#include "tests/cuda_shim/shim.h"
#include "tests/io/scratch.h"

#define GOLDEN TEST_DATA "/golden/memit/gpt2/"

static er_job_options job(const char *out, const char *cache) {
    er_job_options o = ER_JOB_OPTIONS_DEFAULT;
    o.model = GOLDEN "model", o.facts = GOLDEN "facts.jsonl", o.hparams = GOLDEN "hparams.json";
    o.templates = GOLDEN "templates.json", o.import = GOLDEN "stats";
    o.out = out, o.cache = cache;
    o.steps = 2, o.layers = "1-2";
    o.deterministic = true;
    o.batch_tokens = 30;  // a few requests at a time, so that some are done when others fail
    o.device.kind = "cuda";
    return o;
}

static er_status run(const er_job_options *o, size_t *cached) {
    er_job_report *r = NULL;
    er_status rc = er_job_edit(&r, o);
    if (rc == ER_OK) *cached = r->targets_cached;
    er_job_report_free(r);
    return rc;
}

static void same_weights(const char *a, const char *b) {
    char path[1024], *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    (void)snprintf(path, sizeof path, "%s/model.safetensors", a);
    OK(er_file_read(&x, &n, path, 1 << 26));
    (void)snprintf(path, sizeof path, "%s/model.safetensors", b);
    OK(er_file_read(&y, &m, path, 1 << 26));
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x), free(y);
}

// From a random call on every call fails, as on a device that fell off the bus. The earlier it dies, the less
// is kept.
static void test_dead_device(void **state) {
    (void)state;
    char whole[512], out[512], cache[512];
    size_t cached = 0, most = 0;
    (void)snprintf(whole, sizeof whole, "%s", in_scratch("whole"));
    (void)snprintf(out, sizeof out, "%s", in_scratch("out"));
    er_job_options o = job(whole, "");
    shim_fail_at(0);
    OK(run(&o, &cached));
    long calls = shim_calls();
    assert_true(calls > 500);
    const double shares[] = {0.001, 0.05, 0.5, 0.8, 0.97};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        (void)snprintf(cache, sizeof cache, "%s%zu", in_scratch("cache"), i);
        o = job(out, cache);
        shim_die_at(1 + (long)(shares[i] * (double)calls));
        er_status rc = run(&o, &cached);
        if (rc != ER_EDEVICE) fail_msg("died at %.3f: status %d: %s", shares[i], (int)rc, er_last_error());
        assert_non_null(strstr(er_last_error(), "failure"));
        assert_int_equal(count_entries(out), -1);
        shim_fail_at(0);
        assert_int_equal(shim_leaks(), 0);
        OK(run(&o, &cached));
        most = cached > most ? cached : most;
        if (shares[i] > 0.9) assert_int_equal(cached, 8);
        same_weights(whole, out);
        OK(er_remove_tree(out));
    }
    assert_true(most == 8);
}

// One call fails and the next would not: the job must still end, and leave nothing.
static void test_one_failure(void **state) {
    (void)state;
    char out[512];
    size_t cached = 0;
    (void)snprintf(out, sizeof out, "%s", in_scratch("once"));
    er_job_options o = job(out, "");
    o.steps = 1, o.limit = 2;
    shim_fail_at(0);
    OK(run(&o, &cached));
    OK(er_remove_tree(out));
    long calls = shim_calls(), step = calls / 40 + 1;
    shim_fail_with(719);  // an error that no smaller batch answers
    for (long n = 1; n <= calls; n += step) {
        shim_fail_at(n);
        er_status rc = run(&o, &cached);
        if (rc == ER_OK) fail_msg("call %ld of %ld failed and nobody noticed", n, calls);
        assert_int_equal(rc, ER_EDEVICE);
        assert_int_equal(count_entries(out), -1);
        shim_fail_at(0);
        assert_int_equal(shim_leaks(), 0);
    }
    shim_fail_with(2);
}

static void test_small_device(void **state) {
    (void)state;
    char out[512];
    size_t cached = 0;
    (void)snprintf(out, sizeof out, "%s", in_scratch("small"));
    er_job_options o = job(out, "");
    o.limit = 2, o.batch_tokens = 0;
    shim_memory((size_t)100 << 20);
    FAILS(run(&o, &cached), ER_ENOMEM, "tokens a step");
    assert_int_equal(count_entries(out), -1);
    shim_memory((size_t)1 << 30);
    o.device.memory_limit = (size_t)310 << 20;
    OK(run(&o, &cached));
    assert_int_equal(shim_leaks(), 0);
}

int main(void) {
    er_log_set_level(ER_LOG_QUIET);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dead_device), cmocka_unit_test(test_one_failure),
        cmocka_unit_test(test_small_device)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
