// One site of the walk: keys and residuals gathered, the editor's system solved, the weight written.
#include <math.h>
#include <stdio.h>

#include "engine/editors/apply_internal.h"
#include "engine/solve/lambda.h"
#include "io/base/clock.h"

er_status er_walk_fetch_states(er_walk *s) {
    er_device *d = s->m->dev;
    size_t bytes = s->share.count * s->m->arch.hidden * sizeof *s->h_cur;
    return d->op->download(d, s->h_cur, s->gather.h_cur, bytes);
}

static er_status observe(er_walk *s, size_t layer) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    const er_normal_shape *shape = &s->normal.shape;
    size_t n = shape->summed ? 0 : shape->n, requests = s->share.count;
    ER_TRY(d->op->download(d, s->dw, s->normal.rk, shape->d_out * shape->d_key * sizeof *s->dw));
    if (n) ER_TRY(d->op->download(d, s->keys, s->normal.keys, n * shape->d_key * sizeof *s->keys));
    for (size_t i = 0; i < requests * shape->d_out; i++) s->current[i] = (double)s->h_cur[i];
    s->a->observer->layer(
        s->a->observer->ctx, layer, n ? s->keys : NULL, s->current, s->dw, n, shape->d_key, shape->d_out);
out:
    return rc;
}

// A numerical refusal names its layer, what the statistics rest on, and what may help. What is said of the
// null space says enough.
static er_status at_layer(
    er_status rc, const er_layer_report *r, const er_second_moment *c, bool restricted) {
    char why[512];
    bool few = c->count < 10 * c->dim && r->trace_ratio > 1e-6;
    if (rc != ER_ENUMERIC) return rc;
    (void)snprintf(why, sizeof why, "%s", er_last_error());
    if (restricted) return er_fail(rc, "layer %zu: %s", r->layer, why);
    return er_fail(rc, "layer %zu: %s; its statistics are of %llu tokens for keys of %zu: %s may help",
        r->layer, why, (unsigned long long)c->count, c->dim,
        !isfinite(r->trace_ratio) ? "a smaller lambda (--lambda)"
        : few                     ? "more tokens (--covariance-tokens, --covariance-text)"
                                  : "a larger lambda (--lambda)");
}

// The keys of earlier edits join A, and this edit's join them.
static er_status join_history(er_walk *s, size_t index) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    er_second_moment *kept = s->a->history ? s->a->history[index] : NULL;
    size_t n = s->normal.shape.d_key * s->normal.shape.d_key;
    if (!s->editor->keeps_history || !kept) return ER_OK;
    ER_TRY(er_second_moment_restore(d, kept));
    ER_TRY(d->op->axpy_f64(d, kept->sum, 1.0, s->normal.kk, n));
    ER_TRY(d->op->copy(d, s->normal.kk, kept->sum, n * sizeof(double)));
    kept->count += s->normal.shape.n;
    ER_TRY(er_second_moment_finish(d, kept));
    er_second_moment_changed(kept);
    if (d->is_async) ER_TRY(er_second_moment_offload(d, kept));
out:
    return rc;
}

static er_status solve_site(er_site_edit *e, er_walk *s, er_layer_report *r) {
    er_status rc = ER_OK;
    const er_editor *editor = s->editor;
    er_normal *n = &s->normal;
    ER_TRY(er_normal_begin_prior(n));
    ER_TRY((editor->system ? editor->system : er_memit_system)(e, n));
    if (editor->project) ER_TRY(editor->project(e, n));
    ER_TRY(er_normal_solve(n, &r->solve));
    if (editor->filter) ER_TRY(editor->filter(e, n->rk));
    r->rank = n->rank;
out:
    return rc;
}

er_status er_walk_edit_site(er_walk *s, er_layer_report *r, size_t index) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    const er_hparams *h = s->a->h;
    er_second_moment *c = s->a->c[index];
    er_normal *n = &s->normal;
    er_site_edit e = {.dev = d,
        .h = h,
        .site = &s->site[index],
        .index = index,
        .n_sites = h->n_layers,
        .n_requests = s->a->requests->count,
        .c = c};
    double from = er_clock(),
           spread = s->editor->spread ? s->editor->spread(&e) : 1.0 / (double)(h->n_layers - index);
    er_weight_change change;
    r->layer = e.site->layer;
    rc = er_gather_layer(&s->gather, n, s->pass, r->layer, spread, index == 0);
    ER_TRY(er_comm_agree(s->comm, rc, er_walk_interrupted));
    ER_TRY(er_normal_reduce(n, s->comm));
    bool offloaded = c->sum == NULL;
    if (offloaded) ER_TRY(er_second_moment_restore(d, c));
    ER_TRY(
        er_traces_queue(s->traces, s->diagonals, d, c, n->kk, n->shape.summed ? NULL : n->keys, n->shape.n));
    ER_TRY(er_walk_fetch_states(s));
    r->gather_seconds = er_clock() - from;
    er_lambda_from_traces(&r->lambda, &r->trace_ratio, s->traces, c, h);
    e.lambda = r->lambda;
    ER_TRY(join_history(s, index));
    rc = solve_site(&e, s, r);
    if (offloaded && rc == ER_OK) rc = er_second_moment_offload(d, c);  // the next one wants its place
    ER_TRY(at_layer(rc, r, c, s->editor->restricted));
    if (s->a->observer) ER_TRY(observe(s, r->layer));
    ER_TRY(at_layer(d->op->weight_add(d, e.site->weight, n->rk, &change), r, c, s->editor->restricted));
    r->w_norm = change.weight, r->dw_norm = change.change;
    r->rounding_loss = change.change > 0 ? change.lost / change.change : 0;
out:
    return rc;
}
