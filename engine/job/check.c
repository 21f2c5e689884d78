// er_job_check: what er_job_edit would do, without doing it.
#include "engine/job/job_internal.h"

static er_status stages(er_job *j) {
    er_status rc = ER_OK;
    const er_hparams *h = &j->report->hparams;
    ER_TRY(er_estimate_job(&j->report->estimate, j->dev, &j->arch, j->requests, h,
        j->m->block[h->layers[0]].down_tensor->dtype));
    ER_TRY(er_job_manifest(j, false));
out:
    return rc;
}

er_status er_job_check(er_job_report **report, const er_job_options *options) {
    return er_job_run(report, options, er_comm_self(), stages, true);
}
