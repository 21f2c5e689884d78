// Activations, plain and gated. gelu_new is written with the logistic function: 0.5 (1 + tanh v) = sigmoid(2
// v), which does not cancel for large negative v.
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"

#define GELU_SCALE 1.59576912f  // 2 sqrt(2 / pi)
#define GELU_CUBE 0.044715f
#define INV_SQRT_2PI 0.398942280f

ER_INLINE float act_value(er_act_kind kind, float x) {
    float rest, bell;
    switch (kind) {
    case ER_GELU_NEW:
        return x * vm_sigmoid(GELU_SCALE * (x + GELU_CUBE * x * x * x), &rest);
    case ER_GELU_ERF:
        return x * vm_normal_cdf(x, &bell);
    case ER_SILU:
        return x * vm_sigmoid(x, &rest);
    case ER_RELU:
        return x > 0 ? x : 0 * x;
    }
    return x;
}

// The derivative; *value gets the activation itself.
ER_INLINE float act_slope(er_act_kind kind, float x, float *value) {
    float g, rest, bell;
    switch (kind) {
    case ER_GELU_NEW:
        g = vm_sigmoid(GELU_SCALE * (x + GELU_CUBE * x * x * x), &rest);
        *value = x * g;
        return g + x * g * rest * GELU_SCALE * (1 + 3 * GELU_CUBE * x * x);
    case ER_GELU_ERF:
        g = vm_normal_cdf(x, &bell);
        *value = x * g;
        return g + x * bell * INV_SQRT_2PI;
    case ER_SILU:
        g = vm_sigmoid(x, &rest);
        *value = x * g;
        return g + x * g * rest;
    case ER_RELU:
        *value = x > 0 ? x : 0 * x;
        return x > 0 ? 1.0f : 0.0f;
    }
    return 0;
}

// One pair of loops a kind, so that the switch is outside of them.
#define EACH_KIND(kind, loop)                                                                                \
    switch (kind) {                                                                                          \
    case ER_GELU_NEW:                                                                                        \
        loop(ER_GELU_NEW) break;                                                                             \
    case ER_GELU_ERF:                                                                                        \
        loop(ER_GELU_ERF) break;                                                                             \
    case ER_SILU:                                                                                            \
        loop(ER_SILU) break;                                                                                 \
    case ER_RELU:                                                                                            \
        loop(ER_RELU) break;                                                                                 \
    }

ER_CLONES static void act_row(er_act_kind kind, float *restrict a, const float *restrict u, size_t n) {
#define LOOP(K)                                                                                              \
    for (size_t i = 0; i < n; i++) a[i] = act_value(K, u[i]);
    EACH_KIND(kind, LOOP)
#undef LOOP
}

ER_CLONES static void act_gated_row(er_act_kind kind, float *restrict a, const float *restrict u, size_t n) {
#define LOOP(K)                                                                                              \
    for (size_t i = 0; i < n; i++) a[i] = act_value(K, u[i]) * u[n + i];
    EACH_KIND(kind, LOOP)
#undef LOOP
}

ER_CLONES static void act_backward_row(
    er_act_kind kind, float *restrict du, const float *restrict da, const float *restrict u, size_t n) {
    float unused;
#define LOOP(K)                                                                                              \
    for (size_t i = 0; i < n; i++) du[i] = da[i] * act_slope(K, u[i], &unused);
    EACH_KIND(kind, LOOP)
#undef LOOP
}

ER_CLONES static void act_gated_backward_row(
    er_act_kind kind, float *restrict du, const float *restrict da, const float *restrict u, size_t n) {
#define LOOP(K)                                                                                              \
    for (size_t i = 0; i < n; i++) {                                                                         \
        float value, slope = act_slope(K, u[i], &value);                                                     \
        du[i] = da[i] * u[n + i] * slope;                                                                    \
        du[n + i] = da[i] * value;                                                                           \
    }
    EACH_KIND(kind, LOOP)
#undef LOOP
}

er_status er_cpu_activation(
    er_device *d, er_act_kind kind, bool gated, float *a, const float *u, size_t tokens, size_t d_ff) {
#pragma omp parallel for num_threads(d->threads) if (tokens * d_ff > 1 << 12)
    for (size_t t = 0; t < tokens; t++) {
        if (gated) act_gated_row(kind, a + t * d_ff, u + 2 * t * d_ff, d_ff);
        else act_row(kind, a + t * d_ff, u + t * d_ff, d_ff);
    }
    return ER_OK;
}

er_status er_cpu_activation_backward(er_device *d, er_act_kind kind, bool gated, float *du, const float *da,
    const float *u, size_t tokens, size_t d_ff) {
#pragma omp parallel for num_threads(d->threads) if (tokens * d_ff > 1 << 12)
    for (size_t t = 0; t < tokens; t++) {
        if (gated) act_gated_backward_row(kind, du + 2 * t * d_ff, da + t * d_ff, u + 2 * t * d_ff, d_ff);
        else act_backward_row(kind, du + t * d_ff, da + t * d_ff, u + t * d_ff, d_ff);
    }
    return ER_OK;
}
