// Launching kernels: the one place where the source differs between nvcc and the shim of tests/cuda_shim, and
// the shapes of grids. Kernels walk rows and elements in strides of the grid, so any size fits any grid.
#ifndef ER_CUDA_LAUNCH_CUH
#define ER_CUDA_LAUNCH_CUH
#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

// ER_DYN_SMEM(T, name) is the block's dynamic shared memory of ER_LAUNCH_SMEM, as `T *name` on 16 bytes. For
// more than 48 KiB cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) comes
// first.
//
// clang-format takes <<< apart.
// clang-format off
#ifdef __CUDACC__
#define ER_LAUNCH_SMEM(kernel, grid, block, smem_bytes, stream, ...)                                         \
    ((kernel)<<<(grid), (block), (smem_bytes), (stream)>>>(__VA_ARGS__), cudaGetLastError())
#define ER_DYN_SMEM(T, name)                                                                                 \
    extern __shared__ __align__(16) unsigned char er_dynamic_shared[];                                       \
    T *name = reinterpret_cast<T *>(er_dynamic_shared)
#else
#define ER_LAUNCH_SMEM(kernel, grid, block, smem_bytes, stream, ...)                                         \
    shim_launch(#kernel, (kernel), (grid), (block), (smem_bytes), (stream), __VA_ARGS__)
#define ER_DYN_SMEM(T, name) T *name = static_cast<T *>(shim_dynamic_shared())
#endif
#define ER_LAUNCH(kernel, grid, block, stream, ...)                                                          \
    ER_LAUNCH_SMEM(kernel, grid, block, 0, stream, __VA_ARGS__)
// clang-format on

#define ER_BLOCK 256u        // most threads of a block
#define ER_ROW_BLOCK 512u    // the same where a block walks a whole row
#define ER_MAX_BLOCKS 4096u  // more than fill any GPU; the grid strides over the rest

static inline unsigned er_blocks(size_t n, size_t each) {
    size_t blocks = n / each + (n % each != 0);
    return (unsigned)(blocks < ER_MAX_BLOCKS ? blocks : ER_MAX_BLOCKS);
}

// Whole warps, no more than a row has work for.
static inline unsigned er_threads(size_t width, size_t vector, unsigned most) {
    size_t warps = width / (32 * vector) + (width % (32 * vector) != 0);
    return warps < most / 32 ? (unsigned)warps * 32 : most;
}

// Blocks along x share out the columns of a row, blocks along y the rows. See ER_EACH_ROW, ER_EACH_COLUMN.
static inline dim3 er_row_grid(size_t rows, size_t width, size_t vector) {
    unsigned x = er_blocks(width, er_threads(width, vector, ER_BLOCK) * vector), y = er_blocks(rows, 1);
    return dim3(x, y > ER_MAX_BLOCKS / x ? ER_MAX_BLOCKS / x : y);
}
#define ER_LAUNCH_ROWS(kernel, rows, width, vector, stream, ...)                                             \
    ER_LAUNCH(                                                                                               \
        kernel, er_row_grid(rows, width, vector), er_threads(width, vector, ER_BLOCK), stream, __VA_ARGS__)
#define ER_EACH_ROW(t, rows) for (size_t t = blockIdx.y; t < (rows); t += gridDim.y)
#define ER_EACH_COLUMN(i, width, V)                                                                          \
    for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * V; i < (width);                        \
         i += (size_t)gridDim.x * blockDim.x * V)

// One block walks a whole row, `t` of `rows`, then the row gridDim.x further on.
#define ER_LAUNCH_BLOCKS(kernel, rows, width, vector, stream, ...)                                           \
    ER_LAUNCH(kernel, er_blocks(rows, 1), er_threads(width, vector, ER_ROW_BLOCK), stream, __VA_ARGS__)
#define ER_BLOCK_ROW(t, rows) for (size_t t = blockIdx.x; t < (rows); t += gridDim.x)
#define ER_IN_BLOCK(i, width, V)                                                                             \
    for (size_t i = (size_t)threadIdx.x * V; i < (width); i += (size_t)blockDim.x * V)
#endif
