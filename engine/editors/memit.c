// MEMIT (Meng et al. 2023): A = K K^T + lambda C. MEMIT_seq: and the keys of earlier edits of the same model,
// so that a new edit leaves them alone: with fixed keys and targets, edits in parts give what one edit of all
// gives.
#include "engine/editors/editors_internal.h"

er_status er_memit_system(const er_site_edit *e, er_normal *s) {
    const er_second_moment *c = e->c;
    if (c->dim != e->site->d_key)
        return er_fail(ER_EARG, "covariance of %zu rows for keys of %zu", c->dim, e->site->d_key);
    if (!c->count) return er_fail(ER_ENUMERIC, "covariance of no tokens");
    return er_normal_add_matrix(s, e->lambda / (double)c->count, c->sum);
}

const er_editor er_editor_memit = {.name = "memit", .alg_name = "MEMIT"};
const er_editor er_editor_memit_seq = {.name = "memit_seq", .alg_name = "MEMIT_seq", .keeps_history = true};
