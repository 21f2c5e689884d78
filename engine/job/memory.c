// The memory plan of a job on a device with memory of its own: how large a batch it has room for, and what
// goes where.
#include "engine/job/job.h"
#include "io/log.h"

static double gb(size_t bytes) { return (double)bytes * 1e-9; }

er_status er_job_plan_memory(er_job *j) {
    er_status rc = ER_OK;
    er_device *d = j->dev;
    const er_hparams *h = &j->report->hparams;
    size_t available = 0, total = 0, need = 0, weights = j->report->weight_bytes;
    ER_TRY(d->op->memory(d, &available, &total));
    if (weights > total / 3 * 2) weights = total / 3 * 2;
    if (j->o->check_only) available = available > weights ? available - weights : 0;  // not loaded
    // What is free at the moment must not decide the bits of a deterministic job.
    size_t wanted = j->o->batch_tokens                      ? j->o->batch_tokens
                    : j->o->deterministic && d->runs_behind ? 8192
                                                            : 0;
    ER_TRY(er_values_batch(&j->batch_tokens, &need, d, &j->arch, j->units, h, wanted, available));
    if (!d->runs_behind) goto out;
    size_t moments = h->n_layers * j->arch.inner * j->arch.inner * sizeof(double);
    er_info("memory      %.2f GB may be used: weights %.2f of %.2f, values %.2f (%zu tokens a step), "
            "statistics %.2f%s",
        gb(total), gb(weights), gb(j->report->weight_bytes), gb(need), j->batch_tokens, gb(moments),
        need + moments + total / 4 > available ? ", on the host when the room is needed" : "");
out:
    return rc;
}
