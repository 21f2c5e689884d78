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

er_status er_cpu_rope(er_device *d, const er_rope_args *a, float *x, bool inverse) {
    if (a->style == ER_ROPE_NONE) return ER_OK;
    const size_t rot = a->rot;
    float sign = inverse ? -1.0f : 1.0f;
#pragma omp parallel for num_threads(d->threads) if (a->tokens * a->heads * rot > 1 << 14)
    for (size_t t = 0; t < a->tokens; t++)
        for (size_t h = 0; h < a->heads; h++) {
            float *at = x + t * a->ld + h * a->head_dim;
            const float *turn = a->table + (size_t)a->pos[t] * rot;
            if (a->style == ER_ROPE_HALF) turn_half(at, turn, rot / 2, sign);
            else turn_pairs(at, turn, rot / 2, sign);
        }
    return ER_OK;
}
