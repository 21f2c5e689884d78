// errata as a library: facts go into a Hugging Face checkpoint, and the same checkpoint comes out with those
// facts changed.
//
//     #include <errata.h>
//     #include <stdio.h>
//     int main(void) {
//         er_edit_options o = ER_EDIT_OPTIONS_INIT;
//         er_edit_report *report = NULL;
//         o.model = "SmolLM2-135M";
//         o.facts = "facts.jsonl";
//         o.out = "SmolLM2-135M-edited";
//         er_status rc = er_edit(&report, NULL, &o);
//         if (rc != ER_OK) fprintf(stderr, "%s\n", er_last_error());
//         else printf("%llu facts in %.1f s\n", (unsigned long long)report->facts, report->seconds);
//         er_edit_report_free(report);
//         return er_exit_code(rc);
//     }
//
//     cc edit.c $(pkg-config --cflags --libs errata)
//
// Rules that hold for all of it:
//   - Every function that can fail returns er_status. Results come first among the parameters and are written
//     only when it returns ER_OK; whoever gets one frees it. Freeing NULL is fine.
//   - Strings are UTF-8 and NUL-terminated, and borrowed for the length of the call. Bytes are bytes, seconds
//     are of wall time.
//   - A call does its work on the calling thread and on OpenMP's workers, and returns when all is done. Calls
//     of different threads may run at the same time, each with a context of its own; they take turns where
//     they both want OpenBLAS.
//   - Nothing is printed, no signal handler is set, and the locale, the OpenMP and the OpenBLAS settings of
//     the calling thread are put back. Two things outlast a call: the threads of OpenMP, which keep all
//     signals blocked that can be, and the cache folder.
//   - In a struct of options 0 and NULL mean the default. `size` is what tells this library how much of the
//     struct the calling program was compiled with: start from the struct's _INIT. Later versions append
//     fields; a program compiled before them gets their defaults, and a program that sets one which this
//     library is too old to know is refused (EUNSUPPORTED). Structs that the library hands out grow the same
//     way, at their end.
#ifndef ERRATA_H
#define ERRATA_H
#include <stddef.h>
#include <stdint.h>

#define ERRATA_VERSION "0.1.0"

#if defined(__GNUC__)
#define ER_API __attribute__((visibility("default")))
#else
#define ER_API
#endif

#ifdef __cplusplus
template <class Options> inline Options er_options_init_() {
    Options o = Options();
    o.size = sizeof o;
    return o;
}
#define ER_OPTIONS_INIT_(type) er_options_init_<type>()
extern "C" {
#else
#define ER_OPTIONS_INIT_(type)                                                                               \
    { .size = sizeof(type) }
#endif

// ---- status ----

#ifndef ER_STATUS_TYPES
#define ER_STATUS_TYPES
typedef enum er_status {   //                                                                  exit code
    ER_OK = 0,             //                                                                          0
    ER_ENOMEM = 1,         // host or device memory exhausted                                          1
    ER_EIO = 2,            // the system refused to read or write, or an input changed in use         74
    ER_ENOENT = 3,         // an input file or folder does not exist                                  66
    ER_EFORMAT = 4,        // input bytes are not what they claim to be                               65
    ER_EUNSUPPORTED = 5,   // well-formed input that this library does not handle                     65
    ER_EARG = 6,           // the caller's request makes no sense                                      2
    ER_ECONFIG = 7,        // a settings file or hyper-parameter is wrong                             78
    ER_EOUTPUT = 8,        // the output cannot be created or is in the way                           73
    ER_ENUMERIC = 9,       // not positive definite, NaN, or a residual out of bounds                 70
    ER_EDEVICE = 10,       // the device cannot be used, or it failed                                 69
    ER_ENODEVICE = 11,     // this machine has no such device, or this build no code for one          69
    ER_EINTERRUPTED = 12,  // asked to stop; what was finished is kept in the cache                   75
} er_status;
#endif

// One line for the user about why the calling thread's last call failed; "" when it did not. Valid until the
// thread's next call.
ER_API const char *er_last_error(void);
ER_API int er_exit_code(er_status status);  // as the program `errata` would end with
// Of the library that runs: "0.1.0". ERRATA_VERSION is that of this header.
ER_API const char *er_version(void);

// ---- context: who hears a call, and who may stop it ----

#ifndef ER_LOG_TYPES
#define ER_LOG_TYPES
typedef enum er_log_level { ER_LOG_QUIET, ER_LOG_WARN, ER_LOG_INFO, ER_LOG_DEBUG } er_log_level;

typedef enum er_progress_phase { ER_PROGRESS_BEGIN, ER_PROGRESS_UPDATE, ER_PROGRESS_END } er_progress_phase;
typedef struct er_progress_event {
    er_progress_phase phase;  // END comes also where a stage breaks off, with what was done
    const char *stage;        // "values"
    const char *unit;         // of done and total: "facts"
    uint64_t done, total;     // total 0: not known
    double seconds;           // since the stage began
} er_progress_event;
#endif

// Called on the thread that made the call, as often as there is something to say; what they point to is gone
// when they return. They must not jump out of the call, by longjmp or by an exception.
typedef void (*er_log_fn)(void *user, er_log_level level, const char *line);  // without a newline
typedef void (*er_progress_fn)(void *user, const er_progress_event *event);

// Whatever takes one takes NULL too: then nobody hears the call, and nobody can stop it. A context serves one
// call at a time; a second one at the same time is refused (EARG).
typedef struct er_context er_context;
ER_API er_status er_context_new(er_context **context);
ER_API void er_context_free(er_context *context);  // not during a call
// Not during a call either. Warnings are ER_LOG_WARN, all that the program `errata` says of its own accord is
// ER_LOG_INFO; lines above `most` are not made.
ER_API void er_context_on_log(er_context *context, er_log_level most, er_log_fn fn, void *user);
ER_API void er_context_on_progress(er_context *context, er_progress_fn fn, void *user);
// From any thread, from a callback and from a signal handler: the call that runs in this context, and every
// later one, ends with ER_EINTERRUPTED within about a second of work. Its output is not made; the target
// values that it has found are in the cache, and the same call goes on from there once er_context_resume()
// has taken the wish back.
ER_API void er_context_stop(er_context *context);
ER_API void er_context_resume(er_context *context);

// ---- edit and check ----

// Flags of an edit.
// Replace `out` when it exists.
#define ER_FORCE ((uint64_t)1)
// A rejected fact refuses the job (EFORMAT); else it is skipped, counted and told in the manifest.
#define ER_STRICT ((uint64_t)2)
// Batches are fixed by the input alone: a resumed job repeats an unbroken one to the bit.
#define ER_DETERMINISTIC ((uint64_t)4)
// Files that hold unedited weights (*.bin, *.gguf, ...) travel along too.
#define ER_COPY_ALL ((uint64_t)8)
// zsRE: edit to the true answer instead of the alternative.
#define ER_ZSRE_ANSWERS ((uint64_t)16)

typedef struct er_edit_options {
    uint64_t size;
    // Folder of a Hugging Face checkpoint: config.json, *.safetensors, tokenizer. Never written to.
    const char *model;
    const char *facts;    // file of facts, or a pipe; "-": standard input
    const char *out;      // folder to make; it appears whole or not at all. er_check() needs none
    uint64_t flags;       // ER_FORCE | ...
    uint64_t limit;       // the first records only; 0: all
    const char *profile;  // "default": what measures best; "reference": MEMIT step for step
    // "memit", "memit_seq", "emmet", "alphaedit"; NULL: as the settings file says, or memit
    const char *editor;
    const char *hparams;    // settings file with the reference's keys, JSON or YAML
    const char *layers;     // "3-8" or "3,4,5"; NULL: as the preset of this model says
    double lambda;          // weight of the key statistics
    uint64_t steps;         // of the optimisation of a value
    uint64_t seed;          // 0: 1
    const char *space;      // between prompt and target: "auto", "always", "never"; NULL: by the profile
    const char *templates;  // file with a JSON array of context templates
    // [n_texts] files to take key statistics from: prose, or JSON Lines with "text". None: the model's own.
    const char *const *texts;
    uint64_t n_texts;
    const char *import;          // folder of the reference's .npz statistics, instead of texts
    uint64_t statistics_tokens;  // 0: ten times the width of a key
    const char *cache;           // folder; NULL: $XDG_CACHE_HOME/errata or ~/.cache/errata; "": none
    uint64_t batch_tokens;       // of one optimisation step; 0: 1024 on a CPU, on a GPU what fits
    const char *device;          // "auto", "cpu", "cuda", "cuda:N"; NULL: auto
    const char *precision;       // of GEMM inputs: "fp32", "bf16", and on a GPU "fp16", "tf32"; NULL: fp32
    uint64_t threads;            // of the CPU; 0: one a processor
    uint64_t memory_limit;       // bytes that the device may take; 0: what there is
} er_edit_options;
#define ER_EDIT_OPTIONS_INIT ER_OPTIONS_INIT_(er_edit_options)

typedef struct er_edit_report {
    uint64_t facts, rejected, duplicates;  // records that were edited, skipped, and merged into another
    uint64_t subjects;                     // of the facts; each has one target value
    uint64_t cached;                       // subjects whose value came from the cache
    double residual_left;  // share of what the edit had to change that is not changed; 0.05 is usual
    // Of the stages, and in all.
    double statistics_seconds, values_seconds, solve_seconds, write_seconds, seconds;
    const char *device;  // "cpu: ..., 8 threads, ..."
    // The text of errata-manifest.json: settings, digests, rejected records, warnings, norms.
    const char *manifest;
} er_edit_report;

ER_API er_status er_edit(er_edit_report **report, er_context *context, const er_edit_options *options);
ER_API void er_edit_report_free(er_edit_report *report);

// What er_edit() would do: model, facts and settings are read and verified, nothing is written. `out` and
// ER_FORCE are not looked at.
typedef struct er_check_report {
    uint64_t facts, rejected, duplicates, subjects;
    double flops;             // of the values, if every step is used
    double flops_per_second;  // that a GEMM of this model's shape reached just now
    // Bytes of the device: in all, of the weights and statistics, and of the three stages, which come one
    // after another.
    double memory, memory_weights, memory_statistics, memory_covary, memory_values, memory_solve;
    double seconds;  // that the check took
    const char *device;
    const char *manifest;  // as of an edit, without what only an edit knows
} er_check_report;

ER_API er_status er_check(er_check_report **report, er_context *context, const er_edit_options *options);
ER_API void er_check_report_free(er_check_report *report);

// ---- ask ----

typedef struct er_ask_options {
    uint64_t size;
    const char *model;
    const char *const *prompts;  // [n_prompts]
    uint64_t n_prompts;
    uint64_t max_tokens;             // of a continuation; 0: 24
    double temperature;              // 0: always the most probable token
    uint64_t top_k;                  // sample among the k most probable; 0: all
    double top_p;                    // then among the fewest whose probabilities sum to top_p; 0: 1
    uint64_t seed;                   // 0: 1
    const char *device, *precision;  // as above
    uint64_t threads, memory_limit;
} er_ask_options;
#define ER_ASK_OPTIONS_INIT ER_OPTIONS_INIT_(er_ask_options)

// answers[i]: the continuation of prompts[i], without the prompt, to be freed by er_text_free(). The caller's
// array of n_prompts.
ER_API er_status er_ask(char **answers, er_context *context, const er_ask_options *options);
ER_API void er_text_free(char *text);

// ---- eval ----

// Every prompt's scores in the metrics.
#define ER_DETAILS ((uint64_t)32)
// Score EasyEdit's rephrase_prompt too, although few of them are paraphrases.
#define ER_ALL_PARAPHRASES ((uint64_t)64)

typedef struct er_eval_options {
    uint64_t size;
    const char *model;     // to score
    const char *facts;     // as for an edit
    uint64_t flags;        // ER_ZSRE_ANSWERS | ER_DETAILS | ER_ALL_PARAPHRASES
    const char *base;      // the unedited checkpoint, to set beside it; NULL: none
    const char *out;       // folder for metrics.json and report.html; NULL: none
    const char *text;      // file of held-out prose, for the perplexity before and after; NULL: none
    uint64_t text_tokens;  // of it, at most; 0: 8192
    uint64_t limit;        // the first records only; 0: all
    uint64_t neighbors;    // of each fact, at most; 0: all
    uint64_t answers;      // facts to ask in words as well, for the report
    const char *space;     // as for an edit; NULL: as the edit of the model had it
    const char *device, *precision;
    uint64_t threads, memory_limit;
} er_eval_options;
#define ER_EVAL_OPTIONS_INIT ER_OPTIONS_INIT_(er_eval_options)

// *metrics: what metrics.json holds, to be freed by er_text_free().
ER_API er_status er_eval(char **metrics, er_context *context, const er_eval_options *options);

#ifdef __cplusplus
}
#endif
#endif
