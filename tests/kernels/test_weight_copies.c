// What the CPU says that it keeps beside a stored weight, against what the allocator gave.
#include <malloc.h>
#include "kernels/device.h"
#include "tests/test.h"

// Large blocks begin on huge pages; libraries take their few bytes.
enum { SIDE = 4096, ROWS = 4, LIBRARIES = 1 << 16, ALIGNED = (2 << 20) + LIBRARIES };

static double allocated(void) {
    struct mallinfo2 m = mallinfo2();
    return (double)m.uordblks + (double)m.hblkhd;
}

static er_weight *make(er_device *dev, er_dtype t, const void *bytes) {
    er_weight *w = NULL;
    OK(dev->op->weight_create(dev, &w, &(er_weight_spec){bytes, t, SIDE, SIDE, false, false, false}));
    return w;
}

static void grows_as_told(er_device *dev, er_dtype t, const void *bytes, float *x, float *y) {
    double before, grown[2], told[2];
    er_weight *first = make(dev, t, bytes), *w = make(dev, t, bytes);
    // Scratch memory and libraries' own grow with the first product only.
    OK(dev->op->linear(dev, y, x, first, NULL, ROWS, 0));
    OK(dev->op->linear_backward(dev, y, x, first, ROWS, 0));
    before = allocated();
    OK(dev->op->linear(dev, y, x, w, NULL, ROWS, 0));
    grown[0] = allocated() - before;
    OK(dev->op->linear_backward(dev, y, x, w, ROWS, 0));
    grown[1] = allocated() - before - grown[0];
    for (int back = 0; back < 2; back++) {
        told[back] = (double)SIDE * SIDE * (double)dev->op->weight_copy_bits(dev, t, back) / 8;
        NEAR(grown[back], told[back], told[back] > 0 ? ALIGNED : LIBRARIES);
    }
    dev->op->weight_free(dev, first);
    dev->op->weight_free(dev, w);
}

// A sanitizer's allocator does not tell.
static bool tells(void) {
    void *p = malloc((size_t)SIDE * SIDE);
    bool yes = p && allocated() >= (double)SIDE * SIDE;
    free(p);
    return yes;
}

static void copies(void **state) {
    (void)state;
    if (!tells()) skip();
    const er_dtype types[] = {ER_F32, ER_BF16, ER_F16};
    float *x = calloc((size_t)SIDE * ROWS, sizeof *x), *y = calloc((size_t)SIDE * ROWS, sizeof *y);
    void *bytes = calloc((size_t)SIDE * SIDE, 4);
    assert_true(x && y && bytes);
    for (er_precision p = ER_FP32; p <= ER_BF16_COMPUTE; p++) {
        er_device *dev = NULL;
        er_device_options o = {.kind = "cpu", .precision = p, .threads = 2};
        er_status rc = er_device_open(&dev, &o);
        if (p == ER_BF16_COMPUTE && rc == ER_EDEVICE) continue;
        assert_int_equal(rc, ER_OK);
        for (int t = 0; t < 3; t++) grows_as_told(dev, types[t], bytes, x, y);
        er_device_close(dev);
    }
    free(x);
    free(y);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(copies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
