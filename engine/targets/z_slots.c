// Creation, destruction, and who is in which slot.
#include "engine/targets/z_slots_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

er_footprint er_request_footprint(const er_request *u) {
    er_footprint x = {.rows = u->n_rows, .labels = 1};  // the KL row's loss is a label too
    for (size_t i = 0; i < u->n_rows; i++) {
        x.tokens += u->row[i].length - u->row[i].subject_last;
        x.labels += u->row[i].n_labels;
        x.prefix += u->row[i].subject_last;
    }
    return x;
}
static void add_footprint(er_footprint *sum, er_footprint x) {
    sum->tokens += x.tokens, sum->rows += x.rows, sum->labels += x.labels, sum->prefix += x.prefix;
}
size_t er_request_tokens(const er_request *u) {
    size_t n = 0;
    for (size_t i = 0; i < u->n_rows; i++) n += u->row[i].length;
    return n;
}

typedef struct buffer {
    void *at;  // the address of the pointer
    size_t count, element;
} buffer;

static er_status take_all(er_arena *a, const buffer *b, size_t n, bool host) {
    for (size_t i = 0; i < n; i++) {
        er_status rc = (host ? er_arena_take_host : er_arena_take)(a, b[i].at, b[i].count, b[i].element);
        if (rc != ER_OK) return rc;
    }
    return ER_OK;
}
#define TAKE_ALL(a, list, host) take_all(a, list, sizeof(list) / sizeof *(list), host)

static er_status take_slots(er_z_slots *s, er_arena *a, const er_arch *m, const er_z_slots_size *z) {
    size_t n = z->count, hidden = n * m->hidden, f = sizeof(float), i32 = sizeof(int32_t);
    const buffer all[] = {{&s->state, z->state_room * m->hidden, f}, {&s->z0, hidden, f},
        {&s->delta, hidden, f}, {&s->adam_m, hidden, f}, {&s->adam_v, hidden, f}, {&s->grad, hidden, f},
        {&s->z0_norm, n, f}, {&s->total, n, f}, {&s->step, n, i32}, {&s->done, n, i32},
        {&s->reference, n * m->vocab, f}};
    return TAKE_ALL(a, all, false);
}

static er_status take_batch(er_z_slots *s, er_arena *a, const er_arch *m, const er_z_slots_size *z) {
    size_t whole = z->run_tokens;  // a prefill runs whole rows
    size_t hidden = m->hidden, labels = z->cap_labels, f = sizeof(float);
    const buffer all[] = {{&s->x, whole * hidden, f}, {&s->dx, whole * hidden, f},
        {&s->row_tmp, z->cap_rows * hidden, f}, {&s->logits, labels * m->vocab, f},
        {&s->picked, labels * hidden, f}, {&s->head_tmp, labels * hidden, f},
        {&s->dpicked, labels * hidden, f}, {&s->picked_stats, labels * 2, f}, {&s->loss, labels, f}};
    return TAKE_ALL(a, all, false);
}

static er_status take_indices(er_z_indices *x, er_arena *a, const er_z_slots_size *z, bool host) {
    const buffer all[] = {{&x->state_index, z->cap_tokens, 4}, {&x->slot_of_row, z->cap_rows, 4},
        {&x->label_token, z->cap_labels, 4}, {&x->label, z->cap_labels, 4}, {&x->kl_ref, z->cap_labels, 4},
        {&x->weight, z->cap_labels, 4}, {&x->loss_start, z->count + 1, 4}, {&x->gather, z->run_tokens, 4}};
    return TAKE_ALL(a, all, host);
}

static er_status take_results(er_z_slots *s, er_arena *a, const er_arch *m, size_t n) {
    size_t states = n * m->hidden, f = sizeof(float);
    const buffer all[] = {{&s->host_done[0], n, 4}, {&s->host_done[1], n, 4}, {&s->host_total[0], n, f},
        {&s->host_total[1], n, f}, {&s->host_delta[0], states, f}, {&s->host_delta[1], states, f},
        {&s->host_z0, states, f}};
    return TAKE_ALL(a, all, true);
}

er_status er_z_slots_take_memory(er_z_slots *s, er_arena *a, const er_arch *m, const er_z_slots_size *z) {
    er_status rc = ER_OK;
    er_tape none;
    ER_TRY(er_batch_take(&s->batch, a, z->run_tokens, z->cap_rows));
    ER_TRY(er_run_take(&s->run, a, m, z->run_tokens, true));
    ER_TRY(er_kv_take(&s->kv, a, m, m->layers - s->above, s->above, z->prefix_room + 1));
    ER_TRY(take_slots(s, a, m, z));
    ER_TRY(take_batch(s, a, m, z));
    ER_TRY(take_indices(&s->host, a, z, true));
    ER_TRY(take_indices(&s->dev, a, z, false));
    for (size_t l = 0; l < s->above; l++)
        ER_TRY(er_tape_take(s->tape ? &s->tape[l] : &none, a, m, z->cap_tokens));
    ER_TRY(take_results(s, a, m, z->count));
out:
    return rc;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

// Rows, labels and places: twice the mean request's share, never less than the largest request needs, so that
// one request far above the mean costs its own size once and not once a slot.
void er_z_slots_measure(er_z_slots_size *out, const er_requests *requests, size_t batch_tokens) {
    er_footprint sum = {0};
    size_t whole = 1, n = larger(requests->count, 1);
    for (size_t i = 0; i < requests->count; i++) {
        add_footprint(&sum, er_request_footprint(&requests->at[i]));
        whole = larger(whole, er_request_tokens(&requests->at[i]));
    }
    er_z_slots_size z = {.cap_tokens = larger(batch_tokens, requests->max_suffix_tokens)};
    z.count = smaller(z.cap_tokens / (sum.tokens / n + 1) + 1, n);
    z.cap_tokens = smaller(z.cap_tokens, z.count * requests->max_suffix_tokens);
    z.cap_rows = 2 * z.count * (sum.rows / n + 1) + requests->max_rows;
    z.cap_labels = 2 * z.count * (sum.labels / n + 1) + requests->max_labels;
    z.run_tokens = larger(z.cap_tokens, whole);
    z.state_room = smaller(2 * z.cap_tokens, z.count * requests->max_suffix_tokens);
    z.prefix_room = smaller(2 * z.count * (sum.prefix / n + 1) + requests->max_prefix_tokens,
        z.count * requests->max_prefix_tokens);
    *out = z;
}

static er_status create_host(er_z_slots *s, const er_z_slots_size *z) {
    er_status rc = ER_OK;
    size_t n = s->count;
    ER_TRY(er_pool_create(&s->states, z->state_room, n));
    ER_TRY(er_pool_create(&s->prefixes, z->prefix_room, n));
    s->request = malloc(n * sizeof *s->request);
    s->state_at = calloc(n, sizeof *s->state_at);
    s->prefix_at = calloc(n, sizeof *s->prefix_at);
    s->kl_logit = calloc(n, sizeof *s->kl_logit);
    s->fresh = calloc(n, sizeof *s->fresh);
    s->first_step = calloc(n, sizeof *s->first_step);
    s->queued = calloc(n, sizeof *s->queued);
    s->trace = calloc(n * s->h->steps, sizeof *s->trace);
    s->n_trace = calloc(n, sizeof *s->n_trace);
    if (!s->request || !s->state_at || !s->prefix_at || !s->kl_logit || !s->fresh || !s->first_step ||
        !s->queued || !s->trace || !s->n_trace)
        ER_FAIL(ER_ENOMEM, "%zu slots", n);
    for (size_t i = 0; i < n; i++) s->request[i] = ER_NO_REQUEST;
out:
    return rc;
}

static er_status mark_empty(er_z_slots *s, size_t slot) {
    static const int32_t empty = -1;
    return s->m->dev->op->upload(s->m->dev, s->step + slot, &empty, sizeof empty);
}

er_status er_z_slots_create(
    er_z_slots **out, er_model *m, const er_requests *requests, const er_hparams *h, size_t batch_tokens) {
    er_status rc = ER_OK;
    er_z_slots_size z;
    er_z_slots *s = calloc(1, sizeof *s);
    if (!s) return er_fail(ER_ENOMEM, "slots");
    er_z_slots_measure(&z, requests, batch_tokens);
    *s = (er_z_slots){.m = m,
        .requests = requests,
        .h = h,
        .z_layer = h->layers[h->n_layers - 1],
        .count = z.count,
        .cap_tokens = z.cap_tokens,
        .cap_rows = z.cap_rows,
        .cap_labels = z.cap_labels,
        .run = {.model = m},
        .memory = {.dev = m->dev}};
    s->above = m->arch.layers - 1 - s->z_layer;
    ER_TRY(create_host(s, &z));
    if (!(s->tape = calloc(s->above + 1, sizeof *s->tape)))
        ER_FAIL(ER_ENOMEM, "tapes of %zu layers", s->above);
    ER_TRY(er_z_slots_take_memory(s, &s->memory, &m->arch, &z));
    for (size_t i = 0; i < s->count; i++) ER_TRY(mark_empty(s, i));
    *out = s;
    s = NULL;
out:
    er_z_slots_free(s);
    return rc;
}

void er_z_slots_free(er_z_slots *s) {
    if (!s) return;
    (void)s->m->dev->op->sync(s->m->dev);  // a step may still be under way
    er_arena_release(&s->memory);
    free(s->tape);
    er_pool_free(&s->states);
    er_pool_free(&s->prefixes);
    free(s->request);
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

bool er_z_slots_take(er_z_slots *s, size_t *slot, size_t request) {
    er_footprint own = er_request_footprint(&s->requests->at[request]), all = s->load;
    size_t i = 0, state = 0;
    add_footprint(&all, own);
    if (s->active == s->count) return false;
    if (s->active && (all.tokens > s->cap_tokens || all.rows > s->cap_rows || all.labels > s->cap_labels))
        return false;
    while (s->request[i] != ER_NO_REQUEST) i++;
    if (!er_pool_take(&s->states, &state, own.tokens, i)) return false;
    if (!er_pool_take(&s->prefixes, &s->prefix_at[i], own.prefix, i)) {
        er_pool_release(&s->states, i);
        return false;
    }
    s->state_at[i] = state;
    s->request[i] = request;
    s->first_step[i] = s->steps;
    s->queued[i] = 0;
    s->active++;
    s->load = all;
    *slot = i;
    return true;
}

er_status er_z_slots_release(er_z_slots *s, size_t slot) {
    er_footprint x = er_request_footprint(&s->requests->at[s->request[slot]]);
    s->active--;
    s->load.tokens -= x.tokens, s->load.rows -= x.rows, s->load.labels -= x.labels;
    s->load.prefix -= x.prefix;
    s->request[slot] = ER_NO_REQUEST;
    er_pool_release(&s->states, slot);
    er_pool_release(&s->prefixes, slot);
    return mark_empty(s, slot);
}
