// The product kernel and the transposition of attention, each once: unrolled code is large, and these are its
// only copies.
#include "kernels/cpu/attention.h"

// c [lines, vectors] = or += sum over k of a[line * a_line + k * a_k] * b[k * ld_b + ...]. lines and
// vectors are constants at every call.
typedef float er_lanes __attribute__((vector_size(4 * LANES)));
ER_INLINE void er_block(size_t lines, size_t vectors, size_t depth, const float *a, size_t a_line, size_t a_k,
    const float *b, size_t ld_b, float *c, size_t ld_c, bool add) {
    er_lanes sum[LINES][2], v[2];
#pragma GCC unroll 8
    for (size_t i = 0; i < lines; i++)
#pragma GCC unroll 2
        for (size_t j = 0; j < vectors; j++) {
            if (add) memcpy(&sum[i][j], c + i * ld_c + j * LANES, sizeof v[0]);
            else sum[i][j] = (er_lanes){0};
        }
    for (size_t k = 0; k < depth; k++) {
#pragma GCC unroll 2
        for (size_t j = 0; j < vectors; j++) memcpy(&v[j], b + k * ld_b + j * LANES, sizeof v[0]);
#pragma GCC unroll 8
        for (size_t i = 0; i < lines; i++)
#pragma GCC unroll 2
            for (size_t j = 0; j < vectors; j++) sum[i][j] += a[i * a_line + k * a_k] * v[j];
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < lines; i++)
#pragma GCC unroll 2
        for (size_t j = 0; j < vectors; j++) memcpy(c + i * ld_c + j * LANES, &sum[i][j], sizeof v[0]);
}

ER_CLONES static void all_blocks(size_t lines, size_t width, size_t depth, const float *a, size_t a_line,
    size_t a_k, const float *b, size_t ld_b, float *c, size_t ld_c, bool add) {
    size_t at = 0;
    for (; at + 2 * LANES <= width; at += 2 * LANES) {
        if (lines > 4) er_block(8, 2, depth, a, a_line, a_k, b + at, ld_b, c + at, ld_c, add);
        else er_block(4, 2, depth, a, a_line, a_k, b + at, ld_b, c + at, ld_c, add);
    }
    for (; at < width; at += LANES) {
        if (lines > 4) er_block(8, 1, depth, a, a_line, a_k, b + at, ld_b, c + at, ld_c, add);
        else er_block(4, 1, depth, a, a_line, a_k, b + at, ld_b, c + at, ld_c, add);
    }
}

// Transposes 16 x 16 in registers: at each stage two lines exchange half of their lanes.
#define ER_LOW_8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define ER_HIGH_8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define ER_LOW_4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define ER_HIGH_4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define ER_LOW_2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define ER_HIGH_2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define ER_LOW_1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define ER_HIGH_1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define ER_EXCHANGE(distance)                                                                                \
    _Pragma("GCC unroll 16") for (size_t i = 0; i < LANES; i++) if (!(i & distance)) {                       \
        er_lanes low = __builtin_shufflevector(r[i], r[i + distance], ER_LOW_##distance);                    \
        r[i + distance] = __builtin_shufflevector(r[i], r[i + distance], ER_HIGH_##distance);                \
        r[i] = low;                                                                                          \
    }
ER_INLINE void er_transpose(const float *const from[LANES], size_t at, float *to, size_t ld_to) {
    er_lanes r[LANES];
#pragma GCC unroll 16
    for (size_t i = 0; i < LANES; i++) memcpy(&r[i], from[i] + at, sizeof r[i]);
    ER_EXCHANGE(8)
    ER_EXCHANGE(4)
    ER_EXCHANGE(2)
    ER_EXCHANGE(1)
#pragma GCC unroll 16
    for (size_t i = 0; i < LANES; i++) memcpy(to + i * ld_to, &r[i], sizeof r[i]);
}

ER_CLONES static void pack_panels(const er_span *s, float *kt, bool values) {
    const size_t n = s->a->head_dim;
    for (size_t j = 0; j < s->keys; j += LANES) {
        const float *from[LANES];
        float *to = kt + j / PANEL * PANEL * n + j % PANEL;
        for (size_t i = 0; i < LANES; i++) {
            size_t k = j + i < s->keys ? j + i : s->keys - 1;
            from[i] = values ? er_span_value(s, k) : er_span_key(s, k);
        }
        size_t c = 0;
        for (; c + LANES <= n; c += LANES) er_transpose(from, c, to + c * PANEL, PANEL);
        for (; c < n; c++)
            for (size_t i = 0; i < LANES; i++) to[c * PANEL + i] = from[i][c];
    }
}

// A cloned function cannot have been declared before, says clang.
void er_blocks(size_t lines, size_t width, size_t depth, const float *a, size_t a_line, size_t a_k,
    const float *b, size_t ld_b, float *c, size_t ld_c, bool add) {
    all_blocks(lines, width, depth, a, a_line, a_k, b, ld_b, c, ld_c, add);
}
void er_pack_panels(const er_span *s, float *kt, bool values) { pack_panels(s, kt, values); }
