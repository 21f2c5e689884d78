// Columns of the solve (scaled_scatter, residual, syrk_f64, symmetrise, row_norm) against loops in double
// precision, and what a device that runs behind offers: pinned memory, marks, uploads that have taken their
// source.
#include <float.h>
#include "tests/support/guard.h"
#include "tests/support/parity_cases.h"
#include "tests/support/ref_ops.h"
#include "tests/test.h"

static er_device *dev;

static double f64_error(const double *dev_x, const double *want, size_t n) {
    double *got = malloc((n + 1) * sizeof *got), off = 0, size = 1e-300;
    assert_non_null(got);
    guard_get(dev, got, dev_x, n * sizeof *got);
    for (size_t i = 0; i < n; i++) off += pow(got[i] - want[i], 2), size += want[i] * want[i];
    free(got);
    return sqrt(off / size) / DBL_EPSILON;
}

static void one_rows_f64(size_t n, size_t width, bool indexed) {
    enum { TARGETS = 5 };
    uint64_t seed = n * 31 + width;
    double *x = test_doubles(&seed, n * width, 2), *scale = test_doubles(&seed, n, 1);
    size_t rows = indexed ? TARGETS : n;
    double *want = test_doubles(&seed, rows * width, 3);
    double *dst = guard_put(dev, want, rows * width * sizeof *want);
    int32_t *index = calloc(n + 1, sizeof *index);
    assert_non_null(index);
    // Runs of equal indices, one skipped, and the first target met again at the end.
    for (size_t i = 0; i < n; i++) index[i] = i == 3 ? -1 : i + 1 == n ? 0 : (int32_t)(i / 3 % TARGETS);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++) {
            double v = scale[i] * x[i * width + j];
            if (!indexed) want[i * width + j] = v;
            else if (index[i] >= 0) want[(size_t)index[i] * width + j] += v;
        }
    OK(dev->op->scaled_scatter(dev, dst, guard_put_narrow(dev, x, n * width), guard_put_narrow(dev, scale, n),
        indexed ? guard_put(dev, index, n * sizeof *index) : NULL, n, width));
    BELOW(f64_error(dst, want, rows * width), 4);
    guard_end(dev);
    free(x), free(scale), free(want), free(index);
}

static void test_rows_f64(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++)
        for (int indexed = 0; indexed < 2; indexed++)
            if (cases_rows[i].tokens * cases_rows[i].width < 60000)
                one_rows_f64(cases_rows[i].tokens, cases_rows[i].width, indexed);
}

static void test_residual_rows(void **state) {
    (void)state;
    const size_t shapes[][2] = {{0, 4}, {3, 0}, {1, 1}, {4, 33}, {7, 128}, {33, 97}};
    enum { REQUESTS = 4 };
    for (size_t s = 0; s < N_CASES(shapes); s++) {
        size_t rows = shapes[s][0], width = shapes[s][1], n = rows * width;
        uint64_t seed = s + 1;
        double *h_orig = test_doubles(&seed, n, 5), *h_cur = test_doubles(&seed, n, 5),
               *z = test_doubles(&seed, REQUESTS * width, 5),
               *z_start = test_doubles(&seed, REQUESTS * width, 5), *scale = test_doubles(&seed, rows, 1),
               *want = test_doubles(&seed, n, 0);
        int32_t request[64];
        for (size_t i = 0; i < rows; i++) request[i] = (int32_t)(i * 3 % REQUESTS);
        for (size_t i = 0; i < n; i++) {
            size_t u = (size_t)request[i / width] * width + i % width;
            want[i] = scale[i / width] * (h_orig[i] + z[u] - z_start[u] - h_cur[i]);
        }
        double *r = guard_alloc(dev, n * sizeof *r);
        er_residual p = {rows, width, guard_put_narrow(dev, h_orig, n), guard_put_narrow(dev, h_cur, n),
            guard_put_narrow(dev, z, REQUESTS * width), guard_put_narrow(dev, z_start, REQUESTS * width),
            guard_put(dev, request, rows * sizeof *request), guard_put_narrow(dev, scale, rows)};
        OK(dev->op->residual(dev, r, &p));
        BELOW(f64_error(r, want, n), 8);
        guard_end(dev);
        free(h_orig), free(h_cur), free(z), free(z_start), free(scale), free(want);
    }
}

// On and below the diagonal; above it whatever stood there may stand, until it is mirrored.
static void test_syrk_and_symmetrise(void **state) {
    (void)state;
    const size_t shapes[][2] = {{0, 3}, {1, 1}, {3, 0}, {31, 5}, {33, 64}, {65, 17}, {130, 40}};
    for (size_t s = 0; s < N_CASES(shapes); s++)
        for (int beta = 0; beta < 2; beta++) {
            size_t n = shapes[s][0], k = shapes[s][1], lda = n + 3;
            if (!k && !beta) continue;
            uint64_t seed = s + 9;
            double *a = test_doubles(&seed, k * lda, 1), *want = test_doubles(&seed, n * n, 4);
            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < i; j++) want[j * n + i] = want[i * n + j];
            double *c = beta ? guard_put(dev, want, n * n * 8) : guard_alloc(dev, n * n * 8);
            OK(dev->op->syrk_f64(dev, n, k, 0.5, guard_put(dev, a, k * lda * 8), lda, beta, c));
            OK(dev->op->symmetrise(dev, c, n));
            ref_gemm(true, false, n, n, k, 0.5, a, lda, a, lda, beta, want, n);
            BELOW(f64_error(c, want, n * n), 4 + sqrt((double)k));
            guard_end(dev);
            free(a), free(want);
        }
}

static void test_row_norm(void **state) {
    (void)state;
    for (size_t s = 0; s < N_CASES(cases_rows); s++) {
        size_t rows = cases_rows[s].tokens, width = cases_rows[s].width;
        uint64_t seed = s;
        double *x = test_doubles(&seed, rows * width, 3), *want = test_doubles(&seed, rows, 0);
        for (size_t i = 0; i < rows; i++) {
            want[i] = 0;
            for (size_t j = 0; j < width; j++) want[i] += pow(x[i * width + j], 2);
            want[i] = sqrt(want[i]);
        }
        float *out = guard_alloc(dev, rows * 4);
        OK(dev->op->row_norm(dev, out, guard_put_narrow(dev, x, rows * width), rows, width));
        if (width) BELOW(guard_error(dev, out, want, rows), 1);
        guard_end(dev);
        free(x), free(want);
    }
}

// Uploads larger than any stage, each source overwritten at once; what is downloaded later is there at its
// mark.
static void test_behind(void **state) {
    (void)state;
    enum { N = 5 << 20 };
    unsigned char *source = malloc(N);
    void *pinned = NULL, *second = NULL;
    assert_non_null(source);
    OK(dev->op->alloc_host(dev, &pinned, N));
    OK(dev->op->alloc_host(dev, &second, 16));
    unsigned char *at = guard_alloc(dev, N), *small = guard_alloc(dev, 16);
    for (size_t i = 0; i < N; i++) source[i] = (unsigned char)(i * 7 + i / 251);
    OK(dev->op->upload(dev, at, source, N));
    memset(source, 0, N);
    for (int round = 0; round < 300; round++) {
        unsigned char few[16];
        memset(few, round & 255, sizeof few);
        OK(dev->op->upload(dev, small, few, sizeof few));
        OK(dev->op->download_async(dev, second, small, sizeof few));
        if (round != 200) continue;
        OK(dev->op->event_record(dev, 1));
        OK(dev->op->event_wait(dev, 1));
        assert_int_equal(((unsigned char *)second)[15], 200);
    }
    OK(dev->op->download_async(dev, pinned, at, N));
    OK(dev->op->event_record(dev, ER_EVENTS - 1));
    OK(dev->op->event_wait(dev, ER_EVENTS - 1));
    for (size_t i = 0; i < N; i++)
        assert_int_equal(((unsigned char *)pinned)[i], (unsigned char)(i * 7 + i / 251));
    assert_int_equal(((unsigned char *)second)[0], 299 & 255);
    dev->op->release_host(dev, pinned);
    dev->op->release_host(dev, second);
    dev->op->release_host(dev, NULL);
    guard_end(dev);
    free(source);
}

static void test_memory_told(void **state) {
    (void)state;
    enum { PART = 64 << 20 };
    size_t before = 0, after = 0, total = 0;
    void *p = NULL, *q = NULL;
    er_device *d = NULL;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    o.memory_limit = (size_t)192 << 20;
    OK(er_device_open(&d, &o));
    OK(d->op->memory(d, &before, &total));
    assert_int_equal(total, o.memory_limit);
    assert_true(before > 0 && before <= total);
    OK(d->op->alloc(d, &p, PART));
    OK(d->op->memory(d, &after, &total));
    if (d->is_async) {  // a CPU's memory is the host's: told, but not counted
        assert_true(after <= before - PART);
        FAILS(d->op->alloc(d, &q, 2 * PART), ER_ENOMEM, "allowed");
        d->op->release(d, p);
        OK(d->op->alloc(d, &p, PART + PART / 2));
    }
    d->op->release(d, p);
    er_device_close(d);
}

static int open_device(void **state) {
    (void)state;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    OK(er_device_open(&dev, &o));
    return 0;
}
static int close_device(void **state) {
    (void)state;
    er_device_close(dev);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_f64), cmocka_unit_test(test_residual_rows),
        cmocka_unit_test(test_syrk_and_symmetrise), cmocka_unit_test(test_row_norm),
        cmocka_unit_test(test_behind), cmocka_unit_test(test_memory_told)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
