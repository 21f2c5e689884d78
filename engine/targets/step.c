// The batch of all active slots, and one optimisation step over it.
#include <stdlib.h>
#include <string.h>

#include "engine/targets/z_slots_internal.h"

typedef struct plan {  // host images of the batch's index arrays
    int32_t *token, *pos, *row_start, *prefix_at, *prefix_len, *state_index, *slot_of_row, *first_of_row;
    int32_t *label_token, *label, *kl_ref, *loss_start;
    float *weight;
} plan;

static void plan_free(plan *p) {
    int32_t *all[] = {p->token, p->pos, p->row_start, p->prefix_at, p->prefix_len, p->state_index,
        p->slot_of_row, p->first_of_row, p->label_token, p->label, p->kl_ref, p->loss_start};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    free(p->weight);
}

static er_status plan_create(plan *p, const er_z_slots *s) {
    *p = (plan){0};
    struct {
        int32_t **array;
        size_t n;
    } need[] = {{&p->token, s->cap_tokens}, {&p->pos, s->cap_tokens}, {&p->state_index, s->cap_tokens},
        {&p->row_start, s->cap_rows + 1}, {&p->prefix_at, s->cap_rows}, {&p->prefix_len, s->cap_rows},
        {&p->slot_of_row, s->cap_rows}, {&p->first_of_row, s->cap_rows}, {&p->label_token, s->cap_labels},
        {&p->label, s->cap_labels}, {&p->kl_ref, s->cap_labels}, {&p->loss_start, s->count + 1}};
    for (size_t i = 0; i < sizeof need / sizeof *need; i++)
        if (!(*need[i].array = calloc(need[i].n + 1, sizeof(int32_t))))
            return er_fail(ER_ENOMEM, "%zu indices", need[i].n);
    if (!(p->weight = calloc(s->cap_labels + 1, sizeof(float))))
        return er_fail(ER_ENOMEM, "%zu weights", s->cap_labels);
    return ER_OK;
}

static void plan_labels(plan *p, er_z_slots *s, size_t slot, const er_prompt *r, size_t row_first) {
    size_t offset = r->first_label - r->subject_last;
    for (size_t j = 0; j < r->n_labels; j++, s->labels++) {
        p->label_token[s->labels] = (int32_t)(row_first + offset + j);
        p->label[s->labels] = r->label[j];
        p->weight[s->labels] = r->nll_weight / (float)r->n_labels;
    }
    if (r->n_labels) return;
    p->label_token[s->labels] = (int32_t)row_first;
    p->label[s->labels] = -1;
    p->kl_ref[s->labels] = (int32_t)slot;
    p->weight[s->labels] = (float)s->h->kl;
    s->kl_logit[slot] = (int32_t)s->labels++;
}

static void plan_slot(plan *p, er_z_slots *s, size_t slot) {
    const er_request *u = &s->requests->at[s->request[slot]];
    size_t prefix = s->prefix_at[slot], state = s->state_at[slot];
    for (size_t i = 0; i < u->n_rows; i++) {
        const er_prompt *r = &u->row[i];
        size_t first = s->tokens;
        for (size_t j = r->subject_last; j < r->length; j++, s->tokens++) {
            p->token[s->tokens] = r->token[j];
            p->pos[s->tokens] = (int32_t)j;
            p->state_index[s->tokens] = (int32_t)state++;
        }
        p->prefix_at[s->rows] = (int32_t)prefix;
        p->prefix_len[s->rows] = (int32_t)r->subject_last;
        p->slot_of_row[s->rows] = (int32_t)slot;
        p->first_of_row[s->rows] = (int32_t)first;
        p->row_start[++s->rows] = (int32_t)s->tokens;
        prefix += r->subject_last;
        plan_labels(p, s, slot, r, first);
    }
}

bool er_z_slots_runs(const er_z_slots *s, size_t slot) {
    return s->request[slot] != ER_NO_REQUEST && s->queued[slot] < s->h->steps;
}

er_status er_z_slots_plan(er_z_slots *s) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    plan p = {0};
    ER_TRY(plan_create(&p, s));
    s->tokens = s->rows = s->labels = 0;
    for (size_t i = 0; i < s->count; i++) {
        p.loss_start[i] = (int32_t)s->labels;
        if (er_z_slots_runs(s, i)) plan_slot(&p, s, i);
    }
    p.loss_start[s->count] = (int32_t)s->labels;
    er_batch rows = {.rows = s->rows,
        .tokens = s->tokens,
        .token = p.token,
        .pos = p.pos,
        .row_start = p.row_start,
        .prefix_at = p.prefix_at,
        .prefix_len = p.prefix_len};
    ER_TRY(er_run_begin(s->run, &rows, s->kv));
    struct {
        void *dev;
        const void *host;
        size_t n;
    } up[] = {{s->state_index, p.state_index, s->tokens}, {s->slot_of_row, p.slot_of_row, s->rows},
        {s->first_of_row, p.first_of_row, s->rows}, {s->label_token, p.label_token, s->labels},
        {s->label, p.label, s->labels}, {s->kl_ref, p.kl_ref, s->labels}, {s->weight, p.weight, s->labels},
        {s->loss_start, p.loss_start, s->count + 1}};
    for (size_t i = 0; i < sizeof up / sizeof *up; i++)
        ER_TRY(d->op->upload(d, up[i].dev, up[i].host, up[i].n * 4));
out:
    plan_free(&p);
    return rc;
}

static er_status forward(er_z_slots *s) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t hidden = s->m->arch.hidden;
    ER_TRY(d->op->gather_rows(d, s->x, s->state, s->state_index, s->tokens, hidden));
    ER_TRY(d->op->gather_rows(d, s->row_tmp, s->delta, s->slot_of_row, s->rows, hidden));
    ER_TRY(d->op->scatter_add_rows(d, s->x, s->row_tmp, s->first_of_row, s->rows, hidden));
    for (size_t l = 0; l < s->above; l++) ER_TRY(er_run_layer(s->run, s->z_layer + 1 + l, s->x, &s->tape[l]));
    ER_TRY(er_run_head(
        s->run, s->logits, s->x, s->label_token, s->labels, s->picked, s->picked_stats, s->head_tmp));
out:
    return rc;
}

// Gradient of the data terms with respect to each slot's delta: the sum over its rows of the gradient at the
// subject's last token.
static er_status backward(er_z_slots *s) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t hidden = s->m->arch.hidden, bytes = hidden * sizeof(float);
    ER_TRY(er_run_head_backward(
        s->run, s->dpicked, s->logits, s->labels, s->picked, s->picked_stats, s->head_tmp));
    ER_TRY(d->op->zero(d, s->dx, s->tokens * bytes));
    ER_TRY(d->op->scatter_add_rows(d, s->dx, s->dpicked, s->label_token, s->labels, hidden));
    for (size_t l = s->above; l-- > 0;)
        ER_TRY(er_run_layer_backward(s->run, s->z_layer + 1 + l, s->dx, &s->tape[l]));
    ER_TRY(d->op->zero(d, s->grad, s->count * bytes));
    ER_TRY(d->op->gather_rows(d, s->row_tmp, s->dx, s->first_of_row, s->rows, hidden));
    ER_TRY(d->op->scatter_add_rows(d, s->grad, s->row_tmp, s->slot_of_row, s->rows, hidden));
out:
    return rc;
}

static er_status one_step(er_z_slots *s) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t vocab = s->m->arch.vocab;
    ER_TRY(forward(s));
    for (size_t i = 0; i < s->count;
         i++) {  // delta is 0 in a fresh slot: these are the unedited model's probabilities
        if (!er_z_slots_runs(s, i) || !s->fresh[i]) continue;
        ER_TRY(d->op->log_softmax(
            d, s->reference + i * vocab, s->logits + (size_t)s->kl_logit[i] * vocab, 1, vocab));
        s->fresh[i] = false;
    }
    er_label_loss loss = {.rows = s->labels,
        .vocab = vocab,
        .logits = s->logits,
        .label = s->label,
        .kl_ref = s->kl_ref,
        .reference = s->reference,
        .weight = s->weight,
        .loss = s->loss,
        .want_grad = true};
    ER_TRY(d->op->label_loss(d, &loss));
    ER_TRY(backward(s));
    er_delta_step step = {.slots = s->count,
        .hidden = s->m->arch.hidden,
        .steps = s->h->steps,
        // Both are for a stream that is not held divided (er_arch.residual_scale); clamp and stop have no request.
        .lr = (float)(s->h->lr / (double)s->m->arch.residual_scale),
        .decay = (float)(s->h->decay / (double)s->m->arch.residual_scale),
        .clamp = (float)s->h->clamp,
        .stop = (float)s->h->stop,
        .delta = s->delta,
        .m = s->adam_m,
        .v = s->adam_v,
        .grad = s->grad,
        .z0_norm = s->z0_norm,
        .loss = s->loss,
        .weight = s->weight,
        .loss_start = s->loss_start,
        .step = s->step,
        .total = s->total,
        .done = s->done};
    ER_TRY(d->op->delta_step(d, &step));
out:
    return rc;
}

er_status er_z_slots_queue(er_z_slots *s) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t n = s->count;
    unsigned to = s->steps % 2;
    ER_TRY(one_step(s));
    ER_TRY(d->op->download_async(d, s->host_done[to], s->done, n * sizeof(int32_t)));
    ER_TRY(d->op->download_async(d, s->host_total[to], s->total, n * sizeof(float)));
    ER_TRY(d->op->download_async(d, s->host_delta[to], s->delta, n * s->m->arch.hidden * sizeof(float)));
    ER_TRY(d->op->event_record(d, to));
    for (size_t i = 0; i < n; i++)
        if (er_z_slots_runs(s, i)) s->queued[i]++;
    s->steps++;
out:
    return rc;
}

er_status er_z_slots_result(er_z_slots *s, size_t step) {
    return s->m->dev->op->event_wait(s->m->dev, step % 2);
}
