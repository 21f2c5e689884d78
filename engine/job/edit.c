// er_edit: the stages in order, and what is released whatever happens.
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "engine/job/job_internal.h"
#include "io/base/clock.h"
#include "io/base/log.h"

// For tests: ERRATA_DEBUG_STOP=<stage> asks the job to stop as the stage begins; ERRATA_DEBUG_SIGNAL=<stage> raises SIGUSR2
// there, for a handler of the test.
static void debug_stop(const char *stage) {
    const char *wanted = getenv("ERRATA_DEBUG_STOP");
    if (wanted && !strcmp(wanted, stage)) er_stop_request();
    wanted = getenv("ERRATA_DEBUG_SIGNAL");
    if (wanted && !strcmp(wanted, stage)) (void)raise(SIGUSR2);
}

// A model that changed is found out as a stage begins, not hours later when it is to be copied.
static er_status begin(const er_job *j, const char *stage) {
    debug_stop(stage);
    return er_folder_check(j->folder, false);
}

static void job_free(er_job *j) {
    er_warnings_end(j->warnings);
    er_output_free(j->output);
    er_target_store_close(j->store);
    for (size_t i = 0; j->moments && i < j->report->hparams.n_layers; i++)
        er_second_moment_free(j->dev, j->moments[i]);
    free(j->moments);
    for (size_t i = 0; j->history && i < j->report->hparams.n_layers; i++)
        er_second_moment_free(j->dev, j->history[i]);
    free(j->history);
    cJSON_Delete(j->history_told);
    free(j->z);
    free(j->have);
    er_requests_free(j->requests);
    er_templates_free(j->templates);
    er_model_free(j->m);
    er_folder_free(j->folder);
    free(j->shard_digest);
    er_facts_free(j->facts);
    er_device_close(j->dev);
    free(j->cache);
}

er_status er_edit(er_edit_report **report, const er_edit_options *options) {
    er_status rc = ER_OK;
    er_job j = {.o = options, .report = calloc(1, sizeof(er_edit_report)), .start = er_clock()};
    if (!j.report) return er_fail(ER_ENOMEM, "report");
    ER_TRY(er_warnings_begin(&j.warnings));
    ER_TRY(er_interrupted_in(er_job_prepare(&j), "prepare", NULL));
    er_job_print_plan(&j);
    ER_TRY(er_job_plan_memory(&j));
    if (!options->check_only) {
        ER_TRY(begin(&j, "covary"));
        ER_TRY(er_interrupted_in(er_job_statistics(&j), "covary", NULL));
        ER_TRY(begin(&j, "values"));
        ER_TRY(er_interrupted_in(er_job_targets(&j), "values", NULL));
        ER_TRY(begin(&j, "solve"));
        ER_TRY(er_interrupted_in(er_job_solve(&j), "solve", NULL));
        ER_TRY(begin(&j, "write"));
        ER_TRY(er_job_write(&j));
    } else {
        ER_TRY(er_estimate_job(&j.report->estimate, j.dev, &j.arch, j.requests, &j.report->hparams,
            j.m->block[j.report->hparams.layers[0]].down_tensor->dtype));
        ER_TRY(er_job_manifest(&j, false));
    }
    j.report->seconds = er_clock() - j.start;
    *report = j.report;
    j.report = NULL;
out:
    if (j.report) {
        er_edit_report *r = j.report;
        job_free(&j);
        er_edit_report_free(r);
    } else {
        j.report = *report;
        job_free(&j);
    }
    return rc;
}

void er_edit_report_free(er_edit_report *r) {
    if (!r) return;
    free(r->json);
    free(r);
}
