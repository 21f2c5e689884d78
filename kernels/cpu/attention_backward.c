// The gradient of attention with respect to q, k and v of the batch's own tokens. With P = e^(score - lse)
// recomputed:
//   dV = P^T dO     dP = dO V^T     dS = P (dP - D) scale, D = dO . O     dQ = dS K     dK = dS^T Q
// A block of 8 lines at a time; dK and dV of the row are summed in a buffer and written once. Shared out by
// (row, key/value head), so that no two threads add to the same key.
#include "kernels/cpu/attention.h"
#include "kernels/cpu/vmath.h"

typedef struct work {  // of one thread
    float *kt, *vt, *k, *dk, *dv, *q, *dout, *dq, *p, *ds;
} work;

static size_t carve(work *w, float *at, size_t longest, size_t head_dim) {
    const size_t wide = er_up(head_dim, LANES), padded = er_up(longest, PANEL);
    float **const buffers[] = {&w->kt, &w->vt, &w->k, &w->dk, &w->dv, &w->q, &w->dout, &w->dq, &w->p, &w->ds};
    size_t total = 0;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        *buffers[i] = at ? at + total : NULL;
        total += i < 2 ? padded * head_dim : i < 5 ? padded * wide : i < 8 ? LINES * wide : LINES * padded;
    }
    return total;
}

ER_CLONES static float dot(const float *a, const float *b, size_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

// p: scores in, probabilities out; ds: dP in, dS out. Zero where the line does not see the key.
ER_CLONES static void slopes(float *p, float *ds, size_t from, size_t to, size_t first, size_t last,
    float scale, float lse, float mean) {
#pragma omp simd
    for (size_t j = from; j < to; j++) {
        bool visible = j >= first && j <= last;
        float see = vm_exp(p[j] * scale - lse), slope = see * (ds[j] - mean) * scale;
        p[j] = visible ? see : 0.0f;
        ds[j] = visible ? slope : 0.0f;
    }
}

// dk += dS^T q and dv += P^T dO for the row's own keys from .. to-1, 8 keys at a time.
static void add_keys(const er_span *s, const work *w, size_t lines, size_t from, size_t to) {
    for (size_t j = from < s->prefix ? s->prefix : from; j < to; j += LINES) {
        float *dk = w->dk + (j - s->prefix) * s->wide, *dv = w->dv + (j - s->prefix) * s->wide;
        er_blocks(to - j, s->wide, lines, w->ds + j, 1, s->padded, w->q, s->wide, dk, s->wide, true);
        er_blocks(to - j, s->wide, lines, w->p + j, 1, s->padded, w->dout, s->wide, dv, s->wide, true);
    }
}

static void one_block(const er_span *s, const work *w, size_t line, size_t lines, float *dqkv,
    const float *dout, const float *out, const float *lse) {
    const er_attention *a = s->a;
    const size_t n = a->head_dim, to = s->prefix + (line + lines - 1) / s->group + 1;
    const size_t from = er_first_visible(s->prefix + line / s->group, a->window) / PANEL * PANEL;
    for (size_t i = 0; i < LINES; i++) {
        size_t t = s->first + (line + i) / s->group, h = s->kv_head * s->group + (line + i) % s->group;
        if (i < lines) {
            er_copy_line(w->q + i * s->wide, a->qkv + t * a->ld_qkv + h * n, n, s->wide);
            er_copy_line(w->dout + i * s->wide, dout + (t * a->heads + h) * n, n, s->wide);
        } else {
            memset(w->q + i * s->wide, 0, s->wide * sizeof *w->q);
            memset(w->dout + i * s->wide, 0, s->wide * sizeof *w->dout);
        }
    }
    er_scores(s, lines, w->q, w->kt, from, to, w->p);
    er_scores(s, lines, w->dout, w->vt, from, to, w->ds);
    // Whole groups of 8 keys are added below: what lies behind the last visible key must be zero.
    const size_t end = er_up(to + LINES - 1, LANES);
    for (size_t i = 0; i < lines; i++) {
        size_t at =
            (s->first + (line + i) / s->group) * a->heads + s->kv_head * s->group + (line + i) % s->group;
        size_t last = s->prefix + (line + i) / s->group;
        slopes(w->p + i * s->padded, w->ds + i * s->padded, from, end, er_first_visible(last, a->window),
            last, a->scale, lse[at], dot(w->dout + i * s->wide, out + at * n, n));
    }
    er_blocks(lines, s->wide, to - from, w->ds + from, s->padded, 1, w->k + from * s->wide, s->wide, w->dq,
        s->wide, false);
    for (size_t i = 0; i < lines; i++) {
        size_t t = s->first + (line + i) / s->group, h = s->kv_head * s->group + (line + i) % s->group;
        memcpy(dqkv + t * a->ld_qkv + h * n, w->dq + i * s->wide, n * sizeof *dqkv);
    }
    add_keys(s, w, lines, from, to);
}

static void one_row(
    const er_span *s, const work *w, float *dqkv, const float *dout, const float *out, const float *lse) {
    const size_t n = s->a->head_dim, ld = s->a->ld_qkv;
    er_pack_panels(s, w->kt, false);
    er_pack_panels(s, w->vt, true);
    for (size_t j = 0; j < s->keys; j++) er_copy_line(w->k + j * s->wide, er_span_key(s, j), n, s->wide);
    memset(w->dk, 0, er_up(s->own, LINES) * s->wide * sizeof *w->dk);
    memset(w->dv, 0, er_up(s->own, LINES) * s->wide * sizeof *w->dv);
    for (size_t line = 0; line < s->own * s->group; line += LINES) {
        size_t left = s->own * s->group - line;
        one_block(s, w, line, left < LINES ? left : LINES, dqkv, dout, out, lse);
    }
    float *dk = dqkv + s->first * ld + (s->a->heads + s->kv_head) * n;
    for (size_t t = 0; t < s->own; t++) {
        memcpy(dk + t * ld, w->dk + t * s->wide, n * sizeof *dk);
        memcpy(dk + s->a->kv_heads * n + t * ld, w->dv + t * s->wide, n * sizeof *dk);
    }
}

er_status er_cpu_attention_backward(
    er_device *d, const er_attention *a, float *dqkv, const float *dout, const float *out, const float *lse) {
    er_status rc = ER_OK;
    void *scratch = NULL;
    work sizes;
    if (!a->tokens || !a->head_dim) return ER_OK;
    // One group of 8 keys may reach past the end of a row.
    const size_t longest = er_longest(a) + LINES, each = carve(&sizes, NULL, longest, a->head_dim),
                 jobs = a->rows * a->kv_heads;
    ER_TRY(er_cpu_scratch(d, ER_SCRATCH_SCORES, (size_t)d->threads * each * sizeof(float), &scratch));
#pragma omp parallel num_threads(d->threads) if (a->tokens * a->heads > 64)
    {
        work w;
        (void)carve(&w, (float *)scratch + (size_t)er_cpu_thread() * each, longest, a->head_dim);
#pragma omp for schedule(dynamic)
        for (size_t job = 0; job < jobs; job++) {
            er_span s = er_span_make(a, job / a->kv_heads, job % a->kv_heads);
            s.padded = er_up(s.keys + LINES, PANEL);
            if (s.own) one_row(&s, &w, dqkv, dout, out, lse);
        }
    }
out:
    return rc;
}
