// Columns of the solve (scaled_scatter, residual, syrk_f64, symmetrise, row_norm) against loops in double
// precision, and what a device that runs behind offers: pinned memory, marks, uploads that have taken their
// source.
#include <float.h>
#include "tests/ops/checks.h"

void test_scaled_scatter(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++)
        for (int indexed = 0; indexed < 2; indexed++)
            if (cases_rows[i].tokens * cases_rows[i].width < 60000)
                op_scaled_scatter(cases_rows[i].tokens, cases_rows[i].width, 5, indexed);
}

void test_residual(void **state) {
    (void)state;
    const size_t shapes[][2] = {{0, 4}, {3, 0}, {1, 1}, {4, 33}, {7, 128}, {33, 97}};
    for (size_t s = 0; s < N_CASES(shapes); s++) op_residual(shapes[s][0], shapes[s][1], 4);
}

void test_syrk_f64(void **state) {
    (void)state;
    const size_t shapes[][2] = {{0, 3}, {1, 1}, {3, 0}, {31, 5}, {33, 64}, {65, 17}, {130, 40}};
    for (size_t s = 0; s < N_CASES(shapes); s++)
        for (int beta = 0; beta < 2; beta++)
            if (shapes[s][1] || beta) op_syrk_f64(shapes[s][0], shapes[s][1], beta);
}

// Uploads larger than any stage, each source overwritten at once; what is downloaded later is there at its
// mark.
void test_behind(void **state) {
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

void test_memory_told(void **state) {
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
