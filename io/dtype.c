// Names and sizes of element types, and conversions to fp32 and back.
#include "io/dtype.h"

static const struct {
    const char *name;
    size_t bits;
} types[ER_DTYPE_COUNT] = {
    [ER_F32] = {"F32", 32},
    [ER_F16] = {"F16", 16},
    [ER_BF16] = {"BF16", 16},
    [ER_F64] = {"F64", 64},
    [ER_BOOL] = {"BOOL", 8},
    [ER_U8] = {"U8", 8},
    [ER_I8] = {"I8", 8},
    [ER_I16] = {"I16", 16},
    [ER_U16] = {"U16", 16},
    [ER_I32] = {"I32", 32},
    [ER_U32] = {"U32", 32},
    [ER_I64] = {"I64", 64},
    [ER_U64] = {"U64", 64},
    [ER_F8_E5M2] = {"F8_E5M2", 8},
    [ER_F8_E4M3] = {"F8_E4M3", 8},
    [ER_F8_E8M0] = {"F8_E8M0", 8},
    [ER_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [ER_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [ER_C64] = {"C64", 64},
    [ER_F4] = {"F4", 4},
    [ER_F6_E2M3] = {"F6_E2M3", 6},
    [ER_F6_E3M2] = {"F6_E3M2", 6},
};

size_t er_dtype_bits(er_dtype t) { return types[t].bits; }
const char *er_dtype_name(er_dtype t) { return types[t].name; }

int er_dtype_parse(er_dtype *out, const char *name) {
    for (int t = 0; t < ER_DTYPE_COUNT; t++)
        if (strcmp(types[t].name, name) == 0) return *out = (er_dtype)t, 1;
    return 0;
}

float er_f32_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7fffu, u;
    float f;
    if (magnitude < 0x400u) {  // subnormal: a multiple of 2^-24, exact in fp32
        f = (float)magnitude * 0x1p-24f;
        memcpy(&u, &f, sizeof u);
    } else {
        u = (magnitude << 13) + (magnitude < 0x7c00u ? 112u << 23 : 224u << 23);  // rebias; 31 becomes 255
    }
    u |= sign;
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t er_f16_from_f32(float f) {
    uint32_t u, sign, r;
    memcpy(&u, &f, sizeof u);
    sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) {
        r = 0x7e00u | ((u >> 13) & 0x1ffu);  // a quiet NaN
    } else if (u >= 0x477ff000u) {
        r = 0x7c00u;  // from 65520 on, half way between the largest half and 2^16, infinity is nearest
    } else if (u < 0x38800000u) {
        // Below 2^-14 halves are multiples of 2^-24, the spacing of floats in [0.5, 1): the addition does the
        // rounding.
        float magnitude;
        memcpy(&magnitude, &u, sizeof magnitude);
        magnitude += 0.5f;
        memcpy(&r, &magnitude, sizeof r);
        r -= 0x3f000000u;
    } else {
        r = (u - (112u << 23) + 0xfffu + ((u >> 13) & 1u)) >> 13;
    }
    return (uint16_t)(sign | r);
}

void er_to_f32(float *dst, const void *src, er_dtype t, size_t n) {
    const unsigned char *s = src;
    uint16_t h;
    double d;
    if (t == ER_F32) {
        if (n) memcpy(dst, src, n * sizeof *dst);
    } else if (t == ER_F16) {
        for (size_t i = 0; i < n; i++) memcpy(&h, s + 2 * i, 2), dst[i] = er_f32_from_f16(h);
    } else if (t == ER_BF16) {
        for (size_t i = 0; i < n; i++) memcpy(&h, s + 2 * i, 2), dst[i] = er_f32_from_bf16(h);
    } else if (t == ER_F64) {
        for (size_t i = 0; i < n; i++) memcpy(&d, s + 8 * i, 8), dst[i] = (float)d;
    }
}

void er_from_f32(void *dst, const float *src, er_dtype t, size_t n) {
    unsigned char *p = dst;
    uint16_t h;
    double d;
    if (t == ER_F32) {
        if (n) memcpy(dst, src, n * sizeof *src);
    } else if (t == ER_F16) {
        for (size_t i = 0; i < n; i++) h = er_f16_from_f32(src[i]), memcpy(p + 2 * i, &h, 2);
    } else if (t == ER_BF16) {
        for (size_t i = 0; i < n; i++) h = er_bf16_from_f32(src[i]), memcpy(p + 2 * i, &h, 2);
    } else if (t == ER_F64) {
        for (size_t i = 0; i < n; i++) d = (double)src[i], memcpy(p + 8 * i, &d, 8);
    }
}
