// The device: memory, its own queue and every numeric op behind one struct of functions, so that engine/ and
// covariance/ never know what they run on. Two implementations: kernels/cpu (OpenBLAS, oneDNN, OpenMP; a real
// product) and kernels/cuda. This file has the conventions and the structs that ops take; the contract of
// each op stands in kernels/ops.def.
//
// Conventions, the same for every op:
//   - float, double and int32_t arrays are device memory (of `alloc`), but for those marked "host"; pointers
//     marked [dev] are too. On the CPU both are ordinary memory.
//   - matrices are row-major, [rows, cols]; activations and gradients are fp32; solves are fp64; indices are
//     int32.
//   - ops are asynchronous on the device's own queue and allocate nothing (the CPU device returns when done).
//     `sync` and `download` wait, and so do those that say it.
//   - "ragged batch": rows of different length packed without padding. row_start [rows+1] counts tokens; row
//     r holds the tokens row_start[r] .. row_start[r+1]-1. A row may continue a cached prefix: its tokens
//     attend to prefix_len[r] cached positions first (at prefix_at[r] in the key/value cache), then causally
//     to its own.
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

struct er_device_sums;
typedef struct er_device er_device;

// The type of GEMM inputs; accumulation is always fp32. A CPU has FP32 and, with the right instructions,
// BF16.
typedef enum er_precision { ER_FP32, ER_BF16_COMPUTE, ER_FP16_COMPUTE, ER_TF32_COMPUTE } er_precision;
typedef enum er_norm_kind { ER_LAYER_NORM, ER_RMS_NORM } er_norm_kind;
typedef enum er_act_kind { ER_GELU_NEW, ER_GELU_ERF, ER_SILU, ER_RELU } er_act_kind;
// Which elements of a head turn together: HALF (j, j + rot/2), PAIRS (2j, 2j+1).
typedef enum er_rope_style { ER_ROPE_NONE, ER_ROPE_HALF, ER_ROPE_PAIRS } er_rope_style;

// ---- weights ----

// A linear map y = x W^T + b of [d_out, d_in], kept in the type it is stored in plus whatever form the device
// computes on.
typedef struct er_weight er_weight;
typedef struct er_weight_spec {
    const void *bytes;  // host, stored layout: [d_out, d_in], or [d_in, d_out] when `conv1d`
    er_dtype dtype;     // F32, F16 or BF16 (F64 is narrowed by the caller)
    size_t d_out, d_in;
    bool conv1d;
    bool editable;  // weight_add will be called
    bool lookup;    // an embedding: its d_out rows are looked up, `linear` is never called
} er_weight_spec;

// Frobenius norms, in fp64.
typedef struct er_weight_change {
    double weight;  // |W| before
    double change;  // |dW|
    double lost;    // |round(W + dW) - (W + dW)|
} er_weight_change;

// ---- the forward pass ----

typedef struct er_embed_args {
    size_t tokens;
    const er_weight *table;     // [vocab, hidden]
    const er_weight *position;  // [positions, hidden], or NULL
    float scale;
    const int32_t *token;  // [tokens]
    const int32_t *pos;    // [tokens]; not read without `position`
    int32_t pos_offset;
} er_embed_args;

typedef struct er_norm_args {
    er_norm_kind kind;
    size_t tokens, hidden;
    const float *x;  // [tokens, hidden]
    const float *w;  // [hidden]
    const float *b;  // [hidden], or NULL
    float eps;
} er_norm_args;

typedef struct er_qk_norm_args {
    er_norm_kind kind;
    size_t tokens, heads, head_dim;
    size_t ld;       // row stride of x, at least heads * head_dim
    const float *w;  // [heads, head_dim]
    const float *b;  // [heads, head_dim], or NULL
    float eps;
} er_qk_norm_args;

typedef struct er_rope_args {
    er_rope_style style;
    size_t tokens, heads, head_dim;
    size_t rot;          // dimensions of a head that turn: even, at most head_dim
    size_t ld;           // row stride of x, at least heads * head_dim
    const int32_t *pos;  // [tokens]
    const float *table;  // [positions, rot]: rot/2 cosines, then rot/2 sines per position
} er_rope_args;

typedef struct er_kv_store_args {
    size_t tokens, kv_dim;
    size_t ld_qkv;      // row stride of qkv
    size_t k_at;        // column of k in it; v stands kv_dim columns behind
    const float *qkv;   // [tokens, ld_qkv]
    const int32_t *at;  // [tokens] position in the cache; negative: skipped
    float *cache_k;     // [capacity, kv_dim] out
    float *cache_v;
} er_kv_store_args;

typedef struct er_attention {
    size_t tokens, rows, heads, kv_heads, head_dim;
    size_t ld_qkv;             // row stride of qkv, at least (heads + 2 kv_heads) * head_dim
    const float *qkv;          // [tokens, ld_qkv]: q, k, v; rotary already applied to q and k
    const float *prefix_k;     // [capacity, kv_heads * head_dim], or NULL when no row has a prefix
    const float *prefix_v;     // the same
    const int32_t *row_start;  // [rows + 1]
    const int32_t *prefix_at;  // [rows], or NULL
    const int32_t *prefix_len;
    float scale;  // multiplies q.k
    // 0: none; else key j is visible to query i iff i - j < window, in positions that count the prefix.
    size_t window;
    // No row has more own tokens or a longer prefix: they shape a GPU's grid.
    size_t longest, longest_prefix;
} er_attention;

// ---- losses and the optimiser ----

// One row of logits per label or KL position.
typedef struct er_label_loss {
    size_t rows, vocab;
    float *logits;           // [rows, vocab] in; out: d(sum of weight * loss)/d logits
    const int32_t *label;    // [rows] token id; -1: a KL row
    const int32_t *kl_ref;   // [rows] row of `reference` of a KL row; NULL without KL rows
    const float *reference;  // [n, vocab] log-probabilities of the unedited model
    const float *weight;     // [rows]
    // [rows] out, unweighted: -log p(label), or KL(current || reference) = sum p (log p - log q).
    float *loss;
    int32_t *hit;    // [rows] out: 1 when the label is the argmax (KL rows: 0); may be NULL
    bool want_grad;  // false: logits are left undefined
} er_label_loss;

// One step for all slots of the optimisation of target values (MEMIT appendix; Adam and the clamp of the
// reference). total = sum over the slot's loss rows of weight*loss + decay * |delta| / |z0|^2. If total <
// stop or step == steps-1 the slot is done and delta stays; otherwise Adam(lr, .9, .999, 1e-8) on grad +
// decay-term gradient, then the clamp |delta| <= clamp*|z0|.
typedef struct er_delta_step {
    size_t slots, hidden, steps;
    float lr, decay, clamp, stop;
    float *delta, *m, *v;       // [slots, hidden] in and out
    const float *grad;          // [slots, hidden] of the data terms
    const float *z0_norm;       // [slots]
    const float *loss;          // [loss rows], from er_label_loss
    const float *weight;        // [loss rows]
    const int32_t *loss_start;  // [slots + 1]: loss rows of each slot
    int32_t *step;  // [slots] in and out: steps taken; negative: an empty slot, which is left alone
    float *total;   // [slots] out
    int32_t *done;  // [slots] out: 0 or 1
} er_delta_step;

// ---- the solve ----

// An operand of a product.
typedef struct er_matrix {
    const double *at;
    size_t ld;
    bool transposed;  // the product takes its transpose
} er_matrix;

typedef struct er_gemm_args {
    size_t m, n, k;
    double alpha;
    er_matrix a;  // [m, k], or transposed [k, m]
    er_matrix b;  // [k, n], or transposed [n, k]
    double beta;  // 0: c is not read
    double *c;    // [m, n]
    size_t ldc;
} er_gemm_args;

typedef struct er_residual {
    size_t rows, width;
    const float *h_orig;     // [rows, width] hidden states before any edit
    const float *h_cur;      // [rows, width] and now
    const float *target_z;   // [requests, width] the optimised states
    const float *z_start;    // [requests, width] and those that they were optimised from
    const int32_t *request;  // [rows]
    const float *scale;      // [rows]
} er_residual;

// ---- the device ----

// One member for each op of kernels/ops.def, which has its contract.
typedef struct er_device_ops {
#define ER_OP(name, params, args) er_status(*name) params;
#define ER_SURE_OP(type, name, params, args) type(*name) params;
#include "kernels/ops.def"
} er_device_ops;

struct er_device {
    const er_device_ops *op;
    char name[128];  // "cpu: <model>, 2 threads, openblas 0.3.21, onednn 2.6.3, amx bf16 x 3"
    er_precision precision;
    int threads;
    size_t memory_limit;  // bytes the job may take
    bool memory_bound;    // CPU: it was asked for, so alloc and weights keep to it. A GPU always does
    // Ops return before they are done: a caller that needs no answer at once gains by not waiting.
    bool is_async;
    // How the devices of several ranks add up (kernels/comm/device_sum.h); NULL: through host memory.
    const struct er_device_sums *sums;
};
enum { ER_EVENTS = 8 };

typedef struct er_device_options {
    const char *kind;  // "auto" (as NULL), "cpu", "cuda", "cuda:N"
    er_precision precision;
    int threads;          // 0: all cores this process may use
    size_t memory_limit;  // bytes; 0: what there is
    // Of the ranks of a job on this machine; 0 and 0: it is alone. "auto" and "cuda" take GPU local_rank
    // modulo their number; ranks that share one divide its memory. "cuda:N": all of local_size share it.
    size_t local_rank, local_size;
} er_device_options;
#define ER_DEVICE_OPTIONS_DEFAULT ((er_device_options){.kind = "auto", .precision = ER_FP32})

// EARG for a kind that is none of these, or threads out of range. ENODEVICE when there is no GPU, or none is
// built in; EDEVICE when the one that is there cannot be used, or when a precision was asked for that a CPU,
// or this one, does not have.
er_status er_device_open(er_device **out, const er_device_options *options);
void er_device_close(er_device *d);                                               // NULL is fine
er_status er_device_cpu_open(er_device **out, const er_device_options *options);  // kernels/cpu

// For main() alone. oneDNN is C++: where its buffers or its generated code find no memory it may throw, and
// what is thrown past C, or in one of its threads, can be caught by nobody; or it crashes as it writes the
// code. `handler` is then called instead of abort(); it must not return. A host program in C++ has
// std::set_terminate itself. false: there is no C++ here.
bool er_cpu_on_exception(void (*handler)(void));
const char *er_cpu_exception_name(void);  // in the handler: "St9bad_alloc", "" when unknown

const char *er_precision_name(er_precision p);  // "fp32", "bf16", "fp16", "tf32"
bool er_precision_parse(er_precision *out, const char *name);
#ifdef __cplusplus
}
#endif
#endif
