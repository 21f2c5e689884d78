// Facts scored on a model, before and after its edit, as one call: what `errata eval` and er_eval() are made
// of.
#ifndef ER_JOB_EVAL_H
#define ER_JOB_EVAL_H
#include <stdio.h>
#include "io/facts.h"
#include "kernels/device.h"

typedef struct er_job_eval_options {
    const char *model, *facts;  // folder to score; file of facts, "-" for standard input
    const char *base;           // the unedited checkpoint, to set beside it; or NULL
    const char *text;           // file of held-out prose: perplexity; or NULL
    const char *space;          // "auto", "always", "never"; NULL: as the model's edit had it, else auto
    er_facts_options reading;
    size_t text_tokens;    // of the text, at most; 0: 8192
    size_t answers;        // how many facts to ask in words, for the report
    size_t neighbors;      // of each fact, at most; 0: all
    bool all_paraphrases;  // score EasyEdit's rephrase_prompt too, although most are no paraphrases
    er_device_options device;
} er_job_eval_options;

typedef struct er_job_eval er_job_eval;  // the scores, with all that they rest on

// *out is written only on success; the caller frees it. EINTERRUPTED with "interrupted in eval".
er_status er_job_eval_score(er_job_eval **out, const er_job_eval_options *options);
void er_job_eval_print_table(const er_job_eval *e, FILE *to);
// metrics.json as text, which the caller frees; and in the folder `to`, unless that is NULL, metrics.json and
// report.html, whose paths are told to `wrote` (NULL: to nobody). Every prompt's scores are in it with
// `details`.
er_status er_job_eval_write(char **json, const er_job_eval *e, const char *to, bool details,
    void (*wrote)(const char *metrics, const char *page));
void er_job_eval_free(er_job_eval *e);  // NULL is fine
#endif
