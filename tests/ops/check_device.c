// What a GPU may get wrong: its memory, the fp64 loops, pointers that are not on 16 bytes, rows beyond the
// grid and the chunk, and indices that only the device can check.
#include <float.h>
#include "tests/ops/checks.h"

void test_alloc_and_copy(void **state) {
    (void)state;
    void *nothing = NULL;
    OK(dev->op->alloc(dev, &nothing, 0));
    assert_non_null(nothing);  // NULL is an argument that is absent
    dev->op->release(dev, nothing);
    dev->op->release(dev, NULL);
    unsigned char in[37], out[37] = {0};
    for (unsigned i = 0; i < sizeof in; i++) in[i] = (unsigned char)(i * 7 + 1);
    char *a = guard_put(dev, in, sizeof in), *b = guard_alloc(dev, sizeof in);
    OK(dev->op->copy(dev, b, a, sizeof in));
    OK(dev->op->zero(dev, b + 3, 5));
    OK(dev->op->zero(dev, b, 0));
    OK(dev->op->copy(dev, b, NULL, 0));
    OK(dev->op->download(dev, out, b, sizeof out));
    for (unsigned i = 0; i < sizeof in; i++) assert_int_equal(out[i], i >= 3 && i < 8 ? 0 : in[i]);
    guard_end(dev);
}

// fp64 loops against fp64 loops: exact, but for one rounding where a product and a sum are fused.
void test_doubles_loops(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 2, 3, 31, 32, 33, 511, 512, 513, 2053};
    for (size_t k = 0; k < N_CASES(sizes); k++)
        for (size_t skew = 0; skew < 2; skew++) {
            size_t n = sizes[k];
            uint64_t seed = n + 1;
            double *x = test_doubles(&seed, n, 3), *y = test_doubles(&seed, n, 3),
                   *got = test_doubles(&seed, n, 0);
            float *narrow = test_narrow(x, n);
            float *src = guard_alloc(dev, (n + skew) * 4);
            double *wide = guard_alloc(dev, (n + skew) * 8), *dst = guard_alloc(dev, (n + skew) * 8);
            src += skew, wide += skew, dst += skew;
            OK(dev->op->upload(dev, src, narrow, n * 4));
            OK(dev->op->upload(dev, dst, y, n * 8));
            OK(dev->op->cast(dev, wide, src, n));
            OK(dev->op->axpy_f64(dev, dst, 0.3, wide, n));
            guard_get(dev, got, wide, n * 8);
            for (size_t i = 0; i < n; i++) assert_true(got[i] == (double)narrow[i]);
            guard_get(dev, got, dst, n * 8);
            for (size_t i = 0; i < n; i++) NEAR(got[i], y[i] + 0.3 * x[i], 4 * DBL_EPSILON);
            guard_end(dev);
            free(x), free(y), free(got), free(narrow);
        }
}

void test_add_diagonal(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 2, 33, 129};
    for (size_t k = 0; k < N_CASES(sizes); k++) {
        size_t n = sizes[k];
        uint64_t seed = n;
        double *a = test_doubles(&seed, n * n, 1), *got = test_doubles(&seed, n * n, 0);
        double *dev_a = guard_put(dev, a, n * n * 8);
        OK(dev->op->add_diagonal(dev, dev_a, n, 0.125));
        guard_get(dev, got, dev_a, n * n * 8);
        for (size_t i = 0; i < n * n; i++) assert_true(got[i] == a[i] + (i % (n + 1) ? 0 : 0.125));
        guard_end(dev);
        free(a), free(got);
    }
}

// ---- pointers one float past 16 bytes: the scalar path with widths that would allow the vector path ----

enum { TOKENS = 5, WIDTH = 64, N = TOKENS * WIDTH };

static float *skewed(const double *x, size_t n) {
    double *moved = malloc((n + 1) * sizeof *moved);
    assert_non_null(moved);
    moved[0] = 77, memcpy(moved + 1, x, n * sizeof *x);
    float *p = guard_put_narrow(dev, moved, n + 1);
    free(moved);
    return p + 1;
}

void test_skewed_norm(void **state) {
    (void)state;
    uint64_t seed = 31;
    double *x = test_doubles(&seed, N, 2), *w = test_doubles(&seed, WIDTH, 1),
           *b = test_doubles(&seed, WIDTH, 1), *dy = test_doubles(&seed, N, 1),
           *ref = test_doubles(&seed, N, 0), *dx = test_doubles(&seed, N, 1);
    for (int kind = 0; kind < 2; kind++) {
        er_norm_kind k = kind ? ER_RMS_NORM : ER_LAYER_NORM;
        float *dev_x = skewed(x, N), *dev_w = skewed(w, WIDTH), *y = skewed(ref, N),
              *stats = guard_alloc(dev, TOKENS * 8);
        er_norm_args a = {k, TOKENS, WIDTH, dev_x, dev_w, skewed(b, WIDTH), 1e-5f};
        OK(dev->op->norm(dev, &a, y, stats));
        ref_norm(k, ref, x, w, b, (double)1e-5f, TOKENS, WIDTH);
        BELOW(guard_error(dev, y, ref, N), 8);
        float *dev_dx = skewed(dx, N);
        OK(dev->op->norm_backward(dev, &a, dev_dx, skewed(dy, N), stats));
        ref_norm_backward(k, ref, dy, x, w, (double)1e-5f, TOKENS, WIDTH);
        for (size_t i = 0; i < N; i++) ref[i] += dx[i];
        BELOW(guard_error(dev, dev_dx, ref, N), 16);
        guard_end(dev);
    }
    free(x), free(w), free(b), free(dy), free(ref), free(dx);
}

void test_skewed_elements(void **state) {
    (void)state;
    uint64_t seed = 32;
    double *u = test_doubles(&seed, 2 * N, 6), *da = test_doubles(&seed, N, 1),
           *ref = test_doubles(&seed, 2 * N, 0);
    float *dev_u = skewed(u, 2 * N), *a = skewed(da, N), *du = skewed(ref, 2 * N);
    OK(dev->op->activation_backward(dev, ER_SILU, true, du, a, dev_u, TOKENS, WIDTH));
    ref_activation_backward(ER_SILU, true, ref, da, u, TOKENS, WIDTH);
    BELOW(guard_error(dev, du, ref, 2 * N), 6);
    OK(dev->op->activation(dev, ER_SILU, true, a, dev_u, TOKENS, WIDTH));
    ref_activation(ER_SILU, true, ref, u, TOKENS, WIDTH);
    BELOW(guard_error(dev, a, ref, N), 4);
    OK(dev->op->add(dev, a, dev_u, N));
    for (size_t i = 0; i < N; i++) ref[i] += u[i];
    BELOW(guard_error(dev, a, ref, N), 4);
    ref_log_softmax(ref, u, TOKENS, WIDTH);
    OK(dev->op->log_softmax(dev, dev_u, dev_u, TOKENS, WIDTH));
    BELOW(guard_error(dev, dev_u, ref, N), 2);
    guard_end(dev);
    free(u), free(da), free(ref);
}

void test_skewed_rows(void **state) {
    (void)state;
    uint64_t seed = 33;
    const int32_t index[3] = {4, 0, 4};
    double *x = test_doubles(&seed, N, 1), *ref = test_doubles(&seed, N, 0),
           *zero = test_doubles(&seed, N, 0);
    float *src = skewed(x, N), *picked = skewed(zero, 3 * WIDTH), *sum = skewed(zero, N);
    int32_t *at = guard_put(dev, index, sizeof index);
    OK(dev->op->gather_rows(dev, picked, src, at, 3, WIDTH));
    OK(dev->op->scatter_add_rows(dev, sum, picked, at, 3, WIDTH));
    for (size_t i = 0; i < WIDTH; i++) ref[i] = x[i], ref[4 * WIDTH + i] = 2 * x[4 * WIDTH + i];
    assert_true(guard_error(dev, sum, ref, N) == 0);
    // The same rows seen as q, k and v of 16 columns each, stored to positions 4, 0, 4 would collide: take
    // two.
    float *k = skewed(zero, 5 * 16), *v = skewed(zero, 5 * 16);
    OK(dev->op->kv_store(dev, &(er_kv_store_args){2, 16, WIDTH, 16, src, at, k, v}));
    memset(ref, 0, N * sizeof *ref);
    memcpy(ref + 4 * 16, x + 16, 16 * sizeof *x), memcpy(ref, x + WIDTH + 16, 16 * sizeof *x);
    assert_true(guard_error(dev, k, ref, 5 * 16) == 0);
    memcpy(ref + 4 * 16, x + 32, 16 * sizeof *x), memcpy(ref, x + WIDTH + 32, 16 * sizeof *x);
    assert_true(guard_error(dev, v, ref, 5 * 16) == 0);
    guard_end(dev);
    free(x), free(ref), free(zero);
}

// ---- sizes beyond one block, one chunk, one grid ----

// More rows than a block has threads, few targets: added in their order, so the bits are those of a plain
// fp32 loop.
void test_scatter_order(void **state) {
    (void)state;
    enum { ROWS = 700, TARGETS = 7, COLUMNS = 3 };
    uint64_t seed = 17;
    double *x = test_doubles(&seed, ROWS * COLUMNS, 1);
    float *host = test_narrow(x, ROWS * COLUMNS), sum[TARGETS * COLUMNS] = {0}, got[TARGETS * COLUMNS];
    int32_t index[ROWS];
    for (size_t i = 0; i < ROWS; i++) index[i] = (int32_t)(test_next(&seed) % (TARGETS + 1)) - 1;
    float *dst = guard_put(dev, sum, sizeof sum);
    OK(dev->op->scatter_add_rows(dev, dst, guard_put(dev, host, ROWS * COLUMNS * 4),
        guard_put(dev, index, sizeof index), ROWS, COLUMNS));
    for (size_t i = 0; i < ROWS; i++)
        for (size_t c = 0; c < COLUMNS && index[i] >= 0; c++)
            sum[(size_t)index[i] * COLUMNS + c] += host[i * COLUMNS + c];
    guard_get(dev, got, dst, sizeof got);
    assert_memory_equal(got, sum, sizeof sum);
    guard_end(dev);
    free(x), free(host);
}

// 4,096 blocks are the most of a grid; these take a second turn.
void test_beyond_the_grid(void **state) {
    (void)state;
    enum { ROWS = 4100 };
    uint64_t seed = 18;
    double *x = test_doubles(&seed, ROWS, 3), *w = test_doubles(&seed, 1, 1),
           *ref = test_doubles(&seed, 2 * ROWS, 0);
    float *dev_x = guard_put_narrow(dev, x, ROWS), *a = guard_alloc(dev, ROWS * 4);
    OK(dev->op->activation(dev, ER_GELU_ERF, false, a, dev_x, ROWS, 1));
    ref_activation(ER_GELU_ERF, false, ref, x, ROWS, 1);
    BELOW(guard_error(dev, a, ref, ROWS), 4);
    er_norm_args rms = {ER_RMS_NORM, ROWS, 1, dev_x, guard_put_narrow(dev, w, 1), NULL, 1e-5f};
    OK(dev->op->norm(dev, &rms, a, NULL));
    ref_norm(ER_RMS_NORM, ref, x, w, NULL, (double)1e-5f, ROWS, 1);
    BELOW(guard_error(dev, a, ref, ROWS), 8);
    guard_end(dev);
    free(x), free(w), free(ref);
}

// ---- labels that nobody could check ----

void test_unknown_labels(void **state) {
    (void)state;
    ON_CUDA();
    float x[12] = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4}, w[3] = {1, 1, 1}, loss[3], grad[12];
    int32_t label[3] = {4, 3, -1}, hit[3];  // outside the vocabulary; known; a KL row without a reference
    float *logits = guard_put(dev, x, sizeof x), *dev_loss = guard_alloc(dev, sizeof loss);
    int32_t *dev_hit = guard_alloc(dev, sizeof hit);
    er_label_loss l = {3, 4, logits, guard_put(dev, label, sizeof label), NULL, NULL,
        guard_put(dev, w, sizeof w), dev_loss, dev_hit, true};
    OK(dev->op->label_loss(dev, &l));
    guard_get(dev, loss, dev_loss, sizeof loss), guard_get(dev, hit, dev_hit, sizeof hit);
    guard_get(dev, grad, logits, sizeof grad);
    assert_true(isnan(loss[0]) && isnan(loss[2]));
    assert_int_equal(hit[0], 0), assert_int_equal(hit[1], 1), assert_int_equal(hit[2], 0);
    NEAR(loss[1], log(1 + exp(-1) + exp(-2) + exp(-3)), 1e-6);
    for (size_t i = 0; i < 4; i++) assert_true(isnan(grad[i]) && isfinite(grad[4 + i]) && isnan(grad[8 + i]));
    guard_end(dev);
}
