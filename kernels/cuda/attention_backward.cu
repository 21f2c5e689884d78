// The gradient of attention with respect to q, k and v of the batch's own tokens. With P = e^(score - lse)
// recomputed (equations as in kernels/cpu/attention_backward.c):
//   dV = P^T dO     dP = dO V^T     dS = P (dP - D) scale, D = dO . O     dQ = dS K     dK = dS^T Q
// Every sum belongs to one warp, which adds in the order of lines or keys: no atomics, the same bits each
// time.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_tile.cuh"

enum {
    PAIRS = 1024,  // most (line, own key) pairs of a short row: two weights of each wait in shared memory
    TILE = 32      // lines and keys of a tile
};

typedef struct gradient_args {
    float *dqkv;
    const float *dout, *out, *lse;
} gradient_args;

static __host__ __device__ __forceinline__ bool is_short(size_t own, size_t group) {
    return own <= PAIRS && own * own * group <= PAIRS;
}

// ---- short rows: one warp for all of a (row, key/value head) ----
//
// Floor: bytes. Per own token 8 (heads + 2 kv_heads) head_dim for qkv and dqkv and 8 heads head_dim for out
// and dout, per prefix position and row 8 kv_heads head_dim. 10 head_dim FLOP per line and visible key, 10
// shuffles. The second pass takes q and dout from cache.

struct pair_weights {
    float p[PAIRS], ds[PAIRS];
};

// dq of LINES lines; leaves the weights of own keys, [line][own].
template <int V, int N, int LINES>
static __device__ __forceinline__ void short_lines(
    pair_weights *w, const er_span &s, const gradient_args &g, unsigned line, float scale) {
    er_slice<V, N> q[LINES], dout[LINES], dq[LINES] = {};
    float mean[LINES], lse[LINES], dots[2 * LINES];
    unsigned first[LINES], last[LINES];
    const unsigned n = s.head_dim;
    ER_UNROLL for (int i = 0; i < LINES; i++) {
        unsigned number =
            line + (unsigned)i < s.lines ? line + (unsigned)i : s.lines - 1;  // the last one again
        size_t at = er_line_at(s, number);
        q[i] = er_slice_load<V, N>(s.qkv + er_query_at(s, number), n);
        dout[i] = er_slice_load<V, N>(g.dout + at * n, n);
        mean[i] = er_slice_dot(dout[i], er_slice_load<V, N>(g.out + at * n, n));
        lse[i] = g.lse[at];
        last[i] = er_last_key(s, number), first[i] = er_first_key(s, last[i]);
    }
    er_sum_lanes<LINES, 32>(mean);
    for (unsigned j = first[0]; j <= last[LINES - 1]; j++) {
        er_slice<V, N> k = er_slice_load<V, N>(er_key(s, j), n),
                       v = er_slice_load<V, N>(er_target_z(s, j), n);
        ER_UNROLL for (int i = 0; i < LINES; i++) dots[2 * i] = er_slice_dot(q[i], k),
                                                           dots[2 * i + 1] = er_slice_dot(dout[i], v);
        er_sum_lanes<2 * LINES, 32>(dots);
        ER_UNROLL for (int i = 0; i < LINES; i++) {
            if (j < first[i] || j > last[i]) continue;
            float p = expf(dots[2 * i] * scale - lse[i]), ds = p * (dots[2 * i + 1] - mean[i]) * scale;
            er_slice_add(&dq[i], k, ds, 1.0f);
            unsigned pair = (line + (unsigned)i) * s.own + j - s.prefix;
            if (j >= s.prefix && line + (unsigned)i < s.lines && threadIdx.x % 32 == 0)
                w->p[pair] = p, w->ds[pair] = ds;
        }
    }
    ER_UNROLL for (int i = 0; i < LINES; i++) if (line + (unsigned)i < s.lines)
        er_slice_store(g.dqkv + er_query_at(s, line + (unsigned)i), dq[i], n, 1.0f);
}

// dk and dv of KEYS own keys from the weights that the lines have left.
template <int V, int N, int KEYS>
static __device__ __forceinline__ void short_keys(
    const pair_weights *w, const er_span &s, const gradient_args &g, unsigned key) {
    er_slice<V, N> dk[KEYS] = {}, dv[KEYS] = {};
    const unsigned n = s.head_dim, last = s.own - key < KEYS ? s.own - 1 : key + KEYS - 1,
                   end = er_lines_end(s, last);
    for (unsigned line = key * s.group; line < end; line++) {
        er_slice<V, N> q = er_slice_load<V, N>(s.qkv + er_query_at(s, line), n),
                       dout = er_slice_load<V, N>(g.dout + er_line_at(s, line) * n, n);
        ER_UNROLL for (int i = 0; i < KEYS; i++) {
            unsigned j = key + (unsigned)i, t = line / s.group;
            if (j > t || t - j >= s.window) continue;
            er_slice_add(&dk[i], q, w->ds[line * s.own + j], 1.0f);
            er_slice_add(&dv[i], dout, w->p[line * s.own + j], 1.0f);
        }
    }
    ER_UNROLL for (int i = 0; i < KEYS; i++) {
        if (key + (unsigned)i >= s.own) continue;
        size_t at = (size_t)(key + (unsigned)i) * s.ld;
        er_slice_store(g.dqkv + s.k + at, dk[i], n, 1.0f);
        er_slice_store(g.dqkv + s.v + at, dv[i], n, 1.0f);
    }
}

template <int V, int N, int LINES>
static __global__ void __launch_bounds__(32 * ER_SHORT_WARPS)
    k_attention_backward_short(er_attention a, gradient_args g) {
    __shared__ pair_weights weights[ER_SHORT_WARPS];
    unsigned warp = threadIdx.x / 32;
    size_t kv_head = (size_t)blockIdx.y * ER_SHORT_WARPS + warp;
    if (kv_head >= a.kv_heads) return;
    er_span s = er_span_make(a, blockIdx.x, kv_head);
    if (!is_short(s.own, s.group)) return;
    for (unsigned line = 0; line < s.lines; line += LINES)
        short_lines<V, N, LINES>(&weights[warp], s, g, line, a.scale);
    __syncwarp();
    for (unsigned key = 0; key < s.own; key += LINES) short_keys<V, N, LINES>(&weights[warp], s, g, key);
}

// ---- long rows: tiles of 32 lines x 32 keys, in two kernels, dq by lines and dk, dv by keys ----
//
// Floor: 10 head_dim FLOP per line and visible key, of which 4 are done twice. A tile of 32 x 32 and 8 warps
// costs 8 16-byte loads from shared memory for 32 multiply-adds in the products, 18 for 128 in the sums.

struct gradient_room {
    er_span span;  // here, not in registers, of which the sums want all
    alignas(16) float stage[ER_STAGE];
    alignas(16) float p[TILE * (TILE + 4)];
    alignas(16) float ds[TILE * (TILE + 4)];
    float lse[TILE], mean[TILE];
    const float *queries[TILE], *douts[TILE], *keys[TILE], *values[TILE];
};

// Pointers, lse and D of the lines line .. end-1. A barrier must follow.
template <int V>
static __device__ __forceinline__ void place_lines(
    gradient_room *room, const gradient_args &g, unsigned line, unsigned end) {
    const er_span &s = room->span;
    const unsigned n = s.head_dim;
    if (threadIdx.x < TILE) {
        unsigned i = threadIdx.x, at = line + i;
        room->queries[i] = at < end ? s.qkv + er_query_at(s, at) : NULL;
        room->douts[i] = at < end ? g.dout + er_line_at(s, at) * n : NULL;
        room->lse[i] = at < end ? g.lse[er_line_at(s, at)] : 0;
    }
    for (unsigned i = threadIdx.x / 32; i < TILE; i += ER_TILE_THREADS / 32) {
        float sum[1] = {0};
        size_t at = line + i < end ? er_line_at(s, line + i) * n : 0;
        if (line + i < end)
            for (unsigned c = threadIdx.x % 32 * V; c < n; c += 32 * V) {
                er_pack<float, V> x = er_load<V>(g.dout + at + c), y = er_load<V>(g.out + at + c);
                ER_UNROLL for (int k = 0; k < V; k++) sum[0] += x.at[k] * y.at[k];
            }
        er_sum_lanes<1, 32>(sum);
        if (threadIdx.x % 32 == 0) room->mean[i] = sum[0];
    }
}

static __device__ __forceinline__ void place_keys(gradient_room *room, unsigned key, unsigned end) {
    if (threadIdx.x >= TILE) return;
    unsigned i = threadIdx.x, j = key + i;
    room->keys[i] = j < end ? er_key(room->span, j) : NULL;
    room->values[i] = j < end ? er_target_z(room->span, j) : NULL;
}

// A score and dP to P and dS; zero where the line does not see the key, or is none.
static __device__ __forceinline__ void slope(const gradient_room *room, unsigned line0, unsigned i,
    unsigned end, unsigned key, float scale, float *p, float *ds) {
    unsigned last = er_last_key(room->span, line0 + i);
    bool seen = line0 + i < end && key <= last && last - key < room->span.window;
    float see = expf(*p * scale - room->lse[i]), rise = see * (*ds - room->mean[i]) * scale;
    *p = seen ? see : 0.0f, *ds = seen ? rise : 0.0f;
}

template <int V, int WIDTH>
static __device__ __forceinline__ void long_lines(
    gradient_room *room, const gradient_args &g, unsigned line, float scale) {
    constexpr int R = TILE / 16, LD = TILE + 4;
    const er_span &s = room->span;
    const unsigned end = s.lines - line < TILE ? s.lines : line + TILE, to = er_last_key(s, end - 1) + 1;
    float dq[R][WIDTH / 16] = {}, p[R][R], ds[R][R];
    __syncthreads();
    place_lines<V>(room, g, line, end);
    for (unsigned key = er_first_key(s, er_last_key(s, line)); key < to; key += TILE) {
        __syncthreads();
        place_keys(room, key, to);
        er_tile_products<V, TILE, TILE>(p, room->stage, room->queries, room->keys, s.head_dim);
        er_tile_products<V, TILE, TILE>(ds, room->stage, room->douts, room->values, s.head_dim);
        ER_UNROLL for (int i = 0; i < R; i++) ER_UNROLL for (int j = 0; j < R; j++) {
            unsigned r = ER_TILE_ROW(TILE, i), c = ER_TILE_COLUMN(j);
            slope(room, line, r, end, key + c, scale, &p[i][j], &ds[i][j]);
            room->ds[r * LD + c] = ds[i][j];
        }
        __syncwarp();
        er_tile_add<V, TILE, TILE, WIDTH>(dq, room->stage, room->ds, room->keys, to - key, s.head_dim);
    }
    ER_UNROLL for (int i = 0; i < R; i++) {
        unsigned at = line + ER_TILE_ROW(TILE, i);
        if (at < end) er_tile_store<V, WIDTH>(g.dqkv + er_query_at(s, at), dq[i], s.head_dim, 1.0f);
    }
}

// Rows of the tile are keys here: the weights are P^T and dS^T. `key` counts own keys.
template <int V, int WIDTH>
static __device__ __forceinline__ void long_keys(
    gradient_room *room, const gradient_args &g, unsigned key, float scale) {
    constexpr int R = TILE / 16, LD = TILE + 4;
    const er_span &s = room->span;
    const unsigned end = s.own - key < TILE ? s.own : key + TILE, to = er_lines_end(s, end - 1);
    float dk[R][WIDTH / 16] = {}, dv[R][WIDTH / 16] = {}, p[R][R], ds[R][R];
    __syncthreads();
    place_keys(room, s.prefix + key, s.prefix + end);
    for (unsigned line = key * s.group; line < to; line += TILE) {
        __syncthreads();
        place_lines<V>(room, g, line, to);
        er_tile_products<V, TILE, TILE>(p, room->stage, room->keys, room->queries, s.head_dim);
        er_tile_products<V, TILE, TILE>(ds, room->stage, room->values, room->douts, s.head_dim);
        ER_UNROLL for (int i = 0; i < R; i++) ER_UNROLL for (int j = 0; j < R; j++) {
            unsigned r = ER_TILE_ROW(TILE, i), c = ER_TILE_COLUMN(j);
            slope(room, line, c, to, s.prefix + key + r, scale, &p[i][j], &ds[i][j]);
            room->p[r * LD + c] = p[i][j], room->ds[r * LD + c] = ds[i][j];
        }
        __syncwarp();
        er_tile_add<V, TILE, TILE, WIDTH>(dv, room->stage, room->p, room->douts, to - line, s.head_dim);
        er_tile_add<V, TILE, TILE, WIDTH>(dk, room->stage, room->ds, room->queries, to - line, s.head_dim);
    }
    ER_UNROLL for (int i = 0; i < R; i++) {
        unsigned at = key + ER_TILE_ROW(TILE, i);
        if (at >= end) continue;
        er_tile_store<V, WIDTH>(g.dqkv + s.k + at * s.ld, dk[i], s.head_dim, 1.0f);
        er_tile_store<V, WIDTH>(g.dqkv + s.v + at * s.ld, dv[i], s.head_dim, 1.0f);
    }
}

template <int V, int WIDTH>
static __global__ void __launch_bounds__(ER_TILE_THREADS, 2)
    k_attention_backward_lines(er_attention a, gradient_args g) {
    __shared__ gradient_room room;
    if (threadIdx.x == 0) room.span = er_span_make(a, blockIdx.x, blockIdx.y);
    __syncthreads();
    if (is_short(room.span.own, room.span.group)) return;
    unsigned tiles = (room.span.lines + TILE - 1) / TILE;
    for (unsigned z = blockIdx.z; z < tiles; z += gridDim.z)  // the last lines see most keys: they go first
        long_lines<V, WIDTH>(&room, g, (tiles - 1 - z) * TILE, a.scale);
}

template <int V, int WIDTH>
static __global__ void __launch_bounds__(ER_TILE_THREADS, 2)
    k_attention_backward_keys(er_attention a, gradient_args g) {
    __shared__ gradient_room room;
    if (threadIdx.x == 0) room.span = er_span_make(a, blockIdx.x, blockIdx.y);
    __syncthreads();
    if (is_short(room.span.own, room.span.group)) return;
    for (unsigned key = blockIdx.z * TILE; key < room.span.own; key += gridDim.z * TILE)
        long_keys<V, WIDTH>(&room, g, key, a.scale);
}

// ---- launching ----

template <int V, int N, int LINES>
static er_status launch_short(cudaStream_t at, const er_attention *a, const gradient_args &g) {
    return ER_LAUNCHED(ER_LAUNCH((k_attention_backward_short<V, N, LINES>),
        er_attention_grid(a, ER_SHORT_WARPS, 1), 32 * ER_SHORT_WARPS, at, *a, g));
}

template <int V, int WIDTH>
static er_status launch_long(cudaStream_t at, const er_attention *a, const gradient_args &g) {
    const size_t group = a->heads / a->kv_heads;
    er_status rc = ER_OK;
    if (is_short(a->longest, group)) return ER_OK;
    ER_TRY(ER_LAUNCHED(ER_LAUNCH((k_attention_backward_lines<V, WIDTH>),
        er_attention_grid(a, 1, er_tiles(a->longest * group, TILE)), ER_TILE_THREADS, at, *a, g)));
    ER_TRY(ER_LAUNCHED(ER_LAUNCH((k_attention_backward_keys<V, WIDTH>),
        er_attention_grid(a, 1, er_tiles(a->longest, TILE)), ER_TILE_THREADS, at, *a, g)));
out:
    return rc;
}

er_status er_cuda_attention_backward(
    er_device *d, const er_attention *a, float *dqkv, const float *dout, const float *out, const float *lse) {
    er_status rc = ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    const gradient_args g = {dqkv, dout, out, lse};
    const bool wide = er_wide(a, dqkv, dout, out);
    if (!a->tokens || !a->rows || !a->heads || !a->head_dim) return ER_OK;
    if (a->head_dim > ER_HEAD_MOST) ER_FAIL(ER_EUNSUPPORTED, "attention heads of %zu", a->head_dim);
    if (!wide) {
        ER_TRY((launch_short<1, 8, 2>(at, a, g)));
        ER_TRY((launch_long<1, 256>(at, a, g)));
    } else if (a->head_dim <= 64) {
        ER_TRY((launch_short<2, 1, 4>(at, a, g)));
        ER_TRY((launch_long<4, 64>(at, a, g)));
    } else if (a->head_dim <= 128) {
        ER_TRY((launch_short<4, 1, 4>(at, a, g)));
        ER_TRY((launch_long<4, 128>(at, a, g)));
    } else {
        ER_TRY((launch_short<4, 2, 2>(at, a, g)));
        ER_TRY((launch_long<4, 256>(at, a, g)));
    }
out:
    return rc;
}
