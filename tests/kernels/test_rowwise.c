// Ops that act on one token at a time: norms, activations, rotary positions, row movement. Oracles in double
// precision; the gradient oracles are themselves held against central differences of the forward oracles.
#include <float.h>
#include "tests/support/guard.h"
#include "tests/support/parity_cases.h"
#include "tests/support/ref_ops.h"
#include "tests/test.h"

static er_device *dev;

// The largest |mean| / std of a token. A single column is all eps: its gradient is a difference of equals
// times 1/sqrt(eps) = 316.
static double condition(const double *x, size_t tokens, size_t width) {
    double worst = width == 1 ? 316 : 0;
    for (size_t t = 0; t < tokens && width > 1; t++, x += width) {
        double mean = 0, var = 1e-5;
        for (size_t i = 0; i < width; i++) mean += x[i] / (double)width;
        for (size_t i = 0; i < width; i++) var += (x[i] - mean) * (x[i] - mean) / (double)width;
        worst = fmax(worst, fabs(mean) / sqrt(var));
    }
    return worst;
}

static void one_norm(const case_rows *c, er_norm_kind kind, bool bias, double offset) {
    uint64_t seed = c->tokens * 1000 + c->width;
    size_t n = c->tokens * c->width;
    double *x = test_doubles(&seed, n, 2), *w = test_doubles(&seed, c->width, 1),
           *b = test_doubles(&seed, c->width, 1);
    double *dy = test_doubles(&seed, n, 1), *dx = test_doubles(&seed, n, 1), *ref = test_doubles(&seed, n, 0);
    for (size_t i = 0; i < n; i++) x[i] = (double)(float)(x[i] + offset);
    float *dev_x = guard_put_narrow(dev, x, n), *dev_w = guard_put_narrow(dev, w, c->width),
          *dev_b = guard_put_narrow(dev, b, c->width);
    float *y = guard_alloc(dev, n * 4), *stats = guard_alloc(dev, c->tokens * 8),
          *dev_dx = guard_put_narrow(dev, dx, n);
    er_norm_args a = {kind, c->tokens, c->width, dev_x, dev_w, bias ? dev_b : NULL, 1e-5f};
    OK(dev->op->norm(dev, &a, y, stats));
    ref_norm(kind, ref, x, w, bias ? b : NULL, (double)1e-5f, c->tokens, c->width);
    // Subtracting the mean loses |mean| / std.
    double bound = 8 + 4 * condition(x, c->tokens, c->width);
    BELOW(guard_error(dev, y, ref, n), bound);
    OK(dev->op->norm(dev, &a, y, NULL));
    BELOW(guard_error(dev, y, ref, n), bound);

    OK(dev->op->norm_backward(dev, &a, dev_dx, guard_put_narrow(dev, dy, n), stats));
    ref_norm_backward(kind, ref, dy, x, w, (double)1e-5f, c->tokens, c->width);
    for (size_t i = 0; i < n; i++) ref[i] += dx[i];
    BELOW(guard_error(dev, dev_dx, ref, n), 2 * bound);
    guard_end(dev);
    free(x), free(w), free(b), free(dy), free(dx), free(ref);
}

// Where a tool that slows everything down asks for quick tests.
static bool too_large(const case_rows *c) {
    return getenv("ERRATA_TEST_QUICK") && c->tokens * c->width > 20000;
}

static void test_norm(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++)
        for (int mode = 0; mode < 4 && !too_large(&cases_rows[i]); mode++) {
            one_norm(&cases_rows[i], mode & 1 ? ER_RMS_NORM : ER_LAYER_NORM, mode & 2, 0);
            if (cases_rows[i].width > 8)
                one_norm(&cases_rows[i], mode & 1 ? ER_RMS_NORM : ER_LAYER_NORM, mode & 2, 30);
        }
}

// Heads of rows that go on behind them, against the norm of each head as a row of its own.
static void qk_norms(er_norm_kind kind, bool bias) {
    static const size_t shapes[][4] = {// tokens, heads, head_dim, columns behind the heads
        {0, 2, 8, 0}, {3, 1, 3, 0}, {2, 3, 5, 7}, {5, 4, 10, 20}, {7, 2, 64, 64}, {3, 5, 128, 256},
        {2, 2, 132, 3}, {9, 1, 256, 4}, {70, 33, 20, 40}};
    for (size_t i = 0; i < N_CASES(shapes); i++) {
        size_t tokens = shapes[i][0], heads = shapes[i][1], hd = shapes[i][2], ld = heads * hd + shapes[i][3];
        size_t n = tokens * ld;
        uint64_t seed = i + 5;
        double *x = test_doubles(&seed, n, 2), *w = test_doubles(&seed, heads * hd, 1),
               *b = test_doubles(&seed, heads * hd, 1), *d = test_doubles(&seed, n, 1),
               *y = test_doubles(&seed, n, 0), *dx = test_doubles(&seed, n, 0);
        memcpy(y, x, n * sizeof *x), memcpy(dx, d, n * sizeof *d);
        for (size_t t = 0; t < tokens; t++)
            for (size_t h = 0; h < heads; h++) {
                size_t at = t * ld + h * hd;
                ref_norm(kind, y + at, x + at, w + h * hd, bias ? b + h * hd : NULL, (double)1e-5f, 1, hd);
                ref_norm_backward(kind, dx + at, d + at, x + at, w + h * hd, (double)1e-5f, 1, hd);
            }
        float *dev_x = guard_put_narrow(dev, x, n), *dev_w = guard_put_narrow(dev, w, heads * hd),
              *dev_b = guard_put_narrow(dev, b, heads * hd), *dev_d = guard_put_narrow(dev, d, n);
        er_qk_norm_args a = {kind, tokens, heads, hd, ld, dev_w, bias ? dev_b : NULL, 1e-5f};
        OK(dev->op->qk_norm_backward(dev, &a, dev_d, dev_x));
        BELOW(guard_error(dev, dev_d, dx, n), 16);
        OK(dev->op->qk_norm(dev, &a, dev_x));
        BELOW(guard_error(dev, dev_x, y, n), 8);
        guard_end(dev);
        free(x), free(w), free(b), free(d), free(y), free(dx);
    }
}

static void test_head_norm(void **state) {
    (void)state;
    for (int mode = 0; mode < 4; mode++) qk_norms(mode & 1 ? ER_RMS_NORM : ER_LAYER_NORM, mode & 2);
}

// Exact: the ends belong to the range, and NaN is no number to hide.
static void test_clip(void **state) {
    (void)state;
    const float limit = 1.5f;
    for (size_t n = 0; n < 40000; n = n * 6 + 1) {
        float *x = calloc(n + 1, sizeof *x), *d = calloc(n + 1, sizeof *d), *got = calloc(n + 1, sizeof *got);
        assert_true(x && d && got);
        uint64_t seed = n;
        for (size_t i = 0; i < n; i++) {
            x[i] = i % 7 == 3 ? limit : i % 7 == 5 ? -limit : (float)(4 * test_uniform(&seed) - 2);
            d[i] = (float)test_uniform(&seed) + 1;
        }
        if (n > 2) x[2] = NAN, x[1] = INFINITY;
        float *dev_x = guard_put(dev, x, n * sizeof *x), *dev_d = guard_put(dev, d, n * sizeof *d);
        OK(dev->op->clip_backward(dev, dev_d, dev_x, limit, n));
        guard_get(dev, got, dev_d, n * sizeof *got);
        for (size_t i = 0; i < n; i++) assert_true(got[i] == (fabsf(x[i]) <= limit ? d[i] : 0.0f));
        OK(dev->op->clip(dev, dev_x, limit, n));
        guard_get(dev, got, dev_x, n * sizeof *got);
        for (size_t i = 0; i < n; i++)
            assert_true(isnan(x[i]) ? isnan(got[i]) : got[i] == fmaxf(fminf(x[i], limit), -limit));
        guard_end(dev);
        free(x), free(d), free(got);
    }
}

static void test_norm_oracle(void **state) {
    (void)state;
    enum { N = 9 };
    uint64_t seed = 3;
    double *x = test_doubles(&seed, N, 2), *w = test_doubles(&seed, N, 1), *dy = test_doubles(&seed, N, 1),
           y[N], dx[N];
    for (int kind = 0; kind < 2; kind++) {
        ref_norm_backward(kind ? ER_RMS_NORM : ER_LAYER_NORM, dx, dy, x, w, 1e-5, 1, N);
        for (size_t i = 0; i < N; i++) {
            double h = 1e-6, keep = x[i], side[2] = {0, 0};
            for (int k = 0; k < 2; k++) {
                x[i] = keep + (k ? h : -h);
                ref_norm(kind ? ER_RMS_NORM : ER_LAYER_NORM, y, x, w, NULL, 1e-5, 1, N);
                for (size_t j = 0; j < N; j++) side[k] += dy[j] * y[j];
            }
            x[i] = keep;
            NEAR((side[1] - side[0]) / (2 * h), dx[i], 1e-8);
        }
    }
    free(x), free(w), free(dy);
}

static const er_act_kind kinds[] = {ER_GELU_NEW, ER_GELU_ERF, ER_SILU, ER_RELU};

static void one_activation(const case_rows *c, er_act_kind kind, bool gated) {
    uint64_t seed = c->tokens * 1000 + c->width;
    size_t n = c->tokens * c->width, n_u = gated ? 2 * n : n;
    double *u = test_doubles(&seed, n_u, 6), *da = test_doubles(&seed, n, 1),
           *ref = test_doubles(&seed, n_u, 0);
    float *dev_u = guard_put_narrow(dev, u, n_u), *a = guard_alloc(dev, n * 4),
          *du = guard_alloc(dev, n_u * 4);
    OK(dev->op->activation(dev, kind, gated, a, dev_u, c->tokens, c->width));
    ref_activation(kind, gated, ref, u, c->tokens, c->width);
    BELOW(guard_error(dev, a, ref, n), 4);
    OK(dev->op->activation_backward(
        dev, kind, gated, du, guard_put_narrow(dev, da, n), dev_u, c->tokens, c->width));
    ref_activation_backward(kind, gated, ref, da, u, c->tokens, c->width);
    BELOW(guard_error(dev, du, ref, n_u), 6);
    guard_end(dev);
    free(u), free(da), free(ref);
}

static void test_activation(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++)
        for (size_t k = 0; k < 4 && !too_large(&cases_rows[i]); k++)
            one_activation(&cases_rows[i], kinds[k], false), one_activation(&cases_rows[i], kinds[k], true);
}

// Element by element over the whole range, where a norm over many elements would hide the small ones.
static void test_activation_range(void **state) {
    (void)state;
    enum { N = 4001 };
    float *u = malloc(N * 4), *got = malloc(N * 4), *slope = malloc(N * 4), *one = malloc(N * 4);
    assert_true(u && got && slope && one);
    for (size_t i = 0; i < N; i++) u[i] = ((float)i - 2000) / 80, one[i] = 1;  // -25 .. 25
    u[0] = -1e4f, u[N - 1] = 1e4f;
    for (size_t k = 0; k < 4; k++) {
        float *dev_u = guard_put(dev, u, N * 4), *a = guard_alloc(dev, N * 4), *du = guard_alloc(dev, N * 4);
        OK(dev->op->activation(dev, kinds[k], false, a, dev_u, 1, N));
        OK(dev->op->activation_backward(dev, kinds[k], false, du, guard_put(dev, one, N * 4), dev_u, 1, N));
        guard_get(dev, got, a, N * 4), guard_get(dev, slope, du, N * 4);
        for (size_t i = 0; i < N; i++) {
            double x = (double)u[i], y = ref_act(kinds[k], x), eps = (double)FLT_EPSILON;
            // Relative to max(|y|, |x| e^-8): below that the argument of e^x, not the function, sets the
            // error.
            NEAR(got[i], y, eps * (4 * fabs(y) + 0.02 * exp(-fabs(x) / 2) * fabs(x)));
            NEAR(slope[i], ref_act_slope(kinds[k], x), 6 * eps);
        }
        guard_end(dev);
    }
    free(u), free(got), free(slope), free(one);
}

static void test_activation_oracle(void **state) {
    (void)state;
    for (size_t k = 0; k < 4; k++)
        for (double x = -6.03; x < 6; x += 0.37)
            NEAR((ref_act(kinds[k], x + 1e-6) - ref_act(kinds[k], x - 1e-6)) / 2e-6,
                ref_act_slope(kinds[k], x), 1e-8);
}

static void test_rope(void **state) {
    (void)state;
    const size_t shapes[][5] = {// tokens, heads, head_dim, rot, extra stride
        {1, 1, 2, 2, 0}, {3, 2, 8, 4, 1}, {5, 9, 64, 64, 192}, {4, 3, 80, 32, 0}, {65, 4, 96, 24, 7},
        {0, 2, 4, 4, 0}, {7, 1, 34, 34, 0}};
    for (size_t i = 0; i < N_CASES(shapes); i++)
        for (int mode = 0; mode < 6; mode++) {
            size_t tokens = shapes[i][0], heads = shapes[i][1], hd = shapes[i][2], rot = shapes[i][3],
                   ld = heads * hd + shapes[i][4];
            er_rope_style style = (er_rope_style)(mode % 3);
            uint64_t seed = i + 11;
            double *x = test_doubles(&seed, tokens * ld, 2), *table = test_doubles(&seed, 40 * rot, 1),
                   *start = test_doubles(&seed, tokens * ld, 0);
            int32_t *pos = malloc((tokens + 1) * 4);
            assert_non_null(pos);
            for (size_t t = 0; t < tokens; t++) pos[t] = (int32_t)(test_next(&seed) % 40);
            for (size_t p = 0; p < 40; p++)
                for (size_t j = 0; j < rot / 2; j++) {
                    double angle = (double)p / pow(1e4, (double)j * 2 / (double)rot);
                    table[p * rot + j] = (double)(float)cos(angle),
                                    table[p * rot + rot / 2 + j] = (double)(float)sin(angle);
                }
            memcpy(start, x, tokens * ld * sizeof *x);
            float *dev_x = guard_put_narrow(dev, x, tokens * ld),
                  *dev_table = guard_put_narrow(dev, table, 40 * rot);
            int32_t *dev_pos = guard_put(dev, pos, tokens * 4);
            er_rope_args a = {style, tokens, heads, hd, rot, ld, dev_pos, dev_table};
            OK(dev->op->rope(dev, &a, dev_x, mode >= 3));
            ref_rope(style, x, ld, pos, table, rot, tokens, heads, hd, mode >= 3);
            BELOW(guard_error(dev, dev_x, x, tokens * ld), 2);
            // There and back again is the identity.
            OK(dev->op->rope(dev, &a, dev_x, mode < 3));
            BELOW(guard_error(dev, dev_x, start, tokens * ld), 3);
            guard_end(dev);
            free(x), free(table), free(start), free(pos);
        }
}

static void test_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++) {
        size_t n = cases_rows[i].tokens, width = cases_rows[i].width, rows = n + 5;
        uint64_t seed = i;
        double *src = test_doubles(&seed, rows * width, 1), *dst = test_doubles(&seed, rows * width, 1),
               *ref = test_doubles(&seed, n * width, 0);
        int32_t *index = malloc((n + 1) * 4);
        assert_non_null(index);
        for (size_t j = 0; j < n; j++) index[j] = (int32_t)(test_next(&seed) % rows);
        int32_t *dev_index = guard_put(dev, index, n * 4);
        float *dev_src = guard_put_narrow(dev, src, rows * width), *picked = guard_alloc(dev, n * width * 4);
        OK(dev->op->gather_rows(dev, picked, dev_src, dev_index, n, width));
        for (size_t j = 0; j < n; j++)
            if (width) memcpy(ref + j * width, src + (size_t)index[j] * width, width * sizeof *ref);
        assert_true(guard_error(dev, picked, ref, n * width) == 0);

        for (size_t j = 0; j < n; j += 3) index[j] = j % 2 ? -1 : 2;  // skipped and repeated ones
        float *dev_dst = guard_put_narrow(dev, dst, rows * width);
        OK(dev->op->scatter_add_rows(dev, dev_dst, picked, guard_put(dev, index, n * 4), n, width));
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < width && index[j] >= 0; k++)
                dst[(size_t)index[j] * width + k] += ref[j * width + k];
        BELOW(guard_error(dev, dev_dst, dst, rows * width), 2);

        OK(dev->op->add(dev, dev_dst, dev_src, rows * width));
        for (size_t j = 0; j < rows * width; j++) dst[j] += src[j];
        BELOW(guard_error(dev, dev_dst, dst, rows * width), 3);
        guard_end(dev);
        free(src), free(dst), free(ref), free(index);
    }
}

static void test_kv_store(void **state) {
    (void)state;
    enum { TOKENS = 7, KV = 12, K_AT = 20, LD = 50, CAPACITY = 9 };
    uint64_t seed = 5;
    const int32_t at[TOKENS] = {3, -1, 0, 8, -1, 1, 4};
    double *qkv = test_doubles(&seed, TOKENS * LD, 1), *k = test_doubles(&seed, CAPACITY * KV, 1),
           *v = test_doubles(&seed, CAPACITY * KV, 1);
    float *dev_k = guard_put_narrow(dev, k, CAPACITY * KV), *dev_v = guard_put_narrow(dev, v, CAPACITY * KV);
    OK(dev->op->kv_store(
        dev, &(er_kv_store_args){TOKENS, KV, LD, K_AT, guard_put_narrow(dev, qkv, TOKENS * LD),
                 guard_put(dev, at, sizeof at), dev_k, dev_v}));
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t j = 0; j < KV && at[t] >= 0; j++) {
            k[(size_t)at[t] * KV + j] = qkv[t * LD + K_AT + j];
            v[(size_t)at[t] * KV + j] = qkv[t * LD + K_AT + KV + j];
        }
    assert_true(guard_error(dev, dev_k, k, CAPACITY * KV) == 0);
    assert_true(guard_error(dev, dev_v, v, CAPACITY * KV) == 0);
    guard_end(dev);
    free(qkv), free(k), free(v);
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
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_head_norm),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_norm_oracle),
        cmocka_unit_test(test_activation),
        cmocka_unit_test(test_activation_range),
        cmocka_unit_test(test_activation_oracle),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_kv_store),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
