// Ops that move or add rows.
#include "kernels/cpu/cpu.h"

#include <string.h>

ER_CLONES static void add_span(float *restrict y, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

er_status er_cpu_add(er_device *d, float *y, const float *x, size_t n) {
    const size_t chunk = 1 << 14;
#pragma omp parallel for num_threads(d->threads) if (n > 2 * chunk)
    for (size_t at = 0; at < n; at += chunk) add_span(y + at, x + at, n - at < chunk ? n - at : chunk);
    return ER_OK;
}

er_status er_cpu_gather_rows(
    er_device *d, float *dst, const float *src, const int32_t *index, size_t n, size_t width) {
#pragma omp parallel for num_threads(d->threads) if (n * width > 1 << 15)
    for (size_t i = 0; i < n; i++)
        if (index[i] >= 0 && width)
            memcpy(dst + i * width, src + (size_t)index[i] * width, width * sizeof *dst);
    return ER_OK;
}

// Indices may repeat, so threads share out the columns instead of the rows.
er_status er_cpu_scatter_add_rows(
    er_device *d, float *dst, const float *src, const int32_t *index, size_t n, size_t width) {
    const size_t chunk = 256;
#pragma omp parallel for num_threads(d->threads) if (n * width > 1 << 15)
    for (size_t at = 0; at < width; at += chunk)
        for (size_t i = 0; i < n; i++)
            if (index[i] >= 0)
                add_span(dst + (size_t)index[i] * width + at, src + i * width + at,
                    width - at < chunk ? width - at : chunk);
    return ER_OK;
}

ER_CLONES static void add_scaled(double *restrict to, const float *restrict from, double scale, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] += scale * (double)from[i];
}

ER_CLONES static void set_scaled(double *restrict to, const float *restrict from, double scale, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = scale * (double)from[i];
}

er_status er_cpu_scaled_scatter(er_device *d, double *dst, const float *src, const float *scale,
    const int32_t *index, size_t n, size_t width) {
    const size_t chunk = 256;
#pragma omp parallel for num_threads(d->threads) if (n * width > 1 << 15)
    for (size_t at = 0; at < width; at += chunk)
        for (size_t i = 0; i < n; i++) {
            size_t m = width - at < chunk ? width - at : chunk;
            const float *from = src + i * width + at;
            if (!index) set_scaled(dst + i * width + at, from, (double)scale[i], m);
            else if (index[i] >= 0)
                add_scaled(dst + (size_t)index[i] * width + at, from, (double)scale[i], m);
        }
    return ER_OK;
}

ER_CLONES static void residual_row(double *restrict r, const float *h_orig, const float *h_cur,
    const float *z, const float *z_start, double scale, size_t n) {
    for (size_t i = 0; i < n; i++)
        r[i] = scale * ((double)h_orig[i] + ((double)z[i] - (double)z_start[i]) - (double)h_cur[i]);
}

er_status er_cpu_residual(er_device *d, double *r, const er_residual *p) {
#pragma omp parallel for num_threads(d->threads) if (p->rows * p->width > 1 << 15)
    for (size_t i = 0; i < p->rows; i++) {
        size_t at = i * p->width, u = (size_t)p->request[i] * p->width;
        residual_row(r + at, p->h_orig + at, p->h_cur + at, p->target_z + u, p->z_start + u,
            (double)p->scale[i], p->width);
    }
    return ER_OK;
}

er_status er_cpu_kv_store(er_device *d, const er_kv_store_args *a) {
    const size_t kv_dim = a->kv_dim;
#pragma omp parallel for num_threads(d->threads) if (a->tokens * kv_dim > 1 << 15)
    for (size_t t = 0; t < a->tokens; t++) {
        if (a->at[t] < 0 || !kv_dim) continue;
        const float *k = a->qkv + t * a->ld_qkv + a->k_at;
        memcpy(a->cache_k + (size_t)a->at[t] * kv_dim, k, kv_dim * sizeof *k);
        memcpy(a->cache_v + (size_t)a->at[t] * kv_dim, k + kv_dim, kv_dim * sizeof *k);
    }
    return ER_OK;
}
