// Cases of attention: ragged rows, each behind a cached prefix of its own.
#include "tests/ops/cases.h"

typedef struct attention_case {
    er_attention a;
    float *out, *lse, *dqkv;
    const float *dout;
    op_field qkv, k, v, d;
    int32_t *start, *at, *len;  // host
} attention_case;
static void call_attention(void *p, size_t turn) {
    (void)turn;
    attention_case *c = p;
    op_must(ops.dev->op->attention(ops.dev, &c->a, c->out, c->lse));
}
static void call_attention_backward(void *p, size_t turn) {
    (void)turn;
    attention_case *c = p;
    op_must(ops.dev->op->attention_backward(ops.dev, &c->a, c->dqkv, c->dout, c->out, c->lse));
}

// Row r and key/value head g alone, as the oracle takes them: no other row and no other group has a part in
// it.
typedef struct slice {
    ref_attention_in in;
    int32_t start[2], at, len;
    double *dout;
} slice;
static void cut(slice *s, const attention_case *c, size_t r, size_t g) {
    const er_attention *a = &c->a;
    size_t hd = a->head_dim, group = a->heads / a->kv_heads, own = (size_t)(c->start[r + 1] - c->start[r]),
           ld = (group + 2) * hd, kv_dim = a->kv_heads * hd;
    double *qkv = op_host(own * ld * sizeof *qkv), *k = op_host((size_t)c->len[r] * hd * sizeof *k),
           *v = op_host((size_t)c->len[r] * hd * sizeof *v);
    s->dout = op_host(own * group * hd * sizeof *s->dout);
    for (size_t i = 0; i < own; i++) {
        size_t t = (size_t)c->start[r] + i, row = t * a->ld_qkv;
        for (size_t j = 0; j < group * hd; j++) {
            qkv[i * ld + j] = op_at(c->qkv, row + g * group * hd + j);
            s->dout[i * group * hd + j] = op_at(c->d, (t * a->heads + g * group) * hd + j);
        }
        for (size_t j = 0; j < 2 * hd; j++)
            qkv[i * ld + group * hd + j] =
                op_at(c->qkv, row + (a->heads + g + j / hd * a->kv_heads) * hd + j % hd);
    }
    for (size_t i = 0; i < (size_t)c->len[r] * hd; i++) {
        size_t from = ((size_t)c->at[r] + i / hd) * kv_dim + g * hd + i % hd;
        k[i] = op_at(c->k, from), v[i] = op_at(c->v, from);
    }
    s->start[0] = 0, s->start[1] = (int32_t)own, s->at = 0, s->len = c->len[r];
    s->in = (ref_attention_in){
        own, 1, group, 1, hd, ld, qkv, k, v, s->start, &s->at, &s->len, (double)a->scale, a->window};
}

static void compare_slice(
    op_error *out, op_error *lse, op_error *grad, const attention_case *c, size_t r, size_t g) {
    slice s;
    cut(&s, c, r, g);
    const er_attention *a = &c->a;
    size_t hd = a->head_dim, group = s.in.heads, ld = s.in.ld_qkv, first = (size_t)c->start[r];
    double *o = op_host(s.in.tokens * group * hd * sizeof *o), *l = op_host(s.in.tokens * group * sizeof *l),
           *d = op_host(s.in.tokens * ld * sizeof *d);
    ref_attention(&s.in, o, l);
    ref_attention_backward(&s.in, d, s.dout);
    for (size_t i = 0; i < s.in.tokens; i++) {
        const float *dq = c->dqkv + (first + i) * a->ld_qkv;
        size_t head = (first + i) * a->heads + g * group;
        op_compare(out, c->out + head * hd, o + i * group * hd, group * hd);
        op_compare(lse, c->lse + head, l + i * group, group);
        op_compare(grad, dq + g * group * hd, d + i * ld, group * hd);
        op_compare(grad, dq + (a->heads + g) * hd, d + i * ld + group * hd, hd);
        op_compare(grad, dq + (a->heads + a->kv_heads + g) * hd, d + i * ld + (group + 1) * hd, hd);
    }
}

// Starts and prefixes of the rows; every second prefix starts inside the one before: caches are shared.
// Returns the capacity of the cache; *pairs is the number of queries and keys that meet.
static size_t lay_out(attention_case *c, const op_batch *b, double *pairs) {
    size_t next = 2, bytes = (b->rows + 1) * sizeof(int32_t);
    c->start = op_host(bytes), c->at = op_host(bytes), c->len = op_host(bytes);
    for (size_t r = 0; r < b->rows; r++) {
        size_t own = (size_t)b->own[r % b->n_own], len = b->prefix ? (size_t)b->prefix[r % b->n_own] : 0;
        c->start[r + 1] = c->start[r] + (int32_t)own;
        c->len[r] = (int32_t)len;
        c->at[r] = (int32_t)(r % 2 && next > 3 ? next - 2 : next);
        next = (size_t)c->at[r] + len + 1;
        if (own > c->a.longest) c->a.longest = own;
        if (len > c->a.longest_prefix) c->a.longest_prefix = len;
        *pairs += (double)own * ((double)len + ((double)own + 1) / 2);
    }
    c->a.row_start = op_put(c->start, bytes);
    if (b->prefix) c->a.prefix_at = op_put(c->at, b->rows * 4), c->a.prefix_len = op_put(c->len, b->rows * 4);
    return next + 1;
}

// Columns behind q, k and v belong to somebody else: the gradient starts there as 7 and must end as 7.
static float *gradient_room(const er_attention *a) {
    size_t n = a->tokens * a->ld_qkv, width = (a->heads + 2 * a->kv_heads) * a->head_dim;
    if (a->ld_qkv == width) return op_room(n * 4);
    float *fill = op_host(n * sizeof *fill);
    for (size_t i = 0; i < n; i++) fill[i] = i % a->ld_qkv < width ? NAN : 7.0f;
    return op_put(fill, n * sizeof *fill);
}

static void compare_padding(op_error *e, const attention_case *c) {
    const er_attention *a = &c->a;
    size_t width = (a->heads + 2 * a->kv_heads) * a->head_dim;
    const double *got = a->ld_qkv > width ? op_download(c->dqkv, a->tokens * a->ld_qkv) : NULL;
    for (size_t i = 0; got && i < a->tokens * a->ld_qkv; i++)
        if (i % a->ld_qkv >= width && got[i] != 7) e->off = HUGE_VAL;
}

static attention_case make_attention(const op_batch *b, double scale, double *pairs) {
    size_t ld = (b->heads + 2 * b->kv_heads) * b->head_dim + b->pad, kv_dim = b->kv_heads * b->head_dim,
           wide = b->heads * b->head_dim;
    attention_case c = {.a = {.rows = b->rows,
                            .heads = b->heads,
                            .kv_heads = b->kv_heads,
                            .head_dim = b->head_dim,
                            .ld_qkv = ld,
                            .scale = (float)scale,
                            .window = b->window}};
    size_t capacity = lay_out(&c, b, pairs), n = c.a.tokens = (size_t)c.start[b->rows];
    c.qkv = op_field_make(n * ld, 1.5), c.d = op_field_make(n * wide, 1);
    c.k = op_field_make(capacity * kv_dim, 1.5), c.v = op_field_make(capacity * kv_dim, 1.5);
    c.a.qkv = op_field_put(c.qkv, n * ld), c.dout = op_field_put(c.d, n * wide);
    if (b->prefix)
        c.a.prefix_k = op_field_put(c.k, capacity * kv_dim),
        c.a.prefix_v = op_field_put(c.v, capacity * kv_dim);
    c.out = op_room(n * wide * 4), c.lse = op_room(n * b->heads * 4), c.dqkv = gradient_room(&c.a);
    return c;
}

void op_attention(const op_batch *b, double scale, double loose) {
    if (!op_wants("attention attention_backward")) return;
    double pairs = 0;
    attention_case c = make_attention(b, scale, &pairs);
    size_t n = c.a.tokens, wide = b->heads * b->head_dim;
    op_result there = {.op = "attention",
                  .of = OP_GEMM,
                  .bound = 8 * EPS * loose,
                  .call = call_attention,
                  .data = &c},
              back = there, logs = there;
    double prefix = 8 * (double)b->rows * (double)c.a.longest_prefix * (double)(b->kv_heads * b->head_dim);
    there.flops = 4 * pairs * (double)wide, there.bytes = 4.0 * (double)(n * (c.a.ld_qkv + wide)) + prefix;
    back.op = "attention_backward", back.bound = 16 * EPS * loose, back.call = call_attention_backward;
    back.flops = 2.5 * there.flops, back.bytes = 8.0 * (double)(n * (c.a.ld_qkv + wide)) + prefix;
    call_attention(&c, 0), call_attention_backward(&c, 0);
    for (size_t k = 0; k < op_count(b->rows); k++) {
        size_t r = op_chosen(b->rows, k);
        for (size_t g = 0; g < (ops.samples ? 1 : b->kv_heads); g++)
            compare_slice(&there.e, &logs.e, &back.e, &c, r, ops.samples ? r % b->kv_heads : g);
    }
    compare_padding(&back.e, &c);
    (void)snprintf(there.shape, sizeof there.shape, "%zu rows, %zu after %zu, %zu/%zu x %zu", b->rows, n,
        c.a.longest_prefix, b->heads, b->kv_heads, b->head_dim);
    memcpy(back.shape, there.shape, sizeof back.shape);
    if (op_error_of(&logs.e) > logs.bound) there.e.off = HUGE_VAL;
    op_report(&there), op_report(&back);
    if (!ops.samples && n) {  // lse may be absent, and changes nothing
        float *with = c.out;
        c.out = op_room(n * wide * 4), c.lse = NULL;
        call_attention(&c, 0);
        op_result same = {.op = "attention", .shape = "without lse"};
        op_compare(&same.e, c.out, op_download(with, n * wide), n * wide);
        op_report(&same);
    }
    op_end();
}
