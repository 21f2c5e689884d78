// Matrix products on the AMX tile unit, whose inputs are bf16 and whose sums are fp32; or the same by
// AVX512_BF16 dot products.
//
// A weight is packed once, to bf16, as B [k, n] in tiles of 16 pairs of k by 16 columns, two tiles side by
// side: panels of 32 columns, zero-padded. Activations are packed at every call, either rounded to bf16 (1
// term), or split into three bf16 numbers that sum to the fp32 value within 2^-24 (3 terms). When the weight
// is bf16 in its checkpoint, its products with the three terms are exact, so the 3-term product is an fp32
// product: only the order of the fp32 additions differs.
#ifndef ER_CPU_TILES_H
#define ER_CPU_TILES_H
#include "kernels/cpu/cpu.h"

er_bf16_unit er_tiles_unit(void);  // the best that instructions and operating system allow
size_t er_tiles_packed_bytes(size_t k, size_t n);
// B[i][j] is element i * step_k + j * step_n of `stored`, of type F32, F16 or BF16.
void er_tiles_pack(er_device *d, uint16_t *packed, const void *stored, er_dtype type, size_t k, size_t n,
    size_t step_k, size_t step_n);
// y [m, n] = beta y + x [m, k] B + bias; beta 0 or 1, bias may be NULL, terms 1 or 3.
er_status er_tiles_product(er_device *d, float *y, const float *x, const uint16_t *packed, const float *bias,
    size_t m, size_t n, size_t k, float beta, int terms);
#endif
