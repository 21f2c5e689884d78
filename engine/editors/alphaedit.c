// AlphaEdit (Fang et al. 2025): dW lies in the null space of the statistics, so that it changes nothing for
// the keys seen there. With U the eigenvectors of C whose eigenvalues are below nullspace_threshold, and the
// keys K_p of earlier edits:
//
//     dW = R K^T U (U^T (K K^T + K_p K_p^T) U + L2 I)^-1 U^T
//
// For the projector P = U U^T this is the authors' R K^T P (P (K K^T + K_p K_p^T) + L2 I)^-1, as a symmetric
// system of the null space's size.
#include <math.h>
#include <stdlib.h>

#include "engine/editors/editors_internal.h"
#include "io/base/log.h"

enum { L2, THRESHOLD };
static const er_field fields[] = {
    [L2] = {"L2", 10},                            // A + L2 I
    [THRESHOLD] = {"nullspace_threshold", 2e-2},  // eigenvalues of C below it are free to be edited
};

static er_status system_of(const er_site_edit *e, er_normal *s) {
    return er_normal_add_identity(s, e->h->own[L2]);
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
    while (rank < d && value[rank] / (double)e->c->count < e->h->own[THRESHOLD]) rank++;
    if (!rank)
        ER_FAIL(ER_ENUMERIC,
            "no eigenvalue of the covariance is below nullspace_threshold %g (the smallest is %.3g): nothing "
            "can be edited",
            e->h->own[THRESHOLD], value[0] / (double)e->c->count);
    ER_TRY(er_normal_restrict(s, rank));
out:
    free(value);
    return rc;
}

static er_status check(const er_hparams *h) {
    double l2 = h->own[L2], threshold = h->own[THRESHOLD];
    if (!(l2 > 0) || !isfinite(l2)) return er_hparams_refuse(h, "L2", "L2 %g is not above 0", l2);
    if (!(threshold > 0) || !isfinite(threshold))
        return er_hparams_refuse(
            h, "nullspace_threshold", "nullspace_threshold %g is not above 0", threshold);
    if (er_hparams_is_given(h, "mom2_update_weight"))
        er_warn("%s: mom2_update_weight (--lambda) is no setting of it and has no effect; L2 is %g",
            h->editor.name, l2);
    return ER_OK;
}

const er_editor er_editor_alphaedit = {.name = "alphaedit",
    .alg_name = "AlphaEdit",
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .restricted = true,
    .keeps_history = true,
    .check = check,
    .system = system_of,
    .project = project};
