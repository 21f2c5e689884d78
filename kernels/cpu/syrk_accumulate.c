// Second moments: sum += X^T X, products in fp32 over tiles of tokens, tiles added in fp64 so that millions
// of tokens lose nothing. Only blocks on and below the diagonal are multiplied; er_cpu_symmetrise() fills in
// the rest once, when all is added.
#include "kernels/cpu/cpu.h"

#define TILE 1024  // tokens
#define BLOCK 512  // columns: a block of products stays in cache until it is added

ER_CLONES static void add_row(double *restrict sum, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) sum[i] += (double)x[i];
}

er_status er_cpu_symmetrise(er_device *d, double *a, size_t n) {
    const size_t tile = 64;
#pragma omp parallel for num_threads(d->threads) schedule(dynamic)
    for (size_t i0 = 0; i0 < n; i0 += tile)
        for (size_t j0 = 0; j0 <= i0; j0 += tile)
            for (size_t i = i0; i < n && i < i0 + tile; i++)
                for (size_t j = j0; j < i && j < j0 + tile; j++) a[j * n + i] = a[i * n + j];
    return ER_OK;
}

er_status er_cpu_syrk_accumulate(
    er_device *d, double *sum, const float *x, float *scratch, size_t tokens, size_t n) {
    if (!tokens || !n) return ER_OK;
    for (size_t t0 = 0; t0 < tokens; t0 += TILE) {
        size_t t = tokens - t0 < TILE ? tokens - t0 : TILE;
        for (size_t i0 = 0; i0 < n; i0 += BLOCK) {
            size_t rows = n - i0 < BLOCK ? n - i0 : BLOCK, cols = i0 + rows;
            // A block row up to its diagonal: [rows, i0 + rows].
            er_status rc = er_cpu_sgemm(
                d, true, false, rows, cols, t, x + t0 * n + i0, n, x + t0 * n, n, 0, scratch, cols);
            if (rc != ER_OK) return rc;
#pragma omp parallel for num_threads(d->threads)
            for (size_t i = 0; i < rows; i++) add_row(sum + (i0 + i) * n, scratch + i * cols, i0 + i + 1);
        }
    }
    return ER_OK;
}
