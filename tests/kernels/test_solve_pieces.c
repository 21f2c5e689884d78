// Factors, right-hand sides and products so large that they are made in pieces: against the matrix itself,
// and a stop that is asked for meanwhile is seen.
#include "io/base/signals.h"
#include "kernels/device.h"
#include "tests/test.h"

enum { N = 2700, SIDES = 3 };  // five pieces and a part of one
static er_device *dev;

// A = B + N I with B symmetric and small: positive definite, and its condition number is below 3.
static double *make_spd(void) {
    double *a = malloc((size_t)N * N * sizeof *a);
    uint64_t seed = 5;
    assert_non_null(a);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++) a[i * N + j] = a[j * N + i] = test_uniform(&seed) * 0.25;
    for (size_t i = 0; i < N; i++) a[i * N + i] += N / 8.0;
    return a;
}

static void times(double *y, const double *a, const double *x) {
    for (size_t i = 0; i < N; i++) {
        y[i] = 0;
        for (size_t j = 0; j < N; j++) y[i] += a[i * N + j] * x[j];
    }
}

static void test_factor_and_solve(void **state) {
    (void)state;
    double *a = make_spd(), *f = malloc((size_t)N * N * sizeof *f), *x = malloc(2 * SIDES * N * sizeof *x),
           *b = x + SIDES * N;
    uint64_t seed = 6;
    memcpy(f, a, (size_t)N * N * sizeof *f);
    for (size_t i = 0; i < SIDES * N; i++) x[i] = test_uniform(&seed);
    for (size_t s = 0; s < SIDES; s++) times(b + s * N, a, x + s * N);
    OK(dev->op->potrf(dev, f, N));
    OK(dev->op->potrs(dev, f, N, b, SIDES));
    for (size_t i = 0; i < SIDES * N; i++) NEAR(b[i], x[i], 1e-12);
    // The first pivot that fails is named wherever its piece begins.
    memcpy(f, a, (size_t)N * N * sizeof *f);
    f[(size_t)2600 * N + 2600] = -1;
    FAILS(dev->op->potrf(dev, f, N), ER_ENUMERIC, "pivot 2600");
    free(a), free(f), free(x);
}

// 2 m n k = 1.2e11 and 2 n^2 k / 2 = 6e10: several pieces, each element by hand at a few places.
static void test_products(void **state) {
    (void)state;
    enum { M = 4000, K = 4000, P = 4000 };
    double *a = malloc((size_t)M * K * sizeof *a), *c = malloc((size_t)M * P * sizeof *c);
    uint64_t seed = 7;
    for (size_t i = 0; i < (size_t)M * K; i++) a[i] = test_uniform(&seed);
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < (size_t)M * P; i++) c[i] = 1;
        if (turn < 2)
            OK(dev->op->gemm_f64(dev, &(er_gemm_args){M, P, K, 2, {a, K, turn}, {a, P, false}, 3, c, P}));
        else OK(dev->op->syrk_f64(dev, M, K, 2, a, M, 3, c));
        for (int place = 0; place < 200; place++) {
            size_t i = test_next(&seed) % M, j = test_next(&seed) % P;
            if (turn == 2 && j > i) continue;
            double sum = 0;
            for (size_t k = 0; k < K; k++) sum += (turn ? a[k * K + i] : a[i * K + k]) * a[k * P + j];
            NEAR(c[i * P + j], 2 * sum + 3, 1e-9);
        }
    }
    free(a), free(c);
}

static void test_stop(void **state) {
    (void)state;
    double *a = make_spd(), *b = calloc((size_t)N * 9000, sizeof *b);
    er_stop_request();
    FAILS(dev->op->potrf(dev, a, N), ER_EINTERRUPTED, "stopped");
    FAILS(dev->op->potrs(dev, a, N, b, 9000), ER_EINTERRUPTED, "stopped");
    er_stop_clear();
    free(a), free(b);
}

static int open_device(void **state) {
    (void)state;
    return er_device_open(&dev, &(er_device_options){.kind = "cpu", .threads = 2}) == ER_OK ? 0 : -1;
}
static int close_device(void **state) {
    (void)state;
    er_device_close(dev);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_factor_and_solve),
        cmocka_unit_test(test_products), cmocka_unit_test(test_stop)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
