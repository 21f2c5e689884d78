// er_ask.
#include <math.h>
#include <stdlib.h>

#include "engine/job/ask.h"
#include "engine/library/library_internal.h"

_Static_assert(sizeof(er_ask_options) == 13 * 8, "an option that is not 8 bytes, or is not read below");
enum { LEAST = offsetof(er_ask_options, max_tokens) };  // what no call can do without

er_status er_ask(char **answers, er_context *c, const er_ask_options *options) {
    er_status rc = ER_OK;
    er_ask_options o;
    er_device_options device;
    er_call call;
    ER_TRY(er_options_take(&o, sizeof o, options, LEAST, "ER_ASK_OPTIONS_INIT"));
    if (!o.model) ER_FAIL(ER_EARG, "model is not set");
    if (!o.n_prompts || !o.prompts || !answers) ER_FAIL(ER_EARG, "no prompts, or nowhere to put the answers");
    if (!(o.temperature >= 0) || isinf(o.temperature)) ER_FAIL(ER_EARG, "temperature %g", o.temperature);
    if (!(o.top_p >= 0 && o.top_p <= 1)) ER_FAIL(ER_EARG, "top_p %g is not in (0, 1]", o.top_p);
    ER_TRY(er_device_take(&device, o.device, o.precision, o.threads, o.memory_limit));
    er_generate_options g = ER_GENERATE_OPTIONS_DEFAULT;
    g.max_new_tokens = o.max_tokens ? (size_t)o.max_tokens : 24;
    g.temperature = o.temperature;
    g.top_k = (size_t)o.top_k;
    g.top_p = o.top_p > 0 ? o.top_p : 1;
    g.seed = o.seed ? o.seed : 1;
    ER_TRY(er_call_begin(&call, c));
    rc = er_call_end(&call, er_job_ask(answers, &device, o.model, o.prompts, (size_t)o.n_prompts, &g));
out:
    return rc;
}

void er_text_free(char *text) { free(text); }
