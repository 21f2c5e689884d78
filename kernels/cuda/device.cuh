// Inside the CUDA device: its state, what its files share, and every op, one family a file.
#ifndef ER_CUDA_DEVICE_CUH
#define ER_CUDA_DEVICE_CUH
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/status.cuh"
#include "kernels/cuda/vector.cuh"

// Memory that grows on demand and is never given back before the device closes. Growing waits for the device.
typedef enum er_cuda_slot {
    ER_SCRATCH_INPUT,   // activations or gradients in the type of a GEMM's inputs
    ER_SCRATCH_WEIGHT,  // a weight whose stored type is not that of the GEMM
    ER_SCRATCH_SUMS,    // partial sums of blocks
    ER_SCRATCH_SOLVER,  // cuSOLVER's workspace
    ER_SCRATCH_SLOTS
} er_cuda_slot;

#define ER_BLAS_SPACE ((size_t)32 << 20)  // what cuBLAS asks for on Hopper

typedef struct er_cuda_block {  // an allocation
    void *at;
    size_t bytes;
} er_cuda_block;

enum { ER_STAGES = 4 };
typedef struct er_cuda_stage {  // pinned memory on the way to the device
    char *at;
    cudaEvent_t done;  // behind the last copy out of it
} er_cuda_stage;

struct er_weight_offload;  // weights that live in host memory, kernels/cuda/weight_offload.cu

typedef struct er_cuda {
    er_device base;  // first: an er_device * of ours is an er_cuda *
    size_t sharers;  // ranks that take this device
    cudaStream_t stream;
    cublasHandle_t blas;
    cudaStream_t blas_stream;  // that the handle is set to
    cusolverDnHandle_t solver;
    cusolverDnParams_t solver_params;
    void *blas_space, *solver_host;
    size_t solver_host_bytes;
    struct {
        void *at;
        size_t bytes;
    } scratch[ER_SCRATCH_SLOTS];
    cudaEvent_t event[ER_EVENTS];
    er_cuda_stage stage[ER_STAGES];
    unsigned stage_now;
    size_t stage_used;
    cudaStream_t stage_stream;         // that the stage in hand is copied on
    er_cuda_block *block;              // every allocation, so that memory_limit counts ours and nobody else's
    size_t blocks, block_room, taken;  // taken: their bytes
    size_t weight_bytes, weight_limit;  // on the device, and how many may be
    er_weight *on_host;                 // list of the weights that live in host memory
    struct er_weight_offload *offload;  // NULL until one of them is used
} er_cuda;

static inline cudaStream_t er_cuda_stream(er_device *d) { return reinterpret_cast<er_cuda *>(d)->stream; }

// Every op, one family a file.
#define ER_OP(name, params, args) er_status er_cuda_##name params;
#define ER_SURE_OP(type, name, params, args) type er_cuda_##name params;
#include "kernels/ops.def"

// `bytes` of scratch memory in `slot`; the contents do not survive growth.
er_status er_cuda_scratch(er_device *d, er_cuda_slot slot, size_t bytes, void **out);
er_status er_cuda_stage_open(er_cuda *c);
void er_cuda_stage_close(er_cuda *c);

const struct er_device_sums *er_cuda_sums(void);  // by NCCL; NULL when built without

// ---- number types ----

// What a GEMM of this device reads: 4- or 2-byte numbers.
er_dtype er_cuda_input_type(const er_device *d);
cudaDataType er_cuda_data_type(er_dtype t);
// dst [n] of type `to` = factor * src [n] of type `from`; F16 saturates. Both [dev].
er_status er_cuda_convert(er_device *d, cudaStream_t at, void *dst, er_dtype to, const void *src,
    er_dtype from, float factor, size_t n);
// The handle, set to a stream: changing it costs the handle its workspace, so that is given again.
er_status er_cuda_blas(er_device *d, cudaStream_t at, cublasHandle_t *out);
// c [n, m] = alpha op(a) op(b) + beta c, column-major, in the device's precision; a and b of type `t`.
er_status er_cuda_gemm(er_device *d, cudaStream_t at, cublasOperation_t op_a, cublasOperation_t op_b,
    size_t m, size_t n, size_t k, float alpha, const void *a, size_t lda, const void *b, size_t ldb,
    er_dtype t, float beta, float *c, size_t ldc);

// ---- weights ----

struct er_weight {
    size_t d_out, d_in, bytes;
    er_dtype dtype;
    bool conv1d, editable, lookup;
    void *stored;  // [dev] in the stored layout; NULL when the weight lives on the host
    void *host;    // pinned; NULL when it lives on the device
    void *narrow;  // [dev] an fp32 weight in the 16-bit type of GEMM inputs, or NULL
    struct {       // what followed it last time, forward and backward: fetched ahead
        er_weight *weight;
        bool backward;
    } next[2];
    er_weight *link;  // of all that live on the host
};

// The weight's numbers on the device, in its stored type, for work on `at`. Call er_cuda_offload_done() once
// that work is queued; nothing happens there when the weight lives on the device.
er_status er_cuda_offload_fetch(er_cuda *c, cudaStream_t at, er_weight *w, bool backward, const void **out);
er_status er_cuda_offload_done(er_cuda *c, cudaStream_t at, er_weight *w);
// The places are made as large as this, so that a plan of memory sees them.
er_status er_cuda_offload_reserve(er_cuda *c, size_t bytes);
void er_cuda_offload_forget(er_cuda *c, const er_weight *w);
void er_cuda_offload_close(er_cuda *c);
#endif
