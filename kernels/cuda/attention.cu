// Causal attention of ragged rows over a cached prefix and their own keys, with a running maximum and sum, so
// that no score leaves the chip. Equations as in kernels/cpu/attention.c.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_tile.cuh"

enum {
    SHORT = 32,  // most own tokens of a short row
    LINES = 4,   // of a warp at a time
    TILE = 64    // lines and keys of a tile
};

// ---- short rows: a warp takes LINES lines at a time through the keys, one after another ----
//
// Floor: bytes. Per own token 4 (heads + 2 kv_heads) head_dim for qkv and 4 heads head_dim for out, per
// prefix position and row 8 kv_heads head_dim; 4 head_dim FLOP per line and visible key, and 5 shuffles of a
// warp.

template <int V, int N>
static __device__ __forceinline__ void short_lines(
    const er_span &s, unsigned line, float scale, float *out, float *lse) {
    er_slice<V, N> q[LINES], o[LINES] = {};
    float top[LINES], sum[LINES], score[LINES];
    unsigned first[LINES], last[LINES];
    ER_UNROLL for (int i = 0; i < LINES; i++) {
        unsigned at = line + (unsigned)i < s.lines ? line + (unsigned)i : s.lines - 1;  // the last one again
        q[i] = er_slice_load<V, N>(s.qkv + er_query_at(s, at), s.head_dim);
        last[i] = er_last_key(s, at), first[i] = er_first_key(s, last[i]);
        top[i] = -INFINITY, sum[i] = 0;
    }
    for (unsigned j = first[0]; j <= last[LINES - 1]; j++) {
        er_slice<V, N> k = er_slice_load<V, N>(er_key(s, j), s.head_dim),
                       v = er_slice_load<V, N>(er_target_z(s, j), s.head_dim);
        ER_UNROLL for (int i = 0; i < LINES; i++) score[i] = er_slice_dot(q[i], k);
        er_sum_lanes<LINES, 32>(score);
        ER_UNROLL for (int i = 0; i < LINES; i++) {
            if (j < first[i] || j > last[i]) continue;
            float x = score[i] * scale, best = fmaxf(top[i], x);
            float decay = expf(top[i] - best), p = expf(x - best);
            top[i] = best, sum[i] = sum[i] * decay + p;
            er_slice_add(&o[i], v, p, decay);
        }
    }
    ER_UNROLL for (int i = 0; i < LINES; i++) {
        if (line + (unsigned)i >= s.lines) continue;
        size_t at = er_line_at(s, line + (unsigned)i);
        er_slice_store(out + at * s.head_dim, o[i], s.head_dim, 1.0f / sum[i]);
        if (lse && threadIdx.x % 32 == 0) lse[at] = top[i] + logf(sum[i]);
    }
}

// `split` warps share the lines of a (row, key/value head).
template <int V, int N>
static __global__ void __launch_bounds__(32 * ER_SHORT_WARPS)
    k_attention_short(er_attention a, float *out, float *lse, unsigned split) {
    unsigned warp = threadIdx.x / 32;
    size_t kv_head = (size_t)blockIdx.y * (ER_SHORT_WARPS / split) + warp / split;
    if (kv_head >= a.kv_heads) return;
    er_span s = er_span_make(a, blockIdx.x, kv_head);
    if (s.own > SHORT) return;
    for (unsigned line = warp % split * LINES; line < s.lines; line += split * LINES)
        short_lines<V, N>(s, line, a.scale, out, lse);
}

// ---- long rows: tiles of 64 lines x 64 keys ----
//
// Floor: 4 head_dim FLOP per line and visible key. A tile of 64 x 64 reads 3 x 64 heads of head_dim from L2
// (21 FLOP a byte) and costs 20 16-byte loads from shared memory for 256 multiply-adds in P V, 8 for 64 in
// Q K^T. On average half of the last 64 keys of a line are computed in vain.

struct forward_room {
    er_span span;  // here, not in registers, of which the sums want all
    alignas(16) float stage[ER_STAGE];
    alignas(16) float weights[TILE * (TILE + 4)];
    const float *queries[TILE], *keys[TILE], *values[TILE];
    unsigned last[TILE];  // number of the last key that a line sees
};

// Scores to probabilities relative to the running maximum, which go to `weights`; *decay is what shrinks all
// earlier sums of the line, *sum the denominator's part of this lane.
static __device__ __forceinline__ void tile_soften(float (&score)[TILE / 16], float *weights, unsigned key,
    unsigned first, unsigned last, float scale, float *top, float *sum, float *decay) {
    float best = *top, part = 0;
    ER_UNROLL for (int j = 0; j < TILE / 16; j++) {
        unsigned at = key + ER_TILE_COLUMN(j);
        score[j] = at >= first && at <= last ? score[j] * scale : -INFINITY;
        best = fmaxf(best, score[j]);
    }
    ER_UNROLL for (int o = 8; o > 0; o >>= 1) best = fmaxf(best, __shfl_xor_sync(ER_ALL_LANES, best, o));
    float base = best == -INFINITY ? 0.0f : best;  // nothing of this line seen yet
    ER_UNROLL for (int j = 0; j < TILE / 16; j++) {
        float p = expf(score[j] - base);
        weights[ER_TILE_COLUMN(j)] = p;
        part += p;
    }
    *decay = expf(*top - base);
    *sum = *sum * *decay + part, *top = best;
}

template <int V, int WIDTH>
static __device__ __forceinline__ void long_tile(
    forward_room *room, const er_span &s, unsigned line, float scale, float *out, float *lse) {
    constexpr int R = TILE / 16;
    const unsigned end = s.lines - line < TILE ? s.lines : line + TILE, to = er_last_key(s, end - 1) + 1;
    float o[R][WIDTH / 16] = {}, score[R][R], top[R], sum[R];
    ER_UNROLL for (int i = 0; i < R; i++) top[i] = -INFINITY, sum[i] = 0;
    for (unsigned key = er_first_key(s, er_last_key(s, line)); key < to; key += TILE) {
        __syncthreads();
        if (threadIdx.x < TILE) {
            unsigned i = threadIdx.x, j = key + i;
            room->last[i] = er_last_key(s, line + i < end ? line + i : end - 1);
            room->queries[i] = line + i < end ? s.qkv + er_query_at(s, line + i) : NULL;
            room->keys[i] = j < to ? er_key(s, j) : NULL;
            room->values[i] = j < to ? er_target_z(s, j) : NULL;
        }
        er_tile_products<V, TILE, TILE>(score, room->stage, room->queries, room->keys, s.head_dim);
        ER_UNROLL for (int i = 0; i < R; i++) {
            const unsigned last = room->last[ER_TILE_ROW(TILE, i)];
            float decay;
            tile_soften(score[i], room->weights + ER_TILE_ROW(TILE, i) * (TILE + 4), key,
                er_first_key(s, last), last, scale, &top[i], &sum[i], &decay);
            ER_UNROLL for (int c = 0; c < WIDTH / 16; c++) o[i][c] *= decay;
        }
        __syncwarp();
        er_tile_add<V, TILE, TILE, WIDTH>(o, room->stage, room->weights, room->values, to - key, s.head_dim);
    }
    er_sum_lanes<R, 16>(sum);
    ER_UNROLL for (int i = 0; i < R; i++) {
        unsigned at = line + ER_TILE_ROW(TILE, i);
        if (at >= end) continue;
        er_tile_store<V, WIDTH>(out + er_line_at(s, at) * s.head_dim, o[i], s.head_dim, 1.0f / sum[i]);
        if (lse && threadIdx.x % 16 == 0) lse[er_line_at(s, at)] = top[i] + logf(sum[i]);
    }
}

// Blocks of a multiprocessor at once. Heads of 256 on sm_80 want more registers than two blocks leave: they
// would spill.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 890
#define LONG_BLOCKS(width) ((width) > 128 ? 1 : 2)
#else
#define LONG_BLOCKS(width) 2
#endif

// The last lines of a row see most keys: they go first.
template <int V, int WIDTH>
static __global__ void __launch_bounds__(ER_TILE_THREADS, LONG_BLOCKS(WIDTH))
    k_attention_long(er_attention a, float *out, float *lse) {
    __shared__ forward_room room;
    if (threadIdx.x == 0) room.span = er_span_make(a, blockIdx.x, blockIdx.y);
    __syncthreads();
    if (room.span.own <= SHORT) return;
    unsigned tiles = (room.span.lines + TILE - 1) / TILE;
    for (unsigned z = blockIdx.z; z < tiles; z += gridDim.z)
        long_tile<V, WIDTH>(&room, room.span, (tiles - 1 - z) * TILE, a.scale, out, lse);
}

// ---- launching ----

template <int V, int N>
static er_status launch_short(cudaStream_t at, const er_attention *a, float *out, float *lse) {
    size_t lines = a->tokens / a->rows * (a->heads / a->kv_heads);  // of a row on average
    unsigned split = lines <= LINES ? 1 : lines <= 2 * LINES ? 2 : ER_SHORT_WARPS;
    return ER_LAUNCHED(ER_LAUNCH((k_attention_short<V, N>), er_attention_grid(a, ER_SHORT_WARPS / split, 1),
        32 * ER_SHORT_WARPS, at, *a, out, lse, split));
}

template <int V, int WIDTH>
static er_status launch_long(cudaStream_t at, const er_attention *a, float *out, float *lse) {
    size_t tiles = er_tiles(a->longest * (a->heads / a->kv_heads), TILE);
    if (a->longest <= SHORT) return ER_OK;
    return ER_LAUNCHED(ER_LAUNCH(
        (k_attention_long<V, WIDTH>), er_attention_grid(a, 1, tiles), ER_TILE_THREADS, at, *a, out, lse));
}

er_status er_cuda_attention(er_device *d, const er_attention *a, float *out, float *lse) {
    er_status rc = ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    const bool wide = er_wide(a, out);
    if (!a->tokens || !a->rows || !a->heads || !a->head_dim) return ER_OK;
    if (a->head_dim > ER_HEAD_MOST) ER_FAIL(ER_EUNSUPPORTED, "attention heads of %zu", a->head_dim);
    if (!wide) {
        ER_TRY((launch_short<1, 8>(at, a, out, lse)));
        ER_TRY((launch_long<1, 256>(at, a, out, lse)));
    } else if (a->head_dim <= 64) {
        ER_TRY((launch_short<2, 1>(at, a, out, lse)));
        ER_TRY((launch_long<4, 64>(at, a, out, lse)));
    } else if (a->head_dim <= 128) {
        ER_TRY((launch_short<4, 1>(at, a, out, lse)));
        ER_TRY((launch_long<4, 128>(at, a, out, lse)));
    } else {
        ER_TRY((launch_short<4, 2>(at, a, out, lse)));
        ER_TRY((launch_long<4, 256>(at, a, out, lse)));
    }
out:
    return rc;
}
