// The one place that knows which backends exist.
#include "kernels/device.h"

#include <string.h>

er_status er_device_open(er_device **out, const er_device_options *options) {
    const char *kind = options->kind ? options->kind : "auto";
    if (options->threads < 0) return er_fail(ER_EARG, "%d threads asked for", options->threads);
    if (!strcmp(kind, "cuda")) {
#ifdef ERRATA_WITH_CUDA
        return er_fail(ER_EDEVICE, "device 'cuda' does not have every op yet; use 'cpu' or 'auto'");
#else
        return er_fail(ER_EDEVICE, "device 'cuda' is not built in; use 'cpu' or 'auto'");
#endif
    }
    if (!strcmp(kind, "cpu")) return er_device_cpu_open(out, options);
    if (strcmp(kind, "auto")) return er_fail(ER_EARG, "device '%s' is none of auto, cpu, cuda", kind);
    return er_device_cpu_open(out, options);
}

static const char *const precisions[] = {"fp32", "bf16", "fp16", "tf32"};

const char *er_precision_name(er_precision p) { return precisions[p]; }

bool er_precision_parse(er_precision *out, const char *name) {
    for (int i = 0; i < 4; i++)
        if (!strcmp(precisions[i], name)) {
            *out = (er_precision)i;
            return true;
        }
    return false;
}

void er_device_close(er_device *d) {
    if (d) d->op->close(d);
}
