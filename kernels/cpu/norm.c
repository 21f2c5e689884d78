// LayerNorm and RMSNorm, and their gradients.
//   LayerNorm  y = (x - mean) / sqrt(var + eps) * w + b        RMSNorm  y = x / sqrt(mean(x^2) + eps) * w
// With xhat the normalised x, g = dy * w and r = 1/std:  dx += r (g - mean(g) - xhat mean(g xhat)), without
// mean(g) for RMS.
#include "kernels/cpu/cpu.h"

#include <math.h>

ER_CLONES static void norm_row(er_norm_kind kind, float *y, float *stats, const float *x, const float *w,
    const float *b, float eps, size_t n) {
    float mean = 0, square = 0;
    if (kind == ER_LAYER_NORM) {
#pragma omp simd reduction(+ : mean)
        for (size_t i = 0; i < n; i++) mean += x[i];
        mean /= (float)n;
    }
#pragma omp simd reduction(+ : square)
    for (size_t i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
    float r = 1.0f / sqrtf(square / (float)n + eps);
    if (b)
        for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * r * w[i] + b[i];
    else
        for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * r * w[i];
    if (stats) stats[0] = mean, stats[1] = r;
}

ER_CLONES static void norm_backward_row(er_norm_kind kind, float *dx, const float *dy, const float *x,
    const float *w, const float *stats, size_t n) {
    float mean = stats[0], r = stats[1], sum_g = 0, sum_gx = 0;
#pragma omp simd reduction(+ : sum_g, sum_gx)
    for (size_t i = 0; i < n; i++) {
        float g = dy[i] * w[i];
        sum_g += g;
        sum_gx += g * (x[i] - mean);
    }
    float shift = kind == ER_LAYER_NORM ? sum_g / (float)n : 0, slope = sum_gx * r * r / (float)n;
    for (size_t i = 0; i < n; i++) dx[i] += r * (dy[i] * w[i] - shift - (x[i] - mean) * slope);
}

er_status er_cpu_norm(er_device *d, er_stream *s, er_norm_kind kind, float *y, float *stats, const float *x,
    const float *w, const float *b, float eps, size_t tokens, size_t hidden) {
    (void)s;
#pragma omp parallel for num_threads(d->threads) if (tokens * hidden > 1 << 14)
    for (size_t t = 0; t < tokens; t++)
        norm_row(kind, y + t * hidden, stats ? stats + 2 * t : NULL, x + t * hidden, w, b, eps, hidden);
    return ER_OK;
}

er_status er_cpu_norm_backward(er_device *d, er_stream *s, er_norm_kind kind, float *dx, const float *dy,
    const float *x, const float *w, const float *stats, size_t tokens, size_t hidden) {
    (void)s;
#pragma omp parallel for num_threads(d->threads) if (tokens * hidden > 1 << 14)
    for (size_t t = 0; t < tokens; t++)
        norm_backward_row(kind, dx + t * hidden, dy + t * hidden, x + t * hidden, w, stats + 2 * t, hidden);
    return ER_OK;
}
