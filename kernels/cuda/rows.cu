// Ops that move or add rows.
#include "kernels/cuda/device.cuh"

template <int V> static __global__ void k_add(float *y, const float *x, size_t n) {
    ER_EACH_COLUMN(i, n / V * V, V) {
        er_pack<float, V> a = er_load<V>(y + i), b = er_load<V>(x + i);
        for (int k = 0; k < V; k++) a.at[k] += b.at[k];
        er_store<V>(y + i, a);
    }
    size_t last = n / V * V + threadIdx.x;
    if (blockIdx.x == 0 && last < n) y[last] += x[last];  // n need not be a multiple of V
}

template <int V>
static __global__ void k_gather(float *dst, const float *src, const int32_t *index, size_t n, size_t width) {
    ER_EACH_ROW(i, n) {
        int32_t from = index[i];
        if (from < 0) continue;
        ER_EACH_COLUMN(j, width, V)
        er_store<V>(dst + i * width + j, er_load<V>(src + (size_t)from * width + j));
    }
}

// Rows of `src` that go to the same row of `dst` are added by one block, in their order: no atomics, and the
// same bits on every run and on the CPU. The block of row i looks for the rows that share its target, as many
// at a time as it has threads; it leaves when one comes before i, since that row's block does the work.
template <int V>
static __global__ void k_scatter_add(
    float *dst, const float *src, const int32_t *index, size_t n, size_t width) {
    __shared__ unsigned same[ER_ROW_BLOCK / 32];
    ER_BLOCK_ROW(i, n) {
        int32_t to = index[i];
        bool mine = to >= 0;
        for (size_t base = 0; mine && base < n; base += blockDim.x) {
            size_t j = base + threadIdx.x;
            unsigned hits = __ballot_sync(0xffffffffu, j < n && index[j] == to);
            if (threadIdx.x % 32 == 0) same[threadIdx.x / 32] = hits;
            __syncthreads();
            for (unsigned w = 0; mine && w < blockDim.x / 32; w++)
                for (unsigned left = same[w]; mine && left; left &= left - 1) {
                    size_t row = base + w * 32 + (unsigned)__ffs((int)left) - 1;
                    mine = row >= i;  // the same for all threads of the block
                    ER_IN_BLOCK(c, mine ? width : 0, V) {
                        er_pack<float, V> a = er_load<V>(dst + (size_t)to * width + c),
                                          b = er_load<V>(src + row * width + c);
                        for (int k = 0; k < V; k++) a.at[k] += b.at[k];
                        er_store<V>(dst + (size_t)to * width + c, a);
                    }
                }
            __syncthreads();
        }
    }
}

template <int V>
static __global__ void k_kv_store(float *cache_k, float *cache_v, const float *qkv, size_t ld, size_t k_at,
    size_t kv_dim, const int32_t *at, size_t tokens) {
    ER_EACH_ROW(t, tokens) {
        int32_t to = at[t];
        if (to < 0) continue;
        const float *k = qkv + t * ld + k_at;
        ER_EACH_COLUMN(j, kv_dim, V) {
            er_store<V>(cache_k + (size_t)to * kv_dim + j, er_load<V>(k + j));
            er_store<V>(cache_v + (size_t)to * kv_dim + j, er_load<V>(k + kv_dim + j));
        }
    }
}

er_status er_cuda_add(er_device *d, float *y, const float *x, size_t n) {
    if (!n) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    if (er_aligned(y, x))
        return ER_LAUNCHED(ER_LAUNCH((k_add<4>), er_blocks(n, 4 * ER_BLOCK), ER_BLOCK, at, y, x, n));
    return ER_LAUNCHED(ER_LAUNCH((k_add<1>), er_blocks(n, ER_BLOCK), ER_BLOCK, at, y, x, n));
}

er_status er_cuda_gather_rows(
    er_device *d, float *dst, const float *src, const int32_t *index, size_t n, size_t width) {
    if (!n || !width) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    if (width % 4 == 0 && er_aligned(dst, src))
        return ER_LAUNCHED(ER_LAUNCH_ROWS((k_gather<4>), n, width, 4, at, dst, src, index, n, width));
    return ER_LAUNCHED(ER_LAUNCH_ROWS((k_gather<1>), n, width, 1, at, dst, src, index, n, width));
}

er_status er_cuda_scatter_add_rows(
    er_device *d, float *dst, const float *src, const int32_t *index, size_t n, size_t width) {
    if (!n || !width) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    if (width % 4 == 0 && er_aligned(dst, src))
        return ER_LAUNCHED(ER_LAUNCH_BLOCKS((k_scatter_add<4>), n, width, 4, at, dst, src, index, n, width));
    return ER_LAUNCHED(ER_LAUNCH_BLOCKS((k_scatter_add<1>), n, width, 1, at, dst, src, index, n, width));
}

er_status er_cuda_kv_store(er_device *d, const er_kv_store_args *a) {
    if (!a->tokens || !a->kv_dim) return ER_OK;
    cudaStream_t stream = er_cuda_stream(d);
    bool wide = a->kv_dim % 4 == 0 && a->ld_qkv % 4 == 0 && a->k_at % 4 == 0 &&
                er_aligned(a->cache_k, a->cache_v, a->qkv);
#define KV_STORE(V)                                                                                          \
    ER_LAUNCHED(ER_LAUNCH_ROWS((k_kv_store<V>), a->tokens, a->kv_dim, V, stream, a->cache_k, a->cache_v,     \
        a->qkv, a->ld_qkv, a->k_at, a->kv_dim, a->at, a->tokens))
    return wide ? KV_STORE(4) : KV_STORE(1);
#undef KV_STORE
}
