// Rotary positions: each pair (a, b) of the first `rot` dimensions of a head turns by its angle. The inverse
// turns back.
#include "kernels/cpu/cpu.h"

ER_CLONES static void turn_half(float *restrict x, const float *restrict table, size_t half, float sign) {
    for (size_t j = 0; j < half; j++) {
        float c = table[j], s = sign * table[half + j], a = x[j], b = x[half + j];
        x[j] = a * c - b * s;
        x[half + j] = b * c + a * s;
    }
}

ER_CLONES static void turn_pairs(float *restrict x, const float *restrict table, size_t half, float sign) {
    for (size_t j = 0; j < half; j++) {
        float c = table[j], s = sign * table[half + j], a = x[2 * j], b = x[2 * j + 1];
        x[2 * j] = a * c - b * s;
        x[2 * j + 1] = b * c + a * s;
    }
}

er_status er_cpu_rope(er_device *d, er_rope_style style, float *x, size_t ld, const int32_t *pos,
    const float *table, size_t rot, size_t tokens, size_t heads, size_t head_dim, bool inverse) {
    if (style == ER_ROPE_NONE) return ER_OK;
    float sign = inverse ? -1.0f : 1.0f;
#pragma omp parallel for num_threads(d->threads) if (tokens * heads * rot > 1 << 14)
    for (size_t t = 0; t < tokens; t++)
        for (size_t h = 0; h < heads; h++) {
            float *at = x + t * ld + h * head_dim;
            const float *turn = table + (size_t)pos[t] * rot;
            if (style == ER_ROPE_HALF) turn_half(at, turn, rot / 2, sign);
            else turn_pairs(at, turn, rot / 2, sign);
        }
    return ER_OK;
}
