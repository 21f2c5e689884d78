// Attention and its gradient: against double-precision loops, the gradient oracle against central
// differences, and identities.
#include "tests/ops/checks.h"

typedef struct batch {
    ref_attention_in ref;
    er_attention op;
    int32_t start[16], at[16], len[16];
    double *qkv, *k, *v, *dout;
    size_t capacity;
} batch;

static batch make_batch(const case_attention *c, double scale) {
    batch b = {0};
    uint64_t seed = c->heads * 100 + c->head_dim;
    size_t rows = 0, tokens = 0, at = 2, longest = 0, longest_prefix = 0;
    for (; c->own[rows] >= 0; rows++) {
        b.start[rows] = (int32_t)tokens;
        tokens += (size_t)c->own[rows];
        longest = (size_t)c->own[rows] > longest ? (size_t)c->own[rows] : longest;
        b.len[rows] = c->prefix[0] || c->prefix[1] ? c->prefix[rows] : 0;
        longest_prefix = (size_t)b.len[rows] > longest_prefix ? (size_t)b.len[rows] : longest_prefix;
        // Every second prefix starts inside the one before: caches are shared.
        b.at[rows] = (int32_t)(rows % 2 && at > 3 ? at - 2 : at);
        at = (size_t)b.at[rows] + (size_t)b.len[rows] + 1;
    }
    b.start[rows] = (int32_t)tokens;
    b.capacity = at + 1;
    size_t kv_dim = c->kv_heads * c->head_dim, ld = (c->heads + 2 * c->kv_heads) * c->head_dim + c->pad;
    bool prefixed = c->prefix[0] || c->prefix[1];
    b.qkv = test_doubles(&seed, tokens * ld, 1.5),
    b.dout = test_doubles(&seed, tokens * c->heads * c->head_dim, 1);
    b.k = test_doubles(&seed, b.capacity * kv_dim, 1.5), b.v = test_doubles(&seed, b.capacity * kv_dim, 1.5);
    b.ref = (ref_attention_in){tokens, rows, c->heads, c->kv_heads, c->head_dim, ld, b.qkv,
        prefixed ? b.k : NULL, prefixed ? b.v : NULL, NULL, NULL, NULL, scale, c->window};
    b.op = (er_attention){tokens, rows, c->heads, c->kv_heads, c->head_dim, ld,
        guard_put_narrow(dev, b.qkv, tokens * ld),
        prefixed ? guard_put_narrow(dev, b.k, b.capacity * kv_dim) : NULL,
        prefixed ? guard_put_narrow(dev, b.v, b.capacity * kv_dim) : NULL,
        guard_put(dev, b.start, (rows + 1) * 4), prefixed ? guard_put(dev, b.at, rows * 4) : NULL,
        prefixed ? guard_put(dev, b.len, rows * 4) : NULL, (float)scale, c->window, longest, longest_prefix};
    return b;
}

static void bind(batch *b) {  // after the struct has its final address
    b->ref.row_start = b->start;
    b->ref.prefix_at = b->ref.prefix_k ? b->at : NULL;
    b->ref.prefix_len = b->ref.prefix_k ? b->len : NULL;
}

static void drop(batch *b) {
    guard_end(dev);
    free(b->qkv), free(b->k), free(b->v), free(b->dout);
}

static void one_attention(const case_attention *c, double scale, double loose) {
    size_t rows = 0;
    while (c->own[rows] >= 0) rows++;
    bool prefixed = c->prefix[0] || c->prefix[1];
    op_batch b = {c->heads, c->kv_heads, c->head_dim, c->pad, c->window, rows, rows, c->own,
        prefixed ? c->prefix : NULL};
    op_attention(&b, scale, loose);
}

void test_attention(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_attention); i++)
        one_attention(&cases_attention[i], 1 / sqrt((double)cases_attention[i].head_dim), 1);
}

// Scores in the hundreds: without the running maximum e^x overflows. Errors grow with the size of the scores.
void test_attention_large_scores(void **state) {
    (void)state;
    one_attention(&cases_attention[2], 100, 300);
    one_attention(&cases_attention[8], 40, 300);
}

static double objective(const batch *b, double *out) {
    double sum = 0;
    ref_attention(&b->ref, out, NULL);
    for (size_t i = 0; i < b->ref.tokens * b->ref.heads * b->ref.head_dim; i++) sum += out[i] * b->dout[i];
    return sum;
}

void test_attention_oracle(void **state) {
    (void)state;
    const size_t small[] = {1, 2, 3, 4, 5, 7, 8, 9, 10};
    for (size_t i = 0; i < N_CASES(small); i++) {
        batch b = make_batch(&cases_attention[small[i]], 0.7);
        bind(&b);
        size_t n = b.ref.tokens * b.ref.ld_qkv, width = (b.ref.heads + 2 * b.ref.kv_heads) * b.ref.head_dim;
        double *out = calloc(b.ref.tokens * b.ref.heads * b.ref.head_dim + 1, 8), *dqkv = calloc(n + 1, 8);
        assert_true(out && dqkv);
        ref_attention_backward(&b.ref, dqkv, b.dout);
        for (size_t j = 0; j < n; j += 1 + n / 300) {
            if (j % b.ref.ld_qkv >= width) continue;
            double keep = b.qkv[j];
            b.qkv[j] = keep + 1e-5;
            double up = objective(&b, out);
            b.qkv[j] = keep - 1e-5;
            double down = objective(&b, out);
            b.qkv[j] = keep;
            NEAR((up - down) / 2e-5, dqkv[j], 1e-7);
        }
        drop(&b);
        free(out), free(dqkv);
    }
}

// Splitting a row into a cached prefix and a rest changes nothing for the rest.
void test_prefix_identity(void **state) {
    (void)state;
    enum { N = 37, HEADS = 6, KV = 2, HD = 24, LD = (HEADS + 2 * KV) * HD, KVD = KV * HD };
    uint64_t seed = 77;
    double *qkv = test_doubles(&seed, N * LD, 1);
    float *whole = malloc(N * HEADS * HD * 4), *part = malloc(N * HEADS * HD * 4);
    assert_true(whole && part);
    float *dev_qkv = guard_put_narrow(dev, qkv, N * LD), *out = guard_alloc(dev, N * HEADS * HD * 4);
    int32_t all[2] = {0, N};
    for (size_t window = 0; window < 12; window += 5) {
        er_attention a = {N, 1, HEADS, KV, HD, LD, dev_qkv, NULL, NULL, guard_put(dev, all, 8), NULL, NULL,
            0.2f, window, N, 0};
        OK(dev->op->attention(dev, &a, out, NULL));
        guard_get(dev, whole, out, N * HEADS * HD * 4);
        for (int32_t cut = 1; cut < N; cut += 7) {
            int32_t at[N], start[2] = {0, N - cut}, prefix_at = 3;
            for (int32_t t = 0; t < N; t++) at[t] = t < cut ? t + 3 : -1;
            float *k = guard_alloc(dev, (N + 3) * KVD * 4), *v = guard_alloc(dev, (N + 3) * KVD * 4);
            OK(dev->op->kv_store(dev,
                &(er_kv_store_args){N, KVD, LD, HEADS * HD, dev_qkv, guard_put(dev, at, sizeof at), k, v}));
            er_attention s = {(size_t)(N - cut), 1, HEADS, KV, HD, LD, dev_qkv + (size_t)cut * LD, k, v,
                guard_put(dev, start, 8), guard_put(dev, &prefix_at, 4), guard_put(dev, &cut, 4), 0.2f,
                window, (size_t)(N - cut), (size_t)cut};
            OK(dev->op->attention(dev, &s, out, NULL));
            size_t n = (size_t)(N - cut) * HEADS * HD;
            guard_get(dev, part, out, n * 4);
            for (size_t i = 0; i < n; i++) NEAR(part[i], whole[(size_t)cut * HEADS * HD + i], 4e-7);
        }
        guard_end(dev);
        dev_qkv = guard_put_narrow(dev, qkv, N * LD), out = guard_alloc(dev, N * HEADS * HD * 4);
    }
    guard_end(dev);
    free(qkv), free(whole), free(part);
}
