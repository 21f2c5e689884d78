// The state of one edit job and its stages, in order. Internal to engine/job/.
#ifndef ER_JOB_INTERNAL_H
#define ER_JOB_INTERNAL_H
#include "engine/editors/editor.h"
#include "engine/job/job.h"
#include "engine/store/target_store.h"
#include "io/base/warnings.h"

typedef struct er_job {
    const er_job_options *o;
    bool check_only;      // nothing is computed or written: no weights, no output
    const er_comm *comm;  // the ranks of the job
    const char *stage;    // in hand
    er_job_report *report;
    er_device *dev;
    er_facts *facts;
    er_arch arch;
    er_folder *folder;       // of the model, as it was when the job began
    char parent_digest[65];  // of the manifest in it, "" when errata did not write it
    er_model *m;
    er_templates *templates;
    er_requests *requests;
    char *cache;                 // folder or NULL
    bool cache_lost;             // nothing more can be kept there, and that has been said
    char text_source[256];       // what the covariances rest on, in words
    er_second_moment **moments;  // [hparams.n_layers]
    const er_editor *editor;
    // [hparams.n_layers] K K^T of earlier edits of this model; NULL: the editor keeps none
    er_second_moment **history;
    cJSON *history_told;     // of what was written: {"layer-N": sha256}
    er_target_store *store;  // NULL: none, or it failed
    size_t kept;             // values that were found and put there; after the stage those of all ranks
    float *z;                // [requests, hidden]
    bool *have;              // [requests]
    er_output *output;
    char (*shard_digest)[65];  // [shards] of what was written
    er_warnings *warnings;     // of this job, for the manifest
    size_t warnings_told;      // of them, those that rank 0 has
    size_t batch_tokens;       // of the values stage
    double start;              // er_clock() when the job began
} er_job;

// One job from begin to end: prepare, print the plan, plan memory, `after`; all of it is released and *report
// is the caller's.
er_status er_job_run(er_job_report **report, const er_job_options *options, const er_comm *comm,
    er_status (*after)(er_job *), bool check_only);
// The stages. Ranks call all of them, in this order; one that fails on a rank fails on all (edit.c).
er_status er_job_prepare(er_job *j);  // read and check everything; no compute
// ECONFIG when ranks have read different things, saying which. Part of prepare; wants the plan.
er_status er_job_compare_ranks(er_job *j);
// The ranks' devices add up by NCCL from here on, where they can. Says so.
er_status er_job_join_devices(er_job *j);
// What other ranks warned of since the last call is warned of by rank 0, whose manifest then has it.
er_status er_job_tell_warnings(er_job *j);
// ECONFIG when the key statistics would rest on too few tokens to be solved with; few are warned of. Part of
// prepare.
er_status er_job_check_tokens(const er_job *j);
// Chooses the batch of the values stage, for this rank's share of the requests, and says where memory goes.
// ENOMEM when not even the smallest batch has room.
er_status er_job_plan_memory(er_job *j);
// With --memory-limit on a CPU: ENOMEM naming what the job needs at least, before the weights are read. Wants
// the device.
er_status er_job_check_limit(er_job *j);
er_status er_job_statistics(er_job *j);
er_status er_job_targets(er_job *j);
er_status er_job_solve(er_job *j);
er_status er_job_write(er_job *j);
struct er_apply er_job_apply(const er_job *j);  // the solve stage as the job is set up
// The keys of earlier edits, beside the model and the output: read before the solve, written with the output.
er_status er_job_read_history(er_job *j);
er_status er_job_check_history(er_job *j);  // before any work: the files are those that the manifest tells of
er_status er_job_write_history(er_job *j);
er_status er_job_parent(er_job *j);  // what the output descends from, when the model was written by errata
// Fills report->json; of a check, or of what was written. Of rank 0 alone.
er_status er_job_manifest(er_job *j, bool written);
void er_job_print_plan(const er_job *j);
#endif
