// Causal attention of ragged rows over a cached prefix and their own keys. Work is shared out by (row,
// key/value head).
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"

#include <math.h>
#include <string.h>

// One row and key/value head: its keys and values in two pieces (prefix, own), and where its queries lie.
typedef struct span {
    const float *k0, *v0, *k1, *v1;       // prefix and own; strides ld0 and ld1
    size_t ld0, ld1, prefix, own, first;  // first: token number of the row
    size_t head_dim;
} span;

static span make_span(const er_attention *a, size_t row, size_t kv_head) {
    size_t kv_dim = a->kv_heads * a->head_dim, first = (size_t)a->row_start[row];
    size_t prefix = a->prefix_len && a->prefix_k ? (size_t)a->prefix_len[row] : 0,
           at = prefix ? (size_t)a->prefix_at[row] : 0;
    const float *own = a->qkv + first * a->ld_qkv + a->heads * a->head_dim + kv_head * a->head_dim;
    return (span){
        .k0 = prefix ? a->prefix_k + at * kv_dim + kv_head * a->head_dim : NULL,
        .v0 = prefix ? a->prefix_v + at * kv_dim + kv_head * a->head_dim : NULL,
        .k1 = own,
        .v1 = own + kv_dim,
        .ld0 = kv_dim,
        .ld1 = a->ld_qkv,
        .prefix = prefix,
        .own = (size_t)a->row_start[row + 1] - first,
        .first = first,
        .head_dim = a->head_dim,
    };
}

ER_INLINE const float *key_at(const span *s, size_t j) {
    return j < s->prefix ? s->k0 + j * s->ld0 : s->k1 + (j - s->prefix) * s->ld1;
}
ER_INLINE const float *value_at(const span *s, size_t j) {
    return j < s->prefix ? s->v0 + j * s->ld0 : s->v1 + (j - s->prefix) * s->ld1;
}
ER_INLINE float dot(const float *a, const float *b, size_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}
ER_INLINE void axpy(float *y, float a, const float *x, size_t n) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}
ER_INLINE size_t first_visible(size_t i, size_t window) {
    return window && i + 1 > window ? i + 1 - window : 0;
}

// One query at position i (prefix included) of the span. score: room for every key.
ER_CLONES static void query_forward(const span *s, const float *q, size_t i, float scale, size_t window,
    float *out, float *lse, float *score) {
    size_t from = first_visible(i, window);
    float top = -INFINITY, sum = 0;
    for (size_t j = from; j <= i; j++) score[j] = scale * dot(q, key_at(s, j), s->head_dim);
    for (size_t j = from; j <= i; j++) top = score[j] > top ? score[j] : top;
#pragma omp simd reduction(+ : sum)
    for (size_t j = from; j <= i; j++) score[j] = vm_exp(score[j] - top), sum += score[j];
    memset(out, 0, s->head_dim * sizeof *out);
    for (size_t j = from; j <= i; j++) axpy(out, score[j], value_at(s, j), s->head_dim);
    float inverse = 1.0f / sum;
    for (size_t c = 0; c < s->head_dim; c++) out[c] *= inverse;
    if (lse) *lse = top + logf(sum);
}

// P = exp(score - lse), dP = dout . v, dS = P (dP - D) scale with D = dout . out; dq += dS k, dk += dS q, dv
// += P dout.
ER_CLONES static void query_backward(const span *s, const float *q, size_t i, float scale, size_t window,
    const float *dout, const float *out, float lse, float *dq, float *dk, float *dv, size_t ld) {
    size_t n = s->head_dim;
    float d = dot(dout, out, n);
    memset(dq, 0, n * sizeof *dq);
    for (size_t j = first_visible(i, window); j <= i; j++) {
        const float *k = key_at(s, j);
        float p = vm_exp(scale * dot(q, k, n) - lse);
        float ds = p * (dot(dout, value_at(s, j), n) - d) * scale;
        axpy(dq, ds, k, n);
        if (j < s->prefix) continue;
        axpy(dk + (j - s->prefix) * ld, ds, q, n);
        axpy(dv + (j - s->prefix) * ld, p, dout, n);
    }
}

static size_t longest_row(const er_attention *a) {
    size_t most = 0;
    for (size_t r = 0; r < a->rows; r++) {
        size_t n =
            (size_t)(a->row_start[r + 1] - a->row_start[r]) + (a->prefix_len ? (size_t)a->prefix_len[r] : 0);
        most = n > most ? n : most;
    }
    return most;
}

er_status er_cpu_attention(er_device *d, er_stream *stream, const er_attention *a, float *out, float *lse) {
    (void)stream;
    er_status rc = ER_OK;
    void *scratch = NULL;
    size_t keys = longest_row(a) + 16, group = a->kv_heads ? a->heads / a->kv_heads : 0,
           jobs = a->rows * a->kv_heads;
    ER_TRY(er_cpu_scratch(d, ER_SCRATCH_SCORES, (size_t)d->threads * keys * sizeof(float), &scratch));
#pragma omp parallel num_threads(d->threads) if (a->tokens * a->heads > 64)
    {
        float *score = (float *)scratch + (size_t)er_cpu_thread() * keys;
#pragma omp for schedule(dynamic)
        for (size_t job = 0; job < jobs; job++) {
            span s = make_span(a, job / a->kv_heads, job % a->kv_heads);
            for (size_t t = s.first; t < s.first + s.own; t++)
                for (size_t h = job % a->kv_heads * group; h < (job % a->kv_heads + 1) * group; h++)
                    query_forward(&s, a->qkv + t * a->ld_qkv + h * a->head_dim, s.prefix + t - s.first,
                        a->scale, a->window, out + (t * a->heads + h) * a->head_dim,
                        lse ? lse + t * a->heads + h : NULL, score);
        }
    }
out:
    return rc;
}

er_status er_cpu_attention_backward(er_device *d, er_stream *stream, const er_attention *a, float *dqkv,
    const float *dout, const float *out, const float *lse) {
    (void)stream;
    size_t group = a->kv_heads ? a->heads / a->kv_heads : 0, jobs = a->rows * a->kv_heads, n = a->head_dim;
#pragma omp parallel for num_threads(d->threads) schedule(dynamic) if (a->tokens * a->heads > 64)
    for (size_t job = 0; job < jobs; job++) {
        size_t kv_head = job % a->kv_heads;
        span s = make_span(a, job / a->kv_heads, kv_head);
        float *dk = dqkv + s.first * a->ld_qkv + (a->heads + kv_head) * n, *dv = dk + a->kv_heads * n;
        for (size_t t = 0; t < s.own; t++) {
            memset(dk + t * a->ld_qkv, 0, n * sizeof *dk);
            memset(dv + t * a->ld_qkv, 0, n * sizeof *dv);
        }
        for (size_t t = s.first; t < s.first + s.own; t++)
            for (size_t h = kv_head * group; h < (kv_head + 1) * group; h++) {
                size_t at = t * a->heads + h;
                query_backward(&s, a->qkv + t * a->ld_qkv + h * n, s.prefix + t - s.first, a->scale,
                    a->window, dout + at * n, out + at * n, lse[at], dqkv + t * a->ld_qkv + h * n, dk, dv,
                    a->ld_qkv);
            }
    }
    return ER_OK;
}
