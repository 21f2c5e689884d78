// The memory plan of a job on a device with memory of its own: how large a batch it has room for. On the CPU
// memory is the host's, and the batch is what caches like.
#include "engine/job/job.h"
#include "io/log.h"

enum { CPU_BATCH = 1024, GPU_BATCH = 8192, LEAST_BATCH = 128 };

static double gb(size_t bytes) { return (double)bytes * 1e-9; }

// Beside the batch: a GEMM's 16-bit inputs and converted weights, workspaces, what fragmentation costs.
static size_t beside(const er_job *j, size_t batch) {
    const er_arch *a = &j->arch;
    size_t inputs = 2 * batch * (a->inner > a->hidden ? a->inner : a->hidden),
           logits = batch / 2 * a->vocab;  // labels are few beside tokens: a quarter of them, two bytes each
    return (inputs > logits ? inputs : logits) + ((size_t)256 << 20);
}

er_status er_job_plan_memory(er_job *j) {
    er_device *d = j->dev;
    size_t available = 0, total = 0, batch = j->o->batch_tokens, need = 0;
    if (!d->runs_behind) {
        j->batch_tokens = batch ? batch : CPU_BATCH;
        return ER_OK;
    }
    er_status rc = d->op->memory(d, &available, &total);
    if (rc != ER_OK) return rc;
    size_t weights = j->report->weight_bytes < total / 3 * 2 ? j->report->weight_bytes : total / 3 * 2;
    if (j->o->check_only) available = available > weights ? available - weights : 0;  // not loaded
    bool chosen = batch != 0;
    for (batch = chosen ? batch : GPU_BATCH;; batch /= 2) {
        need = er_values_bytes(&j->arch, j->units, &j->report->hparams, batch) + beside(j, batch);
        if (need <= available || chosen || batch / 2 < LEAST_BATCH) break;
    }
    if (need > available)
        return er_fail(ER_ENOMEM,
            "the values stage takes %.2f GB with %zu tokens a step; the device has %.2f GB left of %.2f "
            "beside the weights",
            gb(need), batch, gb(available), gb(total));
    size_t moments = j->report->hparams.n_layers * j->arch.inner * j->arch.inner * sizeof(double);
    er_info("memory      %.2f GB may be used: weights %.2f of %.2f, values %.2f (%zu tokens a step), "
            "statistics %.2f%s",
        gb(total), gb(total - available), gb(j->report->weight_bytes), gb(need), batch, gb(moments),
        need + moments + total / 4 > available ? ", on the host when the room is needed" : "");
    j->batch_tokens = batch;
    return ER_OK;
}
