// The device: memory, its own queue and every numeric op behind one struct of functions, so that engine/ and covariance/ never
// know what they run on. Two implementations: kernels/cpu (OpenBLAS, oneDNN, OpenMP; a real product) and kernels/cuda.
//
// Conventions, the same for every op:
//   - pointers marked [dev] live in memory of er_alloc(); all others are host memory. On the CPU both are ordinary memory.
//   - matrices are row-major, [rows, cols]; activations and gradients are fp32; solves are fp64; indices are int32.
//   - ops are asynchronous on the device's own queue and allocate nothing (the CPU device returns when done).
//     er_sync() waits. er_download() is the only op that waits by itself, but for those that say so.
//   - upload has taken its source when it returns: the caller may reuse it at once, whatever the device does later.
//   - "ragged batch": rows of different length packed without padding. row_start [rows+1] counts tokens; row r holds the
//     tokens row_start[r] .. row_start[r+1]-1. A row may continue a cached prefix: its tokens attend to prefix_len[r] cached
//     positions first (at prefix_at[r] in the key/value cache), then causally to its own.
//   - sizes of 0 are legal everywhere and do nothing.
#ifndef ER_DEVICE_H
#define ER_DEVICE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/dtype.h"
#include "io/base/status.h"
#ifdef __cplusplus
extern "C" {
#endif

// The type of GEMM inputs; accumulation is always fp32. A CPU has FP32 and, with the right instructions, BF16.
typedef enum er_precision { ER_FP32, ER_BF16_COMPUTE, ER_FP16_COMPUTE, ER_TF32_COMPUTE } er_precision;
typedef enum er_norm_kind { ER_LAYER_NORM, ER_RMS_NORM } er_norm_kind;
typedef enum er_act_kind { ER_GELU_NEW, ER_GELU_ERF, ER_SILU, ER_RELU } er_act_kind;
typedef enum er_rope_style {
    ER_ROPE_NONE,
    ER_ROPE_HALF,
    ER_ROPE_PAIRS
} er_rope_style;  // (j, j+d/2) or (2j, 2j+1)

// A linear map y = x W^T + b of [d_out, d_in], kept in the type it is stored in plus whatever form the device computes on.
typedef struct er_weight er_weight;
typedef struct er_weight_spec {
    const void *bytes;  // host, stored layout: [d_out, d_in], or [d_in, d_out] when `conv1d`
    er_dtype dtype;     // F32, F16 or BF16 (F64 is narrowed by the caller)
    size_t d_out, d_in;
    bool conv1d;
    bool editable;  // er_weight_add will be called; the device keeps the stored form too
    bool lookup;    // an embedding: rows are looked up, `linear` is never called
} er_weight_spec;

typedef struct er_attention {  // everything [dev]
    size_t tokens, rows, heads, kv_heads, head_dim;
    size_t ld_qkv;     // row stride of qkv: (heads + 2 kv_heads) * head_dim. q first, then k, then v
    const float *qkv;  // [tokens, ld_qkv], rotary already applied to q and k
    const float *prefix_k, *prefix_v;  // [capacity, kv_heads * head_dim], or NULL when no row has a prefix
    const int32_t *row_start;          // [rows + 1]
    const int32_t *prefix_at, *prefix_len;  // [rows], or NULL
    float scale;                            // multiplies q.k
    size_t
        window;  // 0: none; else key j is visible to query i iff i - j < window (positions incl. the prefix)
    size_t longest,
        longest_prefix;  // no row has more own tokens or a longer prefix. Host numbers: they shape a GPU's grid
} er_attention;

typedef struct er_embed_args {
    size_t tokens;
    const er_weight *table;     // [vocab, hidden]
    const er_weight *position;  // [positions, hidden], or NULL
    float scale;
    const int32_t *token, *pos;  // [tokens] [dev]; pos is not read without `position`
    int32_t pos_offset;
} er_embed_args;

typedef struct er_norm_args {
    er_norm_kind kind;
    size_t tokens, hidden;
    const float *x;      // [tokens, hidden] [dev]
    const float *w, *b;  // [hidden] [dev]; b may be NULL
    float eps;
} er_norm_args;

typedef struct er_qk_norm_args {
    er_norm_kind kind;
    size_t tokens, heads, head_dim;
    size_t ld;           // row stride of what is normed, at least heads * head_dim
    const float *w, *b;  // [heads, head_dim] [dev]; b may be NULL
    float eps;
} er_qk_norm_args;

typedef struct er_rope_args {
    er_rope_style style;
    size_t tokens, heads, head_dim;
    size_t rot;          // dimensions of a head that turn: even, at most head_dim
    size_t ld;           // row stride of what is turned, at least heads * head_dim
    const int32_t *pos;  // [tokens] [dev]
    const float *table;  // [positions, rot] [dev]: rot/2 cosines, then rot/2 sines per position
} er_rope_args;

typedef struct er_kv_store_args {  // everything [dev] but the sizes
    size_t tokens, kv_dim;
    size_t ld_qkv, k_at;  // row stride of qkv; the column of k in it, behind whose kv_dim columns v stands
    const float *qkv;     // [tokens, ld_qkv]
    const int32_t *at;    // [tokens] position in the cache; negative: skipped
    float *cache_k, *cache_v;  // [capacity, kv_dim] out
} er_kv_store_args;

typedef struct er_matrix {  // an operand of a product: row-major, fp64 [dev]
    const double *at;
    size_t ld;
    bool transposed;  // the product takes its transpose
} er_matrix;

typedef struct er_gemm_args {
    size_t m, n, k;
    double alpha;
    er_matrix a;  // [m, k], or [k, m] transposed
    er_matrix b;  // [k, n], or [n, k] transposed
    double beta;  // 0: c is not read
    double *c;    // [m, n] [dev]
    size_t ldc;
} er_gemm_args;

typedef struct er_weight_change {  // Frobenius norms, in fp64
    double weight;                 // |W| before
    double change;                 // |dW|
    double lost;                   // |round(W + dW) - (W + dW)|
} er_weight_change;

typedef struct er_residual {  // everything [dev] but the sizes
    size_t rows, width;
    const float *h_orig, *h_cur;  // [rows, width] hidden states before any edit, and now
    const float *target_z,
        *z_start;  // [requests, width] the optimised states, and those that they were optimised from
    const int32_t *request;  // [rows]
    const float *scale;      // [rows]
} er_residual;

typedef struct er_label_loss {  // everything [dev]; one row of logits per label or KL position
    size_t rows, vocab;
    float *logits;         // [rows, vocab] in; out: d(sum of weight * loss)/d logits
    const int32_t *label;  // [rows] token id; -1: a KL row
    const int32_t
        *kl_ref;  // [rows] row of `reference` for KL rows (ignored for others); may be NULL without KL rows
    const float *reference;  // [n, vocab] log-probabilities of the unedited model
    const float *weight;     // [rows]
    float
        *loss;  // [rows] out, unweighted: -log p(label), or KL(current || reference) = sum p (log p - log q)
    int32_t *hit;    // [rows] out: 1 when the label is the argmax (KL rows: 0); may be NULL
    bool want_grad;  // false: logits are left undefined
} er_label_loss;

// One step for all slots of the value optimisation (MEMIT appendix; Adam and the clamp of the reference). Everything [dev].
// total = sum over the slot's loss rows of weight*loss + decay * |delta| / |z0|^2. If total < stop or step == steps-1 the slot is
// done and delta stays; otherwise Adam(lr, .9, .999, 1e-8) on grad + decay-term gradient, then the clamp |delta| <= clamp*|z0|.
typedef struct er_delta_step {
    size_t slots, hidden, steps;
    float lr, decay, clamp, stop;
    float *delta, *m, *v;       // [slots, hidden] in and out
    const float *grad;          // [slots, hidden] of the data terms
    const float *z0_norm;       // [slots]
    const float *loss;          // [loss rows], from er_label_loss
    const float *weight;        // [loss rows]
    const int32_t *loss_start;  // [slots + 1]: loss rows of each slot
    int32_t *step;  // [slots] in and out: steps taken; a negative value is an empty slot and is left alone
    float *total;   // [slots] out
    int32_t *done;  // [slots] out: 0 or 1
} er_delta_step;

typedef struct er_device er_device;
typedef struct er_device_ops {
    void (*close)(er_device *);
    er_status (*alloc)(er_device *, void **out, size_t bytes);
    void (*release)(er_device *, void *dev_ptr);
    er_status (*upload)(er_device *, void *dev_dst, const void *src, size_t bytes);
    er_status (*download)(er_device *, void *dst, const void *dev_src, size_t bytes);  // waits
    er_status (*copy)(er_device *, void *dev_dst, const void *dev_src, size_t bytes);
    er_status (*zero)(er_device *, void *dev_dst, size_t bytes);
    er_status (*sync)(er_device *);
    // Host memory that copies reach without a stop on the way (pinned, on a GPU).
    er_status (*alloc_host)(er_device *, void **out, size_t bytes);
    void (*release_host)(er_device *, void *);
    // Asynchronous; `dst` lies in memory of alloc_host and is filled once a mark set behind this call has been awaited.
    er_status (*download_async)(er_device *, void *dst, const void *dev_src, size_t bytes);
    // Mark 0 .. ER_EVENTS-1 stands behind all work queued so far; await waits for that work and for nothing queued later.
    er_status (*event_record)(er_device *, unsigned mark);
    er_status (*event_wait)(er_device *, unsigned mark);
    // Bytes that alloc may still give, and that the device gives in all, both within memory_limit.
    er_status (*memory)(er_device *, size_t *available, size_t *total);

    er_status (*weight_create)(er_device *, er_weight **out, const er_weight_spec *);
    void (*weight_free)(er_device *, er_weight *);
    // Bits per element, beyond those stored, of what the device keeps of a weight that `linear` was called with, and on top of
    // that `linear_backward`.
    size_t (*weight_copy_bits)(const er_device *, er_dtype stored, bool backward);
    // W += dW, rounded to the stored type (to nearest even); dW [dev] fp64 [d_out, d_in] whatever the stored layout. `change` (host,
    // may be NULL) gets its norms. Waits. ENUMERIC when a result is not finite; W is then unchanged.
    er_status (*weight_add)(er_device *, er_weight *, const double *dw, er_weight_change *change);
    er_status (*weight_read)(er_device *, er_weight *, void *bytes);  // host, exactly as it will be stored
    er_status (*weight_set)(
        er_device *, er_weight *, const void *bytes);  // host, stored layout: put back or replace

    // x [tokens, hidden] = scale * table[token] (+ position[pos + pos_offset]). A weight's rows are d_out.
    er_status (*embed)(er_device *, const er_embed_args *, float *x);
    // y [tokens, hidden] = norm(x) * w + b; stats [tokens, 2] = mean (0 for RMS), 1/std, or NULL.
    er_status (*norm)(er_device *, const er_norm_args *, float *y, float *stats);
    // dx [tokens, hidden] += d norm / dx * dy, from the stats of the way there. b and eps are not read.
    er_status (*norm_backward)(
        er_device *, const er_norm_args *, float *dx, const float *dy, const float *stats);
    // In place on x [tokens, ld]: norm of each of the first `heads` heads of head_dim, times w, plus b.
    er_status (*qk_norm)(er_device *, const er_qk_norm_args *, float *x);
    // In place on d [tokens, ld]; in: gradient of its output, out: of its input x [tokens, ld]. b is not read.
    er_status (*qk_norm_backward)(er_device *, const er_qk_norm_args *, float *d, const float *x);
    // In place on x [n]: what lies outside -limit .. limit becomes the nearer end; NaN stays. The way back: d [n] becomes 0 where x does.
    er_status (*clip)(er_device *, float *x, float limit, size_t n);
    er_status (*clip_backward)(er_device *, float *d, const float *x, float limit, size_t n);
    er_status (*row_norm)(
        er_device *, float *out, const float *x, size_t rows, size_t width);  // out[r] = |x_r|
    // y [m, d_out] = beta*y + x [m, d_in] W^T + bias; bias [dev] or NULL; beta is 0 or 1.
    er_status (*linear)(
        er_device *, float *y, const float *x, const er_weight *, const float *bias, size_t m, float beta);
    // dx [m, d_in] = beta*dx + dy [m, d_out] W.
    er_status (*linear_backward)(
        er_device *, float *dx, const float *dy, const er_weight *, size_t m, float beta);
    // In place on x [tokens, ld]: the first `rot` of each of `heads` heads of head_dim. inverse: the transpose (for gradients).
    er_status (*rope)(er_device *, const er_rope_args *, float *x, bool inverse);
    // out [tokens, heads*head_dim], lse [tokens, heads] (natural log of the softmax denominator, scores scaled); lse may be NULL.
    er_status (*attention)(er_device *, const er_attention *, float *out, float *lse);
    // dqkv [tokens, ld_qkv] = gradients of q, k, v of the batch's own tokens (overwritten; none flows to the prefix).
    er_status (*attention_backward)(er_device *, const er_attention *, float *dqkv, const float *dout,
        const float *out, const float *lse);
    // k and v of qkv rows to the cache.
    er_status (*kv_store)(er_device *, const er_kv_store_args *);
    // a [tokens, d_ff] = act(u), u [tokens, d_ff]; gated: u [tokens, 2*d_ff] = gate | up, a = act(gate) * up.
    er_status (*activation)(
        er_device *, er_act_kind, bool gated, float *a, const float *u, size_t tokens, size_t d_ff);
    er_status (*activation_backward)(er_device *, er_act_kind, bool gated, float *du, const float *da,
        const float *u, size_t tokens, size_t d_ff);
    er_status (*add)(er_device *, float *y, const float *x, size_t n);  // y += x
    // dst[i] = src[index[i]] for i < n, rows of `width`;   dst[index[i]] += src[i] (indices may repeat; negative: skipped).
    er_status (*gather_rows)(
        er_device *, float *dst, const float *src, const int32_t *index, size_t n, size_t width);
    er_status (*scatter_add_rows)(
        er_device *, float *dst, const float *src, const int32_t *index, size_t n, size_t width);
    er_status (*log_softmax)(er_device *, float *y, const float *x, size_t rows, size_t vocab);  // y may be x
    er_status (*label_loss)(er_device *, const er_label_loss *);
    er_status (*delta_step)(er_device *, const er_delta_step *);

    // sum [d, d] fp64 += X^T X, X [tokens, d] fp32, on and below the diagonal; what stands above is undefined until `symmetrise`.
    // Products in the device's precision with fp32 sums over tiles of tokens (CPU: fp32, 1,024; GPU: 16,384), tiles added in fp64.
    // `scratch` [d, d] fp32.
    er_status (*syrk_accumulate)(
        er_device *, double *sum, const float *x, float *scratch, size_t tokens, size_t d);
    er_status (*symmetrise)(er_device *, double *a, size_t n);  // a[i, j] = a[j, i] for j > i
    // C [n, n] = alpha A^T A + beta C on and below the diagonal, A [k, n] with leading dimension lda, fp64; beta is 0 or 1.
    er_status (*syrk_f64)(
        er_device *, size_t n, size_t k, double alpha, const double *a, size_t lda, double beta, double *c);
    // c [m, n] = alpha op(a) op(b) + beta c, fp64.
    er_status (*gemm_f64)(er_device *, const er_gemm_args *);
    er_status (*cast)(er_device *, double *dst, const float *src, size_t n);
    // dst[index[i]] += scale[i] * src[i], rows of `width`; equal indices are added in order of i. index NULL: dst[i] = scale[i] * src[i].
    er_status (*scaled_scatter)(er_device *, double *dst, const float *src, const float *scale,
        const int32_t *index, size_t n, size_t width);
    // r [rows, width] = scale[i] * (h_orig[i] + target_z[u] - z_start[u] - h_cur[i]) with u = request[i], in fp64.
    er_status (*residual)(er_device *, double *r, const er_residual *p);
    er_status (*axpy_f64)(er_device *, double *y, double alpha, const double *x, size_t n);  // y += alpha x
    er_status (*add_diagonal)(er_device *, double *a, size_t n, double value);
    // A [n, n] symmetric, of which only the part on and below the diagonal is read; its factor L (A = L L^T) is left there for potrs.
    // Waits. ENUMERIC names the pivot when not positive definite.
    er_status (*potrf)(er_device *, double *a, size_t n);
    // Solves A X = B for `rhs` right-hand sides; b [rhs, n]: each right-hand side is a contiguous row, overwritten by its solution.
    er_status (*potrs)(er_device *, const double *factor, size_t n, double *b, size_t rhs);
    // A [n, n] symmetric, of which only the part on and below the diagonal is read; its rows become orthonormal eigenvectors, with
    // their eigenvalues, ascending, in `values` [n] (host). Waits. ENUMERIC when they are not found or not finite.
    er_status (*syevd)(er_device *, double *a, size_t n, double *values);
} er_device_ops;

struct er_device {
    const er_device_ops *op;
    char name[128];  // "cpu: <model>, 2 threads, openblas 0.3.21, onednn 2.6.3 (amx bf16)"
    er_precision precision;
    int threads;
    size_t memory_limit;  // bytes the job may take
    bool memory_bound;    // CPU: it was asked for, so alloc and weights keep to it. A GPU always does
    bool
        is_async;  // ops return before they are done: a caller that needs no answer at once gains by not waiting
};
enum { ER_EVENTS = 8 };

typedef struct er_device_options {
    const char *kind;  // "auto", "cpu", "cuda"
    er_precision precision;
    int threads;  // 0: all cores this process may use
    size_t memory_limit;
} er_device_options;
#define ER_DEVICE_OPTIONS_DEFAULT                                                                            \
    ((er_device_options){.kind = "auto", .precision = ER_FP32, .threads = 0, .memory_limit = 0})

// EDEVICE when the kind is not built in or not present, or when bf16 was asked for on a CPU without it.
er_status er_device_open(er_device **out, const er_device_options *options);
void er_device_close(er_device *d);
er_status er_device_cpu_open(er_device **out, const er_device_options *options);  // kernels/cpu
// For main() alone. oneDNN is C++: where its buffers or its generated code find no memory it may throw, and
// what is thrown past C, or in one of its threads, can be caught by nobody; or it crashes as it writes the
// code. `handler` is then called instead of abort(); it must not return. A host program in C++ has
// std::set_terminate itself. false: there is no C++ here.
bool er_cpu_on_exception(void (*handler)(void));
const char *er_cpu_exception_name(void);        // in the handler: "St9bad_alloc", "" when unknown
const char *er_precision_name(er_precision p);  // "fp32", "bf16", "fp16", "tf32"
bool er_precision_parse(er_precision *out, const char *name);
#ifdef __cplusplus
}
#endif
#endif
