// The public interface: the main job as one call.
//
//     #include "engine/errata.h"
//     int main(void) {
//         er_edit_options o = ER_EDIT_OPTIONS_DEFAULT;
//         o.model = "SmolLM2-135M";
//         o.facts = "facts.jsonl";
//         o.out = "SmolLM2-135M-edited";
//         er_edit_report *report = NULL;
//         er_status rc = er_edit(&report, &o);
//         if (rc != ER_OK) fprintf(stderr, "errata: %s\n", er_last_error());
//         else printf("%zu facts in %.1f s\n", report->facts, report->seconds);
//         er_edit_report_free(report);
//         return er_exit_code(rc);
//     }
//
// The output is an ordinary Hugging Face checkpoint plus errata-manifest.json; it appears whole or not at
// all. Nothing is written to the model's own folder. Target values are kept in the cache as they are found,
// so the same call after an interruption goes on.
//
// To stop a job, call er_stop_request() (io/base/signals.h, included here) from any thread or from a signal handler:
// er_edit() returns EINTERRUPTED within about a second of work, and er_stop_clear() makes the next call possible. The
// library sets no handlers and no masks that outlast its calls, but for one thing: where the host has not called
// er_signals_block(), the OpenMP workers that it computes on keep all signals blocked that can be. Handlers of the
// host never run inside oneDNN's GEMM, which would not survive it.
#ifndef ERRATA_H
#define ERRATA_H
#include "engine/estimate.h"
#include "engine/hparams.h"
#include "engine/editors/apply.h"
#include "engine/targets.h"
#include "io/facts.h"
#include "io/base/signals.h"

#define ERRATA_VERSION "0.1.0"

typedef struct er_edit_options {
    const char *model;  // Hugging Face folder
    const char *facts;  // JSON Lines or one of the published formats; a pipe, or "-" for standard input
    const char *out;    // folder to make
    bool force;         // replace `out` when it exists
    bool copy_all;      // files that hold unedited weights travel along too
    bool strict;        // a rejected fact refuses the job
    bool check_only;    // errata check: everything up to the plan; nothing is computed or written
    size_t limit;       // first records only; 0: all
    bool zsre_answers;

    const char *profile;  // "default" or "reference"
    const char
        *editor;  // "memit", "memit_seq", "emmet", "alphaedit"; NULL: as the settings file says, or memit
    const char *hparams;  // the reference's keys as JSON or YAML, or NULL
    const char *layers;   // "3-8" or "3,4,5", or NULL
    double lambda;        // 0: as the preset says
    size_t steps;         // 0: likewise
    const char *space;    // between prompt and target: "auto", "always", "never"; NULL: as the profile has it
    const char *templates;    // JSON array of context templates, or NULL
    unsigned long long seed;  // 0: 1

    const char *const *text;  // covariance text: files of prose, or JSON Lines with "text"; NULL: sampled
                              // from the model itself
    size_t n_text;
    const char *import;  // folder of the reference's .npz statistics, instead of text
    size_t cov_tokens;   // 0: 10 * d_in

    const char *cache;  // folder; NULL: $XDG_CACHE_HOME/errata or ~/.cache/errata; "" : none
    bool deterministic;
    size_t batch_tokens;
    er_device_options device;
} er_edit_options;
#define ER_EDIT_OPTIONS_DEFAULT ((er_edit_options){.profile = "default", .device = {.kind = "auto"}})

typedef struct er_edit_report {
    size_t facts, rejected, duplicates, requests;
    size_t targets_cached;  // requests whose z came from the cache
    er_hparams hparams;
    er_memory_plan memory;
    er_estimate estimate;  // check only
    er_targets_stats targets;
    er_apply_report spread;
    double statistics_seconds, write_seconds, seconds;
    size_t weight_bytes;
    char device[128];
    char model_digest[65];
    char *json;  // the manifest's text
} er_edit_report;

// After a failure *report is as it was. EFORMAT with `strict` or when no fact is left; others as the stages say.
er_status er_edit(er_edit_report **report, const er_edit_options *options);
void er_edit_report_free(er_edit_report *r);
#endif
