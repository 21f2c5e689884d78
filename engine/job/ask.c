#include "engine/job/ask.h"

#include "io/base/signals.h"

er_status er_job_ask(char **out, const er_device_options *device, const char *model,
    const char *const *prompts, size_t n, const er_generate_options *o) {
    er_status rc = ER_OK;
    er_device *dev = NULL;
    er_model *m = NULL;
    for (size_t i = 0; i < n; i++) out[i] = NULL;
    ER_TRY(er_device_open(&dev, device));
    ER_TRY(er_model_open(&m, dev, model, &(er_model_options){0}));
    ER_TRY(er_ask_all(out, m, prompts, n, o));
out:
    er_model_free(m);
    er_device_close(dev);
    return er_interrupted_in(rc, "ask", NULL);
}
