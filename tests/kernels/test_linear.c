// Linear maps, their gradients, moments and the fp64 solver against loops in double precision.
#include <float.h>
#include "io/dtype.h"
#include "kernels/cpu/cpu.h"
#include "tests/support/guard.h"
#include "tests/support/parity_cases.h"
#include "tests/support/ref_ops.h"
#include "tests/test.h"

static er_device *dev;

// W [d_out, d_in] as doubles that the stored type holds exactly, and the bytes of that type in its layout.
static void *stored_form(double *w, size_t d_out, size_t d_in, er_dtype t, bool conv1d) {
    float *f = malloc((d_out * d_in + 1) * sizeof *f);
    char *bytes = malloc((d_out * d_in + 1) * 4);
    assert_true(f && bytes);
    for (size_t o = 0; o < d_out; o++)
        for (size_t i = 0; i < d_in; i++) f[conv1d ? i * d_out + o : o * d_in + i] = (float)w[o * d_in + i];
    er_from_f32(bytes, f, t, d_out * d_in);
    er_to_f32(f, bytes, t, d_out * d_in);
    for (size_t o = 0; o < d_out; o++)
        for (size_t i = 0; i < d_in; i++) w[o * d_in + i] = (double)f[conv1d ? i * d_out + o : o * d_in + i];
    free(f);
    return bytes;
}

// Norm-wise error of a product of length k, in eps: rounding of the k products and sums grows like sqrt(k).
static double product_bound(size_t k) { return 2 + 0.3 * sqrt((double)k); }

// Rounded inputs: each factor is off by up to 2^-9 of itself in bf16, 2^-11 in fp16 and TF32.
static double bound(size_t k) {
    switch (dev->precision) {
    case ER_BF16_COMPUTE:
        return 0x1p-7 / (double)FLT_EPSILON;
    case ER_FP16_COMPUTE:
    case ER_TF32_COMPUTE:
        return 0x1p-9 / (double)FLT_EPSILON;
    case ER_FP32:
        break;
    }
    return product_bound(k);
}

static bool on_cpu(void) { return !strncmp(dev->name, "cpu", 3); }

static void one_linear(const case_linear *c, er_dtype t, bool conv1d, bool bias, float beta) {
    uint64_t seed = c->m * 31 + c->d_out * 7 + c->d_in + (uint64_t)t;
    size_t n_w = c->d_out * c->d_in, n_x = c->m * c->d_in, n_y = c->m * c->d_out;
    double *w = test_doubles(&seed, n_w, 1), *x = test_doubles(&seed, n_x, 2),
           *b = test_doubles(&seed, c->d_out, 1);
    double *y = test_doubles(&seed, n_y, 3), *dx = test_doubles(&seed, n_x, 3),
           *ref = test_doubles(&seed, n_y + n_x, 0);
    void *bytes = stored_form(w, c->d_out, c->d_in, t, conv1d);
    er_weight *weight = NULL;
    OK(dev->op->weight_create(dev, &weight,
        &(er_weight_spec){.bytes = bytes, .dtype = t, .d_out = c->d_out, .d_in = c->d_in, .conv1d = conv1d}));
    float *dev_x = guard_put_narrow(dev, x, n_x), *dev_b = guard_put_narrow(dev, b, c->d_out);
    float *dev_y = beta != 0 ? guard_put_narrow(dev, y, n_y) : guard_alloc(dev, n_y * 4);
    OK(dev->op->linear(dev, dev_y, dev_x, weight, bias ? dev_b : NULL, c->m, beta));
    ref_linear(ref, x, w, bias ? b : NULL, c->m, c->d_out, c->d_in);
    for (size_t i = 0; beta != 0 && i < n_y; i++) ref[i] += y[i];
    BELOW(guard_error(dev, dev_y, ref, n_y), bound(c->d_in));

    float *dev_dy = guard_put_narrow(dev, y, n_y);
    float *dev_dx = beta != 0 ? guard_put_narrow(dev, dx, n_x) : guard_alloc(dev, n_x * 4);
    OK(dev->op->linear_backward(dev, dev_dx, dev_dy, weight, c->m, beta));
    ref_linear_backward(ref, y, w, c->m, c->d_out, c->d_in);
    for (size_t i = 0; beta != 0 && i < n_x; i++) ref[i] += dx[i];
    BELOW(guard_error(dev, dev_dx, ref, n_x), bound(c->d_out));
    dev->op->weight_free(dev, weight);
    guard_end(dev);
    free(w), free(x), free(b), free(y), free(dx), free(ref), free(bytes);
}

// Fewer where the oracle is slow, none where a tool that slows all down asks for quick tests.
static int modes_of(const case_linear *c) {
    size_t work = c->m * c->d_out * c->d_in;
    if (getenv("ERRATA_TEST_QUICK") && work > 100000) return 0;
    return work > 2000000 ? 1 : 4;
}

static void all_linear(void) {
    const er_dtype types[] = {ER_F32, ER_BF16, ER_F16};
    for (size_t i = 0; i < N_CASES(cases_linear); i++)
        for (size_t t = 0; t < 3; t++)
            for (int mode = 0; mode < modes_of(&cases_linear[i]); mode++)
                one_linear(
                    &cases_linear[i], types[t], (i + t) % 2, (mode + (int)i) & 1, mode & 2 ? 1.0f : 0.0f);
}

static void test_linear(void **state) {
    (void)state;
    all_linear();
}

// The types of GEMM inputs that only a GPU has.
static void test_linear_precisions(void **state) {
    (void)state;
    if (on_cpu()) skip();
    er_device *first = dev;
    const er_precision all[] = {ER_BF16_COMPUTE, ER_FP16_COMPUTE, ER_TF32_COMPUTE};
    for (size_t i = 0; i < N_CASES(all); i++) {
        er_device_options o = {NULL, all[i], 0, 0};
        OK(er_device_open(&dev, &o));
        all_linear();
        er_device_close(dev);
    }
    dev = first;
}

// The ways a CPU may compute: with and without the tile unit, in fp32 and bf16, on one thread and on more
// threads than blocks.
static void test_linear_cpu(void **state) {
    (void)state;
    er_device *first = dev;
#ifdef __SANITIZE_THREAD__  // libgomp is not instrumented: its barriers would be taken for races
    const int threads = 1;
#else
    const int threads = 5;
#endif
    er_device_options o = {"cpu", ER_FP32, threads, 0};
    OK(er_device_open(&dev, &o));
    all_linear();
    const er_bf16_unit best = ((er_cpu *)dev)->unit;
    ((er_cpu *)dev)->unit = ER_BF16_NONE;
    all_linear();
    er_device_close(dev);
    o.precision = ER_BF16_COMPUTE;
    dev = NULL;
    if (best == ER_BF16_NONE) FAILS(er_device_open(&dev, &o), ER_EDEVICE, "bf16 compute needs");
    for (er_bf16_unit unit = best; unit > ER_BF16_NONE; unit--) {
        OK(er_device_open(&dev, &o));
        ((er_cpu *)dev)->unit = unit;
        all_linear();
        er_device_close(dev);
    }
    dev = first;
}

// Numbers whose three terms differ by many powers of two, and sums that cancel: the split must not cost
// accuracy against the fp32 GEMM, whose error is measured beside it.
static void test_split_accuracy(void **state) {
    (void)state;
    enum { M = 33, OUT = 65, IN = 700 };
    if (!on_cpu()) skip();
    uint64_t seed = 4;
    double *x = test_doubles(&seed, M * IN, 1), *w = test_doubles(&seed, OUT * IN, 1),
           *ref = test_doubles(&seed, M * OUT, 0), error[2];
    for (size_t i = 0; i < M * IN; i++) x[i] = (double)(float)(x[i] * exp(8 * test_uniform(&seed)));
    // The second half of each sum takes back the first but for one part in a million.
    for (size_t i = 0; i < M * IN; i++)
        if (i % IN >= IN / 2) x[i] = (double)(float)(-x[i - IN / 2] * (1 + 0x1p-20));
    for (size_t i = 0; i < OUT * IN; i++)
        if (i % IN >= IN / 2) w[i] = w[i - IN / 2];
    void *bytes = stored_form(w, OUT, IN, ER_BF16, false);
    ref_linear(ref, x, w, NULL, M, OUT, IN);
    float *dev_x = guard_put_narrow(dev, x, M * IN), *y = guard_alloc(dev, M * OUT * 4);
    const er_bf16_unit best = ((er_cpu *)dev)->unit;
    for (int k = 0; k < 2; k++) {
        er_weight *weight = NULL;
        OK(dev->op->weight_create(
            dev, &weight, &(er_weight_spec){.bytes = bytes, .dtype = ER_BF16, .d_out = OUT, .d_in = IN}));
        ((er_cpu *)dev)->unit = k ? best : ER_BF16_NONE;
        OK(dev->op->linear(dev, y, dev_x, weight, NULL, M, 0));
        error[k] = guard_error(dev, y, ref, M * OUT);
        dev->op->weight_free(dev, weight);
    }
    ((er_cpu *)dev)->unit = best;
    BELOW(error[0], 1e8);  // the sum cancels to 2^-20, but not to nothing
    BELOW(error[1], 2 * error[0]);
    guard_end(dev);
    free(x), free(w), free(ref), free(bytes);
}

// On the tile unit a row's result does not depend on what else is in the batch, nor on the number of threads.
static void test_rows_alone(void **state) {
    (void)state;
    enum { M = 77, OUT = 200, IN = 1700 };
    if (!on_cpu() || ((er_cpu *)dev)->unit != ER_BF16_TILES) skip();
    uint64_t seed = 6;
    double *x = test_doubles(&seed, M * IN, 1), *w = test_doubles(&seed, OUT * IN, 1);
    void *bytes = stored_form(w, OUT, IN, ER_BF16, false);
    float *dev_x = guard_put_narrow(dev, x, M * IN), *y = guard_alloc(dev, M * OUT * 4),
          *one = guard_alloc(dev, OUT * 4);
    float *bias = guard_put_narrow(dev, x, OUT), whole[M * OUT], alone[OUT];
    er_weight *weight = NULL;
    OK(dev->op->weight_create(
        dev, &weight, &(er_weight_spec){.bytes = bytes, .dtype = ER_BF16, .d_out = OUT, .d_in = IN}));
    const int threads = dev->threads;
    OK(dev->op->linear(dev, y, dev_x, weight, bias, M, 0));
    guard_get(dev, whole, y, sizeof whole);
    for (dev->threads = 1; dev->threads < 8; dev->threads += 3)
        for (size_t r = 0; r < M; r += 19) {
            OK(dev->op->linear(dev, one, dev_x + r * IN, weight, bias, 1, 0));
            guard_get(dev, alone, one, sizeof alone);
            assert_memory_equal(alone, whole + r * OUT, sizeof alone);
        }
    dev->threads = threads;
    dev->op->weight_free(dev, weight);
    guard_end(dev);
    free(x), free(w), free(bytes);
}

static void test_second_moment(void **state) {
    (void)state;
    const size_t shapes[][2] = {
        {0, 3}, {1, 1}, {5, 2}, {33, 31}, {1023, 7}, {1025, 33}, {2049, 65}, {300, 513}, {64, 1030}};
    for (size_t s = 0; s < N_CASES(shapes); s++) {
        size_t tokens = shapes[s][0], n = shapes[s][1];
        uint64_t seed = s;
        double *x = test_doubles(&seed, tokens * n, 1), *sum = test_doubles(&seed, n * n, 5),
               *got = malloc(n * n * 8), worst = 0, size = 0;
        assert_non_null(got);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < i; j++) sum[i * n + j] = sum[j * n + i];
        double *dev_sum = guard_put(dev, sum, n * n * 8);
        float *dev_x = guard_put_narrow(dev, x, tokens * n), *scratch = guard_alloc(dev, n * n * 4);
        OK(dev->op->syrk_accumulate(dev, dev_sum, dev_x, scratch, tokens, n));
        OK(dev->op->symmetrise(dev, dev_sum, n));
        guard_get(dev, got, dev_sum, n * n * 8);
        ref_gemm(true, false, n, n, tokens, 1, x, n, x, n, 1, sum, n);
        for (size_t i = 0; i < n * n; i++) worst += pow(got[i] - sum[i], 2), size += sum[i] * sum[i];
        BELOW(sqrt(worst / size) / (double)FLT_EPSILON, product_bound(tokens < 1024 ? tokens : 1024));
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < i; j++) assert_true(got[i * n + j] == got[j * n + i]);
        guard_end(dev);
        free(x), free(sum), free(got);
    }
}

// A running total of 2^28 must still see contributions below its fp32 spacing of 32.
static void test_moment_keeps_small_parts(void **state) {
    (void)state;
    double start = 0x1p28, got = 0;
    float x[3] = {1.0f, 2.0f, 0.5f};
    double *sum = guard_put(dev, &start, 8);
    float *dev_x = guard_put(dev, x, sizeof x), *scratch = guard_alloc(dev, 4);
    OK(dev->op->syrk_accumulate(dev, sum, dev_x, scratch, 3, 1));
    guard_get(dev, &got, sum, 8);
    assert_true(got == 0x1p28 + 5.25);
    guard_end(dev);
}

static double *wide_put(const double *x, size_t n) { return guard_put(dev, x, n * sizeof *x); }

static double f64_error(const double *dev_x, const double *ref, size_t n) {
    double *got = malloc((n + 1) * sizeof *got), worst = 0, size = 1e-300;
    assert_non_null(got);
    guard_get(dev, got, dev_x, n * sizeof *got);
    for (size_t i = 0; i < n; i++) worst += pow(got[i] - ref[i], 2), size += ref[i] * ref[i];
    free(got);
    return sqrt(worst / size) / DBL_EPSILON;
}

static void test_gemm_f64(void **state) {
    (void)state;
    const size_t shapes[][3] = {{1, 1, 1}, {2, 3, 5}, {31, 33, 32}, {65, 17, 129}, {7, 64, 1}};
    for (size_t s = 0; s < N_CASES(shapes); s++)
        for (int mode = 0; mode < 8; mode++) {
            bool ta = mode & 1, tb = mode & 2;
            size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2], lda = (ta ? m : k) + 3,
                   ldb = (tb ? k : n) + 1, ldc = n + 2;
            uint64_t seed = s;
            double beta = mode & 4 ? -0.5 : 0;
            double *a = test_doubles(&seed, (ta ? k : m) * lda, 1),
                   *b = test_doubles(&seed, (tb ? n : k) * ldb, 1);
            double *c = test_doubles(&seed, m * ldc, 1), *dev_c = wide_put(c, m * ldc);
            er_gemm_args g = {m, n, k, 1.5, {wide_put(a, (ta ? k : m) * lda), lda, ta},
                {wide_put(b, (tb ? n : k) * ldb), ldb, tb}, beta, dev_c, ldc};
            OK(dev->op->gemm_f64(dev, &g));
            ref_gemm(ta, tb, m, n, k, 1.5, a, lda, b, ldb, beta, c, ldc);
            BELOW(f64_error(dev_c, c, m * ldc), product_bound(k));
            guard_end(dev);
            free(a), free(b), free(c);
        }
}

// A = M M^T / n + I: solve, then measure the residual of what comes back against the original matrix.
static void test_cholesky(void **state) {
    (void)state;
    const size_t sizes[][2] = {{1, 1}, {2, 3}, {31, 1}, {32, 5}, {33, 2}, {129, 40}, {300, 7}};
    for (size_t s = 0; s < N_CASES(sizes); s++) {
        size_t n = sizes[s][0], rhs = sizes[s][1];
        uint64_t seed = s;
        double *m = test_doubles(&seed, n * n, 1), *a = calloc(n * n, 8),
               *b = test_doubles(&seed, rhs * n, 1), *x = malloc(rhs * n * 8);
        assert_true(a && x);
        ref_gemm(false, true, n, n, n, 1 / (double)n, m, n, m, n, 0, a, n);
        double *dev_a = wide_put(a, n * n), *dev_b = wide_put(b, rhs * n);
        OK(dev->op->add_diagonal(dev, dev_a, n, 1.0));
        for (size_t i = 0; i < n; i++) a[i * n + i] += 1;
        OK(dev->op->potrf(dev, dev_a, n));
        OK(dev->op->potrs(dev, dev_a, n, dev_b, rhs));
        guard_get(dev, x, dev_b, rhs * n * 8);
        ref_gemm(false, false, rhs, n, n, -1, x, n, a, n, 1, b, n);  // B - X A, A symmetric
        double left = 0, size = 0;
        for (size_t i = 0; i < rhs * n; i++) left += b[i] * b[i], size += x[i] * x[i];
        BELOW(sqrt(left / size) / DBL_EPSILON, 10 * sqrt((double)n));
        guard_end(dev);
        free(m), free(a), free(b), free(x);
    }
}

static void test_cholesky_refuses(void **state) {
    (void)state;
    double bad[9] = {4, 2, 1, 2, 5, 3, 1, 3, -6};
    FAILS(dev->op->potrf(dev, wide_put(bad, 9), 3), ER_ENUMERIC, "pivot 2");
    bad[8] = 6, bad[3] = bad[1] = (double)NAN;
    FAILS(dev->op->potrf(dev, wide_put(bad, 9), 3), ER_ENUMERIC, "not positive definite");
    OK(dev->op->potrf(dev, wide_put(bad, 0), 0));
    guard_end(dev);
}

static void test_widen_axpy(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 33, 70001};
    for (size_t s = 0; s < N_CASES(sizes); s++) {
        uint64_t seed = s;
        size_t n = sizes[s];
        double *x = test_doubles(&seed, n, 1), *y = test_doubles(&seed, n, 1);
        double *wide = guard_alloc(dev, n * 8), *dev_y = wide_put(y, n);
        OK(dev->op->cast(dev, wide, guard_put_narrow(dev, x, n), n));
        assert_true(f64_error(wide, x, n) == 0);
        OK(dev->op->axpy_f64(dev, dev_y, -0.75, wide, n));
        for (size_t i = 0; i < n; i++) y[i] += -0.75 * x[i];
        BELOW(f64_error(dev_y, y, n), 1);
        guard_end(dev);
        free(x), free(y);
    }
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_linear_precisions),
        cmocka_unit_test(test_linear_cpu),
        cmocka_unit_test(test_split_accuracy),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_second_moment),
        cmocka_unit_test(test_moment_keeps_small_parts),
        cmocka_unit_test(test_gemm_f64),
        cmocka_unit_test(test_cholesky),
        cmocka_unit_test(test_cholesky_refuses),
        cmocka_unit_test(test_widen_axpy),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
