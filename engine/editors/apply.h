// From target values to weights, site by site: gather keys and residuals on the already edited model, solve,
// write.
//
//     dW = R K^T A^-1,   R = (Z - Zc) / (L - i) at site i of L        (MEMIT eq. 14, 20)
//
// with Z the target values, Zc the states there are now, and A as the editor says (engine/editors/editor.h).
#ifndef ER_APPLY_H
#define ER_APPLY_H
#include "covariance/covariance.h"
#include "engine/forward.h"
#include "engine/hparams.h"
#include "engine/prompts.h"
#include "engine/solve/normal.h"

typedef struct er_layer_report {
    size_t layer;
    double w_norm, dw_norm;  // Frobenius, before rounding to the stored type
    double rounding_loss;    // |round(W + dW) - (W + dW)| / |dW|
    double lambda;           // the weight of C
    double trace_ratio;      // tr(lambda C) / tr(K K^T); 0 without keys
    double residual;  // mean over requests of |Z - Zc| / |Z - Zc at the start|, before this layer's edit
    size_t rank;      // of the subspace that dW was restricted to; 0: it was not
    double gather_seconds;
    er_solve_info solve;
} er_layer_report;

typedef struct er_apply_report {
    er_layer_report layer[ER_MAX_EDIT_LAYERS];
    size_t n_layers;
    double residual_left;  // the same ratio after the last layer
    double seconds, flops;
} er_apply_report;

// For tests and dumps: what was solved at each layer; host arrays, borrowed. keys: NULL where prompts are
// columns.
typedef struct er_apply_observer {
    void (*layer)(void *ctx, size_t layer, const double *keys, const double *current, const double *dw,
        size_t n, size_t d_in, size_t d_out);
    void *ctx;
} er_apply_observer;

struct er_editor;
typedef struct er_apply er_apply;
struct er_apply {
    const struct er_editor *editor;  // NULL: MEMIT
    const er_requests *requests;
    const float *z;              // [requests, hidden]
    er_second_moment *const *c;  // [h->n_layers] statistics
    // [h->n_layers] K K^T of earlier edits; this one's are added. NULL unless the editor keeps them
    er_second_moment *const *history;
    const er_hparams *h;
    // NULL: alone. Each rank takes its share of the requests; all of them end with the same weights
    const er_comm *comm;
    size_t max_tokens;  // of one pass through a layer; 0: er_apply_tokens
    const er_apply_observer *observer;
};

// Edits m's weights in place. All ranks return the same status. EINTERRUPTED between layers: the model in
// memory is then half edited and must not be written.
er_status er_apply_edits(er_apply_report *out, er_model *m, const er_apply *a);
size_t er_apply_tokens(const er_device *dev);  // max_tokens where memory is no question
// *bytes: what it takes on the device when all of it fits there. The model, the statistics and what the
// device's own solvers take are not counted. a->max_tokens is not 0.
er_status er_apply_bytes(size_t *bytes, const er_arch *arch, const er_apply *a);
// The largest max_tokens that the device has room for; statistics leave the device where they must. On a CPU
// er_apply_tokens.
er_status er_apply_room(size_t *max_tokens, er_device *dev, const er_arch *arch, const er_apply *a);
#endif
