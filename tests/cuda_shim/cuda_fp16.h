// IEEE half by its bits: conversions to nearest even and nothing else, see cuda_bf16.h.
#ifndef SHIM_CUDA_FP16_H
#define SHIM_CUDA_FP16_H
#include "cuda_runtime.h"

struct alignas(2) __half_raw {
    unsigned short x;
};

struct alignas(2) __half {
    __half() = default;
    __half(const __half_raw &raw) : bits(raw.x) {}
    operator __half_raw() const { return {bits}; }

  protected:
    unsigned short bits;
};

struct alignas(4) __half2 {
    __half x, y;
};

static inline unsigned short __half_as_ushort(const __half h) { return __half_raw(h).x; }
static inline __half __ushort_as_half(const unsigned short bits) { return __half(__half_raw{bits}); }

static inline __half __float2half_rn(const float f) {
    uint32_t u = shim_bits<uint32_t>(f), size = u & 0x7fffffffu, sign = u >> 16 & 0x8000u, h;
    if (size > 0x7f800000u) return __ushort_as_half(0x7fff);
    if (size >= 0x477ff000u) h = 0x7c00u;  // 65520, the first that rounds to infinity
    else if (size < 0x38800000u)  // below 2^-14: half a unit of 0.5 is half a unit of a subnormal half
        h = shim_bits<uint32_t>(shim_bits<float>(size) + 0.5f) - shim_bits<uint32_t>(0.5f);
    else h = (size + 0xfffu + (size >> 13 & 1) - 0x38000000u) >> 13;
    return __ushort_as_half((unsigned short)(sign | h));
}
static inline __half __float2half(const float f) { return __float2half_rn(f); }
static inline float __half2float(const __half a) {
    uint32_t h = __half_as_ushort(a), sign = (h & 0x8000u) << 16, size = h & 0x7fffu, u;
    if (size >= 0x7c00u) u = 0x7f800000u | (size & 0x3ffu) << 13;
    else if (size >= 0x400u) u = (size << 13) + 0x38000000u;
    else u = shim_bits<uint32_t>((float)size * 0x1p-24f);
    return shim_bits<float>(sign | u);
}

static inline __half2 __halves2half2(const __half a, const __half b) { return {a, b}; }
static inline __half2 __floats2half2_rn(const float a, const float b) {
    return {__float2half_rn(a), __float2half_rn(b)};
}
static inline __half2 __float22half2_rn(const float2 a) { return __floats2half2_rn(a.x, a.y); }
static inline float2 __half22float2(const __half2 a) { return {__half2float(a.x), __half2float(a.y)}; }
static inline float __low2float(const __half2 a) { return __half2float(a.x); }
static inline float __high2float(const __half2 a) { return __half2float(a.y); }
#endif
