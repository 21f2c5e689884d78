#include "engine/editors/apply.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/editors/editor.h"
#include "engine/keys/gather.h"
#include "engine/solve/lambda.h"
#include "io/base/clock.h"
#include "io/base/log.h"

typedef struct apply {
    const er_apply *a;
    const er_editor *editor;
    const er_comm *comm;
    er_requests own;  // this rank's share of the requests
    const float *z;   // of them
    er_model *m;
    er_site site[ER_MAX_EDIT_LAYERS];
    er_microbatches *layout;
    er_hidden_pass *pass;
    er_gather gather;
    er_normal normal;
    double *diagonals;            // [dev] er_traces_workspace
    float *h_cur;                 // host [n, o]: the base prompts' outputs
    double *traces;               // host [2 d_in]
    float *h_orig;                // host [n, o]: before any edit
    double *keys, *current, *dw;  // host [n, d_in], [n, o], [o, d_in]: only with an observer
    er_arena memory;
} apply;

static const er_editor *editor_of(const er_apply *a) { return a->editor ? a->editor : er_editor_at(0); }

static const char interrupted[] = "interrupted in solve: nothing is written";

static const er_comm *comm_of(const er_apply *a) { return a->comm ? a->comm : er_comm_self(); }

static er_requests share_of(const er_apply *a, size_t *first) {
    er_requests own = *a->requests;
    size_t count = 0;
    er_comm_share(comm_of(a), own.count, first, &count);
    own.at += *first;
    own.count = count;
    return own;
}

static er_normal_shape shape_of(const er_apply *a, const er_arch *m, const er_microbatches *l) {
    const er_editor *e = editor_of(a);
    bool averaged = e->averaged || !a->h->key_per_prompt;
    er_normal_shape s = {.d_key = m->d_ff,
        .d_out = m->hidden,
        .n = averaged ? l->requests : l->rows,
        .summed = !averaged || e->keeps_history || comm_of(a)->size > 1,
        .definite = a->h->lambda > 0,
        .restricted = e->restricted,
        .hard = e->hard};
    s.capacity = averaged || s.n < ER_MICROBATCH_PROMPTS ? s.n : ER_MICROBATCH_PROMPTS;
    return s;
}

static er_status take_buffers(apply *s, er_arena *a, const er_normal_shape *shape) {
    er_status rc = ER_OK;
    ER_TRY(er_normal_take(&s->normal, a, shape));
    ER_TRY(er_arena_take(a, &s->diagonals, er_traces_workspace(shape->d_key), sizeof *s->diagonals));
out:
    return rc;
}

// ---- what is left of the residual ----

// What the base prompts gave, to the host. Waits for all that was queued.
static er_status fetch_current(apply *s) {
    er_device *d = s->m->dev;
    size_t bytes = s->own.count * s->m->arch.hidden * sizeof *s->h_cur;
    return d->op->download(d, s->h_cur, s->gather.h_cur, bytes);
}

// The sum over this rank's requests of |Z - Zc| / |Z - Zc at the start|, of the states fetched last.
static double residual_ratio(apply *s, bool first) {
    size_t o = s->m->arch.hidden, n = s->own.count;
    double sum = 0;
    if (first) memcpy(s->h_orig, s->h_cur, n * o * sizeof *s->h_cur);
    for (size_t i = 0; i < n; i++) {
        double now = 0, then = 0;
        for (size_t j = i * o; j < (i + 1) * o; j++) {
            double z = (double)s->z[j], r = z - (double)s->h_cur[j], r0 = z - (double)s->h_orig[j];
            now += r * r;
            then += r0 * r0;
        }
        sum += then > 0 ? sqrt(now / then) : 0;
    }
    return sum;
}

// ---- one site ----

static er_status observe(apply *s, size_t layer) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    const er_normal_shape *shape = &s->normal.shape;
    size_t n = shape->summed ? 0 : shape->n, requests = s->own.count;
    ER_TRY(d->op->download(d, s->dw, s->normal.rk, shape->d_out * shape->d_key * sizeof *s->dw));
    if (n) ER_TRY(d->op->download(d, s->keys, s->normal.keys, n * shape->d_key * sizeof *s->keys));
    for (size_t i = 0; i < requests * shape->d_out; i++) s->current[i] = (double)s->h_cur[i];
    s->a->observer->layer(
        s->a->observer->ctx, layer, n ? s->keys : NULL, s->current, s->dw, n, shape->d_key, shape->d_out);
out:
    return rc;
}

// A numerical refusal names its layer, what the statistics rest on, and what may help. What is said of the null space says enough.
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
static er_status join_history(apply *s, size_t index) {
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

static er_status solve_site(er_site_edit *e, apply *s, er_layer_report *r) {
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

static er_status edit_site(apply *s, er_layer_report *r, size_t index) {
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
    ER_TRY(er_comm_agree(s->comm, rc, interrupted));
    ER_TRY(er_normal_reduce(n, s->comm));
    bool offloaded = c->sum == NULL;
    if (offloaded) ER_TRY(er_second_moment_restore(d, c));
    ER_TRY(
        er_traces_queue(s->traces, s->diagonals, d, c, n->kk, n->shape.summed ? NULL : n->keys, n->shape.n));
    ER_TRY(fetch_current(s));
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

// ---- the walk ----

static er_status create_host(apply *s) {
    er_status rc = ER_OK;
    const er_arch *m = &s->m->arch;
    size_t n = s->own.count, states = n * m->hidden;
    ER_TRY(er_arena_take_host(&s->memory, &s->h_cur, states, sizeof *s->h_cur));
    ER_TRY(er_arena_take_host(&s->memory, &s->traces, 2 * m->d_ff, sizeof *s->traces));
    s->h_orig = malloc((states + 1) * sizeof *s->h_orig);
    if (s->a->observer) {
        s->keys = malloc((n * m->d_ff + 1) * sizeof *s->keys);
        s->current = malloc((states + 1) * sizeof *s->current);
        s->dw = malloc(m->hidden * m->d_ff * sizeof *s->dw);
    }
    if (!s->h_orig || (s->a->observer && !(s->keys && s->current && s->dw)))
        ER_FAIL(ER_ENOMEM, "states of %zu subjects", n);
out:
    return rc;
}

static er_status create(apply *s, size_t last) {
    er_status rc = ER_OK;
    const er_apply *a = s->a;
    er_device *d = s->m->dev;
    ER_TRY(er_model_sites(s->site, s->m, a->h->layers, a->h->n_layers));
    ER_TRY(create_host(s));
    ER_TRY(er_microbatches_create(&s->layout, &s->own, a->max_tokens ? a->max_tokens : er_apply_tokens(d)));
    er_normal_shape shape = shape_of(a, &s->m->arch, s->layout);
    ER_TRY(er_gather_create(&s->gather, s->m, s->layout, s->z, s->editor->averaged || !a->h->key_per_prompt));
    ER_TRY(take_buffers(s, &s->memory, &shape));
    ER_TRY(er_traces_begin(s->diagonals, d, shape.d_key));
    ER_TRY(er_hidden_pass_create(&s->pass, s->m, s->layout, last));
    ER_TRY(er_gather_keep_states(&s->gather));
out:
    return rc;
}

static void destroy(apply *s) {
    er_hidden_pass_free(s->pass);
    er_gather_free(&s->gather);
    er_microbatches_free(s->layout);
    er_arena_release(&s->memory);
    free(s->h_orig);
    free(s->keys);
    free(s->current);
    free(s->dw);
}

// Everything of layer l that ranks do apart; at its end they agree.
static er_status walk_layer(apply *s, er_layer_report *r, size_t l, size_t index, bool edited) {
    er_status rc = edited ? edit_site(s, r, index) : ER_OK;
    // Behind the last layer only the base prompts are looked at.
    size_t last = s->a->h->layers[s->a->h->n_layers - 1];
    if (rc == ER_OK)
        rc = l < last ? er_hidden_pass_step_layer(s->pass, l) : er_gather_current(&s->gather, s->pass, l);
    return er_comm_agree(s->comm, rc, interrupted);
}

// The mean of residual_ratio over the requests of all ranks.
static er_status residual_mean(apply *s, double *out, bool first) {
    size_t n = s->a->requests->count;
    double sum = residual_ratio(s, first);
    er_status rc = er_comm_sum_host(s->comm, &sum, 1);
    if (rc == ER_OK) *out = n ? sum / (double)n : 0;
    return rc;
}

static er_status walk(apply *s, er_apply_report *out, er_progress *p) {
    er_status rc = ER_OK;
    const er_hparams *h = s->a->h;
    size_t last = h->layers[h->n_layers - 1], index = 0;
    ER_TRY(er_comm_agree(s->comm, create(s, last), interrupted));
    for (size_t l = 0; l <= last; l++) {
        bool edited = s->site[index].layer == l;
        ER_TRY(walk_layer(s, &out->layer[index], l, index, edited));
        if (edited) {  // now that the device is busy again
            ER_TRY(residual_mean(s, &out->layer[index].residual, index == 0));
            index++;
        }
        er_progress_update(p, l + 1, NULL);
    }
    ER_TRY(er_comm_agree(s->comm, fetch_current(s), interrupted));
    ER_TRY(residual_mean(s, &out->residual_left, false));
out:
    return rc;
}

er_status er_apply_edits(er_apply_report *out, er_model *m, const er_apply *a) {
    size_t first = 0;
    apply s = {.a = a, .editor = editor_of(a), .comm = comm_of(a), .m = m, .memory = {.dev = m->dev}};
    if (s.editor->run) return s.editor->run(out, m, a);
    double from = er_clock();
    er_progress *p = er_progress_begin("solve", a->h->layers[a->h->n_layers - 1] + 1, "layers");
    *out = (er_apply_report){.n_layers = a->h->n_layers};
    s.own = share_of(a, &first);
    s.z = a->z + first * m->arch.hidden;
    er_status rc = walk(&s, out, p);
    er_progress_end(p);
    out->flops = s.pass ? er_hidden_pass_flops(s.pass) : 0;
    out->seconds = er_clock() - from;
    destroy(&s);
    return er_interrupted_in(rc, "solve", "nothing is written");
}

// ---- before it begins ----

// A GPU needs more work at a time to be busy.
size_t er_apply_tokens(const er_device *dev) { return dev->is_async ? 8192 : 2048; }

er_status er_apply_bytes(size_t *bytes, const er_arch *arch, const er_apply *a) {
    er_microbatches *l = NULL;
    apply s = {0};
    size_t first = 0;
    er_requests own = share_of(a, &first);
    er_status rc = er_microbatches_create(&l, &own, a->max_tokens);
    if (rc != ER_OK) return rc;
    er_normal_shape shape = shape_of(a, arch, l);
    ER_TRY(take_buffers(&s, &s.memory, &shape));
    ER_TRY(er_hidden_pass_measure(&s.memory, arch, l, a->h->layers[a->h->n_layers - 1]));
    ER_TRY(er_gather_measure(&s.memory, arch, l, editor_of(a)->averaged || !a->h->key_per_prompt));
    *bytes = s.memory.bytes;
out:
    er_microbatches_free(l);
    return rc;
}

er_status er_apply_room(size_t *max_tokens, er_device *dev, const er_arch *arch, const er_apply *a) {
    er_status rc = ER_OK;
    er_apply try = *a;
    size_t need = 0, available = 0, total = 0, moment = arch->d_ff * arch->d_ff * sizeof(double);
    *max_tokens = try.max_tokens = er_apply_tokens(dev);
    if (!dev->is_async) return ER_OK;
    if (editor_of(a)->keeps_history) moment *= 2;
    ER_TRY(er_apply_bytes(&need, arch, &try));
    ER_TRY(er_second_moment_evict(dev, a->c, a->h->n_layers, need + moment));
    ER_TRY(dev->op->memory(dev, &available, &total));
    while (need + moment > available && try.max_tokens > 2048) {
        *max_tokens = try.max_tokens /= 2;
        ER_TRY(er_apply_bytes(&need, arch, &try));
    }
out:
    return rc;
}
