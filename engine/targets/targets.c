// The loop: admit, queue a step, hand out what is done, refill. Where the device runs behind, a step's
// results are looked at when the next one is already queued, so that it never waits for the host: a request
// that stops early then takes part in one step more, which leaves its delta alone.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/targets/z_slots_internal.h"
#include "io/base/clock.h"
#include "io/base/log.h"

typedef struct loop {
    er_z_slots *s;
    const er_targets_options *o;
    er_target_sink sink;
    void *ctx;
    size_t next;    // request to look at next
    size_t *taken;  // [slots] scratch of admissions
    float *z;       // [hidden]
    size_t seen;    // steps whose results have been looked at
} loop;

static bool wanted(const loop *l, size_t request) { return !l->o->have || !l->o->have[request]; }

// The deterministic order: groups of consecutive requests as many as fit an empty batch, whatever is cached.
// A group runs whole when any of its requests is wanted, so that each request always meets the same company.
static er_status fixed_group(loop *l, size_t *taken) {
    er_status rc = ER_OK;
    er_z_slots *s = l->s;
    bool any = false;
    while (!any && l->next < s->requests->count) {
        size_t n = 0;
        for (; l->next < s->requests->count && er_z_slots_take(s, &l->taken[n], l->next); l->next++, n++)
            any = any || wanted(l, l->next);
        for (size_t i = 0; !any && i < n; i++) ER_TRY(er_z_slots_release(s, l->taken[i]));
        *taken = any ? n : 0;
    }
out:
    return rc;
}

// Whatever fits beside the requests in flight, in the order of the file.
static size_t next_fitting(loop *l) {
    er_z_slots *s = l->s;
    size_t n = 0;
    for (; l->next < s->requests->count; l->next++) {
        if (!wanted(l, l->next)) continue;
        if (!er_z_slots_take(s, &l->taken[n], l->next)) break;
        n++;
    }
    return n;
}

static er_status admit(loop *l, bool *changed) {
    er_status rc = ER_OK;
    size_t n = 0;
    if (!l->o->deterministic) n = next_fitting(l);
    else if (!l->s->active) ER_TRY(fixed_group(l, &n));
    *changed = n > 0;
    if (n) ER_TRY(er_z_slots_prefill(l->s, l->taken, n));
out:
    return rc;
}

static er_status hand_out(loop *l, size_t slot, size_t step) {
    er_z_slots *s = l->s;
    size_t hidden = s->m->arch.hidden, request = s->request[slot];
    const float *start = s->host_z0 + slot * hidden, *delta = s->host_delta[step % 2] + slot * hidden;
    double z0 = 0, dd = 0;
    for (size_t i = 0; i < hidden; i++) {
        z0 += (double)start[i] * (double)start[i];
        dd += (double)delta[i] * (double)delta[i];
        l->z[i] = start[i] + delta[i];
    }
    er_target_z v = {.z = l->z,
        .z0_norm = (float)sqrt(z0),
        .delta_norm = (float)sqrt(dd),
        .loss = s->trace + slot * s->h->steps,
        .n_loss = s->n_trace[slot]};
    return wanted(l, request) ? l->sink(l->ctx, request, &v) : ER_OK;
}

// The results of the oldest step not looked at yet. *changed: a request has left.
static er_status look(loop *l, er_targets_stats *stats, size_t *finished, bool *changed) {
    er_status rc = ER_OK;
    er_z_slots *s = l->s;
    size_t step = l->seen++;
    ER_TRY(er_z_slots_result(s, step));
    for (size_t i = 0; i < s->count; i++) {
        if (s->request[i] == ER_NO_REQUEST || step < s->first_step[i]) continue;
        float total = s->host_total[step % 2][i];
        if (!isfinite(total)) {
            s->failed = s->request[i];
            ER_FAIL(ER_ENUMERIC, "the loss is not finite at step %zu", s->n_trace[i]);
        }
        s->trace[i * s->h->steps + s->n_trace[i]++] = total;
        stats->losses++;
        if (!s->host_done[step % 2][i] && s->n_trace[i] < s->h->steps) continue;
        ER_TRY(hand_out(l, i, step));
        *finished += wanted(l, s->request[i]);
        stats->requests++;
        ER_TRY(er_z_slots_release(s, i));
        *changed = true;
    }
out:
    return rc;
}

// Queues a step unless all requests in flight have theirs queued. *changed: the next batch has other members.
static er_status queue_step(loop *l, er_targets_stats *stats, bool *changed) {
    er_status rc = ER_OK;
    er_z_slots *s = l->s;
    bool any = false;
    if (*changed) ER_TRY(er_z_slots_plan(s));
    *changed = false;
    for (size_t i = 0; i < s->count; i++) any = any || er_z_slots_runs(s, i);
    if (!any) return ER_OK;
    ER_TRY(er_z_slots_queue(s));
    stats->batches++;
    for (size_t i = 0; i < s->count; i++)
        if (s->request[i] != ER_NO_REQUEST && s->queued[i] == s->h->steps) *changed = true;
out:
    return rc;
}

static er_status run_loop(loop *l, er_targets_stats *stats, size_t total) {
    er_status rc = ER_OK;
    size_t finished = 0;
    bool changed = false;
    char kept[96];
    er_progress *p = er_progress_begin("values", total, "facts");
    const size_t behind = l->s->m->dev->is_async ? 1 : 0;
    for (;;) {
        bool admitted = false;
        ER_TRY(admit(l, &admitted));
        if (!l->s->active) break;
        changed = changed || admitted;
        size_t before = l->s->steps;
        ER_TRY(queue_step(l, stats, &changed));
        // With nothing new queued the device would idle: take what is there.
        size_t keep = l->s->steps > before ? behind : 0;
        while (l->seen + keep < l->s->steps) ER_TRY(look(l, stats, &finished, &changed));
        er_progress_update(p, finished);
        ER_TRY(er_stop_check(""));
    }
out:
    er_progress_end(p);
    (void)snprintf(kept, sizeof kept, "%zu of %zu facts are done and kept", finished, total);
    return er_stop_requested() ? er_interrupted_in(rc, "values", kept) : rc;  // else the sink has said why
}

// The largest batch up to the one asked for that the device has room for.
static er_status create_slots(er_z_slots **out, er_model *m, const er_requests *requests, const er_hparams *h,
    const er_targets_options *o) {
    size_t batch = o->batch_tokens ? o->batch_tokens : 1024, least = requests->max_suffix_tokens;
    for (;;) {
        er_status rc = er_z_slots_create(out, m, requests, h, batch);
        if (rc != ER_ENOMEM || o->deterministic || batch <= least) return rc;
        er_warn("no room for a batch of %zu tokens: %s; half of it is tried", batch, er_last_error());
        batch = batch / 2 > least ? batch / 2 : least;
    }
}

er_status er_targets_optimise(er_targets_stats *stats, er_model *m, const er_requests *requests,
    const er_hparams *h, const er_targets_options *options, er_target_sink sink, void *ctx) {
    er_status rc = ER_OK;
    loop l = {.o = options, .sink = sink, .ctx = ctx};
    size_t hidden = m->arch.hidden, total = 0;
    double start = er_clock();
    *stats = (er_targets_stats){0};
    for (size_t i = 0; i < requests->count; i++) total += wanted(&l, i);
    if (!total) return ER_OK;
    ER_TRY(create_slots(&l.s, m, requests, h, options));
    l.taken = malloc(l.s->count * sizeof *l.taken);
    l.z = malloc(hidden * sizeof *l.z);
    if (!l.taken || !l.z) ER_FAIL(ER_ENOMEM, "%zu slots", l.s->count);
    stats->slots = l.s->count;
    stats->batch_tokens = l.s->cap_tokens;
    ER_TRY(run_loop(&l, stats, total));
out:
    if (l.s) stats->flops = l.s->run.flops, stats->failed = l.s->failed;
    stats->seconds = er_clock() - start;
    er_z_slots_free(l.s);
    free(l.taken);
    free(l.z);
    return rc;
}
