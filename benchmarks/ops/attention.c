// Attention of ragged rows, each behind a cached prefix of its own.
#include "benchmarks/ops/ops.h"

typedef struct attend {
    er_attention a;
    float *out, *lse, *dout, *dqkv;
    field f_qkv, f_k, f_v, f_dout;
    size_t *start;  // host
    size_t prefix;
} attend;
static void run_attention(void *p, size_t turn) {
    (void)turn;
    attend *t = p;
    bench_must(bench.dev->op->attention(bench.dev, &t->a, t->out, t->lse));
}
static void run_backward(void *p, size_t turn) {
    (void)turn;
    attend *t = p;
    bench_must(bench.dev->op->attention_backward(bench.dev, &t->a, t->dqkv, t->dout, t->out, t->lse));
}

// One query of one head in double: probabilities over prefix and own keys, and where its keys and values lie.
typedef struct query {
    const attend *t;
    size_t row, token, head, group, keys;
    double *p, *dp, mean;  // dp: dout . v, mean: sum p dp
} query;

static double q_at(const query *q, size_t col) {
    const er_attention *a = &q->t->a;
    return bench_at(q->t->f_qkv, q->token * a->ld_qkv + q->head * a->head_dim + col);
}
static double dout_at(const query *q, size_t col) {
    const er_attention *a = &q->t->a;
    return bench_at(q->t->f_dout, (q->token * a->heads + q->head) * a->head_dim + col);
}
static double kv_at(const query *q, size_t key, size_t col, bool value) {
    const er_attention *a = &q->t->a;
    if (key < q->t->prefix) {
        size_t at = ((q->row * q->t->prefix + key) * a->kv_heads + q->group) * a->head_dim + col;
        return bench_at(value ? q->t->f_v : q->t->f_k, at);
    }
    size_t token = q->t->start[q->row] + key - q->t->prefix,
           head = a->heads + q->group + (value ? a->kv_heads : 0);
    return bench_at(q->t->f_qkv, token * a->ld_qkv + head * a->head_dim + col);
}

static void look(query *q, const attend *t, size_t row, size_t token, size_t head) {
    const er_attention *a = &t->a;
    *q = (query){t, row, token, head, head / (a->heads / a->kv_heads), t->prefix + token - t->start[row] + 1,
        q->p, q->dp, 0};
    double sum = 0;
    for (size_t j = 0; j < q->keys; j++) {
        double score = 0;
        q->dp[j] = 0;
        for (size_t d = 0; d < a->head_dim; d++) {
            score += q_at(q, d) * kv_at(q, j, d, false);
            q->dp[j] += dout_at(q, d) * kv_at(q, j, d, true);
        }
        sum += q->p[j] = exp(score * (double)a->scale);
    }
    for (size_t j = 0; j < q->keys; j++) {
        q->p[j] /= sum;
        q->mean += q->p[j] * q->dp[j];
    }
}

// The output, the gradient of a query, and those of a row's last key and value: no other query of that row
// sees them.
static void check_all(const attend *t, check *out, check *grad) {
    const er_attention *a = &t->a;
    query q = {.p = bench_host((t->prefix + a->longest) * 8), .dp = bench_host((t->prefix + a->longest) * 8)};
    for (int s = 0; s < SAMPLES / 4; s++) {
        size_t row = bench_pick(a->rows), own = t->start[row + 1] - t->start[row],
               col = bench_pick(a->head_dim);
        size_t head = bench_pick(a->heads), group = a->heads / a->kv_heads, last = t->start[row + 1] - 1;
        look(&q, t, row, t->start[row] + bench_pick(own), head);
        double value = 0, dq = 0, dk = 0, dv = 0;
        for (size_t j = 0; j < q.keys; j++) {
            value += q.p[j] * kv_at(&q, j, col, true);
            dq += q.p[j] * (q.dp[j] - q.mean) * kv_at(&q, j, col, false) * (double)a->scale;
        }
        bench_compare(out, bench_got(t->out, (q.token * a->heads + head) * a->head_dim + col), value);
        bench_compare(grad, bench_got(t->dqkv, q.token * a->ld_qkv + head * a->head_dim + col), dq);
        size_t kv_head = head / group;
        for (size_t h = kv_head * group; h < (kv_head + 1) * group; h++) {
            look(&q, t, row, last, h);
            size_t j = q.keys - 1;
            dk += q.p[j] * (q.dp[j] - q.mean) * q_at(&q, col) * (double)a->scale;
            dv += q.p[j] * dout_at(&q, col);
        }
        const float *at = t->dqkv + last * a->ld_qkv + col;
        bench_compare(grad, bench_got(at, (a->heads + kv_head) * a->head_dim), dk);
        bench_compare(grad, bench_got(at, (a->heads + a->kv_heads + kv_head) * a->head_dim), dv);
    }
    free(q.p), free(q.dp);
}

// Tokens, starts and prefixes of the rows; returns the number of query-key pairs.
static double lay_out(attend *t, bench_rows r) {
    int32_t *start = bench_host((r.rows + 1) * 4), *at = bench_host(r.rows * 4),
            *len = bench_host(r.rows * 4);
    double pairs = 0;
    start[0] = 0, t->start[0] = 0;
    for (size_t i = 0; i < r.rows; i++) {
        size_t own = r.length[i % r.lengths];
        t->start[i + 1] = t->start[i] + own;
        start[i + 1] = (int32_t)t->start[i + 1];
        at[i] = (int32_t)(i * r.prefix), len[i] = (int32_t)r.prefix;
        if (own > t->a.longest) t->a.longest = own;
        pairs += (double)own * (double)r.prefix + (double)own * ((double)own + 1) / 2;
    }
    t->a.tokens = t->start[r.rows];
    t->a.row_start = bench_upload(start, (r.rows + 1) * 4);
    if (r.prefix)
        t->a.prefix_at = bench_upload(at, r.rows * 4), t->a.prefix_len = bench_upload(len, r.rows * 4);
    free(start), free(at), free(len);
    return pairs;
}

void bench_attention(bench_rows r, bench_heads h) {
    if (!bench_wants("attention_backward")) return;
    size_t ld = (h.heads + 2 * h.kv_heads) * h.width, kv = h.kv_heads * h.width, wide = h.heads * h.width;
    attend t = {.f_qkv = bench_field(1),
        .f_k = bench_field(1),
        .f_v = bench_field(1),
        .f_dout = bench_field(1),
        .start = bench_host((r.rows + 1) * sizeof *t.start),
        .prefix = r.prefix};
    t.a = (er_attention){.rows = r.rows,
        .heads = h.heads,
        .kv_heads = h.kv_heads,
        .head_dim = h.width,
        .ld_qkv = ld,
        .scale = (float)(1 / sqrt((double)h.width)),
        .longest_prefix = r.prefix};
    double flops = 4 * lay_out(&t, r) * (double)wide;
    size_t n = t.a.tokens;
    t.a.qkv = bench_field_room(t.f_qkv, n * ld);
    if (r.prefix) {
        t.a.prefix_k = bench_field_room(t.f_k, r.rows * r.prefix * kv);
        t.a.prefix_v = bench_field_room(t.f_v, r.rows * r.prefix * kv);
    }
    t.out = bench_room(n * wide * 4), t.lse = bench_room(n * h.heads * 4);
    t.dout = bench_field_room(t.f_dout, n * wide), t.dqkv = bench_room(n * ld * 4);
    run_attention(&t, 0), run_backward(&t, 0);
    check out = {0, 0}, grad = {0, 0};
    check_all(&t, &out, &grad);
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu rows, %zu after %zu, %zu/%zu x %zu", r.rows, n, r.prefix,
        h.heads, h.kv_heads, h.width);
    double prefix = 8 * (double)(r.rows * r.prefix * kv);
    bench_report(&(bench_case){"attention", shape, flops, 4.0 * (double)(n * (ld + wide)) + prefix,
        BENCH_GEMM, out, 1e-5, run_attention, &t});
    bench_report(&(bench_case){"attention_backward", shape, 2.5 * flops,
        8.0 * (double)(n * (ld + wide)) + prefix, BENCH_GEMM, grad, 1e-5, run_backward, &t});
    const void *all[] = {t.a.qkv, t.a.prefix_k, t.a.prefix_v, t.a.row_start, t.a.prefix_at, t.a.prefix_len,
        t.out, t.lse, t.dout, t.dqkv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_release(all[i]);
    bench_field_free(t.f_qkv), bench_field_free(t.f_k), bench_field_free(t.f_v), bench_field_free(t.f_dout);
    free(t.start);
}
