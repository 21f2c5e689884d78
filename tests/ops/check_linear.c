// Linear maps, their gradients, moments and the fp64 solver against loops in double precision.
#include <float.h>
#include "io/dtype.h"
#include "kernels/cpu/cpu.h"
#include "tests/ops/checks.h"

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

static bool on_cpu(void) { return !strncmp(dev->name, "cpu", 3); }

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
                op_linear(cases_linear[i].m, cases_linear[i].d_out, cases_linear[i].d_in, types[t],
                    (i + t) % 2, (mode + (int)i) & 1, mode & 2 ? 1.0f : 0.0f);
}

void test_linear(void **state) {
    (void)state;
    all_linear();
}

// The types of GEMM inputs that only a GPU has.
void test_linear_precisions(void **state) {
    (void)state;
    if (on_cpu()) skip();
    er_device *first = dev;
    const er_precision all[] = {ER_BF16_COMPUTE, ER_FP16_COMPUTE, ER_TF32_COMPUTE};
    for (size_t i = 0; i < N_CASES(all); i++) {
        er_device_options o = {.precision = all[i]};
        OK(er_device_open(&dev, &o));
        all_linear();
        er_device_close(dev);
    }
    dev = first;
}

// The ways a CPU may compute: with and without the tile unit, in fp32 and bf16, on one thread and on more
// threads than blocks.
void test_linear_cpu(void **state) {
    (void)state;
    er_device *first = dev;
#ifdef __SANITIZE_THREAD__  // libgomp is not instrumented: its barriers would be taken for races
    const int threads = 1;
#else
    const int threads = 5;
#endif
    er_device_options o = {.kind = "cpu", .threads = threads};
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
void test_split_accuracy(void **state) {
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
void test_rows_alone(void **state) {
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

void test_weight_add(void **state) {
    (void)state;
    const er_dtype types[] = {ER_F32, ER_BF16, ER_F16};
    for (size_t i = 0; i < N_CASES(cases_linear); i++)
        for (int t = 0; t < 3 && modes_of(&cases_linear[i]); t++)
            op_weight_add(cases_linear[i].d_out, cases_linear[i].d_in, types[t]);
}

void test_syrk_accumulate(void **state) {
    (void)state;
    const size_t shapes[][2] = {
        {0, 3}, {1, 1}, {5, 2}, {33, 31}, {1023, 7}, {1025, 33}, {2049, 65}, {300, 513}, {64, 1030}};
    for (size_t s = 0; s < N_CASES(shapes); s++) op_syrk_accumulate(shapes[s][0], shapes[s][1]);
}

// A running total of 2^28 must still see contributions below its fp32 spacing of 32.
void test_moment_keeps_small_parts(void **state) {
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

void test_gemm_f64(void **state) {
    (void)state;
    const size_t shapes[][3] = {{1, 1, 1}, {2, 3, 5}, {31, 33, 32}, {65, 17, 129}, {7, 64, 1}};
    for (size_t s = 0; s < N_CASES(shapes); s++)
        for (int mode = 0; mode < 8; mode++)
            op_gemm_f64(
                shapes[s][0], shapes[s][1], shapes[s][2], mode & 1, mode & 2, mode & 4 ? -0.5 : 0, s % 4);
}

void test_cholesky(void **state) {
    (void)state;
    const size_t sizes[][2] = {{1, 1}, {2, 3}, {31, 1}, {32, 5}, {33, 2}, {129, 40}, {300, 7}};
    for (size_t s = 0; s < N_CASES(sizes); s++) op_cholesky(sizes[s][0], sizes[s][1]);
}

void test_cholesky_refuses(void **state) {
    (void)state;
    double bad[9] = {4, 2, 1, 2, 5, 3, 1, 3, -6};
    FAILS(dev->op->potrf(dev, wide_put(bad, 9), 3), ER_ENUMERIC, "pivot 2");
    bad[8] = 6, bad[3] = bad[1] = (double)NAN;
    FAILS(dev->op->potrf(dev, wide_put(bad, 9), 3), ER_ENUMERIC, "not positive definite");
    OK(dev->op->potrf(dev, wide_put(bad, 0), 0));
    guard_end(dev);
}

void test_cast_axpy(void **state) {
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
