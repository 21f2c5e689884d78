// Second moments: sum += X^T X on and below the diagonal. Products of a tile of tokens run on the tensor
// cores where the precision allows it (keys of a bf16 model are bf16 anyway where the next product reads
// them) with fp32 sums, and are added to the running sum in fp64. A tile is far longer than on a CPU: the
// addition moves 20 bytes an element of [d, d], whatever the number of tokens.
//   FLOPs: tokens d^2 (1 + block/d); bytes: 10 d^2 a tile.
#include "kernels/cuda/device.cuh"

#define TILE ((size_t)16384)  // tokens
#define BLOCK ((size_t)2048)  // columns of one product

template <int V> static __global__ void k_add_below(double *sum, const float *part, size_t n) {
    ER_EACH_ROW(i, n) {
        ER_EACH_COLUMN(j, i + 1, V) {
            er_pack<float, V> p = er_load<V>(part + i * n + j);
            er_pack<double, V> s = er_load<V>(sum + i * n + j);
            for (int k = 0; k < V; k++) s.at[k] += (double)p.at[k];
            er_store<V>(sum + i * n + j, s);  // V > 1 may reach past the diagonal, where nothing counts
        }
    }
}

#define MIRROR 32u
static __global__ void k_symmetrise(double *a, size_t n) {
    __shared__ double tile[MIRROR][MIRROR + 1];
    for (size_t block = blockIdx.x, edge = (n + MIRROR - 1) / MIRROR; block < edge * edge;
         block += gridDim.x) {
        size_t top = block / edge * MIRROR, left = block % edge * MIRROR;
        if (left > top) continue;  // the same for the whole block
        for (size_t r = threadIdx.x / MIRROR, c = threadIdx.x % MIRROR; r < MIRROR; r += blockDim.x / MIRROR)
            if (top + r < n && left + c < n) tile[r][c] = a[(top + r) * n + left + c];
        __syncthreads();
        for (size_t r = threadIdx.x / MIRROR, c = threadIdx.x % MIRROR; r < MIRROR; r += blockDim.x / MIRROR)
            if (left + r < top + c && top + c < n) a[(left + r) * n + top + c] = tile[c][r];
        __syncthreads();
    }
}

er_status er_cuda_symmetrise(er_device *d, double *a, size_t n) {
    if (!n) return ER_OK;
    size_t edge = (n + MIRROR - 1) / MIRROR;
    return ER_LAUNCHED(ER_LAUNCH(k_symmetrise, er_blocks(edge * edge, 1), ER_BLOCK, er_cuda_stream(d), a, n));
}

static er_status add_below(cudaStream_t at, double *sum, const float *part, size_t n) {
    if (n % 2 == 0 && er_aligned(sum, part))
        return ER_LAUNCHED(ER_LAUNCH_ROWS((k_add_below<2>), n, n, 2, at, sum, part, n));
    return ER_LAUNCHED(ER_LAUNCH_ROWS((k_add_below<1>), n, n, 1, at, sum, part, n));
}

er_status er_cuda_syrk_accumulate(
    er_device *d, double *sum, const float *x, float *scratch, size_t tokens, size_t n) {
    er_status rc = ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    er_dtype t = er_cuda_input_type(d);
    size_t width = er_dtype_bits(t) / 8, most = tokens < TILE ? tokens : TILE;
    void *copy = NULL;
    if (!tokens || !n) return ER_OK;
    if (t != ER_F32) ER_TRY(er_cuda_scratch(d, ER_SCRATCH_INPUT, most * n * width, &copy));
    for (size_t t0 = 0; t0 < tokens; t0 += TILE) {
        size_t rows = tokens - t0 < TILE ? tokens - t0 : TILE;
        const char *keys = copy ? (const char *)copy : (const char *)(x + t0 * n);
        if (copy) ER_TRY(er_cuda_convert(d, at, copy, t, x + t0 * n, ER_F32, 1, rows * n));
        for (size_t i0 = 0; i0 < n; i0 += BLOCK) {
            size_t block = n - i0 < BLOCK ? n - i0 : BLOCK;
            // Row-major [block, i0 + block] = (its columns)^T (all columns up to its end).
            ER_TRY(er_cuda_gemm(d, at, CUBLAS_OP_N, CUBLAS_OP_T, i0 + block, block, rows, 1, keys, n,
                keys + i0 * width, n, t, 0, scratch + i0 * n, n));
        }
        ER_TRY(add_below(at, sum, scratch, n));
    }
out:
    return rc;
}
