// What attention and its gradient share: the packing of one row's keys and values, and a small product
// kernel.
//
// Both work on one (row, key/value head) at a time. Keys and values of the prefix and of the row itself are
// copied together; the query heads of the group and the tokens are stacked as "lines" (token-major), 8 lines
// a block:
//     S = Q K^T   [8, keys]      K^T packed in panels of 32 keys: [keys / 32][head_dim][32]
//     O = P V     [8, head_dim]  V packed [keys][wide], wide = head_dim rounded up to 16
#ifndef ER_CPU_ATTENTION_H
#define ER_CPU_ATTENTION_H
#include <string.h>
#include "kernels/cpu/cpu.h"

#define LINES 8
#define LANES 16
#define PANEL 32

// One row and key/value head.
typedef struct er_span {
    const er_attention *a;
    size_t kv_head, group, first, own, prefix,
        keys;                          // first: number of the row's first token; keys = prefix + own
    size_t wide, padded;               // head_dim rounded up to LANES, keys to PANEL
    const float *prefix_k, *prefix_v;  // of this head; NULL without a prefix
} er_span;

ER_INLINE size_t er_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

ER_INLINE er_span er_span_make(const er_attention *a, size_t row, size_t kv_head) {
    size_t kv_dim = a->kv_heads * a->head_dim, first = (size_t)a->row_start[row];
    size_t prefix = a->prefix_len && a->prefix_k ? (size_t)a->prefix_len[row] : 0;
    size_t at = prefix ? (size_t)a->prefix_at[row] * kv_dim + kv_head * a->head_dim : 0;
    size_t own = (size_t)a->row_start[row + 1] - first;
    return (er_span){
        .a = a,
        .kv_head = kv_head,
        .group = a->heads / a->kv_heads,
        .first = first,
        .own = own,
        .prefix = prefix,
        .keys = prefix + own,
        .wide = er_up(a->head_dim, LANES),
        .padded = er_up(prefix + own, PANEL),
        .prefix_k = prefix ? a->prefix_k + at : NULL,
        .prefix_v = prefix ? a->prefix_v + at : NULL,
    };
}

// The longest row, prefix included.
ER_INLINE size_t er_longest(const er_attention *a) {
    size_t most = 0;
    for (size_t r = 0; r < a->rows; r++) {
        size_t n =
            (size_t)(a->row_start[r + 1] - a->row_start[r]) + (a->prefix_len ? (size_t)a->prefix_len[r] : 0);
        most = n > most ? n : most;
    }
    return most;
}

ER_INLINE const float *er_span_key(const er_span *s, size_t j) {
    const er_attention *a = s->a;
    if (j < s->prefix) return s->prefix_k + j * a->kv_heads * a->head_dim;
    return a->qkv + (s->first + j - s->prefix) * a->ld_qkv + (a->heads + s->kv_head) * a->head_dim;
}
ER_INLINE const float *er_span_value(const er_span *s, size_t j) {
    const er_attention *a = s->a;
    if (j < s->prefix) return s->prefix_v + j * a->kv_heads * a->head_dim;
    return a->qkv + (s->first + j - s->prefix) * a->ld_qkv +
           (a->heads + a->kv_heads + s->kv_head) * a->head_dim;
}

// First key that the query at position i sees.
ER_INLINE size_t er_first_visible(size_t i, size_t window) {
    return window && i + 1 > window ? i + 1 - window : 0;
}

ER_INLINE void er_copy_line(float *to, const float *from, size_t n, size_t wide) {
    memcpy(to, from, n * sizeof *to);
    for (size_t i = n; i < wide; i++) to[i] = 0;
}

// c [lines, width] = or += sum over k < depth of a[line * a_line + k * a_k] * b[k * ld_b + column]; width a
// multiple of LANES. Computes all 8 lines, or 4 when no more than 4 count.
void er_blocks(size_t lines, size_t width, size_t depth, const float *a, size_t a_line, size_t a_k,
    const float *b, size_t ld_b, float *c, size_t ld_c, bool add);
// All keys (or values) into panels [head_dim][32]. What fills a panel behind the last key repeats that key:
// finite, and never visible.
void er_pack_panels(const er_span *s, float *kt, bool values);

// scores [8, padded] of lines q [8, wide] against the keys from .. to-1, in whole panels.
ER_INLINE void er_scores(
    const er_span *s, size_t lines, const float *q, const float *kt, size_t from, size_t to, float *scores) {
    for (size_t p = from / PANEL; p * PANEL < to; p++)
        er_blocks(lines, to - p * PANEL <= LANES ? LANES : PANEL, s->a->head_dim, q, s->wide, 1,
            kt + p * PANEL * s->a->head_dim, PANEL, scores + p * PANEL, s->padded, false);
}
#endif
