// Creation, destruction and admission.
#include "engine/values/slots.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

er_load er_unit_load(const er_unit *u) {
    er_load x = {.rows = u->n_rows, .labels = 1};  // the KL row's loss is a label too
    for (size_t i = 0; i < u->n_rows; i++) {
        x.tokens += u->row[i].length - u->row[i].subject_last;
        x.labels += u->row[i].n_labels;
    }
    return x;
}
void er_load_add(er_load *sum, er_load x) {
    sum->tokens += x.tokens, sum->rows += x.rows, sum->labels += x.labels;
}
bool er_load_fits(const er_slots *s, er_load x) {
    return x.tokens <= s->cap_tokens && x.rows <= s->cap_rows && x.labels <= s->cap_labels;
}
size_t er_unit_tokens(const er_unit *u) {
    size_t n = 0;
    for (size_t i = 0; i < u->n_rows; i++) n += u->row[i].length;
    return n;
}

static er_status own(er_slots *s, void *slot, size_t bytes) {
    void *p = NULL;
    er_status rc = s->m->dev->op->alloc(s->m->dev, &p, bytes ? bytes : 1);
    if (rc != ER_OK) return rc;
    memcpy(slot, &p, sizeof p);
    s->owned[s->n_owned++] = p;
    return ER_OK;
}

static er_status create_buffers(er_slots *s) {
    er_status rc = ER_OK;
    const er_arch *a = &s->m->arch;
    size_t f = sizeof(float), i32 = sizeof(int32_t), hid = a->hidden * f, n = s->count;
    size_t all = s->run->max_tokens;  // admission runs whole rows
    if (!(s->owned = calloc(64 + 8 * s->above, sizeof *s->owned)) ||
        !(s->tape = calloc(s->above + 1, sizeof *s->tape)))
        ER_FAIL(ER_ENOMEM, "tapes of %zu layers", s->above);
    ER_TRY(own(s, &s->state, n * s->suffix_cap * hid));
    float **per_slot[] = {&s->z0, &s->delta, &s->adam_m, &s->adam_v, &s->grad};
    for (size_t i = 0; i < sizeof per_slot / sizeof *per_slot; i++) ER_TRY(own(s, per_slot[i], n * hid));
    ER_TRY(own(s, &s->z0_norm, n * f));
    ER_TRY(own(s, &s->total, n * f));
    ER_TRY(own(s, &s->step, n * i32));
    ER_TRY(own(s, &s->done, n * i32));
    ER_TRY(own(s, &s->reference, n * a->vocab * f));
    ER_TRY(own(s, &s->x, all * hid));
    ER_TRY(own(s, &s->dx, all * hid));
    ER_TRY(own(s, &s->row_tmp, s->cap_rows * hid));
    ER_TRY(own(s, &s->logits, s->cap_labels * a->vocab * f));
    float **per_label[] = {&s->picked, &s->head_tmp, &s->dpicked};
    for (size_t i = 0; i < sizeof per_label / sizeof *per_label; i++)
        ER_TRY(own(s, per_label[i], s->cap_labels * hid));
    ER_TRY(own(s, &s->picked_stats, s->cap_labels * 2 * f));
    ER_TRY(own(s, &s->loss, s->cap_labels * f));
    ER_TRY(own(s, &s->weight, s->cap_labels * f));
    int32_t **label_index[] = {&s->label_token, &s->label, &s->kl_ref};
    for (size_t i = 0; i < sizeof label_index / sizeof *label_index; i++)
        ER_TRY(own(s, label_index[i], s->cap_labels * i32));
    ER_TRY(own(s, &s->state_index, s->cap_tokens * i32));
    ER_TRY(own(s, &s->index_tmp, all * i32));
    ER_TRY(own(s, &s->slot_of_row, s->cap_rows * i32));
    ER_TRY(own(s, &s->first_of_row, s->cap_rows * i32));
    ER_TRY(own(s, &s->loss_start, (n + 1) * i32));
    size_t t = s->cap_tokens, qkv = (a->heads + 2 * a->kv_heads) * a->head_dim;
    for (size_t l = 0; l < s->above; l++) {
        er_tape *p = &s->tape[l];
        ER_TRY(own(s, &p->x_in, t * hid));
        ER_TRY(own(s, &p->stats1, t * 2 * f));
        ER_TRY(own(s, &p->qkv, t * qkv * f));
        ER_TRY(own(s, &p->attn, t * a->heads * a->head_dim * f));
        ER_TRY(own(s, &p->lse, t * a->heads * f));
        ER_TRY(own(s, &p->x_mid, t * hid));
        ER_TRY(own(s, &p->stats2, t * 2 * f));
        ER_TRY(own(s, &p->u, t * a->inner * (a->gated ? 2 : 1) * f));
    }
out:
    return rc;
}

er_status er_slots_create(
    er_slots **out, er_model *m, const er_units *units, const er_hparams *h, size_t batch_tokens) {
    er_status rc = ER_OK;
    er_slots *s = calloc(1, sizeof *s);
    if (!s) return er_fail(ER_ENOMEM, "slots");
    er_load sum = {0};
    size_t whole = 1;
    for (size_t i = 0; i < units->count; i++) {
        const er_unit *u = &units->at[i];
        er_load_add(&sum, er_unit_load(u));
        if (er_unit_tokens(u) > whole) whole = er_unit_tokens(u);
    }
    size_t n = units->count ? units->count : 1, mean = sum.tokens / n + 1;
    *s = (er_slots){.m = m, .units = units, .h = h, .z_layer = h->layers[h->n_layers - 1]};
    s->above = m->arch.layers - 1 - s->z_layer;
    s->suffix_cap = units->max_suffix_tokens;
    s->prefix_cap = units->max_prefix_tokens;
    s->cap_tokens = batch_tokens > s->suffix_cap ? batch_tokens : s->suffix_cap;
    s->count = s->cap_tokens / mean + 1;
    if (s->count > n) s->count = n;
    if (s->count * s->suffix_cap < s->cap_tokens) s->cap_tokens = s->count * s->suffix_cap;
    // Rows and labels of a batch: twice the mean share, never less than the largest unit needs.
    s->cap_rows = 2 * s->count * (sum.rows / n + 1) + units->max_rows;
    s->cap_labels = 2 * s->count * (sum.labels / n + 1) + units->max_labels;
    size_t run_tokens = s->cap_tokens > whole ? s->cap_tokens : whole;
    ER_TRY(er_run_create(&s->run, m, run_tokens, s->cap_rows, true));
    ER_TRY(er_kv_create(&s->kv, m, s->z_layer + 1, s->above, s->count * s->prefix_cap + 1));
    ER_TRY(create_buffers(s));
    s->unit = malloc(s->count * sizeof *s->unit);
    s->kl_logit = calloc(s->count, sizeof *s->kl_logit);
    s->fresh = calloc(s->count, sizeof *s->fresh);
    s->trace = calloc(s->count * h->steps, sizeof *s->trace);
    s->n_trace = calloc(s->count, sizeof *s->n_trace);
    if (!s->unit || !s->kl_logit || !s->fresh || !s->trace || !s->n_trace)
        ER_FAIL(ER_ENOMEM, "%zu slots", s->count);
    for (size_t i = 0; i < s->count; i++) s->unit[i] = ER_NO_UNIT;
    *out = s;
    s = NULL;
out:
    er_slots_free(s);
    return rc;
}

void er_slots_free(er_slots *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n_owned; i++) s->m->dev->op->release(s->m->dev, s->owned[i]);
    er_kv_free(s->m, s->kv);
    er_run_free(s->run);
    free(s->owned);
    free(s->tape);
    free(s->unit);
    free(s->kl_logit);
    free(s->fresh);
    free(s->trace);
    free(s->n_trace);
    free(s);
}

void er_slots_release(er_slots *s, size_t slot) {
    er_load x = er_unit_load(&s->units->at[s->unit[slot]]);
    s->active--;
    s->load.tokens -= x.tokens, s->load.rows -= x.rows, s->load.labels -= x.labels;
    s->unit[slot] = ER_NO_UNIT;
}
