// AlphaEdit (Fang et al. 2025): dW lies in the null space of the statistics, so that it changes nothing for the keys seen there.
// With U the eigenvectors of C whose eigenvalues are below nullspace_threshold, and the keys K_p of earlier edits:
//
//     dW = R K^T U (U^T (K K^T + K_p K_p^T) U + L2 I)^-1 U^T
//
// For the projector P = U U^T this is the authors' R K^T P (P (K K^T + K_p K_p^T) + L2 I)^-1, as a symmetric system of the null
// space's size.
#include <math.h>
#include <stdlib.h>

#include "engine/editors/editors_internal.h"

static er_status system_of(const er_site_edit *e, er_normal *s) {
    return er_normal_add_identity(s, e->h->l2);
}

// Eigenvectors of C, the smallest eigenvalues first: the first rows are the basis.
static er_status project(const er_site_edit *e, er_normal *s) {
    er_status rc = ER_OK;
    const er_device_ops *op = e->dev->op;
    size_t d = e->site->d_key, rank = 0;
    double *value = malloc(d * sizeof *value);
    if (!value) ER_FAIL(ER_ENOMEM, "%zu eigenvalues", d);
    if (!e->c->count) ER_FAIL(ER_ENUMERIC, "covariance of no tokens");
    ER_TRY(op->copy(e->dev, s->basis, e->c->sum, d * d * sizeof(double)));
    ER_TRY(op->syevd(e->dev, s->basis, d, value));
    while (rank < d && value[rank] / (double)e->c->count < e->h->nullspace_threshold) rank++;
    if (!rank)
        ER_FAIL(ER_ENUMERIC,
            "no eigenvalue of the covariance is below nullspace_threshold %g (the smallest is %.3g): nothing "
            "can be edited",
            e->h->nullspace_threshold, value[0] / (double)e->c->count);
    ER_TRY(er_normal_restrict(s, rank));
out:
    free(value);
    return rc;
}

static er_status check(const er_hparams *h) {
    if (!(h->l2 > 0) || !isfinite(h->l2)) return er_hparams_refuse(h, "L2", "L2 %g is not above 0", h->l2);
    if (!(h->nullspace_threshold > 0) || !isfinite(h->nullspace_threshold))
        return er_hparams_refuse(
            h, "nullspace_threshold", "nullspace_threshold %g is not above 0", h->nullspace_threshold);
    return ER_OK;
}

static const char *const keys[] = {"L2", "nullspace_threshold", NULL};
const er_editor er_editor_alphaedit = {.name = "alphaedit",
    .alg_name = "AlphaEdit",
    .keys = keys,
    .restricted = true,
    .keeps_history = true,
    .check = check,
    .system = system_of,
    .project = project};
