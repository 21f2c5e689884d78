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
    cudaEvent_t mark[ER_EVENTS];
    er_cuda_stage stage[ER_STAGES];
    unsigned stage_now;
    size_t stage_used;
    cudaStream_t stage_stream;         // that the stage in hand is copied on
    er_cuda_block *block;              // every allocation, so that memory_limit counts ours and nobody else's
    size_t blocks, block_room, taken;  // taken: their bytes
    size_t weight_bytes, weight_limit;  // on the device, and how many may be
    er_weight *on_host;                 // list of the weights that live in host memory
    struct er_weight_offload *ring;     // NULL until one of them is used
} er_cuda;

static inline cudaStream_t er_cuda_stream(er_device *d) { return reinterpret_cast<er_cuda *>(d)->stream; }

er_status er_cuda_alloc(er_device *d, void **out, size_t bytes);
void er_cuda_release(er_device *d, void *p);
er_status er_cuda_alloc_host(er_device *d, void **out, size_t bytes);
void er_cuda_release_host(er_device *d, void *p);
er_status er_cuda_memory(er_device *d, size_t *available, size_t *total);
er_status er_cuda_copy(er_device *d, void *dst, const void *src, size_t bytes);
er_status er_cuda_zero(er_device *d, void *dst, size_t bytes);
er_status er_cuda_download(er_device *d, void *dst, const void *src, size_t bytes);
er_status er_cuda_download_async(er_device *d, void *dst, const void *src, size_t bytes);
er_status er_cuda_sync(er_device *d);
er_status er_cuda_event_record(er_device *d, unsigned mark);
er_status er_cuda_event_wait(er_device *d, unsigned mark);
er_status er_cuda_scratch(er_device *d, er_cuda_slot slot, size_t bytes, void **out);
er_status er_cuda_upload(er_device *d, void *dst, const void *src, size_t bytes);
er_status er_cuda_stage_open(er_cuda *c);
void er_cuda_stage_close(er_cuda *c);

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

// The weight's numbers on the device, in its stored type, for work on `at`. Call er_cuda_ring_done() once
// that work is queued; nothing happens there when the weight lives on the device.
er_status er_cuda_ring_fetch(er_cuda *c, cudaStream_t at, er_weight *w, bool backward, const void **out);
er_status er_cuda_ring_done(er_cuda *c, cudaStream_t at, er_weight *w);
// The places are made as large as this, so that a plan of memory sees them.
er_status er_cuda_ring_reserve(er_cuda *c, size_t bytes);
void er_cuda_ring_forget(er_cuda *c, const er_weight *w);
void er_cuda_ring_close(er_cuda *c);

// ---- ops ----

er_status er_cuda_norm(er_device *d, const er_norm_args *a, float *y, float *stats);
er_status er_cuda_norm_backward(
    er_device *d, const er_norm_args *a, float *dx, const float *dy, const float *stats);
er_status er_cuda_qk_norm(er_device *d, const er_qk_norm_args *a, float *x);
er_status er_cuda_qk_norm_backward(er_device *d, const er_qk_norm_args *a, float *dy, const float *x);
er_status er_cuda_clip(er_device *d, float *x, float limit, size_t n);
er_status er_cuda_clip_backward(er_device *d, float *dy, const float *x, float limit, size_t n);
er_status er_cuda_row_norm(er_device *d, float *out, const float *x, size_t rows, size_t width);
er_status er_cuda_rope(er_device *d, const er_rope_args *a, float *x, bool inverse);
er_status er_cuda_attention(er_device *d, const er_attention *a, float *out, float *lse);
er_status er_cuda_attention_backward(
    er_device *d, const er_attention *a, float *dqkv, const float *dout, const float *out, const float *lse);
er_status er_cuda_kv_store(er_device *d, const er_kv_store_args *a);
er_status er_cuda_activation(
    er_device *d, er_act_kind kind, bool gated, float *a, const float *u, size_t tokens, size_t d_ff);
er_status er_cuda_activation_backward(er_device *d, er_act_kind kind, bool gated, float *du, const float *da,
    const float *u, size_t tokens, size_t d_ff);
er_status er_cuda_add(er_device *d, float *y, const float *x, size_t n);
er_status er_cuda_gather_rows(
    er_device *d, float *dst, const float *src, const int32_t *index, size_t n, size_t width);
er_status er_cuda_scatter_add_rows(
    er_device *d, float *dst, const float *src, const int32_t *index, size_t n, size_t width);
er_status er_cuda_log_softmax(er_device *d, float *y, const float *x, size_t rows, size_t vocab);
er_status er_cuda_label_loss(er_device *d, const er_label_loss *l);
er_status er_cuda_delta_step(er_device *d, const er_delta_step *p);
er_status er_cuda_cast(er_device *d, double *dst, const float *src, size_t n);
er_status er_cuda_axpy_f64(er_device *d, double *y, double alpha, const double *x, size_t n);
er_status er_cuda_add_diagonal(er_device *d, double *a, size_t n, double value);

er_status er_cuda_weight_create(er_device *d, er_weight **out, const er_weight_spec *spec);
void er_cuda_weight_free(er_device *d, er_weight *w);
er_status er_cuda_weight_add(er_device *d, er_weight *w, const double *dw, er_weight_change *change);
size_t er_cuda_weight_copy_bits(const er_device *d, er_dtype stored, bool backward);
er_status er_cuda_weight_read(er_device *d, er_weight *w, void *bytes);
er_status er_cuda_weight_set(er_device *d, er_weight *w, const void *bytes);
er_status er_cuda_embed(er_device *d, const er_embed_args *a, float *x);
er_status er_cuda_linear(
    er_device *d, float *y, const float *x, const er_weight *w, const float *bias, size_t m, float beta);
er_status er_cuda_linear_backward(
    er_device *d, float *dx, const float *dy, const er_weight *w, size_t m, float beta);
er_status er_cuda_scaled_scatter(er_device *d, double *dst, const float *src, const float *scale,
    const int32_t *index, size_t n, size_t width);
er_status er_cuda_residual(er_device *d, double *r, const er_residual *p);
er_status er_cuda_syrk_accumulate(
    er_device *d, double *sum, const float *x, float *scratch, size_t tokens, size_t n);
er_status er_cuda_symmetrise(er_device *d, double *a, size_t n);
er_status er_cuda_syrk_f64(
    er_device *d, size_t n, size_t k, double alpha, const double *a, size_t lda, double beta, double *c);
er_status er_cuda_gemm_f64(er_device *d, const er_gemm_args *a);
er_status er_cuda_potrf(er_device *d, double *a, size_t n);
er_status er_cuda_syevd(er_device *d, double *a, size_t n, double *values);
er_status er_cuda_potrs(er_device *d, const double *factor, size_t n, double *b, size_t rhs);
#endif
