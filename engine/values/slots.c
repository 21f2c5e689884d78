// Creation, destruction, and who is in which slot.
#include "engine/values/slots.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

er_load er_unit_load(const er_unit *u) {
    er_load x = {.rows = u->n_rows, .labels = 1};  // the KL row's loss is a label too
    for (size_t i = 0; i < u->n_rows; i++) {
        x.tokens += u->row[i].length - u->row[i].subject_last;
        x.labels += u->row[i].n_labels;
        x.prefix += u->row[i].subject_last;
    }
    return x;
}
static void add_load(er_load *sum, er_load x) {
    sum->tokens += x.tokens, sum->rows += x.rows, sum->labels += x.labels, sum->prefix += x.prefix;
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
    ER_TRY(own(s, &s->state, s->states.room * hid));
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

static er_status pin(er_slots *s, void *slot, size_t bytes) {
    void *p = NULL;
    er_status rc = s->m->dev->op->alloc_host(s->m->dev, &p, bytes ? bytes : 1);
    if (rc != ER_OK) return rc;
    memcpy(slot, &p, sizeof p);
    s->pinned[s->n_pinned++] = p;
    return ER_OK;
}

static er_status create_results(er_slots *s) {
    er_status rc = ER_OK;
    size_t n = s->count, row = s->m->arch.hidden * sizeof(float);
    for (int i = 0; i < 2; i++) {
        ER_TRY(pin(s, &s->host_done[i], n * sizeof(int32_t)));
        ER_TRY(pin(s, &s->host_total[i], n * sizeof(float)));
        ER_TRY(pin(s, &s->host_delta[i], n * row));
    }
    ER_TRY(pin(s, &s->host_z0, n * row));
out:
    return rc;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

// Rows, labels and places: twice the mean unit's share, never less than the largest unit needs, so that one
// unit far above the mean costs its own size once and not once a slot.
void er_slots_measure(er_slots_size *out, const er_units *units, size_t batch_tokens) {
    er_load sum = {0};
    size_t whole = 1, n = larger(units->count, 1);
    for (size_t i = 0; i < units->count; i++) {
        add_load(&sum, er_unit_load(&units->at[i]));
        whole = larger(whole, er_unit_tokens(&units->at[i]));
    }
    er_slots_size z = {.cap_tokens = larger(batch_tokens, units->max_suffix_tokens)};
    z.count = smaller(z.cap_tokens / (sum.tokens / n + 1) + 1, n);
    z.cap_tokens = smaller(z.cap_tokens, z.count * units->max_suffix_tokens);
    z.cap_rows = 2 * z.count * (sum.rows / n + 1) + units->max_rows;
    z.cap_labels = 2 * z.count * (sum.labels / n + 1) + units->max_labels;
    z.run_tokens = larger(z.cap_tokens, whole);
    z.state_room = smaller(2 * z.cap_tokens, z.count * units->max_suffix_tokens);
    z.prefix_room = smaller(
        2 * z.count * (sum.prefix / n + 1) + units->max_prefix_tokens, z.count * units->max_prefix_tokens);
    *out = z;
}

static er_status create_host(er_slots *s, const er_slots_size *z) {
    er_status rc = ER_OK;
    size_t n = s->count;
    ER_TRY(er_pool_create(&s->states, z->state_room, n));
    ER_TRY(er_pool_create(&s->prefixes, z->prefix_room, n));
    s->unit = malloc(n * sizeof *s->unit);
    s->state_at = calloc(n, sizeof *s->state_at);
    s->prefix_at = calloc(n, sizeof *s->prefix_at);
    s->kl_logit = calloc(n, sizeof *s->kl_logit);
    s->fresh = calloc(n, sizeof *s->fresh);
    s->first_step = calloc(n, sizeof *s->first_step);
    s->queued = calloc(n, sizeof *s->queued);
    s->trace = calloc(n * s->h->steps, sizeof *s->trace);
    s->n_trace = calloc(n, sizeof *s->n_trace);
    if (!s->unit || !s->state_at || !s->prefix_at || !s->kl_logit || !s->fresh || !s->first_step ||
        !s->queued || !s->trace || !s->n_trace)
        ER_FAIL(ER_ENOMEM, "%zu slots", n);
    for (size_t i = 0; i < n; i++) s->unit[i] = ER_NO_UNIT;
out:
    return rc;
}

static er_status mark_empty(er_slots *s, size_t slot) {
    static const int32_t empty = -1;
    return s->m->dev->op->upload(s->m->dev, s->run->stream, s->step + slot, &empty, sizeof empty);
}

er_status er_slots_create(
    er_slots **out, er_model *m, const er_units *units, const er_hparams *h, size_t batch_tokens) {
    er_status rc = ER_OK;
    er_slots_size z;
    er_slots *s = calloc(1, sizeof *s);
    if (!s) return er_fail(ER_ENOMEM, "slots");
    er_slots_measure(&z, units, batch_tokens);
    *s = (er_slots){.m = m,
        .units = units,
        .h = h,
        .z_layer = h->layers[h->n_layers - 1],
        .count = z.count,
        .cap_tokens = z.cap_tokens,
        .cap_rows = z.cap_rows,
        .cap_labels = z.cap_labels};
    s->above = m->arch.layers - 1 - s->z_layer;
    ER_TRY(create_host(s, &z));
    ER_TRY(er_run_create(&s->run, m, z.run_tokens, s->cap_rows, true));
    ER_TRY(er_kv_create(&s->kv, m, s->z_layer + 1, s->above, z.prefix_room + 1));
    ER_TRY(create_buffers(s));
    ER_TRY(create_results(s));
    for (size_t i = 0; i < s->count; i++) ER_TRY(mark_empty(s, i));
    *out = s;
    s = NULL;
out:
    er_slots_free(s);
    return rc;
}

void er_slots_free(er_slots *s) {
    if (!s) return;
    (void)s->m->dev->op->sync(s->m->dev, s->run ? s->run->stream : NULL);  // a step may still be under way
    for (size_t i = 0; i < s->n_pinned; i++) s->m->dev->op->release_host(s->m->dev, s->pinned[i]);
    for (size_t i = 0; i < s->n_owned; i++) s->m->dev->op->release(s->m->dev, s->owned[i]);
    er_kv_free(s->m, s->kv);
    er_run_free(s->run);
    free(s->owned);
    free(s->tape);
    er_pool_free(&s->states);
    er_pool_free(&s->prefixes);
    free(s->unit);
    free(s->state_at);
    free(s->prefix_at);
    free(s->kl_logit);
    free(s->fresh);
    free(s->first_step);
    free(s->queued);
    free(s->trace);
    free(s->n_trace);
    free(s);
}

bool er_slots_take(er_slots *s, size_t *slot, size_t unit) {
    er_load own = er_unit_load(&s->units->at[unit]), all = s->load;
    size_t i = 0, state = 0;
    add_load(&all, own);
    if (s->active == s->count) return false;
    if (s->active && (all.tokens > s->cap_tokens || all.rows > s->cap_rows || all.labels > s->cap_labels))
        return false;
    while (s->unit[i] != ER_NO_UNIT) i++;
    if (!er_pool_take(&s->states, &state, own.tokens, i)) return false;
    if (!er_pool_take(&s->prefixes, &s->prefix_at[i], own.prefix, i)) {
        er_pool_release(&s->states, i);
        return false;
    }
    s->state_at[i] = state;
    s->unit[i] = unit;
    s->first_step[i] = s->steps;
    s->queued[i] = 0;
    s->active++;
    s->load = all;
    *slot = i;
    return true;
}

er_status er_slots_release(er_slots *s, size_t slot) {
    er_load x = er_unit_load(&s->units->at[s->unit[slot]]);
    s->active--;
    s->load.tokens -= x.tokens, s->load.rows -= x.rows, s->load.labels -= x.labels;
    s->load.prefix -= x.prefix;
    s->unit[slot] = ER_NO_UNIT;
    er_pool_release(&s->states, slot);
    er_pool_release(&s->prefixes, slot);
    return mark_empty(s, slot);
}
