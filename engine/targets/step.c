// The batch of all active slots, and one optimisation step over it.
#include "engine/targets/z_slots_internal.h"

// The labels of a row whose first suffix token is row_first in the batch, or its KL position: that very
// token.
static er_status plan_labels(er_z_slots *s, size_t slot, const er_prompt *r, size_t row_first) {
    er_z_indices *p = &s->host;
    size_t n = r->n_labels ? r->n_labels : 1,
           at = r->n_labels ? row_first + r->first_label - r->subject_last : row_first;
    if (n > s->cap_labels - s->labels)
        return er_fail(ER_EARG, "%zu labels in a step; there is room for %zu", s->labels + n, s->cap_labels);
    if (!r->n_labels) s->kl_logit[slot] = (int32_t)s->labels;
    for (size_t j = 0; j < n; j++, s->labels++) {
        p->label_token[s->labels] = (int32_t)(at + j);
        p->label[s->labels] = r->n_labels ? r->label[j] : -1;
        p->kl_ref[s->labels] = (int32_t)slot;
        p->weight[s->labels] = r->n_labels ? r->nll_weight / (float)n : (float)s->h->kl;
    }
    return ER_OK;
}

static er_status plan_slot(er_z_slots *s, size_t slot) {
    er_status rc = ER_OK;
    const er_request *u = er_z_slots_request(s, slot);
    size_t prefix = s->prefix_at[slot], state = s->state_at[slot];
    for (size_t i = 0; i < u->n_rows; i++) {
        const er_prompt *r = &u->row[i];
        size_t first = s->batch.tokens, row = s->batch.rows, n = r->length - r->subject_last;
        ER_TRY(er_batch_row(
            &s->batch, r->token + r->subject_last, n, (er_kv_range){prefix, r->subject_last}, ER_NO_KV));
        ER_TRY(plan_labels(s, slot, r, first));
        s->host.slot_of_row[row] = (int32_t)slot;
        for (size_t j = 0; j < n; j++) s->host.state_index[first + j] = (int32_t)state++;
        prefix += r->subject_last;
    }
out:
    return rc;
}

bool er_z_slots_runs(const er_z_slots *s, size_t slot) {
    return s->request[slot] != ER_NO_REQUEST && s->queued[slot] < s->h->steps;
}

er_status er_z_slots_plan(er_z_slots *s) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    const er_z_indices *h = &s->host, *to = &s->dev;
    er_batch_clear(&s->batch);
    s->labels = 0;
    for (size_t i = 0; i < s->count; i++) {
        h->loss_start[i] = (int32_t)s->labels;
        if (er_z_slots_runs(s, i)) ER_TRY(plan_slot(s, i));
    }
    h->loss_start[s->count] = (int32_t)s->labels;
    ER_TRY(er_run_begin(&s->run, &s->batch, &s->kv));
    const struct {
        void *dev;
        const void *host;
        size_t n;
    } up[] = {{to->state_index, h->state_index, s->batch.tokens},
        {to->slot_of_row, h->slot_of_row, s->batch.rows}, {to->label_token, h->label_token, s->labels},
        {to->label, h->label, s->labels}, {to->kl_ref, h->kl_ref, s->labels},
        {to->weight, h->weight, s->labels}, {to->loss_start, h->loss_start, s->count + 1}};
    for (size_t i = 0; i < sizeof up / sizeof *up; i++)
        ER_TRY(d->op->upload(d, up[i].dev, up[i].host, up[i].n * 4));
out:
    return rc;
}

// The first token of each row of the batch: the subject's last one. [dev]
static const int32_t *first_of_row(const er_z_slots *s) {
    return er_batch_dev(&s->batch, s->batch.row_start);
}

static er_status forward(er_z_slots *s) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t hidden = s->m->arch.hidden;
    ER_TRY(d->op->gather_rows(d, s->x, s->state, s->dev.state_index, s->batch.tokens, hidden));
    ER_TRY(d->op->gather_rows(d, s->row_tmp, s->delta, s->dev.slot_of_row, s->batch.rows, hidden));
    ER_TRY(d->op->scatter_add_rows(d, s->x, s->row_tmp, first_of_row(s), s->batch.rows, hidden));
    for (size_t l = 0; l < s->above; l++)
        ER_TRY(er_run_layer(&s->run, s->z_layer + 1 + l, s->x, &s->tape[l]));
    ER_TRY(er_run_head(
        &s->run, s->logits, s->x, s->dev.label_token, s->labels, s->picked, s->picked_stats, s->head_tmp));
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
        &s->run, s->dpicked, s->logits, s->labels, s->picked, s->picked_stats, s->head_tmp));
    ER_TRY(d->op->zero(d, s->dx, s->batch.tokens * bytes));
    ER_TRY(d->op->scatter_add_rows(d, s->dx, s->dpicked, s->dev.label_token, s->labels, hidden));
    for (size_t l = s->above; l-- > 0;)
        ER_TRY(er_run_layer_backward(&s->run, s->z_layer + 1 + l, s->dx, &s->tape[l]));
    ER_TRY(d->op->zero(d, s->grad, s->count * bytes));
    ER_TRY(d->op->gather_rows(d, s->row_tmp, s->dx, first_of_row(s), s->batch.rows, hidden));
    ER_TRY(d->op->scatter_add_rows(d, s->grad, s->row_tmp, s->dev.slot_of_row, s->batch.rows, hidden));
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
        .label = s->dev.label,
        .kl_ref = s->dev.kl_ref,
        .reference = s->reference,
        .weight = s->dev.weight,
        .loss = s->loss,
        .want_grad = true};
    ER_TRY(d->op->label_loss(d, &loss));
    ER_TRY(backward(s));
    er_delta_step step = {.slots = s->count,
        .hidden = s->m->arch.hidden,
        .steps = s->h->steps,
        // Both are for a stream that is not held divided (er_arch.residual_scale); clamp and stop have no
        // request.
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
        .weight = s->dev.weight,
        .loss_start = s->dev.loss_start,
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
