// bfloat16 by its bits: conversions to nearest even and nothing else. The arithmetic and the implicit
// conversions of the real type are left out on purpose, since they differ between its versions.
#ifndef SHIM_CUDA_BF16_H
#define SHIM_CUDA_BF16_H
#include "cuda_runtime.h"

struct alignas(2) __nv_bfloat16_raw {
    unsigned short x;
};

struct alignas(2) __nv_bfloat16 {
    __nv_bfloat16() = default;
    __nv_bfloat16(const __nv_bfloat16_raw &raw) : bits(raw.x) {}
    operator __nv_bfloat16_raw() const { return {bits}; }

  protected:
    unsigned short bits;
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

static inline unsigned short __bfloat16_as_ushort(const __nv_bfloat16 h) { return __nv_bfloat16_raw(h).x; }
static inline __nv_bfloat16 __ushort_as_bfloat16(const unsigned short bits) {
    return __nv_bfloat16(__nv_bfloat16_raw{bits});
}

static inline __nv_bfloat16 __float2bfloat16_rn(const float f) {
    uint32_t u = shim_bits<uint32_t>(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return __ushort_as_bfloat16(0x7fff);
    u += 0x7fffu + (u >> 16 & 1);  // carries into the exponent, up to infinity, as it must
    return __ushort_as_bfloat16((unsigned short)(u >> 16));
}
static inline __nv_bfloat16 __float2bfloat16(const float f) { return __float2bfloat16_rn(f); }
static inline float __bfloat162float(const __nv_bfloat16 h) {
    return shim_bits<float>((uint32_t)__bfloat16_as_ushort(h) << 16);
}

static inline __nv_bfloat162 __halves2bfloat162(const __nv_bfloat16 a, const __nv_bfloat16 b) {
    return {a, b};
}
static inline __nv_bfloat162 __floats2bfloat162_rn(const float a, const float b) {
    return {__float2bfloat16_rn(a), __float2bfloat16_rn(b)};
}
static inline __nv_bfloat162 __float22bfloat162_rn(const float2 a) { return __floats2bfloat162_rn(a.x, a.y); }
static inline float2 __bfloat1622float2(const __nv_bfloat162 a) {
    return {__bfloat162float(a.x), __bfloat162float(a.y)};
}
static inline float __low2float(const __nv_bfloat162 a) { return __bfloat162float(a.x); }
static inline float __high2float(const __nv_bfloat162 a) { return __bfloat162float(a.y); }
#endif
