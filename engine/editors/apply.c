// The walk over the layers, and what is left of the residual.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/editors/apply_internal.h"
#include "engine/solve/lambda.h"
#include "io/base/clock.h"
#include "io/base/log.h"
#include "io/base/signals.h"

// ---- what is left of the residual ----

// The sum over this rank's requests of |Z - Zc| / |Z - Zc at the start|, of the states fetched last.
static double residual_sum(er_walk *s, bool first) {
    size_t o = s->m->arch.hidden, n = s->share.count;
    double sum = 0;
    if (first) memcpy(s->h_orig, s->h_cur, n * o * sizeof *s->h_cur);
    for (size_t i = 0; i < n; i++) {
        double left = 0, orig = 0;
        for (size_t j = i * o; j < (i + 1) * o; j++) {
            double z = (double)s->z[j], r = z - (double)s->h_cur[j], r0 = z - (double)s->h_orig[j];
            left += r * r;
            orig += r0 * r0;
        }
        sum += orig > 0 ? sqrt(left / orig) : 0;
    }
    return sum;
}

// The mean of that ratio over the requests of all ranks.
static er_status residual_mean(er_walk *s, double *out, bool first) {
    size_t n = s->a->requests->count;
    double sum = residual_sum(s, first);
    er_status rc = er_comm_sum_host(s->comm, &sum, 1);
    if (rc == ER_OK) *out = n ? sum / (double)n : 0;
    return rc;
}

// ---- the walk ----

static er_status create_host(er_walk *s) {
    er_status rc = ER_OK;
    const er_arch *m = &s->m->arch;
    size_t n = s->share.count, states = n * m->hidden;
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

static er_status create(er_walk *s, size_t last) {
    er_status rc = ER_OK;
    const er_apply *a = s->a;
    er_device *d = s->m->dev;
    ER_TRY(er_model_sites(s->site, s->m, a->h->layers, a->h->n_layers));
    ER_TRY(create_host(s));
    ER_TRY(er_microbatches_create(
        &s->microbatches, &s->share, a->max_tokens ? a->max_tokens : er_apply_tokens(d)));
    er_normal_shape shape = er_walk_shape(a, &s->m->arch, s->microbatches);
    ER_TRY(er_gather_create(
        &s->gather, s->m, s->microbatches, s->z, s->editor->averaged || !a->h->key_per_prompt));
    ER_TRY(er_walk_take(s, &s->memory, &shape));
    ER_TRY(er_traces_begin(s->diagonals, d, shape.d_key));
    ER_TRY(er_hidden_pass_create(&s->pass, s->m, s->microbatches, last));
    ER_TRY(er_gather_keep_states(&s->gather));
out:
    return rc;
}

static void destroy(er_walk *s) {
    er_hidden_pass_free(s->pass);
    er_gather_free(&s->gather);
    er_microbatches_free(s->microbatches);
    er_arena_release(&s->memory);
    free(s->h_orig);
    free(s->keys);
    free(s->current);
    free(s->dw);
}

// Everything of layer l that ranks do apart; at its end they agree.
static er_status walk_layer(er_walk *s, er_layer_report *r, size_t l, size_t index, bool edited) {
    er_status rc = edited ? er_walk_edit_site(s, r, index) : ER_OK;
    // Behind the last layer only the base prompts are looked at.
    size_t last = s->a->h->layers[s->a->h->n_layers - 1];
    if (rc == ER_OK)
        rc = l < last ? er_hidden_pass_step_layer(s->pass, l) : er_gather_current(&s->gather, s->pass, l);
    return er_comm_agree(s->comm, rc, er_walk_interrupted);
}

static er_status walk(er_walk *s, er_apply_report *out, er_progress *p) {
    er_status rc = ER_OK;
    const er_hparams *h = s->a->h;
    size_t last = h->layers[h->n_layers - 1], index = 0;
    ER_TRY(er_comm_agree(s->comm, create(s, last), er_walk_interrupted));
    for (size_t l = 0; l <= last; l++) {
        bool edited = s->site[index].layer == l;
        ER_TRY(walk_layer(s, &out->layer[index], l, index, edited));
        if (edited) {  // now that the device is busy again
            ER_TRY(residual_mean(s, &out->layer[index].residual, index == 0));
            index++;
        }
        er_progress_update(p, l + 1);
    }
    ER_TRY(er_comm_agree(s->comm, er_walk_fetch_states(s), er_walk_interrupted));
    ER_TRY(residual_mean(s, &out->residual_left, false));
out:
    return rc;
}

er_status er_apply_edits(er_apply_report *out, er_model *m, const er_apply *a) {
    size_t first = 0;
    er_walk s = {
        .a = a, .editor = er_walk_editor(a), .comm = er_walk_comm(a), .m = m, .memory = {.dev = m->dev}};
    if (s.editor->run) return s.editor->run(out, m, a);
    double from = er_clock();
    er_progress *p = er_progress_begin("solve", a->h->layers[a->h->n_layers - 1] + 1, "layers");
    *out = (er_apply_report){.n_layers = a->h->n_layers};
    s.share = er_walk_share(a, &first);
    s.z = a->z + first * m->arch.hidden;
    er_status rc = walk(&s, out, p);
    er_progress_end(p);
    out->flops = s.pass ? er_hidden_pass_flops(s.pass) : 0;
    out->seconds = er_clock() - from;
    destroy(&s);
    return er_interrupted_in(rc, "solve", "nothing is written");
}
