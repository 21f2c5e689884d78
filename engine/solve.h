// From target values to weights: gather keys and residuals on the already edited model, solve, write, layer
// by layer.
//
//     dW = R^T-form of  R K^T (K K^T + lambda C)^-1        per layer i of L:  R = (Z - Zc) / (L - i) (MEMIT
//     eq. 14, 19-21)
//
// Row-major, one fact per row: K^T [n, d_in], R^T [n, d_out]; dW [d_out, d_in].
#ifndef ER_SOLVE_H
#define ER_SOLVE_H
#include "covariance/covariance.h"
#include "engine/forward.h"
#include "engine/prompts.h"

typedef struct er_solve_info {
    bool dual;  // the n x n form was cheaper than d x d
    double flops;
    double seconds;
} er_solve_info;

// dw [d_out, d_in] = R K^T (K K^T + lambda C)^-1 in fp64 by Cholesky; chooses the d x d or the n x n form by
// counted FLOPs. All [dev] fp64; keys [n, d_in], residuals [n, d_out], work [er_solve_room]. Waits.
// ENUMERIC when the matrix is not positive definite (too few covariance tokens, or lambda 0 with dependent
// keys).
er_status er_solve_update(double *dw, double *work, er_solve_info *info, er_device *dev, er_stream *s,
    const double *keys, const double *residuals, size_t n, size_t d_in, size_t d_out, const er_moment *c,
    double lambda);
bool er_solve_is_dual(size_t n, size_t d_in, size_t d_out, double lambda);  // then C alone must have a factor
size_t er_solve_room(size_t n, size_t d_in, size_t d_out, double lambda);  // doubles

// The same from sums that were accumulated elsewhere: kk [d_in, d_in] = K K^T, of which only the part on and
// below the diagonal is read, becomes the factor of K K^T + lambda C; rk [d_out, d_in] = R K^T becomes dW.
// For more columns than fit in memory at once.
er_status er_solve_sums(double *rk, double *kk, er_solve_info *info, er_device *dev, er_stream *s,
    size_t d_in, size_t d_out, const er_moment *c, double lambda);

typedef struct er_layer_report {
    size_t layer;
    double w_norm, dw_norm;  // Frobenius, before rounding to the stored type
    double rounding_loss;    // |round(W + dW) - (W + dW)| / |dW|
    double lambda;           // the weight of C
    double trace_ratio;      // tr(lambda C) / tr(K K^T); 0 without keys
    double residual;         // mean over units of |Z - Zc| / |Z - Zc at the start|, before this layer's edit
    double gather_seconds;
    er_solve_info solve;
} er_layer_report;

typedef struct er_spread_report {
    er_layer_report layer[ER_MAX_EDIT_LAYERS];
    size_t n_layers;
    double residual_left;  // the same ratio after the last layer
    double seconds, flops;
} er_spread_report;

// For tests and dumps: what was solved at each layer; host arrays, borrowed.
typedef struct er_spread_observer {
    void (*layer)(void *ctx, size_t layer, const double *keys, const double *current, const double *dw,
        size_t n, size_t d_in, size_t d_out);
    void *ctx;
} er_spread_observer;

// Edits m's weights in place. z [units, hidden]; c [h->n_layers]; max_tokens of one pass through a layer, 0:
// er_spread_tokens. EINTERRUPTED between layers: the model in memory is then half edited and must not be
// written.
er_status er_spread(er_spread_report *out, er_model *m, const er_units *units, const float *z,
    er_moment *const *c, const er_hparams *h, size_t max_tokens, const er_spread_observer *observer);
size_t er_spread_tokens(const er_device *dev);
// Bytes it takes on the device, when all of it fits there; neither the model nor c is counted, nor what the
// device's own solvers take.
// The largest chunk that the device has room for; statistics are parked where they must be. What er_spread
// takes as max_tokens.
er_status er_spread_room(size_t *max_tokens, er_device *dev, const er_arch *a, const er_units *units,
    const er_hparams *h, er_moment *const *c);
er_status er_spread_bytes(
    size_t *out, const er_arch *a, const er_units *units, const er_hparams *h, size_t max_tokens);
#endif
