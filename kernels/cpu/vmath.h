// Branch-free fp32 functions that compilers turn into vector code inside a cloned leaf.
#ifndef ER_CPU_VMATH_H
#define ER_CPU_VMATH_H
#include <stdint.h>
#include <string.h>
#include "kernels/cpu/cpu.h"

// e^x within 2 units in the last place. x = n ln2 + r with |r| <= ln2/2; e^r = 1 + r + r^2 q(r), q a minimax
// polynomial of relative error 3e-9. n is found by adding 1.5 * 2^23, whose low bits then hold it, so a NaN
// passes through without an integer conversion. Results below the smallest normal number are 0; above e^88.7
// they are infinite.
ER_INLINE float vm_exp(float x) {
    const float magic = 12582912.0f, ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
    float top = x > 89.0f ? 89.0f : x, in = top < -88.0f ? -88.0f : top;
    float shifted = in * 1.44269504f + magic, n = shifted - magic, r = in - n * ln2_hi - n * ln2_lo;
    float q = 1.381446476e-3f;
    q = q * r + 8.368780622e-3f;
    q = q * r + 4.166839426e-2f;
    q = q * r + 1.666652011e-1f;
    q = q * r + 4.999999341e-1f;
    float y = 1.0f + (r + r * r * q);
    // 2^n in two factors: n reaches 128, one more than an exponent holds.
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    int32_t whole = (int32_t)(bits - 0x4b400000u), half = whole >> 1;
    uint32_t a = (uint32_t)(half + 127) << 23, b = (uint32_t)(whole - half + 127) << 23;
    float fa, fb;
    memcpy(&fa, &a, sizeof fa);
    memcpy(&fb, &b, sizeof fb);
    y = y * fa * fb;
    return x < -87.3f ? 0.0f : y;
}

// The logistic function g, and 1 - g without cancellation; neither overflows.
ER_INLINE float vm_sigmoid(float x, float *rest) {
    float e = vm_exp(x < 0 ? x : -x), t = 1.0f / (1.0f + e), small = e * t;
    *rest = x < 0 ? t : small;
    return x < 0 ? small : t;
}

// The standard normal distribution function, with e^(-x^2/2) as a by-product. erfc(z) = e^(-z^2) t P(t) with
// t = 1/(1 + 0.4 z), z >= 0; P of relative error 4e-9 on 0 <= z <= 15.
ER_INLINE float vm_normal_cdf(float x, float *bell) {
    float z = (x < 0 ? -x : x) * 0.707106781f, t = 1.0f / (1.0f + 0.4f * z);
    float p = -2.409199543e-2f;
    p = p * t + 1.115117640e-1f;
    p = p * t - 1.643712143e-1f;
    p = p * t + 3.757182176e-2f;
    p = p * t + 4.167842569e-2f;
    p = p * t + 3.245145707e-2f;
    p = p * t + 1.387835543e-1f;
    p = p * t + 1.668001295e-1f;
    p = p * t + 2.083778580e-1f;
    p = p * t + 2.256099590e-1f;
    p = p * t + 2.256782371e-1f;
    *bell = vm_exp(-0.5f * x * x);
    float tail = 0.5f * *bell * t * p;
    return x < 0 ? tail : 1.0f - tail;
}
#endif
