// Continuations of prompts by a model in a folder.
#ifndef ER_JOB_ASK_H
#define ER_JOB_ASK_H
#include "engine/generate.h"

// out[i]: the continuation of prompts[i] without the prompt; the caller frees each. On failure all are NULL.
er_status er_job_ask(char **out, const er_device_options *device, const char *model,
    const char *const *prompts, size_t n, const er_generate_options *o);
#endif
