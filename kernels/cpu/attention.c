// Causal attention of ragged rows over a cached prefix and their own keys. Work is shared out by (row,
// key/value head, share of the row's tokens). Measured on one AVX-512 core beside the plain loops it
// replaced: see benchmarks/bench_ops.c.
#include "kernels/cpu/attention.h"

#include <math.h>
#include "kernels/cpu/vmath.h"

#define SHARE 256  // tokens of a row that one job takes

// Turns line scores from .. to-1 (multiples of LANES) into e^(score - top) where visible and 0 elsewhere;
// returns their sum.
ER_CLONES static float soften(
    float *score, size_t from, size_t to, size_t first, size_t last, float scale, float *top_out) {
    float top = -INFINITY, sum = 0;
#pragma omp simd reduction(max : top)
    for (size_t j = from; j < to; j++) {
        score[j] = j >= first && j <= last ? score[j] * scale : -INFINITY;
        top = score[j] > top ? score[j] : top;
    }
#pragma omp simd reduction(+ : sum)
    for (size_t j = from; j < to; j++) {
        score[j] = vm_exp(score[j] - top);
        sum += score[j];
    }
    *top_out = top;
    return sum;
}

typedef struct work {  // of one thread
    float *kt, *v, *q, *scores, *sums;
} work;

static size_t work_floats(size_t longest, size_t head_dim) {
    size_t wide = er_up(head_dim, LANES), padded = er_up(longest, PANEL);
    return padded * head_dim + longest * wide + LINES * (2 * wide + padded) + LANES;
}

static work carve(float *at, size_t longest, size_t head_dim) {
    size_t wide = er_up(head_dim, LANES), padded = er_up(longest, PANEL);
    work w;
    w.kt = at, at += padded * head_dim;
    w.v = at, at += longest * wide;
    w.q = at, at += LINES * wide;
    w.sums = at, at += LINES * wide;
    w.scores = at;
    return w;
}

// Lines `line` .. of a share that starts at token t0 of the row.
static void one_block(
    const er_span *s, const work *w, size_t t0, size_t line, size_t lines, float *out, float *lse) {
    const er_attention *a = s->a;
    const size_t n = a->head_dim, last_t = t0 + (line + lines - 1) / s->group;
    const size_t from = er_first_visible(s->prefix + t0 + line / s->group, a->window) / PANEL * PANEL,
                 to = s->prefix + last_t + 1;
    for (size_t i = 0; i < LINES; i++) {
        size_t t = s->first + t0 + (line + i) / s->group, h = s->kv_head * s->group + (line + i) % s->group;
        if (i < lines) er_copy_line(w->q + i * s->wide, a->qkv + t * a->ld_qkv + h * n, n, s->wide);
        else memset(w->q + i * s->wide, 0, s->wide * sizeof *w->q);
    }
    er_scores(s, lines, w->q, w->kt, from, to, w->scores);
    float inverse[LINES];
    for (size_t i = 0; i < lines; i++) {
        size_t t = t0 + (line + i) / s->group, h = s->kv_head * s->group + (line + i) % s->group,
               last = s->prefix + t;
        float top, sum = soften(w->scores + i * s->padded, from, er_up(to, LANES),
                       er_first_visible(last, a->window), last, a->scale, &top);
        inverse[i] = 1.0f / sum;
        if (lse) lse[(s->first + t) * a->heads + h] = top + logf(sum);
    }
    er_blocks(lines, s->wide, to - from, w->scores + from, s->padded, 1, w->v + from * s->wide, s->wide,
        w->sums, s->wide, false);
    for (size_t i = 0; i < lines; i++) {
        size_t t = s->first + t0 + (line + i) / s->group, h = s->kv_head * s->group + (line + i) % s->group;
        float *o = out + (t * a->heads + h) * n;
        for (size_t c = 0; c < n; c++) o[c] = w->sums[i * s->wide + c] * inverse[i];
    }
}

static void one_share(const er_span *s, const work *w, size_t t0, size_t tokens, float *out, float *lse) {
    er_span seen = *s;  // later keys are not visible to this share
    seen.keys = s->prefix + t0 + tokens;
    seen.padded = er_up(seen.keys, PANEL);
    er_pack_panels(&seen, w->kt, false);
    for (size_t j = 0; j < seen.keys; j++)
        er_copy_line(w->v + j * s->wide, er_span_value(s, j), s->a->head_dim, s->wide);
    for (size_t line = 0; line < tokens * s->group; line += LINES) {
        size_t left = tokens * s->group - line;
        one_block(&seen, w, t0, line, left < LINES ? left : LINES, out, lse);
    }
}

er_status er_cpu_attention(er_device *d, const er_attention *a, float *out, float *lse) {
    er_status rc = ER_OK;
    void *scratch = NULL;
    if (!a->tokens || !a->head_dim) return ER_OK;
    const size_t longest = er_longest(a), each = work_floats(longest, a->head_dim),
                 shares = (longest + SHARE - 1) / SHARE;
    const size_t jobs = a->rows * a->kv_heads * shares;
    ER_TRY(er_cpu_scratch(d, ER_SCRATCH_SCORES, (size_t)d->threads * each * sizeof(float), &scratch));
#pragma omp parallel num_threads(d->threads) if (a->tokens * a->heads > 64)
    {
        const work w = carve((float *)scratch + (size_t)er_cpu_thread() * each, longest, a->head_dim);
#pragma omp for schedule(dynamic)
        for (size_t job = 0; job < jobs; job++) {
            // Late shares of long rows cost most: they go first.
            size_t share = shares - 1 - job / (a->rows * a->kv_heads),
                   row = job % (a->rows * a->kv_heads) / a->kv_heads;
            er_span s = er_span_make(a, row, job % a->kv_heads);
            if (share * SHARE < s.own)
                one_share(&s, &w, share * SHARE,
                    s.own - share * SHARE < SHARE ? s.own - share * SHARE : SHARE, out, lse);
        }
    }
out:
    return rc;
}
