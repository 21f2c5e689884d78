// Element types of checkpoints and the conversions between them. Rounding is to nearest, ties to even.
#ifndef ER_DTYPE_H
#define ER_DTYPE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef enum er_dtype {
    // Computed on:
    ER_F32,
    ER_F16,
    ER_BF16,
    ER_F64,
    // Carried through:
    ER_BOOL,
    ER_U8,
    ER_I8,
    ER_I16,
    ER_U16,
    ER_I32,
    ER_U32,
    ER_I64,
    ER_U64,
    ER_F8_E5M2,
    ER_F8_E4M3,
    ER_F8_E8M0,
    ER_F8_E4M3FNUZ,
    ER_F8_E5M2FNUZ,
    ER_C64,
    // Less than a byte each, see er_dtype_bits:
    ER_F4,
    ER_F6_E2M3,
    ER_F6_E3M2,
    ER_DTYPE_COUNT
} er_dtype;

size_t er_dtype_bits(er_dtype t);                     // 4, 6, 8, 16, 32 or 64
const char *er_dtype_name(er_dtype t);                // the name safetensors uses, e.g. "BF16"
int er_dtype_parse(er_dtype *out, const char *name);  // 1 when known; exact, case-sensitive

static inline float er_f32_from_bf16(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static inline uint16_t er_bf16_from_f32(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);  // a NaN stays a NaN
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
float er_f32_from_f16(uint16_t h);
uint16_t er_f16_from_f32(float f);

// n elements at `src` (any alignment) of type t (F32, F16, BF16 or F64) to fp32, and back with rounding.
void er_to_f32(float *dst, const void *src, er_dtype t, size_t n);
void er_from_f32(void *dst, const float *src, er_dtype t, size_t n);
#ifdef __cplusplus
}
#endif
#endif
