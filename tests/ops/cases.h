// Cases of ops: an op at one shape, called once and held against the oracle of tests/support/ref_ops.h. Tests
// run them on small shapes and check every element; benchmarks run them on the shapes of real jobs, check
// chosen rows, and then time the call.
//
// A case makes its inputs, calls the op, checks, reports and frees. Inputs come from fields: a field is a
// block of random numbers that repeats, so that gigabytes are made on the device by copies and any element is
// known on the host without keeping them there.
#ifndef ER_OP_CASES_H
#define ER_OP_CASES_H
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/device.h"
#include "tests/support/ref_ops.h"

#define EPS ((double)FLT_EPSILON)

typedef enum op_rate { OP_COPY, OP_GEMM, OP_GEMM_F64, OP_RATES } op_rate;

// |got - want|^2 and |want|^2 over the elements compared.
typedef struct op_error {
    double off, size;
} op_error;

// One call. `turn` counts calls: an op whose data fit a last-level cache takes another set of them each turn.
typedef void op_call(void *data, size_t turn);

typedef struct op_result {
    const char *op;  // as in kernels/ops.def
    char shape[72];
    double flops, bytes;  // of one call
    op_rate of;           // the rate that flops are a share of
    op_error e;
    double bound;  // of the norm-wise error
    op_call *call;
    void *data;
} op_result;

// What runs the cases. `failed` does not return.
typedef struct op_runner {
    er_device *dev;
    size_t samples;                       // rows that are checked; 0: all
    bool (*wants)(const char *ops);       // is any of these ops asked for? NULL: all are
    void (*report)(const op_result *r);   // a case that is checked; its data live until this returns
    void (*failed)(const char *message);  // a device call failed, or memory was overwritten
    uint64_t seed;
} op_runner;
extern op_runner ops;

bool op_wants(const char *names);
// Reports `r`; a NaN is an error beyond every bound.
void op_report(op_result *r);
double op_error_of(const op_error *e);  // relative; infinite where anything is NaN
void op_must(er_status rc);

// ---- memory (memory.c); all of it is freed by op_end(), which also looks at the fences ----

void *op_host(size_t bytes);                        // zeroed
void *op_room(size_t bytes);                        // [dev], every byte 0xff: NaN as fp32 and fp64
void *op_put(const void *host, size_t bytes);       // [dev], a copy
double *op_put_f64(const float *dev_x, size_t n);   // [dev], widened
double *op_download(const float *dev_x, size_t n);  // host
double *op_download_f64(const double *dev_x, size_t n);
void op_end(void);

double op_uniform(void);  // [-1, 1)

typedef struct op_field {
    float *block;
    size_t period;
} op_field;
op_field op_field_make(size_t n, double scale);  // n numbers in [-scale, scale)
static inline double op_at(op_field f, size_t i) { return (double)f.block[i % f.period]; }
float *op_field_put(op_field f, size_t n);        // [dev], the first n
double *op_row(op_field f, size_t at, size_t n);  // host, n numbers from `at` on
// The bytes of a weight [d_out, d_in] whose numbers are the field's, which is rounded to what `t` holds.
void *op_stored(op_field f, er_dtype t, size_t d_out, size_t d_in, bool conv1d);

// The k-th of the rows that are checked, and how many those are: all of n, or some.
size_t op_count(size_t n);
size_t op_chosen(size_t n, size_t k);

// dev_x [n] against want [n].
void op_compare(op_error *e, const float *dev_x, const double *want, size_t n);
void op_compare_f64(op_error *e, const double *dev_x, const double *want, size_t n);
static inline void op_differ(op_error *e, double got, double want) {
    e->off += (got - want) * (got - want), e->size += want * want;
}
// Of a product with sums of k terms, in the device's precision.
double op_product_bound(size_t k);

// ---- cases ----

void op_norm(er_norm_kind kind, bool bias, double offset, size_t tokens, size_t width);
void op_qk_norm(er_norm_kind kind, bool bias, size_t tokens, size_t heads, size_t head_dim, size_t behind);
void op_activation(er_act_kind kind, bool gated, size_t tokens, size_t d_ff);
void op_rope(er_rope_style style, bool inverse, size_t tokens, size_t heads, size_t head_dim, size_t rot,
    size_t behind);
void op_row_norm(size_t rows, size_t width);

void op_gather_rows(size_t n, size_t width);
void op_scatter_add_rows(size_t n, size_t width);
void op_add(size_t n);
void op_kv_store(size_t tokens, size_t kv_dim, size_t behind);
void op_scaled_scatter(size_t n, size_t width, size_t targets, bool indexed);
void op_residual(size_t rows, size_t width, size_t requests);

void op_linear(size_t m, size_t d_out, size_t d_in, er_dtype t, bool conv1d, bool bias, float beta);
void op_weight_add(size_t d_out, size_t d_in, er_dtype t);

// A ragged batch: row r has own[r % n_own] tokens behind a cached prefix of prefix[r % n_own], or none.
typedef struct op_batch {
    size_t heads, kv_heads, head_dim, pad, window;  // pad: columns of qkv behind q, k and v
    size_t rows, n_own;
    const int *own, *prefix;
} op_batch;
// Bounds are `loose` times those of scores of order one.
void op_attention(const op_batch *b, double scale, double loose);

void op_log_softmax(size_t rows, size_t vocab, bool in_place);
// Logits in [-size, size). Every seventh row is a KL row, or every second of few.
void op_label_loss(size_t rows, size_t vocab, double size, bool want_grad, bool want_hit);
void op_delta_step(size_t slots, size_t hidden);

void op_syrk_accumulate(size_t tokens, size_t d_key);
void op_syrk_f64(size_t n, size_t k, double beta);
void op_gemm_f64(size_t m, size_t n, size_t k, bool trans_a, bool trans_b, double beta, size_t pad);
void op_cholesky(size_t n, size_t rhs);  // potrf and potrs
#endif
