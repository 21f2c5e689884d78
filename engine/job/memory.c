// The memory plan of a job: how large a batch there is room for, and what goes where. The stages count it
// themselves, with the arenas that they will take their buffers from. A CPU is held to it only with
// --memory-limit, which counts what the device gives out: weights and their copies, batches, statistics, the
// solve. Facts and prompts come on top.
#include "engine/job/share_internal.h"
#include "engine/statistics.h"
#include "io/base/log.h"

#define CPU_SCRATCH                                                                                          \
    ((size_t)8 << 20)  // of single ops: activations split for a matrix unit, scores of attention

static double gb(size_t bytes) { return (double)bytes * 1e-9; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

size_t er_memory_peak(const er_memory_plan *p) {
    return p->weights + p->statistics + larger(p->pass, larger(p->values, p->solve));
}

// What the device keeps beside the stored weights: for backward only above the z layer.
static size_t copies(const er_job *j) {
    const er_arch *a = &j->arch;
    const er_hparams *h = &j->report->hparams;
    er_dtype stored = j->m->block[h->layers[0]].down_tensor->dtype;
    double layer = er_arch_layer_flops(a) / 2, head = er_arch_head_flops(a) / 2;  // a multiply-add per weight
    double forward = (double)j->dev->op->weight_copy_bits(j->dev, stored, false) / 8;
    double backward = (double)j->dev->op->weight_copy_bits(j->dev, stored, true) / 8;
    size_t above = a->layers - 1 - h->layers[h->n_layers - 1];
    return (size_t)(forward * ((double)a->layers * layer + head) + backward * ((double)above * layer + head));
}

// All but weights and values. `requests`: of the job, or none for the least that any job like it takes.
static er_status count_solve(er_memory_plan *p, const er_job *j, const er_requests *requests) {
    const er_hparams *h = &j->report->hparams;
    size_t moment = j->arch.d_ff * j->arch.d_ff * sizeof(double), tokens = er_apply_tokens(j->dev);
    er_apply a = er_job_apply(j);
    a.requests = requests;
    a.max_tokens = tokens;
    p->statistics = h->n_layers * moment;
    p->pass = er_statistics_pass_bytes(&j->arch, h->cov_tokens < tokens ? h->cov_tokens : tokens);
    er_status rc = er_apply_bytes(&p->solve, &j->arch, &a);
    if (!j->dev->is_async) p->pass += CPU_SCRATCH, p->solve += CPU_SCRATCH;
    if (j->editor->keeps_history) p->solve += (j->dev->is_async ? 1 : h->n_layers) * moment;
    return rc;
}

// ---- a limit on a CPU ----

static er_status refuse(const er_job *j, const er_memory_plan *p) {
    size_t work = larger(p->values, p->solve);
    return er_fail(ER_ENOMEM,
        "a memory limit of %zu bytes: this job takes %zu at least (weights %zu, statistics %zu, work on them "
        "%zu)",
        j->dev->memory_limit, p->weights + p->statistics + work, p->weights, p->statistics, work);
}

static bool is_within_limit(const er_job *j, const er_memory_plan *p) {
    return p->weights + p->statistics + larger(p->values, p->solve) <= j->dev->memory_limit;
}

er_status er_job_check_limit(er_job *j) {
    const er_requests none = {0};
    er_checkpoint *c = NULL;
    er_memory_plan p = {0};
    if (!j->dev->memory_bound) return ER_OK;
    er_status rc = er_checkpoint_open(&c, j->o->model);
    if (rc != ER_OK) return rc;
    for (size_t i = 0; i < er_checkpoint_count(c); i++) p.weights += (size_t)er_checkpoint_at(c, i)->bytes;
    er_checkpoint_free(c);
    rc = count_solve(&p, j, &none);
    return rc != ER_OK || is_within_limit(j, &p) ? rc : refuse(j, &p);
}

static er_status plan_limited_cpu(er_job *j, er_memory_plan *p) {
    er_requests own = er_share_expected(j);
    size_t kept = p->weights + p->statistics + CPU_SCRATCH, limit = j->dev->memory_limit;
    er_status rc = er_targets_batch(&p->batch_tokens, &p->values, j->dev, &j->arch, &own, &j->report->hparams,
        j->o->batch_tokens, limit > kept ? limit - kept : 0);
    p->values += CPU_SCRATCH;
    if (rc == ER_ENOMEM || (rc == ER_OK && !is_within_limit(j, p))) return refuse(j, p);
    if (rc == ER_OK)
        er_info("memory      %.2f GB may be used: weights %.2f, values %.2f (%zu tokens a step), statistics "
                "%.2f, solve %.2f",
            gb(limit), gb(p->weights), gb(p->values), p->batch_tokens, gb(p->statistics), gb(p->solve));
    return rc;
}

// ---- what the device has ----

static er_status plan_device(er_job *j, er_memory_plan *p) {
    er_status rc = ER_OK;
    er_device *d = j->dev;
    er_requests own = er_share_expected(j);
    size_t available = 0, total = 0, resident = j->report->weight_bytes;
    ER_TRY(d->op->memory(d, &available, &total));
    if (resident > total / 3 * 2) resident = total / 3 * 2;  // the rest is streamed from the host
    if (j->check_only) available = available > resident ? available - resident : 0;  // not loaded
    // What is free at the moment must not decide the bits of a deterministic job.
    size_t wanted = j->o->batch_tokens ? j->o->batch_tokens : j->o->deterministic && d->is_async ? 8192 : 0;
    ER_TRY(er_targets_batch(
        &p->batch_tokens, &p->values, d, &j->arch, &own, &j->report->hparams, wanted, available));
    if (!d->is_async) p->values += CPU_SCRATCH;
    if (d->is_async)
        er_info("memory      %.2f GB may be used: weights %.2f of %.2f, values %.2f (%zu tokens a step), "
                "statistics %.2f, solve %.2f%s",
            gb(total), gb(resident), gb(j->report->weight_bytes), gb(p->values), p->batch_tokens,
            gb(p->statistics), gb(p->solve),
            p->values + p->statistics + total / 4 > available
                ? "; statistics on the host when the room is needed"
                : "");
    // What the machine, a control group or ulimit -v leaves is only warned about: what is taken beyond it is
    // the kernel's to judge.
    else if (er_memory_peak(p) > total)
        er_warn("this job takes about %.2f GB; the machine, its control group and ulimit -v allow %.2f",
            gb(er_memory_peak(p)), gb(total));
out:
    return rc;
}

er_status er_job_plan_memory(er_job *j) {
    er_memory_plan *p = &j->report->memory;
    *p = (er_memory_plan){.weights = j->report->weight_bytes + copies(j)};
    er_status rc = count_solve(p, j, j->requests);
    if (rc == ER_OK) rc = j->dev->memory_bound ? plan_limited_cpu(j, p) : plan_device(j, p);
    j->batch_tokens = p->batch_tokens;
    return rc;
}
