// The one place that chooses a backend. er_cuda_open() is the GPU's (kernels/cuda), that of the tests' CPU
// fibers, or one that says that no GPU is built in (kernels/cuda_absent.c): whichever the program is linked
// with.
#include "kernels/device.h"

#include <string.h>

#include "io/base/log.h"
#include "kernels/cuda/cuda.h"

// "cuda" or "cuda:N".
static bool names_cuda(const char *kind) {
    if (strncmp(kind, "cuda", 4) != 0) return false;
    size_t digits = kind[4] == ':' ? strspn(kind + 5, "0123456789") : 0;
    return !kind[4] || (digits > 0 && digits < 5 && !kind[5 + digits]);
}

er_status er_device_open(er_device **out, const er_device_options *options) {
    const char *kind = options->kind ? options->kind : "auto";
    if (options->threads < 0) return er_fail(ER_EARG, "%d threads asked for", options->threads);
    if (!strcmp(kind, "cpu")) return er_device_cpu_open(out, options);
    if (names_cuda(kind)) return er_cuda_open(out, options);
    if (strcmp(kind, "auto")) return er_fail(ER_EARG, "device '%s' is none of auto, cpu, cuda, cuda:N", kind);
    er_status rc = er_cuda_open(out, options);
    if (rc != ER_EDEVICE && rc != ER_ENODEVICE) return rc;
    // A GPU that is there and cannot be used: a precision that only it has was meant for it.
    bool present = rc == ER_EDEVICE;
    if (present && options->precision != ER_FP32 && options->precision != ER_BF16_COMPUTE) return rc;
    if (present) er_warn("%s; computing on the CPU", er_last_error());
    return er_device_cpu_open(out, options);
}

void er_device_close(er_device *d) {
    if (d) d->op->close(d);
}
