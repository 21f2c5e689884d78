// A whole edit as one call, for what is inside this tree; programs outside use engine/errata.h, which is made
// of this.
//
//     er_job_options o = ER_JOB_OPTIONS_DEFAULT;
//     o.model = "SmolLM2-135M", o.facts = "facts.jsonl", o.out = "SmolLM2-135M-edited";
//     er_job_report *report = NULL;
//     er_status rc = er_job_edit(&report, &o);
//     ...
//     er_job_report_free(report);
//
// The output is an ordinary Hugging Face checkpoint plus errata-manifest.json; it appears whole or not at
// all. Nothing is written to the model's own folder. Target values are kept in the cache as they are found,
// so the same call after an interruption goes on.
//
// What is said goes to the calling thread's listener (io/base/listener.h), and a stop is asked for through it
// or by er_stop_request(): EINTERRUPTED within about a second of work. No handlers are set, and no masks that
// outlast the call but for one thing: where the host has not called er_signals_block(), the OpenMP workers
// that compute keep all signals blocked that can be. Handlers of the host never run inside oneDNN's GEMM,
// which would not survive it.
#ifndef ER_JOB_H
#define ER_JOB_H
#include "engine/editors/apply.h"
#include "engine/estimate.h"
#include "engine/hparams.h"
#include "engine/targets.h"
#include "io/facts.h"

typedef struct er_job_options {
    const char *model;  // Hugging Face folder
    const char *facts;  // JSON Lines or one of the published formats; a pipe, or "-" for standard input
    const char *out;    // folder to make; a check needs none
    bool force;         // replace `out` when it exists
    bool copy_all;      // files that hold unedited weights travel along too
    bool strict;        // a rejected fact refuses the job
    bool zsre_answers;  // zsRE: the true answer is the target
    size_t limit;       // first records only; 0: all

    const char *profile;  // "default" or "reference"; NULL: default
    // "memit", "memit_seq", "emmet", "alphaedit"; NULL: as the settings file says, or memit
    const char *editor;
    const char *hparams;  // file with the reference's keys, JSON or YAML, or NULL
    const char *layers;   // "3-8" or "3,4,5"; NULL: as the preset says
    double lambda;        // weight of the statistics; 0: as the preset says
    size_t steps;         // of a value's optimisation; 0: as the preset says
    // between prompt and target: "auto", "always", "never"; NULL: as the profile has it
    const char *space;
    const char *templates;    // file with a JSON array of context templates, or NULL
    unsigned long long seed;  // 0: 1

    // texts for the statistics: files of prose, or JSON Lines with "text"; none: sampled from the model
    // itself
    const char *const *text;
    size_t n_text;
    const char *import;  // folder of the reference's .npz statistics, instead of text; or NULL
    size_t cov_tokens;   // 0: 10 * d_ff

    const char *cache;   // folder; NULL: $XDG_CACHE_HOME/errata or ~/.cache/errata; "": none
    bool deterministic;  // batches fixed by the input alone: a resumed job repeats an unbroken one to the bit
    size_t batch_tokens;  // of one optimisation step; 0: 1024 on a CPU, on a GPU what fits
    er_device_options device;
} er_job_options;
#define ER_JOB_OPTIONS_DEFAULT ((er_job_options){.profile = "default", .device = {.kind = "auto"}})

typedef struct er_job_report {
    size_t facts, rejected, duplicates, requests;
    size_t targets_cached;  // requests whose z came from the cache
    er_hparams hparams;
    er_memory_plan memory;
    er_estimate estimate;  // of a check only
    er_targets_stats targets;
    er_apply_report spread;
    double statistics_seconds, write_seconds, seconds;
    size_t weight_bytes;
    char device[128];
    char model_digest[65];  // "" after a check
    char *json;             // the manifest's text
} er_job_report;

// *report is written only on success; the caller frees it. EFORMAT with `strict` or when no fact is left;
// others as the stages say.
er_status er_job_edit(er_job_report **report, const er_job_options *options);
// Everything up to the plan, and an estimate: model, facts and settings are read and verified, nothing is
// computed or written.
er_status er_job_check(er_job_report **report, const er_job_options *options);
void er_job_report_free(er_job_report *r);  // NULL is fine
#endif
