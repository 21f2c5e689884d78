// Oracles: ops in double precision, as the naive loops of its definition. Shapes as in
// kernels/device.h.
#ifndef ER_REF_OPS_H
#define ER_REF_OPS_H
#include "kernels/device.h"

void ref_norm(er_norm_kind kind, double *y, const double *x, const double *w, const double *b, double eps,
    size_t tokens, size_t hidden);
void ref_norm_backward(er_norm_kind kind, double *dx, const double *dy, const double *x, const double *w,
    double eps, size_t tokens,
    size_t hidden);  // overwrites dx
void ref_linear(
    double *y, const double *x, const double *w, const double *b, size_t m, size_t d_out, size_t d_in);
void ref_linear_backward(double *dx, const double *dy, const double *w, size_t m, size_t d_out, size_t d_in);
double ref_act(er_act_kind kind, double x);
double ref_act_slope(er_act_kind kind, double x);
void ref_activation(er_act_kind kind, bool gated, double *a, const double *u, size_t tokens, size_t d_ff);
void ref_activation_backward(
    er_act_kind kind, bool gated, double *du, const double *da, const double *u, size_t tokens, size_t d_ff);
void ref_rope(er_rope_style style, double *x, size_t ld, const int32_t *pos, const double *table, size_t rot,
    size_t tokens, size_t heads, size_t head_dim, bool inverse);

typedef struct ref_attention_in {  // er_attention in double
    size_t tokens, rows, heads, kv_heads, head_dim, ld_qkv;
    const double *qkv, *prefix_k, *prefix_v;
    const int32_t *row_start, *prefix_at, *prefix_len;
    double scale;
    size_t window;
} ref_attention_in;
void ref_attention(const ref_attention_in *a, double *out, double *lse);
void ref_attention_backward(
    const ref_attention_in *a, double *dqkv, const double *dout);  // columns past qkv are left alone

void ref_log_softmax(double *y, const double *x, size_t rows, size_t vocab);
double ref_label_nll(
    const double *logits, size_t vocab, size_t label, double *gradient);  // gradient may be NULL
double ref_kl(const double *logits, const double *reference, size_t vocab, double *gradient);

typedef struct ref_delta {  // one slot
    size_t hidden, steps;
    double lr, decay, clamp, stop, z0_norm;
    double *delta, *m, *v;
    int32_t step;
} ref_delta;
// Returns the total; *done as er_delta_step's.
double ref_delta_step(ref_delta *s, const double *grad, double data_loss, int *done);

void ref_gemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, double alpha, const double *a,
    size_t lda, const double *b, size_t ldb, double beta, double *c, size_t ldc);
#endif
