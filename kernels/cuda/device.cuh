// Inside the CUDA device: its state, and every op it has, one family a file.
#ifndef ER_CUDA_DEVICE_CUH
#define ER_CUDA_DEVICE_CUH
#include <cuda_runtime.h>
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/status.cuh"
#include "kernels/cuda/vector.cuh"

typedef struct er_cuda {
    er_device base;  // first: an er_device * of ours is an er_cuda *
    cudaStream_t stream;
} er_cuda;

static inline cudaStream_t er_cuda_stream(er_device *d, er_stream *s) {
    return s ? reinterpret_cast<cudaStream_t>(s) : reinterpret_cast<er_cuda *>(d)->stream;
}

er_status er_cuda_norm(er_device *d, er_stream *s, er_norm_kind kind, float *y, float *stats, const float *x,
    const float *w, const float *b, float eps, size_t tokens, size_t hidden);
er_status er_cuda_norm_backward(er_device *d, er_stream *s, er_norm_kind kind, float *dx, const float *dy,
    const float *x, const float *w, const float *stats, size_t tokens, size_t hidden);
er_status er_cuda_rope(er_device *d, er_stream *s, er_rope_style style, float *x, size_t ld,
    const int32_t *pos, const float *table, size_t rot, size_t tokens, size_t heads, size_t head_dim,
    bool inverse);
er_status er_cuda_attention(er_device *d, er_stream *s, const er_attention *a, float *out, float *lse);
er_status er_cuda_attention_backward(er_device *d, er_stream *s, const er_attention *a, float *dqkv,
    const float *dout, const float *out, const float *lse);
er_status er_cuda_kv_store(er_device *d, er_stream *s, float *cache_k, float *cache_v, const float *qkv,
    size_t ld_qkv, size_t k_at, size_t kv_dim, const int32_t *at, size_t tokens);
er_status er_cuda_activation(er_device *d, er_stream *s, er_act_kind kind, bool gated, float *a,
    const float *u, size_t tokens, size_t inner);
er_status er_cuda_activation_backward(er_device *d, er_stream *s, er_act_kind kind, bool gated, float *du,
    const float *da, const float *u, size_t tokens, size_t inner);
er_status er_cuda_add(er_device *d, er_stream *s, float *y, const float *x, size_t n);
er_status er_cuda_gather_rows(
    er_device *d, er_stream *s, float *dst, const float *src, const int32_t *index, size_t n, size_t width);
er_status er_cuda_scatter_add_rows(
    er_device *d, er_stream *s, float *dst, const float *src, const int32_t *index, size_t n, size_t width);
er_status er_cuda_log_softmax(
    er_device *d, er_stream *s, float *y, const float *x, size_t rows, size_t vocab);
er_status er_cuda_label_loss(er_device *d, er_stream *s, const er_label_loss *l);
er_status er_cuda_delta_step(er_device *d, er_stream *s, const er_delta_step *p);
er_status er_cuda_widen(er_device *d, er_stream *s, double *dst, const float *src, size_t n);
er_status er_cuda_axpy_f64(er_device *d, er_stream *s, double *y, double alpha, const double *x, size_t n);
er_status er_cuda_add_diagonal(er_device *d, er_stream *s, double *a, size_t n, double value);
#endif
