// er_job_edit: the stages in order, and what is released whatever happens.
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/job/job_internal.h"
#include "engine/job/ranks.h"
#include "io/base/clock.h"
#include "io/base/log.h"
#include "kernels/comm/device_sum.h"

// For tests: ERRATA_DEBUG_STOP=<stage> asks the job to stop as the stage begins; ERRATA_DEBUG_SIGNAL=<stage>
// raises SIGUSR2 there, for a handler of the test.
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

// What ranks do apart ends for all of them together.
static er_status end(er_job *j, er_status rc) {
    rc = er_comm_agree(j->comm, er_interrupted_in(rc, j->stage, NULL), NULL);
    return rc == ER_OK ? er_job_tell_warnings(j) : rc;
}

static er_status run_stage(er_job *j, const char *stage, er_status (*run)(er_job *j)) {
    j->stage = stage;
    er_status rc = er_comm_agree(j->comm, begin(j, stage), NULL);
    return rc == ER_OK ? end(j, run(j)) : rc;
}

static er_status prepare(er_job *j) {
    er_status rc = ER_OK;
    j->stage = "prepare";
    ER_TRY(end(j, er_job_prepare(j)));
    if (j->comm->rank == 0) er_job_print_plan(j);
    if (!j->check_only) ER_TRY(er_job_join_devices(j));
    ER_TRY(end(j, er_job_plan_memory(j)));
    if (!j->check_only) ER_TRY(er_job_compare_ranks(j));
out:
    return rc;
}

static bool another_stops(void *comm) { return er_comm_is_raised(comm); }

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
    er_comm_leave(j->comm);
    er_device_close(j->dev);
    free(j->cache);
}

static er_status stages(er_job *j) {
    er_status rc = ER_OK;
    ER_TRY(run_stage(j, "covary", er_job_statistics));
    ER_TRY(run_stage(j, "values", er_job_targets));
    ER_TRY(run_stage(j, "solve", er_job_solve));
    j->stage = "write";
    ER_TRY(er_comm_agree(j->comm, begin(j, j->stage), NULL));
    ER_TRY(er_job_write(j));
out:
    return rc;
}

er_status er_job_run(er_job_report **report, const er_job_options *options, const er_comm *comm,
    er_status (*after)(er_job *), bool check_only) {
    er_status rc = ER_OK;
    er_job_report *made = calloc(1, sizeof *made);
    er_job j = {.o = options, .check_only = check_only, .comm = comm, .report = made, .start = er_clock()};
    if (!made) return er_comm_agree(comm, er_fail(ER_ENOMEM, "report"), NULL);
    if (comm->size > 1) er_stop_watch(another_stops, (void *)(uintptr_t)comm);
    ER_TRY(er_comm_agree(comm, er_warnings_begin(&j.warnings), NULL));
    ER_TRY(prepare(&j));
    ER_TRY(after(&j));
    made->seconds = er_clock() - j.start;
out:
    if (rc != ER_OK) rc = er_comm_agree(comm, rc, NULL);  // should the others not know of it yet
    if (j.stage) rc = er_interrupted_in(rc, j.stage, NULL);
    if (comm->size > 1) er_stop_watch(NULL, NULL);
    job_free(&j);  // needs the report
    if (rc == ER_OK) *report = made;
    else er_job_report_free(made);
    return rc;
}

er_status er_job_edit(er_job_report **report, const er_job_options *options) {
    return er_job_edit_ranks(report, options, er_comm_self());
}

er_status er_job_edit_ranks(er_job_report **report, const er_job_options *options, const er_comm *comm) {
    return er_job_run(report, options, comm, stages, false);
}

void er_job_report_free(er_job_report *r) {
    if (!r) return;
    free(r->json);
    free(r);
}
