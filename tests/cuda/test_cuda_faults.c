// What only the shim can show: the same bits under every order of threads, each device call failing in turn
// without a leak, and that bugs planted on purpose are seen.
#include "kernels/cuda/cuda.h"
#include "tests/cuda/dies.h"
#include "tests/cuda/seeded_bugs.h"
#include "tests/cuda_shim/shim.h"
#include "tests/test.h"

enum { ROWS = 6, WIDTH = 72, N = ROWS * WIDTH };
typedef struct results {
    float y[N], dx[N], sum[N], logits[N], loss[ROWS], delta[N], total[ROWS];
    int32_t hit[ROWS], done[ROWS];
} results;

typedef struct buffers {  // [dev], in one allocation each
    float *x, *w, *y, *stats, *dx, *sum, *logits, *weight, *loss, *delta, *m, *v, *z0, *total;
    int32_t *index, *hit, *start, *step, *done;
} buffers;

static const int32_t targets[ROWS] = {2, 0, 2, 2, -1, 5}, starts[ROWS + 1] = {0, 1, 2, 3, 4, 5, 6},
                     steps[ROWS] = {0};

// One buffer on the device, filled from the host or, without `from`, with zeros.
static er_status put(er_device *d, void *at, const void *from, size_t bytes) {
    er_status rc = ER_OK;
    void *p = NULL;
    ER_TRY(d->op->alloc(d, &p, bytes));
    if (from) ER_TRY(d->op->upload(d, p, from, bytes));
    else ER_TRY(d->op->zero(d, p, bytes));
    memcpy(at, &p, sizeof p);
    p = NULL;
out:
    d->op->release(d, p);
    return rc;
}

static er_status prepare(er_device *d, buffers *b, const float *x) {
    er_status rc = ER_OK;
    float **zeroed[] = {&b->y, &b->dx, &b->sum, &b->delta, &b->m, &b->v};
    for (size_t i = 0; i < sizeof zeroed / sizeof *zeroed; i++) ER_TRY(put(d, zeroed[i], NULL, N * 4));
    ER_TRY(put(d, &b->x, x, N * 4));
    ER_TRY(put(d, &b->w, x + 5, WIDTH * 4));
    ER_TRY(put(d, &b->logits, x, N * 4));
    ER_TRY(put(d, &b->stats, NULL, 2 * ROWS * 4));
    ER_TRY(put(d, &b->weight, x + 9, ROWS * 4));
    ER_TRY(put(d, &b->z0, x + 20, ROWS * 4));
    ER_TRY(put(d, &b->loss, NULL, ROWS * 4));
    ER_TRY(put(d, &b->total, NULL, ROWS * 4));
    ER_TRY(put(d, &b->hit, NULL, ROWS * 4));
    ER_TRY(put(d, &b->done, NULL, ROWS * 4));
    ER_TRY(put(d, &b->step, steps, sizeof steps));
    ER_TRY(put(d, &b->start, starts, sizeof starts));
    ER_TRY(put(d, &b->index, targets, sizeof targets));
out:
    return rc;
}

static er_status compute(er_device *d, const buffers *b) {
    er_status rc = ER_OK;
    const er_device_ops *op = d->op;
    er_label_loss l = {ROWS, WIDTH, b->logits, b->index, b->start, b->sum, b->weight, b->loss, b->hit, true};
    er_delta_step p = {ROWS, WIDTH, 5, 0.1f, 0.5f, 0.75f, -1e9f, b->delta, b->m, b->v, b->logits, b->z0,
        b->loss, b->weight, b->start, b->step, b->total, b->done};
    er_norm_args norm = {ER_LAYER_NORM, ROWS, WIDTH, b->x, b->w, b->w, 1e-5f};
    er_qk_norm_args qk = {ER_RMS_NORM, ROWS, 1, WIDTH, WIDTH, b->w, NULL, 1e-5f};
    ER_TRY(op->norm(d, &norm, b->y, b->stats));
    ER_TRY(op->norm_backward(d, &norm, b->dx, b->y, b->stats));
    ER_TRY(op->qk_norm(d, &qk, b->y));
    ER_TRY(op->qk_norm_backward(d, &qk, b->dx, b->x));
    ER_TRY(op->clip(d, b->y, 1.5f, N));
    ER_TRY(op->clip_backward(d, b->dx, b->x, 0.5f, N));
    ER_TRY(op->activation(d, ER_GELU_NEW, false, b->y, b->x, ROWS, WIDTH));
    ER_TRY(op->add(d, b->y, b->dx, N));
    ER_TRY(op->scatter_add_rows(d, b->sum, b->y, b->index, ROWS, WIDTH));
    ER_TRY(op->log_softmax(d, b->sum, b->sum, ROWS, WIDTH));
    ER_TRY(op->label_loss(d, &l));
    ER_TRY(op->delta_step(d, &p));
out:
    return rc;
}

static er_status collect(er_device *d, const buffers *b, results *r) {
    er_status rc = ER_OK;
    ER_TRY(d->op->download(d, r->y, b->y, N * 4));
    ER_TRY(d->op->download(d, r->dx, b->dx, N * 4));
    ER_TRY(d->op->download(d, r->sum, b->sum, N * 4));
    ER_TRY(d->op->download(d, r->logits, b->logits, N * 4));
    ER_TRY(d->op->download(d, r->loss, b->loss, ROWS * 4));
    ER_TRY(d->op->download(d, r->delta, b->delta, N * 4));
    ER_TRY(d->op->download(d, r->total, b->total, ROWS * 4));
    ER_TRY(d->op->download(d, r->hit, b->hit, ROWS * 4));
    ER_TRY(d->op->download(d, r->done, b->done, ROWS * 4));
out:
    return rc;
}

static float input[N];
static results got;  // outlives the device: a failed sync leaves copies to it queued

static er_status job(void) {
    er_status rc = ER_OK;
    er_device *d = NULL;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    buffers b = {0};
    void *all[sizeof b / sizeof(void *)];
    ER_TRY(er_cuda_open(&d, &o));
    ER_TRY(prepare(d, &b, input));
    ER_TRY(compute(d, &b));
    ER_TRY(collect(d, &b, &got));
out:
    memcpy(all, &b, sizeof all);
    for (size_t i = 0; d && i < sizeof all / sizeof *all; i++) d->op->release(d, all[i]);
    if (d) d->op->close(d);
    return rc;
}

static void test_schedules(void **state) {
    (void)state;
    const char *orders[] = {"asc", "desc", "1", "2", "3"};
    results first;
    for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
        shim_schedule(orders[k]);
        memset(&got, 0, sizeof got);
        OK(job());
        if (k == 0) first = got;
        assert_memory_equal(&got, &first, sizeof got);
    }
    shim_schedule("asc");
    for (size_t i = 0; i < ROWS; i++)
        assert_true(isfinite(got.loss[i]) && isfinite(got.total[i]) && got.delta[i * WIDTH] != 0);
}

static void test_every_call_fails(void **state) {
    (void)state;
    shim_fail_at(0);
    OK(job());
    long calls = shim_calls();
    assert_true(calls > 50);
    for (long n = 1; n < calls; n++) {  // the last is closing's own wait, of which nobody is left to be told
        shim_fail_at(n);
        er_status rc = job();
        if (rc != ER_ENOMEM && rc != ER_EDEVICE)
            fail_msg("call %ld of %ld failed, the job gave %d: %s", n, calls, (int)rc, er_last_error());
        assert_int_equal(shim_leaks(), 0);
    }
    shim_fail_at(0);
    OK(job());  // and nothing of the failures stays behind
    print_message("%ld device calls, each failed once\n", calls);
}

// ---- planted bugs ----

static er_device *dev;

static void run_bug(const char *which) {
    void *p = NULL, *q = NULL;
    float host[4] = {1, 2, 3, 4};
    if (dev->op->alloc(dev, &p, 4096) || dev->op->alloc(dev, &q, 4096)) return;
    (void)dev->op->zero(dev, q, 4096);
    if (!strcmp(which, "race")) (void)bug_missing_barrier(dev, p, q, N);
    if (!strcmp(which, "divergent")) (void)bug_divergent_barrier(dev, p);
    if (!strcmp(which, "overrun")) (void)bug_static_overrun(dev, p);
    if (!strcmp(which, "default stream")) (void)bug_default_stream(dev, p);
    if (!strcmp(which, "host pointer")) (void)dev->op->add(dev, host, q, 4);
    if (!strcmp(which, "past the end")) (void)dev->op->zero(dev, (char *)q + 4000, 200);
    (void)dev->op->sync(dev);
    if (!strcmp(which, "race")) _exit(1);  // ThreadSanitizer reports it and lets it go on
}

static void test_planted_bugs(void **state) {
    (void)state;
    dies(run_bug, "divergent", "deadlock in block");
    dies(run_bug, "default stream", "not on an explicit stream");
    dies(run_bug, "host pointer", "is not device memory");
    dies(run_bug, "past the end", "run past the end");
#if defined(HAS_ASAN) || defined(HAS_UBSAN)
    dies(run_bug, "overrun", "64");  // "index 64 out of bounds for type 'float [64]'"
#endif
}

#ifdef HAS_TSAN
static void test_missing_barrier(void **state) {
    (void)state;
    dies(run_bug, "race", "data race");
}
#else
static void test_missing_barrier(void **state) {
    (void)state;
    float out[2] = {0, 0};
    void *p = NULL, *x = NULL;
    OK(dev->op->alloc(dev, &p, 4));
    OK(dev->op->alloc(dev, &x, sizeof input));
    OK(dev->op->upload(dev, x, input, sizeof input));
    for (int k = 0; k < 2; k++) {
        shim_schedule(k ? "desc" : "asc");
        assert_int_equal(bug_missing_barrier(dev, p, x, N), 0);
        OK(dev->op->download(dev, &out[k], p, 4));
    }
    shim_schedule("asc");
    assert_true(out[0] != out[1]);
    dev->op->release(dev, p), dev->op->release(dev, x);
}
#endif

// A download that does not wait runs at the next mark awaited and not before: whoever looks too early sees it
// every time. An upload has taken its source, whenever it runs.
static void test_streams_are_lazy(void **state) {
    (void)state;
    void *p = NULL, *pinned = NULL;
    float in[2] = {5, 6};
    OK(dev->op->alloc(dev, &p, 8));
    OK(dev->op->alloc_host(dev, &pinned, 8));
    float *out = pinned;
    out[0] = out[1] = -1;
    OK(dev->op->upload(dev, p, in, 8));
    in[1] = 7;
    OK(dev->op->download_async(dev, out, p, 8));
    OK(dev->op->event_record(dev, 0));
    assert_true(out[0] == -1 && out[1] == -1);
    OK(dev->op->event_wait(dev, 0));
    assert_true(out[0] == 5 && out[1] == 6);
    dev->op->release(dev, p), dev->op->release_host(dev, pinned);
}

static int open_device(void **state) {
    (void)state;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    OK(er_cuda_open(&dev, &o));
    return 0;
}
static int close_device(void **state) {
    (void)state;
    dev->op->close(dev);
    return shim_leaks();
}

int main(void) {
    uint64_t seed = 4;
    for (size_t i = 0; i < N; i++) input[i] = (float)(test_uniform(&seed) + 1.5);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_every_call_fails),
        cmocka_unit_test_setup_teardown(test_planted_bugs, open_device, close_device),
        cmocka_unit_test_setup_teardown(test_missing_barrier, open_device, close_device),
        cmocka_unit_test_setup_teardown(test_streams_are_lazy, open_device, close_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
