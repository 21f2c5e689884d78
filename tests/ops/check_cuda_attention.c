// What check_attention.c does not ask of attention on a GPU: the same bits whatever the order of threads,
// arrays that are not on 16 bytes, rows beyond 65,535, batches without rows, and heads that are too wide.
#include "tests/cuda_shim/shim.h"
#include "tests/ops/checks.h"

#pragma weak shim_schedule  // absent on a GPU, where the order changes by itself

// Short and long rows of both directions, with a prefix of 3 in front of each.
enum { ROWS = 4, TOKENS = 78, PREFIX = 3, HEADS = 4, KV = 2 };
static const int32_t starts[ROWS + 1] = {0, 5, 5, 45, TOKENS}, prefix_at[ROWS] = {0, 4, 1, 2},
                                   prefix_len[ROWS] = {PREFIX, PREFIX, 0, PREFIX};

typedef struct arrays {
    float *out, *lse, *dqkv;  // host
    size_t n_out, n_lse, n_dqkv;
} arrays;

static float *skewed(uint64_t *seed, size_t n, size_t skew) {
    double *x = test_doubles(seed, n, 1);
    float *host = test_narrow(x, n), *p = guard_alloc(dev, (n + skew) * 4);
    OK(dev->op->upload(dev, p + skew, host, n * 4));
    OK(dev->op->sync(dev));
    free(x), free(host);
    return p + skew;
}

static arrays compute(size_t head_dim, size_t window, size_t skew) {
    const size_t ld = (HEADS + 2 * KV) * head_dim;
    arrays r = {NULL, NULL, NULL, TOKENS * HEADS * head_dim, TOKENS * HEADS, TOKENS * ld};
    uint64_t seed = head_dim;
    r.out = malloc(r.n_out * 4), r.lse = malloc(r.n_lse * 4), r.dqkv = malloc(r.n_dqkv * 4);
    assert_true(r.out && r.lse && r.dqkv);
    er_attention a = {TOKENS, ROWS, HEADS, KV, head_dim, ld, skewed(&seed, r.n_dqkv, skew),
        skewed(&seed, 8 * KV * head_dim, skew), skewed(&seed, 8 * KV * head_dim, skew),
        guard_put(dev, starts, sizeof starts), guard_put(dev, prefix_at, sizeof prefix_at),
        guard_put(dev, prefix_len, sizeof prefix_len), 0.3f, window, 40, PREFIX};
    float *dout = skewed(&seed, r.n_out, skew), *out = (float *)guard_alloc(dev, (r.n_out + 1) * 4) + skew,
          *lse = guard_alloc(dev, r.n_lse * 4), *dqkv = (float *)guard_alloc(dev, (r.n_dqkv + 1) * 4) + skew;
    OK(dev->op->attention(dev, &a, out, lse));
    OK(dev->op->attention_backward(dev, &a, dqkv, dout, out, lse));
    guard_get(dev, r.out, out, r.n_out * 4), guard_get(dev, r.lse, lse, r.n_lse * 4);
    guard_get(dev, r.dqkv, dqkv, r.n_dqkv * 4);
    guard_end(dev);
    return r;
}

static void drop(arrays *r) { free(r->out), free(r->lse), free(r->dqkv); }

void test_same_bits(void **state) {
    (void)state;
    ON_CUDA();
    const char *orders[] = {"asc", "desc", "1", "2"};
    const size_t dims[] = {20, 64, 100, 33}, windows[] = {0, 9, 0, 0};
    for (size_t c = 0; c < N_CASES(dims); c++) {
        arrays first = {0};
        for (size_t k = 0; k < N_CASES(orders); k++) {
            if (shim_schedule) shim_schedule(orders[k]);
            arrays r = compute(dims[c], windows[c], 0);
            if (k == 0) {
                first = r;
                continue;
            }
            assert_memory_equal(r.out, first.out, r.n_out * 4);
            assert_memory_equal(r.lse, first.lse, r.n_lse * 4);
            assert_memory_equal(r.dqkv, first.dqkv, r.n_dqkv * 4);
            drop(&r);
        }
        drop(&first);
    }
}

// One float past 16 bytes: the scalar path, with sizes that would allow the other.
void test_skewed(void **state) {
    (void)state;
    ON_CUDA();
    arrays wide = compute(64, 0, 0), r = compute(64, 0, 1);
    for (size_t i = 0; i < r.n_out; i++) NEAR(r.out[i], wide.out[i], 2e-6);
    for (size_t i = 0; i < r.n_lse; i++) NEAR(r.lse[i], wide.lse[i], 2e-6);
    for (size_t i = 0; i < r.n_dqkv; i++) NEAR(r.dqkv[i], wide.dqkv[i], 1e-5);
    drop(&wide), drop(&r);
}

// A row of one token and no prefix attends to itself: out is v, dv is dout, and nothing reaches q and k.
void test_many_rows(void **state) {
    (void)state;
    ON_CUDA();
    enum { MANY = 65600 };
    if (shim_schedule || getenv("ERRATA_TEST_QUICK")) skip();  // 8 million fibers
    float *qkv = malloc(3 * MANY * 4), *dout = malloc(MANY * 4), *got = malloc(3 * MANY * 4);
    int32_t *start = malloc((MANY + 1) * sizeof *start);
    assert_true(qkv && dout && got && start);
    for (size_t i = 0; i < 3 * MANY; i++) qkv[i] = (float)(i % 1021) / 512 - 1;
    for (size_t i = 0; i < MANY; i++) dout[i] = (float)(i % 509) - 250;
    for (int32_t i = 0; i <= MANY; i++) start[i] = i;
    er_attention a = {MANY, MANY, 1, 1, 1, 3, guard_put(dev, qkv, 3 * MANY * 4), NULL, NULL,
        guard_put(dev, start, (MANY + 1) * sizeof *start), NULL, NULL, 0.5f, 0, 1, 0};
    float *out = guard_alloc(dev, MANY * 4), *lse = guard_alloc(dev, MANY * 4),
          *dqkv = guard_alloc(dev, 3 * MANY * 4);
    OK(dev->op->attention(dev, &a, out, lse));
    OK(dev->op->attention_backward(dev, &a, dqkv, guard_put(dev, dout, MANY * 4), out, lse));
    guard_get(dev, got, out, MANY * 4);
    for (size_t i = 0; i < MANY; i++) assert_true(got[i] == qkv[3 * i + 2]);
    guard_get(dev, got, dqkv, 3 * MANY * 4);
    for (size_t i = 0; i < MANY; i++) {
        NEAR(got[3 * i], 0, 1e-4);
        NEAR(got[3 * i + 1], 0, 1e-4);
        NEAR(got[3 * i + 2], dout[i], 1e-4);
    }
    guard_end(dev);
    free(qkv), free(dout), free(got), free(start);
}

void test_nothing_and_too_much(void **state) {
    (void)state;
    ON_CUDA();
    const int32_t start[2] = {0, 0};
    float *p = guard_alloc(dev, 64);
    er_attention a = {
        0, 1, 1, 1, 4, 12, p, NULL, NULL, guard_put(dev, start, sizeof start), NULL, NULL, 1, 0, 0, 0};
    OK(dev->op->attention(dev, &a, p, p));
    OK(dev->op->attention_backward(dev, &a, p, p, p, p));
    a.rows = 0;
    OK(dev->op->attention(dev, &a, p, p));
    OK(dev->op->attention_backward(dev, &a, p, p, p, p));
    a.rows = 1, a.tokens = 1, a.longest = 1, a.head_dim = 257, a.ld_qkv = 771;
    FAILS(dev->op->attention(dev, &a, p, p), ER_EUNSUPPORTED, "257");
    FAILS(dev->op->attention_backward(dev, &a, p, p, p, p), ER_EUNSUPPORTED, "257");
    guard_end(dev);
}
