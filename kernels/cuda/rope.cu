// Rotary positions: each pair (a, b) of the first `rot` dimensions of a head turns by its angle. The inverse
// turns back. A thread turns V pairs side by side: (j, j + rot/2) or (2j, 2j + 1).
#include "kernels/cuda/device.cuh"

template <int V>
static __device__ __forceinline__ void turn(
    er_pack<float, V> *a, er_pack<float, V> *b, const float *cosine, const float *sine, float sign) {
    er_pack<float, V> c = er_load<V>(cosine), s = er_load<V>(sine);
    for (int k = 0; k < V; k++) {
        float x = a->at[k], y = b->at[k], si = sign * s.at[k];
        a->at[k] = x * c.at[k] - y * si;
        b->at[k] = y * c.at[k] + x * si;
    }
}

template <int V>
static __global__ void k_rope_half(float *x, size_t ld, const int32_t *pos, const float *table, unsigned half,
    size_t tokens, unsigned pairs, size_t head_dim, float sign) {
    ER_EACH_ROW(t, tokens) ER_EACH_COLUMN(i, pairs, V) {
        unsigned j = (unsigned)i % half;
        float *at = x + t * ld + (unsigned)i / half * head_dim + j;
        const float *angle = table + (size_t)pos[t] * 2 * half + j;
        er_pack<float, V> a = er_load<V>(at), b = er_load<V>(at + half);
        turn<V>(&a, &b, angle, angle + half, sign);
        er_store<V>(at, a);
        er_store<V>(at + half, b);
    }
}

template <int V>
static __global__ void k_rope_pairs(float *x, size_t ld, const int32_t *pos, const float *table,
    unsigned half, size_t tokens, unsigned pairs, size_t head_dim, float sign) {
    ER_EACH_ROW(t, tokens) ER_EACH_COLUMN(i, pairs, V) {
        unsigned j = (unsigned)i % half;
        float *at = x + t * ld + (unsigned)i / half * head_dim + 2 * j;
        const float *angle = table + (size_t)pos[t] * 2 * half + j;
        er_pack<float, V> first = er_load<V>(at), second = er_load<V>(at + V), a, b;
        for (int k = 0; k < V; k++) {  // even elements to a, odd ones to b
            a.at[k] = 2 * k < V ? first.at[2 * k % V] : second.at[2 * k % V];
            b.at[k] = 2 * k + 1 < V ? first.at[(2 * k + 1) % V] : second.at[(2 * k + 1) % V];
        }
        turn<V>(&a, &b, angle, angle + half, sign);
        for (int k = 0; k < V; k++) {
            first.at[k] = k % 2 ? b.at[k / 2] : a.at[k / 2];
            second.at[k] = (k + V) % 2 ? b.at[(k + V) / 2] : a.at[(k + V) / 2];
        }
        er_store<V>(at, first);
        er_store<V>(at + V, second);
    }
}

er_status er_cuda_rope(er_device *d, const er_rope_args *a, float *x, bool inverse) {
    if (a->style == ER_ROPE_NONE || !a->tokens || !a->heads || a->rot < 2) return ER_OK;
    if (a->heads > UINT32_MAX / a->rot)  // pairs are counted in 32 bits, whose division is cheap
        return er_fail(ER_EUNSUPPORTED, "rotary positions of %zu heads of %zu dimensions", a->heads, a->rot);
    cudaStream_t at = er_cuda_stream(d);
    unsigned half = (unsigned)(a->rot / 2), pairs = (unsigned)a->heads * half;
    float sign = inverse ? -1.0f : 1.0f;
    bool wide = half % 4 == 0 && a->head_dim % 4 == 0 && a->ld % 4 == 0 && er_aligned(x, a->table);
#define ROPE(kernel, V)                                                                                      \
    ER_LAUNCHED(ER_LAUNCH_ROWS((kernel<V>), a->tokens, pairs, V, at, x, a->ld, a->pos, a->table, half,       \
        a->tokens, pairs, a->head_dim, sign))
    if (a->style == ER_ROPE_HALF) return wide ? ROPE(k_rope_half, 4) : ROPE(k_rope_half, 1);
    return wide ? ROPE(k_rope_pairs, 4) : ROPE(k_rope_pairs, 1);
#undef ROPE
}
