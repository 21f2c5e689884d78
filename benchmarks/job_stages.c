#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/job.h"
#include "engine/statistics.h"
#include "engine/editors/apply.h"
#include "engine/targets.h"
#include "io/base/log.h"

#define PROJECTED_FACTS 10000u
// Shares of the time left that the values may take; the rest is for the solves, which cannot be cut short.
#define VALUES_SHARE 0.6
enum { WARM_STEPS = 3, WARM_TOKENS = 1024, ROW_TOKENS = 512 };

static job_stage *begin(job *j, size_t which, const char *name, const char *request, size_t asked) {
    job_stage *s = &j->stage[which];
    *s = (job_stage){.name = name, .request = request, .asked = asked, .ceiling = j->ceilings.gemm};
    (void)er_watch_peak();
    return s;
}

static er_floors floors_of(const job *j, size_t facts) {
    er_floors f;
    er_floors_count(&f, &j->m->arch, &j->h, &j->means, facts, j->o.cov_tokens, j->slots, 2);
    return f;
}

// ---- covariance ----

static er_status statistics_rows(job *j, size_t n_layers, const er_sequences *rows, double *flops) {
    return er_statistics_collect(
        j->moments, j->m, j->h.layers, n_layers, rows, j->o.cov_batch, NULL, NULL, NULL, flops);
}

void job_free_moments(job *j) {
    for (size_t i = 0; i < j->h.n_layers; i++)
        er_second_moment_free(j->dev, j->moments[i]), j->moments[i] = NULL;
}

er_status job_run_covary(job *j) {
    er_status rc = ER_OK;
    er_sequences *rows = NULL, *warm = NULL;
    size_t row = j->m->arch.max_position_embeddings < ROW_TOKENS ? j->m->arch.max_position_embeddings
                                                                 : ROW_TOKENS,
           vocab = j->m->arch.vocab;
    job_stage *s = begin(j, STAGE_COVARY, "covariance", "tokens", j->o.cov_tokens);
    ER_TRY(er_random_rows(&warm, WARM_TOKENS, row, vocab, j->o.seed + 1));
    ER_TRY(er_random_rows(&rows, j->o.cov_tokens, row, vocab, j->o.seed));
    ER_TRY(statistics_rows(j, 1, warm, &s->flops));
    job_free_moments(j);
    double start = er_now();
    ER_TRY(statistics_rows(j, j->h.n_layers, rows, &s->flops));
    s->seconds = er_now() - start;
    s->done = rows->tokens, s->ran = s->whole = true;
    er_floors f = floors_of(j, j->o.facts);
    s->floor_flops = f.statistics_layers + f.statistics_products;
    s->peak_bytes = er_watch_peak();
out:
    er_sequences_free(rows);
    er_sequences_free(warm);
    return rc;
}

// ---- values ----

typedef struct taken {
    job *j;
    bool keep;
} taken;

static er_status take_value(void *ctx, size_t request, const er_target_z *v) {
    taken *t = ctx;
    size_t hidden = t->j->m->arch.hidden;
    if (!t->keep) return ER_OK;
    memcpy(t->j->z + request * hidden, v->z, hidden * sizeof *v->z);
    FILE *f = t->j->losses;
    if (!f) return ER_OK;
    (void)fprintf(f, "{\"fact\":%zu,\"z0_norm\":%.9g,\"delta_norm\":%.9g,\"loss\":[", request,
        (double)v->z0_norm, (double)v->delta_norm);
    for (size_t i = 0; i < v->n_loss; i++) (void)fprintf(f, "%s%.9g", i ? "," : "", (double)v->loss[i]);
    return fprintf(f, "]}\n") < 0 ? er_fail(ER_EIO, "%s cannot be written", t->j->o.dump_losses) : ER_OK;
}

static er_status optimise(job *j, er_targets_stats *stats, size_t facts, size_t steps, bool keep) {
    er_requests first = *j->requests;
    er_hparams h = j->h;
    taken t = {j, keep};
    first.count = facts, h.steps = steps;
    return er_targets_optimise(
        stats, j->m, &first, &h, &(er_targets_options){.batch_tokens = j->o.batch_tokens}, take_value, &t);
}

// Whole waves of slots, two at least: a wave that is not full is not what a large job is made of.
static size_t choose_facts(const job *j, double per_fact_step) {
    size_t n = j->o.limit_values ? j->o.limit_values : j->o.facts;
    if (!j->o.limit_values && j->o.budget > 0) {
        double left = j->o.budget - (er_now() - j->start),
               share = j->o.stages & JOB_SOLVE ? VALUES_SHARE : 0.9,
               room = share * left / (per_fact_step * (double)j->h.steps);
        size_t waves = room > 0 ? (size_t)(room / (double)j->slots) : 0;
        n = (waves > 2 ? waves : 2) * j->slots;
    }
    return n < j->o.facts ? n : j->o.facts;
}

er_status job_run_values(job *j) {
    er_status rc = ER_OK;
    er_targets_stats stats = {0};
    job_stage *s = begin(j, STAGE_VALUES, "values", "facts", j->o.facts);
    size_t guess = 0, need = 0, available = 0, total = 0;
    ER_TRY(er_second_moment_evict(j->dev, j->moments, j->h.n_layers,
        er_targets_bytes(&j->m->arch, j->requests, &j->h, j->o.batch_tokens ? j->o.batch_tokens : 8192)));
    ER_TRY(j->dev->op->memory(j->dev, &available, &total));
    ER_TRY(er_targets_batch(
        &j->o.batch_tokens, &need, j->dev, &j->m->arch, j->requests, &j->h, j->o.batch_tokens, available));
    guess = (size_t)((double)j->o.batch_tokens / j->means.suffix) + 1;
    if (guess > j->o.facts) guess = j->o.facts;
    ER_TRY(optimise(j, &stats, guess, WARM_STEPS, false));
    j->slots = stats.slots, j->batch_tokens = stats.batch_tokens;
    double each = stats.seconds / (double)(stats.losses ? stats.losses : 1);
    size_t n = choose_facts(j, each);
    rc = optimise(j, &stats, n, j->h.steps, true);
    j->slots = stats.slots, j->batch_tokens = stats.batch_tokens;
    if (rc != ER_OK && rc != ER_EINTERRUPTED) goto out;
    s->ran = true, s->interrupted = rc == ER_EINTERRUPTED;
    // what was interrupted counts by its share of steps
    s->done = s->interrupted ? stats.losses / j->h.steps : n;
    s->whole = s->done == j->o.facts;
    s->seconds = stats.seconds, s->flops = stats.flops;
    er_floors f = floors_of(j, s->done);
    s->floor_flops = f.values, s->bytes = f.values_bytes;
    s->project = PROJECTED_FACTS;
    if (s->done) s->projected = s->seconds * (double)PROJECTED_FACTS / (double)s->done;
    s->peak_bytes = er_watch_peak();
    j->have = s->interrupted ? 0 : n;
out:
    return rc;
}

// ---- gather and solve ----

// A fact without a value of its own borrows another's: what a solve costs does not depend on it.
static void fill_values(job *j) {
    size_t hidden = j->m->arch.hidden;
    uint64_t random = j->o.seed | 1;
    for (size_t i = j->have; i < j->o.facts; i++)
        for (size_t k = 0; k < hidden; k++)
            j->z[i * hidden + k] =
                j->have ? j->z[i % j->have * hidden + k] : 2.0f * er_random_request(&random);
}

static er_status spread(job *j, er_apply_report *report, size_t facts) {
    er_requests first = *j->requests;
    size_t tokens = 0;
    first.count = facts;
    er_status rc = er_apply_room(
        &tokens, j->dev, &j->m->arch, &(er_apply){.requests = &first, .h = &j->h, .c = j->moments});
    return rc == ER_OK
               ? er_apply_edits(report, j->m,
                     &(er_apply){
                         .requests = &first, .z = j->z, .c = j->moments, .h = &j->h, .max_tokens = tokens})
               : rc;
}

er_status job_run_spread(job *j) {
    er_status rc = ER_OK;
    er_apply_report r = {0};
    size_t n = j->o.limit_solve && j->o.limit_solve < j->o.facts ? j->o.limit_solve : j->o.facts;
    job_stage *g = begin(j, STAGE_GATHER, "gather", "facts", j->o.facts),
              *s = begin(j, STAGE_SOLVE, "solve", "facts", j->o.facts);
    if (!j->moments[0]) ER_FAIL(ER_EARG, "solve needs the covariances of stage cov");
    fill_values(j);
    rc = spread(j, &r, n);
    if (rc != ER_OK && rc != ER_EINTERRUPTED) goto out;
    for (size_t i = 0; i < r.n_layers; i++)
        s->seconds += r.layer[i].solve.seconds, s->flops += r.layer[i].solve.flops;
    g->seconds = r.seconds - s->seconds, g->flops = r.flops;
    g->ran = s->ran = true;
    s->ceiling = j->ceilings.gemm64;
    g->peak_bytes = s->peak_bytes = er_watch_peak();
    // layer by layer: what was interrupted is no number of facts and has no floor
    g->interrupted = s->interrupted = rc == ER_EINTERRUPTED;
    if (rc == ER_EINTERRUPTED) goto out;
    g->done = s->done = n;
    g->whole = s->whole = n == j->o.facts;
    er_floors f = floors_of(j, n), all = floors_of(j, PROJECTED_FACTS);
    g->floor_flops = f.gather, s->floor_flops = f.solve;
    g->project = s->project = PROJECTED_FACTS;
    g->projected = g->seconds * (double)PROJECTED_FACTS / (double)n;
    s->projected = s->seconds * all.solve / f.solve;  // its n-independent part does not grow
out:
    return rc;
}
