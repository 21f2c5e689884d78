// EMMET (Gupta et al. 2024). With C' = mom2_update_weight C + update_norm_lambda I:
//
//     dW = R (K^T C'^-1 K + emmet_lambda I)^-1 K^T C'^-1
//
// For emmet_lambda > 0 that is MEMIT's form with the prior emmet_lambda C'. For one request, or with emmet_lambda 0, it is the hard
// constraint dW K = R; of one request, ROME's rank-one update r (C'^-1 k)^T / (k^T C'^-1 k).
#include <math.h>

#include "engine/editors/editors_internal.h"

static er_status system_of(const er_site_edit *e, er_normal *s) {
    er_status rc = ER_OK;
    const er_second_moment *c = e->c;
    bool hard = e->n_requests == 1 || e->h->emmet_lambda == 0;
    double mu = hard ? 1 : e->h->emmet_lambda;
    if (!c->count) ER_FAIL(ER_ENUMERIC, "covariance of no tokens");
    ER_TRY(er_normal_add_matrix(s, mu * e->lambda / (double)c->count, c->sum));
    if (e->h->update_norm_lambda > 0) ER_TRY(er_normal_add_identity(s, mu * e->h->update_norm_lambda));
    if (hard) s->ridge = 0;
out:
    return rc;
}

static er_status check(const er_hparams *h) {
    if (!(h->emmet_lambda >= 0) || !isfinite(h->emmet_lambda))
        return er_hparams_refuse(h, "emmet_lambda", "emmet_lambda %g must not be negative", h->emmet_lambda);
    if (!(h->update_norm_lambda >= 0) || !isfinite(h->update_norm_lambda))
        return er_hparams_refuse(
            h, "update_norm_lambda", "update_norm_lambda %g must not be negative", h->update_norm_lambda);
    return ER_OK;
}

static const char *const keys[] = {"emmet_lambda", "update_norm_lambda", NULL};
const er_editor er_editor_emmet = {.name = "emmet",
    .alg_name = "EMMET",
    .keys = keys,
    .averaged = true,
    .hard = true,
    .check = check,
    .system = system_of};
