// The one place that knows which backends exist.
#include "kernels/device.h"

#include <string.h>

er_status er_device_open(er_device **out, const er_device_options *options) {
    const char *kind = options->kind ? options->kind : "auto";
    if (options->threads < 0) return er_fail(ER_EARG, "%d threads asked for", options->threads);
    if (!strcmp(kind, "cuda")) {
#ifdef ERRATA_WITH_CUDA
        return er_device_cuda_open(out, options);
#else
        return er_fail(ER_EDEVICE, "device 'cuda' is not built in; use 'cpu' or 'auto'");
#endif
    }
    if (!strcmp(kind, "cpu")) return er_device_cpu_open(out, options);
    if (strcmp(kind, "auto")) return er_fail(ER_EARG, "device '%s' is none of auto, cpu, cuda", kind);
#ifdef ERRATA_WITH_CUDA
    if (er_device_cuda_open(out, options) == ER_OK) return ER_OK;
#endif
    return er_device_cpu_open(out, options);
}

void er_device_close(er_device *d) {
    if (d) d->op->close(d);
}
