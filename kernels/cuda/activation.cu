// Activations, plain and gated; the formulas of kernels/cpu/activation.c. `kind` is the same for every
// thread, so the switch costs a uniform branch; these kernels wait for memory.
#include "kernels/cuda/device.cuh"

#define GELU_SCALE 1.59576912f  // 2 sqrt(2 / pi): 0.5 (1 + tanh v) = sigmoid(2 v)
#define GELU_CUBE 0.044715f
#define INV_SQRT_2 0.707106781f
#define INV_SQRT_2PI 0.398942280f

// The logistic function and, without cancellation, one minus it.
static __device__ __forceinline__ float sigmoid(float v, float *rest) {
    float e = expf(-fabsf(v)), large = 1 / (1 + e), small = e * large;
    *rest = v < 0 ? large : small;
    return v < 0 ? small : large;
}

// The derivative; *value gets the activation itself.
static __device__ __forceinline__ float act(er_act_kind kind, float x, float *value) {
    float g, rest;
    *value = x;
    switch (kind) {
    case ER_GELU_NEW:
        g = sigmoid(GELU_SCALE * (x + GELU_CUBE * x * x * x), &rest);
        *value = x * g;
        return g + x * g * rest * GELU_SCALE * (1 + 3 * GELU_CUBE * x * x);
    case ER_GELU_ERF:
        g = 0.5f * erfcf(-x * INV_SQRT_2);
        *value = x * g;
        return g + x * expf(-0.5f * x * x) * INV_SQRT_2PI;
    case ER_SILU:
        g = sigmoid(x, &rest);
        *value = x * g;
        return g + x * g * rest;
    case ER_RELU:
        *value = x > 0 ? x : 0 * x;
        return x > 0 ? 1.0f : 0.0f;
    }
    return 0;
}

template <int V>
static __global__ void k_activation(
    er_act_kind kind, bool gated, float *a, const float *u, size_t tokens, size_t d_ff) {
    ER_EACH_ROW(t, tokens) {
        const float *row = u + t * d_ff * (gated ? 2 : 1);
        ER_EACH_COLUMN(i, d_ff, V) {
            er_pack<float, V> v = er_load<V>(row + i), up = v;
            if (gated) up = er_load<V>(row + d_ff + i);
            for (int k = 0; k < V; k++) {
                float value;
                (void)act(kind, v.at[k], &value);
                v.at[k] = gated ? value * up.at[k] : value;
            }
            er_store<V>(a + t * d_ff + i, v);
        }
    }
}

template <int V>
static __global__ void k_activation_backward(
    er_act_kind kind, bool gated, float *du, const float *da, const float *u, size_t tokens, size_t d_ff) {
    ER_EACH_ROW(t, tokens) {
        size_t start = t * d_ff * (gated ? 2 : 1);
        ER_EACH_COLUMN(i, d_ff, V) {
            er_pack<float, V> v = er_load<V>(u + start + i), g = er_load<V>(da + t * d_ff + i), up = v;
            if (gated) up = er_load<V>(u + start + d_ff + i);
            for (int k = 0; k < V; k++) {
                float value, slope = act(kind, v.at[k], &value);
                v.at[k] = gated ? g.at[k] * up.at[k] * slope : g.at[k] * slope;
                if (gated) up.at[k] = g.at[k] * value;
            }
            er_store<V>(du + start + i, v);
            if (gated) er_store<V>(du + start + d_ff + i, up);
        }
    }
}

er_status er_cuda_activation(
    er_device *d, er_act_kind kind, bool gated, float *a, const float *u, size_t tokens, size_t d_ff) {
    if (!tokens || !d_ff) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    if (d_ff % 4 == 0 && er_aligned(a, u))
        return ER_LAUNCHED(
            ER_LAUNCH_ROWS((k_activation<4>), tokens, d_ff, 4, at, kind, gated, a, u, tokens, d_ff));
    return ER_LAUNCHED(
        ER_LAUNCH_ROWS((k_activation<1>), tokens, d_ff, 1, at, kind, gated, a, u, tokens, d_ff));
}

er_status er_cuda_activation_backward(er_device *d, er_act_kind kind, bool gated, float *du, const float *da,
    const float *u, size_t tokens, size_t d_ff) {
    if (!tokens || !d_ff) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    if (d_ff % 4 == 0 && er_aligned(du, da, u))
        return ER_LAUNCHED(ER_LAUNCH_ROWS(
            (k_activation_backward<4>), tokens, d_ff, 4, at, kind, gated, du, da, u, tokens, d_ff));
    return ER_LAUNCHED(ER_LAUNCH_ROWS(
        (k_activation_backward<1>), tokens, d_ff, 1, at, kind, gated, du, da, u, tokens, d_ff));
}
