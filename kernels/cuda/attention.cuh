// What attention and its gradient share: the view of one row, and a head spread over the lanes of a warp.
//
// Work is shared out by (row, key/value head). Its "lines" are the row's tokens times the query heads of the
// group, token-major, so that queries that see the same keys are neighbours and share what is loaded. Keys
// are numbered from the start of the prefix: the cached ones come first, the row's own follow.
// Short rows go to kernels in which a warp holds a head in its lanes (they wait for memory), long ones to
// kernels of tiles (they wait for arithmetic, see attention_tile.cuh). A batch with both kinds gets both, and
// every row leaves the kernel that is not for it.
#ifndef ER_CUDA_ATTENTION_CUH
#define ER_CUDA_ATTENTION_CUH
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/device.cuh"

// Arrays indexed in these loops stay in registers only if the loops are unrolled.
#ifdef __CUDACC__
#define ER_UNROLL _Pragma("unroll")
#define ER_ROLLED _Pragma("unroll 1")  // unrolled, these take more registers than there are
#else
#define ER_UNROLL
#define ER_ROLLED
#endif

enum { ER_HEAD_MOST = 256, ER_SHORT_WARPS = 4 };

// One row and key/value head. Offsets into qkv hold for dqkv too.
typedef struct er_span {
    unsigned own, prefix, group, lines, window, head_dim;
    size_t heads, ld, prefix_ld;
    size_t q, k, v;  // offsets in qkv of line 0, of the first own key and of its value
    size_t line;     // number of line 0 in lse; times head_dim, its offset in out
    const float *qkv, *prefix_k, *prefix_v;
} er_span;

static __device__ __forceinline__ er_span er_span_make(const er_attention &a, size_t row, size_t kv_head) {
    er_span s;
    size_t first = (size_t)a.row_start[row], n = a.head_dim;
    s.own = (unsigned)a.row_start[row + 1] - (unsigned)first;
    s.prefix = a.prefix_len && a.prefix_k ? (unsigned)a.prefix_len[row] : 0;
    s.group = (unsigned)(a.heads / a.kv_heads);
    s.lines = s.own * s.group;
    s.window = a.window && a.window < INT32_MAX ? (unsigned)a.window : INT32_MAX;
    s.head_dim = (unsigned)n;
    s.heads = a.heads, s.ld = a.ld_qkv, s.prefix_ld = a.kv_heads * n;
    s.q = first * s.ld + kv_head * s.group * n;
    s.k = first * s.ld + (a.heads + kv_head) * n, s.v = s.k + s.prefix_ld;
    s.line = first * a.heads + kv_head * s.group;
    size_t at = s.prefix ? (size_t)a.prefix_at[row] * s.prefix_ld + kv_head * n : 0;
    s.qkv = a.qkv, s.prefix_k = a.prefix_k + at, s.prefix_v = a.prefix_v + at;
    return s;
}

static __device__ __forceinline__ size_t er_query_at(const er_span &s, unsigned line) {
    return s.q + (size_t)(line / s.group) * s.ld + (size_t)(line % s.group) * s.head_dim;
}
static __device__ __forceinline__ size_t er_line_at(const er_span &s, unsigned line) {
    return s.line + (size_t)(line / s.group) * s.heads + line % s.group;
}
static __device__ __forceinline__ const float *er_key(const er_span &s, unsigned j) {
    return j < s.prefix ? s.prefix_k + j * s.prefix_ld : s.qkv + s.k + (j - s.prefix) * s.ld;
}
static __device__ __forceinline__ const float *er_target_z(const er_span &s, unsigned j) {
    return j < s.prefix ? s.prefix_v + j * s.prefix_ld : s.qkv + s.v + (j - s.prefix) * s.ld;
}
// A line sees the keys first .. last.
static __device__ __forceinline__ unsigned er_last_key(const er_span &s, unsigned line) {
    return s.prefix + line / s.group;
}
static __device__ __forceinline__ unsigned er_first_key(const er_span &s, unsigned last) {
    return last >= s.window ? last + 1 - s.window : 0;
}
// The lines that see own key j are those from j * group to this one, which is not among them.
static __device__ __forceinline__ unsigned er_lines_end(const er_span &s, unsigned j) {
    return s.window < s.own - j ? (j + s.window) * s.group : s.lines;
}

// ---- a head in the lanes of a warp: pack i of lane l holds the columns (32 i + l) V .. + V-1 ----

template <int V, int N> struct er_slice { er_pack<float, V> at[N]; };

template <int V, int N>
static __device__ __forceinline__ er_slice<V, N> er_slice_load(const float *p, unsigned n) {
    er_slice<V, N> s;
    ER_UNROLL for (int i = 0; i < N; i++) {
        unsigned c = ((unsigned)i * 32 + threadIdx.x % 32) * V;
        s.at[i] = c < n ? er_load<V>(p + c) : er_pack<float, V>{};
    }
    return s;
}

template <int V, int N>
static __device__ __forceinline__ void er_slice_store(
    float *p, const er_slice<V, N> &s, unsigned n, float scale) {
    ER_UNROLL for (int i = 0; i < N; i++) {
        unsigned c = ((unsigned)i * 32 + threadIdx.x % 32) * V;
        er_pack<float, V> v = s.at[i];
        ER_UNROLL for (int k = 0; k < V; k++) v.at[k] *= scale;
        if (c < n) er_store<V>(p + c, v);
    }
}

// This lane's part of the product; er_sum_lanes adds the parts up.
template <int V, int N>
static __device__ __forceinline__ float er_slice_dot(const er_slice<V, N> &a, const er_slice<V, N> &b) {
    float sum = 0;
    ER_UNROLL for (int i = 0; i < N; i++) ER_UNROLL for (int k = 0; k < V; k++) sum +=
        a.at[i].at[k] * b.at[i].at[k];
    return sum;
}

// y = decay * y + x * f
template <int V, int N>
static __device__ __forceinline__ void er_slice_add(
    er_slice<V, N> *y, const er_slice<V, N> &x, float f, float decay) {
    ER_UNROLL for (int i = 0; i < N; i++) ER_UNROLL for (int k = 0; k < V; k++) y->at[i].at[k] =
        decay * y->at[i].at[k] + x.at[i].at[k] * f;
}

// Sums of several values over WIDTH neighbouring lanes, for every lane; side by side, so that the shuffles of
// one hide those of the next.
template <int COUNT, int WIDTH> static __device__ __forceinline__ void er_sum_lanes(float (&v)[COUNT]) {
    ER_UNROLL for (int o = WIDTH / 2; o > 0; o >>= 1) ER_UNROLL for (int i = 0; i < COUNT; i++) v[i] +=
        __shfl_xor_sync(ER_ALL_LANES, v[i], o);
}

// ---- launching ----

// 16-byte accesses want every head of every array to start on 16 bytes.
template <class... P> static inline bool er_wide(const er_attention *a, const P *...p) {
    return a->head_dim % 4 == 0 && a->ld_qkv % 4 == 0 && er_aligned(a->qkv, a->prefix_k, a->prefix_v, p...);
}

// Blocks along x take rows, along y key/value heads (`each` of them), along z tiles, if need be in turns.
static inline dim3 er_attention_grid(const er_attention *a, size_t each, size_t tiles) {
    size_t y = a->kv_heads / each + (a->kv_heads % each != 0);
    return dim3((unsigned)a->rows, (unsigned)y, (unsigned)(tiles < 65535 ? tiles : 65535));
}

static inline size_t er_tiles(size_t n, size_t each) { return n / each + (n % each != 0); }
#endif
