// The memory plan of a job: how large a batch there is room for, and what goes where. On a CPU that is asked
// for only with --memory-limit, which counts what the device gives out: weights and their copies, batches,
// statistics, the solve. Facts and prompts come on top.
#include <math.h>

#include "engine/job/share_internal.h"
#include "io/base/log.h"

static double gb(size_t bytes) { return (double)bytes * 1e-9; }

// ---- a limit on a CPU ----

enum { USUAL_BATCH = 1024, LEAST_BATCH = 128 };

static double larger(double a, double b) { return a > b ? a : b; }

static er_status refuse(const er_job *j, double weights, double sums, double work) {
    return er_fail(ER_ENOMEM,
        "a memory limit of %zu bytes: this job takes %.0f at least (weights %.0f, statistics %.0f, work on "
        "them %.0f)",
        j->dev->memory_limit, ceil(weights + sums + work), weights, sums, work);
}

static double sums_of(const er_job *j) {
    double d_ff = (double)j->arch.d_ff;
    return (double)j->report->hparams.n_layers * d_ff * d_ff * sizeof(double);
}

er_status er_job_check_limit(er_job *j) {
    er_checkpoint *c = NULL;
    double stored = 0;
    if (!j->dev->memory_bound) return ER_OK;
    er_status rc = er_checkpoint_open(&c, j->o->model);
    if (rc != ER_OK) return rc;
    for (size_t i = 0; i < er_checkpoint_count(c); i++) stored += (double)er_checkpoint_at(c, i)->bytes;
    er_checkpoint_free(c);
    double sums = sums_of(j), work = er_estimate_solve(&j->arch, &j->report->hparams) - sums;
    return stored + sums + work <= (double)j->dev->memory_limit ? ER_OK : refuse(j, stored, sums, work);
}

// The largest batch that fits, or the wanted one.
static er_status plan_limited_cpu(er_job *j, const er_requests *own) {
    const er_hparams *h = &j->report->hparams;
    er_dtype stored = j->m->block[h->layers[0]].down_tensor->dtype;
    double weights = er_estimate_weights(j->dev, &j->arch, h, (double)j->report->weight_bytes, stored),
           sums = sums_of(j), solve = er_estimate_solve(&j->arch, h) - sums,
           limit = (double)j->dev->memory_limit;
    size_t batch = j->o->batch_tokens ? j->o->batch_tokens : USUAL_BATCH;
    double values = (double)er_targets_bytes(&j->arch, own, h, batch);
    while (weights + sums + values > limit && !j->o->batch_tokens && batch / 2 >= LEAST_BATCH)
        values = (double)er_targets_bytes(&j->arch, own, h, batch /= 2);
    double work = larger(values, solve);
    if (weights + sums + work > limit) return refuse(j, weights, sums, work);
    j->batch_tokens = batch;
    er_info("memory      %.2f GB may be used: weights %.2f, values %.2f (%zu tokens a step), statistics "
            "%.2f, solve %.2f",
        limit * 1e-9, weights * 1e-9, values * 1e-9, batch, sums * 1e-9, solve * 1e-9);
    return ER_OK;
}

// What the machine, a control group or ulimit -v leaves is only warned about: the count is an estimate, and
// what is taken beyond it is the kernel's to judge.
static void warn_if_short(const er_job *j, size_t total, size_t values) {
    const er_hparams *h = &j->report->hparams;
    er_dtype stored = j->m->block[h->layers[0]].down_tensor->dtype;
    double sums = sums_of(j),
           need = er_estimate_weights(j->dev, &j->arch, h, (double)j->report->weight_bytes, stored) + sums +
                  larger((double)values, er_estimate_solve(&j->arch, h) - sums);
    if (need > (double)total)
        er_warn("this job takes about %.2f GB; the machine, its control group and ulimit -v allow %.2f",
            need * 1e-9, gb(total));
}

er_status er_job_plan_memory(er_job *j) {
    er_status rc = ER_OK;
    er_device *d = j->dev;
    const er_hparams *h = &j->report->hparams;
    size_t available = 0, total = 0, need = 0, weights = j->report->weight_bytes;
    er_requests own = er_share_expected(j);
    if (d->memory_bound) return plan_limited_cpu(j, &own);
    ER_TRY(d->op->memory(d, &available, &total));
    if (weights > total / 3 * 2) weights = total / 3 * 2;
    if (j->check_only) available = available > weights ? available - weights : 0;  // not loaded
    // What is free at the moment must not decide the bits of a deterministic job.
    size_t wanted = j->o->batch_tokens ? j->o->batch_tokens : j->o->deterministic && d->is_async ? 8192 : 0;
    ER_TRY(er_targets_batch(&j->batch_tokens, &need, d, &j->arch, &own, h, wanted, available));
    if (!d->is_async) {
        warn_if_short(j, total, er_targets_bytes(&j->arch, &own, h, j->batch_tokens));
        goto out;
    }
    size_t moments = h->n_layers * j->arch.d_ff * j->arch.d_ff * sizeof(double);
    er_info("memory      %.2f GB may be used: weights %.2f of %.2f, values %.2f (%zu tokens a step), "
            "statistics %.2f%s",
        gb(total), gb(weights), gb(j->report->weight_bytes), gb(need), j->batch_tokens, gb(moments),
        need + moments + total / 4 > available ? ", on the host when the room is needed" : "");
out:
    return rc;
}
