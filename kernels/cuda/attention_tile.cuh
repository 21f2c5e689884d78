// Products of tiles on fp32 cores, for rows of many tokens. A block of 8 warps works on a tile of ROWS x
// COLUMNS weights; a warp owns ROWS / 8 whole rows of it, so what it computes for its rows and then
// multiplies by needs no barrier of the block. Half-warps take alternate rows, the 16 lanes of one every 16th
// column.
//     er_tile_products:  sum [ROWS, COLUMNS]  = A B^T      A, B: rows of up to 256 columns, in global memory
//     er_tile_add:       sum [ROWS, width]   += W M        W: weights in shared memory, M in global memory
// Both pass their operands through shared memory in chunks. A row is a pointer, NULL for a row of zeros.
#ifndef ER_CUDA_ATTENTION_TILE_CUH
#define ER_CUDA_ATTENTION_TILE_CUH
#include "kernels/cuda/attention.cuh"

enum { ER_TILE_THREADS = 256, ER_CHUNK = 32, ER_CHUNK_LD = ER_CHUNK + 4, ER_STAGE = 2 * 64 * ER_CHUNK_LD };

#define ER_TILE_ROW(ROWS, i) (threadIdx.x / 32 * ((ROWS) / 8) + threadIdx.x % 32 / 16 + 2u * (unsigned)(i))
#define ER_TILE_COLUMN(j) (threadIdx.x % 16 + 16u * (unsigned)(j))

// Rows `from` x columns at .. at + COLUMNS-1 to shared memory; zeros past column n.
template <int V, int ROWS, int COLUMNS>
static __device__ __forceinline__ void er_stage(
    float *to, unsigned ld, const float *const *from, unsigned at, unsigned n) {
    ER_UNROLL for (unsigned i = threadIdx.x; i < ROWS * COLUMNS / 4; i += ER_TILE_THREADS) {
        unsigned r = i / (COLUMNS / 4), c = i % (COLUMNS / 4) * 4;
        const float *p = from[r];
        er_pack<float, 4> v = {};
        ER_UNROLL for (unsigned k = 0; k < 4; k += V) {
            if (!p || at + c + k >= n) continue;
            er_pack<float, V> part = er_load<V>(p + at + c + k);
            ER_UNROLL for (unsigned e = 0; e < V; e++) v.at[k + e] = part.at[e];
        }
        er_store<4>(to + r * ld + c, v);
    }
}

template <int V, int ROWS, int COLUMNS>
static __device__ __forceinline__ void er_tile_products(float (&sum)[ROWS / 16][COLUMNS / 16], float *stage,
    const float *const *rows, const float *const *columns, unsigned n) {
    float *a = stage, *b = stage + ROWS * ER_CHUNK_LD;
    ER_UNROLL for (int i = 0; i < ROWS / 16; i++) ER_UNROLL for (int j = 0; j < COLUMNS / 16; j++) sum[i][j] =
        0;
    for (unsigned at = 0; at < n; at += ER_CHUNK) {
        __syncthreads();
        er_stage<V, ROWS, ER_CHUNK>(a, ER_CHUNK_LD, rows, at, n);
        er_stage<V, COLUMNS, ER_CHUNK>(b, ER_CHUNK_LD, columns, at, n);
        __syncthreads();
        ER_ROLLED for (unsigned k = 0; k < ER_CHUNK; k += 4) {
            er_pack<float, 4> x[ROWS / 16];
            ER_UNROLL for (int i = 0; i < ROWS / 16; i++) x[i] =
                er_load<4>(a + ER_TILE_ROW(ROWS, i) * ER_CHUNK_LD + k);
            ER_UNROLL for (int j = 0; j < COLUMNS / 16; j++) {
                er_pack<float, 4> y = er_load<4>(b + ER_TILE_COLUMN(j) * ER_CHUNK_LD + k);
                ER_UNROLL for (int i = 0; i < ROWS / 16; i++) ER_UNROLL for (int e = 0; e < 4; e++)
                    sum[i][j] += x[i].at[e] * y.at[e];
            }
        }
    }
}

// weights [ROWS][DEPTH + 4]; of the DEPTH rows of M the first `depth` count. Lane l of a half-warp has the
// columns 64 q + 4 l .. + 3 of WIDTH.
template <int V, int ROWS, int DEPTH, int WIDTH>
static __device__ __forceinline__ void er_tile_add(float (&sum)[ROWS / 16][WIDTH / 16], float *stage,
    const float *weights, const float *const *from, unsigned depth, unsigned n) {
    constexpr unsigned STEP = 4096 / WIDTH < DEPTH ? 4096 / WIDTH : DEPTH;
    for (unsigned d = 0; d < DEPTH && d < depth; d += STEP) {
        __syncthreads();
        er_stage<V, STEP, WIDTH>(stage, WIDTH, from + d, 0, n);
        __syncthreads();
        ER_ROLLED for (unsigned k = d; k < d + STEP; k += 4) {
            er_pack<float, 4> w[ROWS / 16];
            ER_UNROLL for (int i = 0; i < ROWS / 16; i++) w[i] =
                er_load<4>(weights + ER_TILE_ROW(ROWS, i) * (DEPTH + 4) + k);
            ER_UNROLL for (int e = 0; e < 4; e++) ER_UNROLL for (int q = 0; q < WIDTH / 64; q++) {
                er_pack<float, 4> m = er_load<4>(stage + (k - d + e) * WIDTH + q * 64 + threadIdx.x % 16 * 4);
                ER_UNROLL for (int i = 0; i < ROWS / 16; i++) ER_UNROLL for (int c = 0; c < 4; c++)
                    sum[i][q * 4 + c] += w[i].at[e] * m.at[c];
            }
        }
    }
}

// One row of such a sum to `to`, times `scale`.
template <int V, int WIDTH>
static __device__ __forceinline__ void er_tile_store(
    float *to, const float (&sum)[WIDTH / 16], unsigned n, float scale) {
    ER_UNROLL for (unsigned q = 0; q < WIDTH / 64; q++) ER_UNROLL for (unsigned k = 0; k < 4; k += V) {
        unsigned c = q * 64 + threadIdx.x % 16 * 4 + k;
        er_pack<float, V> v;
        ER_UNROLL for (unsigned e = 0; e < V; e++) v.at[e] = sum[q * 4 + k + e] * scale;
        if (c < n) er_store<V>(to + c, v);
    }
}
#endif
