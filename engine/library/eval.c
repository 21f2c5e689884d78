// er_eval.
#include "engine/job/eval.h"
#include "engine/library/library_internal.h"

_Static_assert(sizeof(er_eval_options) == 16 * 8, "an option that is not 8 bytes, or is not read below");
enum { LEAST = offsetof(er_eval_options, base) };  // what no call can do without

#define FLAGS (ER_ZSRE_ANSWERS | ER_DETAILS | ER_ALL_PARAPHRASES)

static er_status score(char **metrics, const er_job_eval_options *o, const char *out, bool details) {
    er_job_eval *scores = NULL;
    er_status rc = er_job_eval_score(&scores, o);
    if (rc == ER_OK) rc = er_job_eval_write(metrics, scores, out, details, NULL);
    er_job_eval_free(scores);
    return rc;
}

er_status er_eval(char **metrics, er_context *c, const er_eval_options *options) {
    er_status rc = ER_OK;
    er_eval_options o;
    er_call call;
    ER_TRY(er_options_take(&o, sizeof o, options, LEAST, "ER_EVAL_OPTIONS_INIT"));
    if (!metrics) ER_FAIL(ER_EARG, "er_eval: nowhere to put the metrics");
    if (!o.model) ER_FAIL(ER_EARG, "model is not set");
    if (!o.facts) ER_FAIL(ER_EARG, "facts is not set");
    if (o.flags & ~FLAGS)
        ER_FAIL(ER_EARG, "flags %#llx: no such flag of er_eval", (unsigned long long)(o.flags & ~FLAGS));
    er_job_eval_options j = {
        .model = o.model, .facts = o.facts, .base = o.base, .text = o.text, .space = o.space};
    j.reading = (er_facts_options){.zsre_answers = o.flags & ER_ZSRE_ANSWERS, .limit = (size_t)o.limit};
    j.text_tokens = (size_t)o.text_tokens, j.answers = (size_t)o.answers, j.neighbors = (size_t)o.neighbors;
    j.all_paraphrases = o.flags & ER_ALL_PARAPHRASES;
    ER_TRY(er_device_take(&j.device, o.device, o.precision, o.threads, o.memory_limit));
    ER_TRY(er_call_begin(&call, c));
    rc = er_call_end(&call, score(metrics, &j, o.out, o.flags & ER_DETAILS));
out:
    return rc;
}
