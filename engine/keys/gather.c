#include "engine/keys/gather.h"

#include <math.h>
#include <stdlib.h>

#define OPS(g) ((g)->m->dev->op)

static er_status take_buffers(er_gather *g, er_arena *a, const er_arch *m, const er_microbatches *l) {
    er_status rc = ER_OK;
    size_t d = m->d_ff, o = m->hidden, f = sizeof(float);
    ER_TRY(er_arena_take(a, &g->key, l->most_rows * d, f));
    ER_TRY(er_arena_take(a, &g->h, l->most_rows * o, f));
    ER_TRY(er_arena_take(a, &g->request, l->rows, sizeof(int32_t)));
    ER_TRY(er_arena_take(a, &g->scale, l->rows, f));
    ER_TRY(er_arena_take(a, &g->z, l->requests * o, f));
    ER_TRY(er_arena_take(a, &g->h_cur, l->requests * o, f));
    if (g->averaged) ER_TRY(er_arena_take(a, &g->spread, l->requests, f));
out:
    return rc;
}

static er_status upload_scales(er_gather *g) {
    const er_microbatches *l = g->l;
    float *scale = malloc((l->rows + 1) * sizeof *scale);
    if (!scale) return er_fail(ER_ENOMEM, "weights of %zu prompts", l->rows);
    for (size_t i = 0; i < l->rows; i++)
        scale[i] = g->averaged ? l->weight[i] : (float)sqrt((double)l->weight[i]);
    er_status rc = OPS(g)->upload(g->m->dev, g->scale, scale, l->rows * sizeof *scale);
    free(scale);
    return rc;
}

er_status er_gather_create(
    er_gather *g, er_model *m, const er_microbatches *l, const float *z, bool averaged) {
    er_status rc = ER_OK;
    er_device *d = m->dev;
    *g = (er_gather){.m = m, .l = l, .averaged = averaged, .memory = {.dev = d}};
    ER_TRY(take_buffers(g, &g->memory, &m->arch, l));
    if (averaged && !(g->host_spread = malloc((l->requests + 1) * sizeof(float))))
        ER_FAIL(ER_ENOMEM, "weights of %zu requests", l->requests);
    ER_TRY(d->op->upload(d, g->z, z, l->requests * m->arch.hidden * sizeof *z));
    ER_TRY(d->op->upload(d, g->request, l->request, l->rows * sizeof *l->request));
    ER_TRY(upload_scales(g));
out:
    return rc;
}

// h_orig of all prompts, or of the base prompts alone with the others' on the host.
static er_status take_states(er_gather *g, er_arena *a, size_t o, const er_microbatches *l, bool fits) {
    er_status rc = ER_OK;
    g->kept = fits ? l->rows : l->requests;
    ER_TRY(er_arena_take(a, &g->h_orig, g->kept * o, sizeof(float)));
    if (fits) return ER_OK;
    ER_TRY(er_arena_take(a, &g->batch_h_orig, l->most_rows * o, sizeof(float)));
    ER_TRY(er_arena_take_host(a, &g->host_h_orig, (l->rows - g->kept + 1) * o, sizeof(float)));
out:
    return rc;
}

er_status er_gather_keep_states(er_gather *g) {
    size_t o = g->m->arch.hidden;
    bool fits = false;
    if (g->averaged) return ER_OK;
    er_status rc = er_hidden_pass_fits(&fits, g->m->dev, g->l->rows * o * sizeof *g->h_orig, g->m->arch.d_ff);
    return rc == ER_OK ? take_states(g, &g->memory, o, g->l, fits) : rc;
}

er_status er_gather_measure(er_arena *counted, const er_arch *a, const er_microbatches *l, bool averaged) {
    er_gather g = {.averaged = averaged};
    er_status rc = take_buffers(&g, counted, a, l);
    return rc != ER_OK || averaged ? rc : take_states(&g, counted, a->hidden, l, true);
}

void er_gather_free(er_gather *g) {
    if (!g->m) return;
    er_arena_release(&g->memory);
    free(g->host_spread);
}

// ---- one column per request ----

static er_status gather_averaged(
    er_gather *g, er_normal *out, er_hidden_pass *pass, size_t layer, double spread) {
    er_status rc = ER_OK;
    er_device *d = g->m->dev;
    const er_microbatches *l = g->l;
    size_t width = g->m->arch.d_ff, o = g->m->arch.hidden;
    double *keys = NULL, *resid = NULL;
    ER_TRY(er_normal_begin(out, 1));
    ER_TRY(er_normal_room(out, &keys, &resid, l->requests));
    ER_TRY(d->op->zero(d, keys, l->requests * width * sizeof *keys));
    ER_TRY(er_hidden_pass_prefill_shared(pass, layer, false));
    for (size_t i = l->n_prefix_groups; i < l->n_microbatches; i++) {
        size_t row = l->microbatch[i].first - l->shared, n = l->microbatch[i].rows;
        ER_TRY(er_hidden_pass_load(pass, i));
        ER_TRY(er_hidden_pass_run_to_key(pass, layer, g->key));
        ER_TRY(d->op->scaled_scatter(d, keys, g->key, g->scale + row, g->request + row, n, width));
        if (i < l->n_prefix_groups + l->n_base)
            ER_TRY(er_hidden_pass_finish_layer(pass, layer, g->h_cur + row * o));
    }
    for (size_t u = 0; u < l->requests; u++) g->host_spread[u] = (float)spread;
    ER_TRY(d->op->upload(d, g->spread, g->host_spread, l->requests * sizeof *g->spread));
    // With one and the same state three times over the target is z itself; and the indices of the base
    // prompts, which come first, count the requests.
    er_residual p = {.rows = l->requests,
        .width = o,
        .h_orig = g->h_cur,
        .h_cur = g->h_cur,
        .target_z = g->z,
        .z_start = g->h_cur,
        .request = g->request,
        .scale = g->spread};
    ER_TRY(d->op->residual(d, resid, &p));
    er_normal_added(out, l->requests);
out:
    return rc;
}

// ---- one column per prompt ----

// What n prompts from `row` on gave before any edit; with `first` that is `h`. Copies to and from the host
// are in order: a layer's last ones are waited for before the next layer reads them.
static er_status original_states(
    er_gather *g, const float **out, size_t row, size_t n, const float *h, bool first) {
    er_device *d = g->m->dev;
    size_t o = g->m->arch.hidden, bytes = n * o * sizeof *h;
    if (row < g->kept) {
        *out = g->h_orig + row * o;
        return first ? d->op->copy(d, g->h_orig + row * o, h, bytes) : ER_OK;
    }
    float *host = g->host_h_orig + (row - g->kept) * o;
    *out = first ? h : g->batch_h_orig;
    return first ? d->op->download_async(d, host, h, bytes) : d->op->upload(d, g->batch_h_orig, host, bytes);
}

// r = h_orig + delta - h: the optimisation added delta to every prompt's own state, so that is each prompt's
// own target.
static er_status gather_microbatch(
    er_gather *g, er_normal *out, er_hidden_pass *pass, size_t i, size_t layer, bool first) {
    er_status rc = ER_OK;
    er_device *d = g->m->dev;
    const er_microbatches *l = g->l;
    size_t width = g->m->arch.d_ff, o = g->m->arch.hidden, row = l->microbatch[i].first - l->shared,
           n = l->microbatch[i].rows;
    float *h = i < l->n_prefix_groups + l->n_base ? g->h_cur + row * o : g->h;
    const float *orig = NULL;
    double *keys = NULL, *resid = NULL;
    ER_TRY(er_normal_room(out, &keys, &resid, n));
    ER_TRY(er_hidden_pass_load(pass, i));
    ER_TRY(er_hidden_pass_run_to_key(pass, layer, g->key));
    ER_TRY(d->op->scaled_scatter(d, keys, g->key, g->scale + row, NULL, n, width));
    ER_TRY(er_hidden_pass_finish_layer(pass, layer, h));
    ER_TRY(original_states(g, &orig, row, n, h, first));
    er_residual p = {.rows = n,
        .width = o,
        .h_orig = orig,
        .h_cur = h,
        .target_z = g->z,
        .z_start = g->h_orig,
        .request = g->request + row,
        .scale = g->scale + row};
    ER_TRY(d->op->residual(d, resid, &p));
    er_normal_added(out, n);
out:
    return rc;
}

er_status er_gather_layer(
    er_gather *g, er_normal *out, er_hidden_pass *pass, size_t layer, double spread, bool first) {
    er_status rc = ER_OK;
    const er_microbatches *l = g->l;
    if (g->averaged) {
        ER_TRY(gather_averaged(g, out, pass, layer, spread));
    } else {
        ER_TRY(er_normal_begin(out, spread));
        ER_TRY(er_hidden_pass_prefill_shared(pass, layer, true));
        for (size_t i = l->n_prefix_groups; i < l->n_microbatches; i++)
            ER_TRY(gather_microbatch(g, out, pass, i, layer, first));
    }
    ER_TRY(er_normal_close(out));
out:
    return rc;
}

er_status er_gather_current(er_gather *g, er_hidden_pass *pass, size_t layer) {
    er_status rc = ER_OK;
    const er_microbatches *l = g->l;
    for (size_t i = l->n_prefix_groups; i < l->n_prefix_groups + l->n_base; i++) {
        float *h = g->h_cur + (l->microbatch[i].first - l->shared) * g->m->arch.hidden;
        ER_TRY(er_hidden_pass_load(pass, i));
        ER_TRY(er_hidden_pass_run_to_end(pass, layer, h));
    }
out:
    return rc;
}
