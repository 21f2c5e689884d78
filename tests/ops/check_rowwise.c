// Ops that act on one token at a time: norms, activations, rotary positions, row movement. Oracles in double
// precision; the gradient oracles are themselves held against central differences of the forward oracles.
#include <float.h>
#include "tests/ops/checks.h"

// Where a tool that slows everything down asks for quick tests.
static bool too_large(const case_rows *c) {
    return getenv("ERRATA_TEST_QUICK") && c->tokens * c->width > 20000;
}

void test_norm(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++)
        for (int mode = 0; mode < 4 && !too_large(&cases_rows[i]); mode++)
            for (int off = 0; off <= (cases_rows[i].width > 8); off++)
                op_norm(mode & 1 ? ER_RMS_NORM : ER_LAYER_NORM, mode & 2, off ? 30 : 0, cases_rows[i].tokens,
                    cases_rows[i].width);
}

void test_qk_norm(void **state) {
    (void)state;
    static const size_t shapes[][4] = {// tokens, heads, head_dim, columns behind the heads
        {0, 2, 8, 0}, {3, 1, 3, 0}, {2, 3, 5, 7}, {5, 4, 10, 20}, {7, 2, 64, 64}, {3, 5, 128, 256},
        {2, 2, 132, 3}, {9, 1, 256, 4}, {70, 33, 20, 40}};
    for (size_t i = 0; i < N_CASES(shapes); i++)
        for (int mode = 0; mode < 4; mode++)
            op_qk_norm(mode & 1 ? ER_RMS_NORM : ER_LAYER_NORM, mode & 2, shapes[i][0], shapes[i][1],
                shapes[i][2], shapes[i][3]);
}

void test_row_norm(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++) op_row_norm(cases_rows[i].tokens, cases_rows[i].width);
}

// Exact: the ends belong to the range, and NaN is no number to hide.
void test_clip(void **state) {
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

void test_norm_oracle(void **state) {
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

void test_activation(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++)
        for (size_t k = 0; k < 4 && !too_large(&cases_rows[i]); k++)
            for (int gated = 0; gated < 2; gated++)
                op_activation(kinds[k], gated, cases_rows[i].tokens, cases_rows[i].width);
}

// Element by element over the whole range, where a norm over many elements would hide the small ones.
void test_activation_range(void **state) {
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

void test_activation_oracle(void **state) {
    (void)state;
    for (size_t k = 0; k < 4; k++)
        for (double x = -6.03; x < 6; x += 0.37)
            NEAR((ref_act(kinds[k], x + 1e-6) - ref_act(kinds[k], x - 1e-6)) / 2e-6,
                ref_act_slope(kinds[k], x), 1e-8);
}

void test_rope(void **state) {
    (void)state;
    const size_t shapes[][5] = {// tokens, heads, head_dim, rot, columns behind the heads
        {1, 1, 2, 2, 0}, {3, 2, 8, 4, 1}, {5, 9, 64, 64, 192}, {4, 3, 80, 32, 0}, {65, 4, 96, 24, 7},
        {0, 2, 4, 4, 0}, {7, 1, 34, 34, 0}};
    for (size_t i = 0; i < N_CASES(shapes); i++)
        for (int mode = 0; mode < 6; mode++)
            op_rope((er_rope_style)(mode % 3), mode >= 3, shapes[i][0], shapes[i][1], shapes[i][2],
                shapes[i][3], shapes[i][4]);
}

void test_gather_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++)
        op_gather_rows(cases_rows[i].tokens, cases_rows[i].width);
}

void test_scatter_add_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++)
        op_scatter_add_rows(cases_rows[i].tokens, cases_rows[i].width);
}

void test_add(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++) op_add(cases_rows[i].tokens * cases_rows[i].width);
}

void test_kv_store(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_rows); i++)
        op_kv_store(cases_rows[i].tokens, cases_rows[i].width, i % 3);
}
