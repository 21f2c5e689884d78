// What is computed once per request: the state below delta, and the keys and values of positions that delta
// cannot reach.
#include <stdlib.h>
#include <string.h>

#include "engine/targets/z_slots_internal.h"

typedef struct pack {  // host arrays of one admission batch
    int32_t *token, *pos, *row_start, *store_at, *index;
    size_t tokens, rows;
} pack;

static er_status pack_create(pack *p, size_t tokens, size_t rows) {
    *p = (pack){0};
    p->token = malloc(tokens * sizeof(int32_t));
    p->pos = malloc(tokens * sizeof(int32_t));
    p->row_start = malloc((rows + 1) * sizeof(int32_t));
    p->store_at = malloc(tokens * sizeof(int32_t));
    p->index = malloc(tokens * sizeof(int32_t));
    if (!p->token || !p->pos || !p->row_start || !p->store_at || !p->index)
        return er_fail(ER_ENOMEM, "%zu tokens", tokens);
    p->row_start[0] = 0;
    return ER_OK;
}
static void pack_free(pack *p) {
    free(p->token);
    free(p->pos);
    free(p->row_start);
    free(p->store_at);
    free(p->index);
}
static void pack_row(pack *p, const er_prompt *r, size_t n) {
    for (size_t j = 0; j < n; j++) p->token[p->tokens] = r->token[j], p->pos[p->tokens++] = (int32_t)j;
    p->row_start[++p->rows] = (int32_t)p->tokens;
}

// Layers 0..z over whole rows; then the suffix states, and z0 at the bare row's subject.
static er_status prefill_lower(er_z_slots *s, pack *p, const size_t *slots, size_t n) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t hidden = s->m->arch.hidden, base = 0;
    p->tokens = p->rows = 0;
    for (size_t i = 0; i < n; i++) {
        const er_request *u = &s->requests->at[s->request[slots[i]]];
        for (size_t r = 0; r < u->n_rows; r++) pack_row(p, &u->row[r], u->row[r].length);
    }
    er_batch rows = {
        .rows = p->rows, .tokens = p->tokens, .token = p->token, .pos = p->pos, .row_start = p->row_start};
    ER_TRY(er_run_begin(s->run, &rows, NULL));
    ER_TRY(er_run_embed(s->run, s->x));
    for (size_t l = 0; l <= s->z_layer; l++) ER_TRY(er_run_layer(s->run, l, s->x, NULL));
    for (size_t i = 0; i < n; i++) {
        const er_request *u = &s->requests->at[s->request[slots[i]]];
        size_t k = 0;
        int32_t z0_at = (int32_t)(base + u->row[0].subject_last);
        for (size_t r = 0; r < u->n_rows; base += u->row[r++].length)
            for (size_t j = u->row[r].subject_last; j < u->row[r].length; j++)
                p->index[k++] = (int32_t)(base + j);
        ER_TRY(d->op->upload(d, s->index_tmp, p->index, k * sizeof *p->index));
        ER_TRY(
            d->op->gather_rows(d, s->state + s->state_at[slots[i]] * hidden, s->x, s->index_tmp, k, hidden));
        ER_TRY(
            d->op->copy(d, s->z0 + slots[i] * hidden, s->x + (size_t)z0_at * hidden, hidden * sizeof(float)));
    }
out:
    return rc;
}

// Layers above z over the positions before each row's subject_last; their keys and values go to the slot's
// part of the cache.
static er_status prefill_upper_prefix(er_z_slots *s, pack *p, const size_t *slots, size_t n) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t base = 0;
    p->tokens = p->rows = 0;
    for (size_t i = 0; i < n; i++) {
        const er_request *u = &s->requests->at[s->request[slots[i]]];
        size_t at = s->prefix_at[slots[i]];
        for (size_t r = 0; r < u->n_rows; base += u->row[r++].length) {
            if (!u->row[r].subject_last) continue;
            size_t first = p->tokens;
            pack_row(p, &u->row[r], u->row[r].subject_last);
            for (size_t j = first; j < p->tokens; j++)
                p->index[j] = (int32_t)(base + j - first), p->store_at[j] = (int32_t)at++;
        }
    }
    if (!p->tokens || !s->above) return ER_OK;
    ER_TRY(d->op->upload(d, s->index_tmp, p->index, p->tokens * sizeof *p->index));
    ER_TRY(d->op->gather_rows(d, s->dx, s->x, s->index_tmp, p->tokens, s->m->arch.hidden));
    er_batch rows = {.rows = p->rows,
        .tokens = p->tokens,
        .token = p->token,
        .pos = p->pos,
        .row_start = p->row_start,
        .store_at = p->store_at};
    ER_TRY(er_run_begin(s->run, &rows, s->kv));
    for (size_t l = s->z_layer + 1; l < s->m->arch.layers; l++) ER_TRY(er_run_layer(s->run, l, s->dx, NULL));
out:
    return rc;
}

static er_status reset_slots(er_z_slots *s, const size_t *slots, size_t n) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t hidden = s->m->arch.hidden, bytes = hidden * sizeof(float);
    static const int32_t zero = 0;
    float *cleared[] = {s->delta, s->adam_m, s->adam_v};
    for (size_t i = 0; i < n; i++) {
        size_t at = slots[i] * hidden;
        for (size_t j = 0; j < 3; j++) ER_TRY(d->op->zero(d, cleared[j] + at, bytes));
        ER_TRY(d->op->row_norm(d, s->z0_norm + slots[i], s->z0 + at, 1, hidden));
        ER_TRY(d->op->download_async(d, s->host_z0 + at, s->z0 + at, bytes));
        ER_TRY(d->op->upload(d, s->step + slots[i], &zero, sizeof zero));
        s->fresh[slots[i]] = true;
        s->n_trace[slots[i]] = 0;
    }
out:
    return rc;
}

static er_status prefill_batch(er_z_slots *s, pack *p, const size_t *slots, size_t n) {
    er_status rc = ER_OK;
    ER_TRY(prefill_lower(s, p, slots, n));
    ER_TRY(prefill_upper_prefix(s, p, slots, n));
    ER_TRY(reset_slots(s, slots, n));
out:
    return rc;
}

er_status er_z_slots_prefill(er_z_slots *s, const size_t *slots, size_t n) {
    er_status rc = ER_OK;
    pack p = {0};
    size_t first = 0, tokens = 0, rows = 0;
    ER_TRY(pack_create(&p, s->run->max_tokens, s->run->max_rows));
    for (size_t i = 0; i < n; i++) {
        const er_request *u = &s->requests->at[s->request[slots[i]]];
        size_t t = er_request_tokens(u);
        if (i > first && (tokens + t > s->run->max_tokens || rows + u->n_rows > s->run->max_rows)) {
            ER_TRY(prefill_batch(s, &p, slots + first, i - first));
            first = i;
            tokens = rows = 0;
        }
        tokens += t;
        rows += u->n_rows;
    }
    if (n > first) ER_TRY(prefill_batch(s, &p, slots + first, n - first));
out:
    pack_free(&p);
    return rc;
}
