// What is computed once per request: the state below delta, and the keys and values of positions that delta
// cannot reach.
#include "engine/targets/z_slots_internal.h"

static er_status upload_gather(er_z_slots *s, size_t n) {
    return s->m->dev->op->upload(s->m->dev, s->dev.gather, s->host.gather, n * sizeof *s->host.gather);
}

// Layers 0..z over whole rows, which stand in the batch; then the suffix states, and z0 at the base prompt's
// subject.
static er_status prefill_lower(er_z_slots *s, const size_t *slots, size_t n) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t hidden = s->m->arch.hidden, base = 0, k = 0;
    ER_TRY(er_run_begin(&s->run, &s->batch, NULL));
    ER_TRY(er_run_embed(&s->run, s->x));
    for (size_t l = 0; l <= s->z_layer; l++) ER_TRY(er_run_layer(&s->run, l, s->x, NULL));
    for (size_t i = 0; i < n; i++) {
        const er_request *u = er_z_slots_request(s, slots[i]);
        size_t z0_at = base + u->row[0].subject_last;
        ER_TRY(d->op->copy(d, s->z0 + slots[i] * hidden, s->x + z0_at * hidden, hidden * sizeof(float)));
        for (size_t r = 0; r < u->n_rows; base += u->row[r++].length)
            for (size_t j = u->row[r].subject_last; j < u->row[r].length; j++)
                s->host.gather[k++] = (int32_t)(base + j);
    }
    ER_TRY(upload_gather(s, k));
    for (size_t i = 0, at = 0; i < n; i++) {
        size_t own = er_request_footprint(er_z_slots_request(s, slots[i])).tokens;
        float *state = s->state + s->state_at[slots[i]] * hidden;
        ER_TRY(d->op->gather_rows(d, state, s->x, s->dev.gather + at, own, hidden));
        at += own;
    }
out:
    return rc;
}

// Layers above z over the positions before each row's subject_last; their keys and values go to the slot's
// part of the cache.
static er_status prefill_upper_prefix(er_z_slots *s, const size_t *slots, size_t n) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    er_batch *b = &s->batch;
    size_t base = 0;
    er_batch_clear(b);
    for (size_t i = 0; i < n; i++) {
        const er_request *u = er_z_slots_request(s, slots[i]);
        size_t at = s->prefix_at[slots[i]];
        for (size_t r = 0; r < u->n_rows; base += u->row[r++].length) {
            size_t prefix = u->row[r].subject_last;
            if (!prefix) continue;
            size_t first = b->tokens;
            ER_TRY(er_batch_row(b, u->row[r].token, prefix, ER_NO_KV, (er_kv_range){at, prefix}));
            for (size_t j = 0; j < prefix; j++) s->host.gather[first + j] = (int32_t)(base + j);
            at += prefix;
        }
    }
    if (!b->tokens || !s->above) return ER_OK;
    ER_TRY(upload_gather(s, b->tokens));
    ER_TRY(d->op->gather_rows(d, s->dx, s->x, s->dev.gather, b->tokens, s->m->arch.hidden));
    ER_TRY(er_run_begin(&s->run, b, &s->kv));
    for (size_t l = s->z_layer + 1; l < s->m->arch.layers; l++) ER_TRY(er_run_layer(&s->run, l, s->dx, NULL));
out:
    return rc;
}

static er_status reset_slots(er_z_slots *s, const size_t *slots, size_t n) {
    er_status rc = ER_OK;
    er_device *d = s->m->dev;
    size_t hidden = s->m->arch.hidden, bytes = hidden * sizeof(float);
    float *cleared[] = {s->delta, s->adam_m, s->adam_v};
    for (size_t i = 0; i < n; i++) {
        size_t at = slots[i] * hidden;
        for (size_t j = 0; j < 3; j++) ER_TRY(d->op->zero(d, cleared[j] + at, bytes));
        ER_TRY(d->op->row_norm(d, s->z0_norm + slots[i], s->z0 + at, 1, hidden));
        ER_TRY(d->op->download_async(d, s->host_z0 + at, s->z0 + at, bytes));
        ER_TRY(d->op->zero(d, s->step + slots[i], sizeof *s->step));
        s->fresh[slots[i]] = true;
        s->n_trace[slots[i]] = 0;
    }
out:
    return rc;
}

static er_status prefill_batch(er_z_slots *s, const size_t *slots, size_t n) {
    er_status rc = ER_OK;
    ER_TRY(prefill_lower(s, slots, n));
    ER_TRY(prefill_upper_prefix(s, slots, n));
    ER_TRY(reset_slots(s, slots, n));
    er_batch_clear(&s->batch);
out:
    return rc;
}

er_status er_z_slots_prefill(er_z_slots *s, const size_t *slots, size_t n) {
    er_status rc = ER_OK;
    size_t first = 0;
    er_batch_clear(&s->batch);
    for (size_t i = 0; i < n; i++) {
        const er_request *u = er_z_slots_request(s, slots[i]);
        if (i > first && !er_batch_fits(&s->batch, u->n_rows, er_request_tokens(u))) {
            ER_TRY(prefill_batch(s, slots + first, i - first));
            first = i;
        }
        for (size_t r = 0; r < u->n_rows; r++)
            ER_TRY(er_batch_row(&s->batch, u->row[r].token, u->row[r].length, ER_NO_KV, ER_NO_KV));
    }
    if (n > first) ER_TRY(prefill_batch(s, slots + first, n - first));
out:
    return rc;
}
