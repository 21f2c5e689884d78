// Inside the CPU device. Outer functions split work over OpenMP threads; leaves are single-threaded loops
// over one row or one head, cloned for AVX2 and AVX-512 and chosen at load time, so that one binary runs well
// on any x86-64 machine.
#ifndef ER_CPU_H
#define ER_CPU_H
#include <omp.h>
#include "kernels/device.h"

// A thread-sanitized program cannot run instrumented resolvers, and three copies of sanitized code only cost
// time to build.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ER_NO_CLONES
#endif
#endif
#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_THREAD__) &&                            \
    !defined(__SANITIZE_ADDRESS__) && !defined(ER_NO_CLONES)
#define ER_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define ER_CLONES
#endif
// ISO mode switches off contraction to fused multiply-adds; these loops want them and their bounds allow for
// them.
#if defined(__clang__)
#pragma clang fp contract(fast)
#pragma clang diagnostic ignored "-Wpass-failed"
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif
#define ER_INLINE static inline __attribute__((always_inline, unused))

typedef enum er_cpu_slot { ER_SCRATCH_SCORES, ER_SCRATCH_SPLIT, ER_SCRATCH_SLOTS } er_cpu_slot;
typedef struct er_onednn er_onednn;
// What multiplies bf16 numbers into fp32 sums: nothing, AVX512_BF16 dot products, or AMX tiles.
typedef enum er_bf16_unit { ER_BF16_NONE, ER_BF16_DOTS, ER_BF16_TILES } er_bf16_unit;

typedef struct er_cpu {
    er_device base;
    struct {
        void *at;
        size_t bytes;
    } scratch[ER_SCRATCH_SLOTS];
    er_onednn *dnn;  // NULL: not built in
    size_t taken;    // bytes of er_cpu_take() that are not given back
    er_bf16_unit unit;
} er_cpu;

// Grow-only memory of the device; the contents do not survive growth.
er_status er_cpu_scratch(er_device *d, er_cpu_slot slot, size_t bytes, void **out);
static inline int er_cpu_thread(void) { return omp_get_thread_num(); }
// 64-byte aligned memory, counted against memory_limit; 0 bytes is a valid pointer. give takes NULL.
er_status er_cpu_take(er_device *d, void **out, size_t bytes);
void er_cpu_give(er_device *d, void *p);
er_status er_cpu_memory(er_device *d, size_t *available, size_t *total);

// What this process may use: the least of the machine's memory, its control group's limit and ulimit -v.
typedef struct er_cpu_room {
    size_t total, available;
} er_cpu_room;
er_cpu_room er_cpu_room_now(void);

// The threads to compute with: `asked`, or where that is 0 one a processor; fewer, with a warning, where no
// more can be started. EARG above er_cpu_threads_most(): four times the processors, or 16.
#define ER_BLAS_BUFFER ((size_t)129 << 20)
er_status er_cpu_threads(int *out, int asked);
int er_cpu_threads_most(void);

// out [m, n] = a [m, k] op(b) + beta out, fp32, beta 0 or 1. op(b) is b [k, n], or the transpose of b [n, k].
// ENOMEM when the library has no memory for its buffers; `out` is then undefined.
er_status er_cpu_sgemm(er_device *d, bool trans_a, bool trans_b, size_t m, size_t n, size_t k, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *out, size_t ldo);

struct er_weight {
    size_t d_out, d_in;
    er_dtype dtype;
    bool conv1d, editable;
    void *stored;  // the stored form in the stored layout
    float *f32;  // fp32 compute copy in the stored layout; is `stored` itself for F32. NULL until first used
    uint16_t *pack_fwd, *pack_bwd;  // bf16 compute copies for the tile unit (tiles.h). NULL until first used
};
er_status er_cpu_weight_f32(er_device *d, er_weight *w, const float **out);
er_status er_cpu_weight_pack(er_device *d, er_weight *w, bool backward, const uint16_t **out);

// oneDNN, kernels/cpu/onednn.c. open gives NULL when it is not built in.
er_status er_onednn_open(er_onednn **out);
void er_onednn_close(er_onednn *o);
// fp32 GEMM as er_cpu_sgemm; *done stays false where it is not built in or does not know this product: `out`
// is then untouched.
er_status er_onednn_sgemm(bool *done, er_onednn *o, bool trans_a, bool trans_b, size_t m, size_t n, size_t k,
    const float *a, size_t lda, const float *b, size_t ldb, float beta, float *out, size_t ldo);
const char *er_onednn_name(const er_onednn *o);  // "onednn 2.6.3"

// Every op of er_device_ops, one family a file.
er_status er_cpu_weight_create(er_device *d, er_weight **out, const er_weight_spec *spec);
void er_cpu_weight_free(er_device *d, er_weight *w);
er_status er_cpu_weight_add(er_device *d, er_weight *w, const double *dw, er_weight_change *change);
size_t er_cpu_weight_copy_bits(const er_device *d, er_dtype stored, bool backward);
er_status er_cpu_weight_read(er_device *d, er_weight *w, void *bytes);
er_status er_cpu_weight_set(er_device *d, er_weight *w, const void *bytes);
er_status er_cpu_embed(er_device *d, const er_embed_args *a, float *x);
er_status er_cpu_norm(er_device *d, const er_norm_args *a, float *y, float *stats);
er_status er_cpu_norm_backward(
    er_device *d, const er_norm_args *a, float *dx, const float *dy, const float *stats);
er_status er_cpu_qk_norm(er_device *d, const er_qk_norm_args *a, float *x);
er_status er_cpu_qk_norm_backward(er_device *d, const er_qk_norm_args *a, float *dy, const float *x);
er_status er_cpu_clip(er_device *d, float *x, float limit, size_t n);
er_status er_cpu_clip_backward(er_device *d, float *dy, const float *x, float limit, size_t n);
er_status er_cpu_row_norm(er_device *d, float *out, const float *x, size_t rows, size_t width);
er_status er_cpu_linear(
    er_device *d, float *y, const float *x, const er_weight *w, const float *bias, size_t m, float beta);
er_status er_cpu_linear_backward(
    er_device *d, float *dx, const float *dy, const er_weight *w, size_t m, float beta);
er_status er_cpu_rope(er_device *d, const er_rope_args *a, float *x, bool inverse);
er_status er_cpu_attention(er_device *d, const er_attention *a, float *out, float *lse);
er_status er_cpu_attention_backward(
    er_device *d, const er_attention *a, float *dqkv, const float *dout, const float *out, const float *lse);
er_status er_cpu_kv_store(er_device *d, const er_kv_store_args *a);
er_status er_cpu_activation(
    er_device *d, er_act_kind kind, bool gated, float *a, const float *u, size_t tokens, size_t d_ff);
er_status er_cpu_activation_backward(er_device *d, er_act_kind kind, bool gated, float *du, const float *da,
    const float *u, size_t tokens, size_t d_ff);
er_status er_cpu_add(er_device *d, float *y, const float *x, size_t n);
er_status er_cpu_gather_rows(
    er_device *d, float *dst, const float *src, const int32_t *index, size_t n, size_t width);
er_status er_cpu_scatter_add_rows(
    er_device *d, float *dst, const float *src, const int32_t *index, size_t n, size_t width);
er_status er_cpu_scaled_scatter(er_device *d, double *dst, const float *src, const float *scale,
    const int32_t *index, size_t n, size_t width);
er_status er_cpu_residual(er_device *d, double *r, const er_residual *p);
er_status er_cpu_log_softmax(er_device *d, float *y, const float *x, size_t rows, size_t vocab);
er_status er_cpu_label_loss(er_device *d, const er_label_loss *l);
er_status er_cpu_delta_step(er_device *d, const er_delta_step *p);
er_status er_cpu_syrk_accumulate(
    er_device *d, double *sum, const float *x, float *scratch, size_t tokens, size_t n);
er_status er_cpu_symmetrise(er_device *d, double *a, size_t n);
er_status er_cpu_syrk_f64(
    er_device *d, size_t n, size_t k, double alpha, const double *a, size_t lda, double beta, double *c);
er_status er_cpu_gemm_f64(er_device *d, const er_gemm_args *a);
er_status er_cpu_cast(er_device *d, double *dst, const float *src, size_t n);
er_status er_cpu_axpy_f64(er_device *d, double *y, double alpha, const double *x, size_t n);
er_status er_cpu_add_diagonal(er_device *d, double *a, size_t n, double value);
er_status er_cpu_potrf(er_device *d, double *a, size_t n);
er_status er_cpu_syevd(er_device *d, double *a, size_t n, double *values);
er_status er_cpu_potrs(er_device *d, const double *factor, size_t n, double *b, size_t rhs);
#endif
