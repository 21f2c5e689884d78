// EMMET (Gupta et al. 2024). With C' = mom2_update_weight C + update_norm_lambda I:
//
//     dW = R (K^T C'^-1 K + emmet_lambda I)^-1 K^T C'^-1
//
// For emmet_lambda > 0 that is MEMIT's form with the prior emmet_lambda C'. For one request, or with
// emmet_lambda 0, it is the hard constraint dW K = R; of one request, ROME's rank-one update r (C'^-1 k)^T /
// (k^T C'^-1 k).
#include <math.h>

#include "engine/editors/editors_internal.h"

enum { EMMET_LAMBDA, UPDATE_NORM_LAMBDA };
static const er_field fields[] = {
    [EMMET_LAMBDA] = {"emmet_lambda", 0.1},            // 0 is the hard constraint
    [UPDATE_NORM_LAMBDA] = {"update_norm_lambda", 0},  // this many I join the covariance
};

static er_status system_of(const er_site_edit *e, er_normal *s) {
    er_status rc = ER_OK;
    const er_second_moment *c = e->c;
    double lambda = e->h->own[EMMET_LAMBDA], norm_lambda = e->h->own[UPDATE_NORM_LAMBDA];
    bool hard = e->n_requests == 1 || lambda == 0;
    double mu = hard ? 1 : lambda;
    if (!c->count) ER_FAIL(ER_ENUMERIC, "covariance of no tokens");
    ER_TRY(er_normal_add_matrix(s, mu * e->lambda / (double)c->count, c->sum));
    if (norm_lambda > 0) ER_TRY(er_normal_add_identity(s, mu * norm_lambda));
    if (hard) s->ridge = 0;
out:
    return rc;
}

static er_status check(const er_hparams *h) {
    for (size_t i = 0; i < h->editor.n_fields; i++)
        if (!(h->own[i] >= 0) || !isfinite(h->own[i]))
            return er_hparams_refuse(
                h, fields[i].key, "%s %g must not be negative", fields[i].key, h->own[i]);
    return ER_OK;
}

const er_editor er_editor_emmet = {.name = "emmet",
    .alg_name = "EMMET",
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .averaged = true,
    .hard = true,
    .check = check,
    .system = system_of};
