// LayerNorm and RMSNorm, and their gradients.
//   LayerNorm  y = (x - mean) / sqrt(var + eps) * w + b        RMSNorm  y = x / sqrt(mean(x^2) + eps) * w
// With xhat the normalised x, g = dy * w and r = 1/std:  dx += r (g - mean(g) - xhat mean(g xhat)), without
// mean(g) for RMS.
#include "kernels/cpu/cpu.h"

#include <math.h>

#define SPAN 128  // sums run in fp32 over a span and in fp64 over the spans

ER_CLONES static void norm_row(er_norm_kind kind, float *y, float *stats, const float *x, const float *w,
    const float *b, float eps, size_t n) {
    double total = 0, square = 0;
    for (size_t at = 0; at < n && kind == ER_LAYER_NORM; at += SPAN) {
        size_t end = at + SPAN < n ? at + SPAN : n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = at; i < end; i++) sum += x[i];
        total += (double)sum;
    }
    float mean = (float)(total / (double)n);
    for (size_t at = 0; at < n; at += SPAN) {
        size_t end = at + SPAN < n ? at + SPAN : n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = at; i < end; i++) sum += (x[i] - mean) * (x[i] - mean);
        square += (double)sum;
    }
    float r = (float)(1 / sqrt(square / (double)n + (double)eps));
    if (b)
        for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * r * w[i] + b[i];
    else
        for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * r * w[i];
    if (stats) stats[0] = mean, stats[1] = r;
}

ER_CLONES static void norm_backward_row(er_norm_kind kind, float *dx, const float *dy, const float *x,
    const float *w, const float *stats, size_t n) {
    float mean = stats[0], r = stats[1];
    double sum_g = 0, sum_gx = 0;
    for (size_t at = 0; at < n; at += SPAN) {
        size_t end = at + SPAN < n ? at + SPAN : n;
        float part_g = 0, part_gx = 0;
#pragma omp simd reduction(+ : part_g, part_gx)
        for (size_t i = at; i < end; i++) {
            float g = dy[i] * w[i];
            part_g += g;
            part_gx += g * (x[i] - mean);
        }
        sum_g += (double)part_g;
        sum_gx += (double)part_gx;
    }
    float shift = kind == ER_LAYER_NORM ? (float)(sum_g / (double)n) : 0;
    float slope = (float)(sum_gx / (double)n) * r * r;
    for (size_t i = 0; i < n; i++) dx[i] += r * (dy[i] * w[i] - shift - (x[i] - mean) * slope);
}

er_status er_cpu_norm(er_device *d, const er_norm_args *a, float *y, float *stats) {
    const size_t n = a->hidden;
#pragma omp parallel for num_threads(d->threads) if (a->tokens * n > 1 << 14)
    for (size_t t = 0; t < a->tokens; t++)
        norm_row(a->kind, y + t * n, stats ? stats + 2 * t : NULL, a->x + t * n, a->w, a->b, a->eps, n);
    return ER_OK;
}

er_status er_cpu_norm_backward(
    er_device *d, const er_norm_args *a, float *dx, const float *dy, const float *stats) {
    const size_t n = a->hidden;
#pragma omp parallel for num_threads(d->threads) if (a->tokens * n > 1 << 14)
    for (size_t t = 0; t < a->tokens; t++)
        norm_backward_row(a->kind, dx + t * n, dy + t * n, a->x + t * n, a->w, stats + 2 * t, n);
    return ER_OK;
}

er_status er_cpu_qk_norm(er_device *d, const er_qk_norm_args *a, float *x) {
    const size_t n = a->head_dim;
#pragma omp parallel for num_threads(d->threads) if (a->tokens * a->heads * n > 1 << 14)
    for (size_t t = 0; t < a->tokens; t++)
        for (size_t h = 0; h < a->heads; h++) {
            float *at = x + t * a->ld + h * n;
            norm_row(a->kind, at, NULL, at, a->w + h * n, a->b ? a->b + h * n : NULL, a->eps, n);
        }
    return ER_OK;
}

// The statistics are taken anew: a head is short, and keeping two numbers for each costs more.
ER_CLONES static void head_backward(
    er_norm_kind kind, float *d, const float *x, const float *w, float eps, size_t n) {
    float total = 0, square = 0, product = 0, sum = 0;
#pragma omp simd reduction(+ : total)
    for (size_t i = 0; i < n; i++) total += x[i];
    float mean = kind == ER_LAYER_NORM ? total / (float)n : 0;
#pragma omp simd reduction(+ : square, product, sum)
    for (size_t i = 0; i < n; i++) {
        square += (x[i] - mean) * (x[i] - mean);
        product += d[i] * w[i] * (x[i] - mean);
        sum += d[i] * w[i];
    }
    float r = (float)(1 / sqrt((double)square / (double)n + (double)eps)), slope = product / (float)n * r * r,
          shift = kind == ER_LAYER_NORM ? sum / (float)n : 0;
    for (size_t i = 0; i < n; i++) d[i] = r * (d[i] * w[i] - shift - (x[i] - mean) * slope);
}

er_status er_cpu_qk_norm_backward(er_device *d, const er_qk_norm_args *a, float *dy, const float *x) {
    const size_t n = a->head_dim;
#pragma omp parallel for num_threads(d->threads) if (a->tokens * a->heads * n > 1 << 14)
    for (size_t t = 0; t < a->tokens; t++)
        for (size_t h = 0; h < a->heads; h++) {
            size_t at = t * a->ld + h * n;
            head_backward(a->kind, dy + at, x + at, a->w + h * n, a->eps, n);
        }
    return ER_OK;
}

er_status er_cpu_clip(er_device *d, float *x, float limit, size_t n) {
#pragma omp parallel for simd num_threads(d->threads) if (n > 1 << 15)
    for (size_t i = 0; i < n; i++) x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
    return ER_OK;
}

er_status er_cpu_clip_backward(er_device *d, float *dy, const float *x, float limit, size_t n) {
#pragma omp parallel for simd num_threads(d->threads) if (n > 1 << 15)
    for (size_t i = 0; i < n; i++) dy[i] = x[i] >= -limit && x[i] <= limit ? dy[i] : 0;
    return ER_OK;
}

er_status er_cpu_row_norm(er_device *d, float *out, const float *x, size_t rows, size_t width) {
#pragma omp parallel for num_threads(d->threads) if (rows * width > 1 << 14)
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t i = 0; i < width; i++) sum += (double)x[r * width + i] * (double)x[r * width + i];
        out[r] = (float)sqrt(sum);
    }
    return ER_OK;
}
