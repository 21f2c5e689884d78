// Linked into tests that must run on a GPU: without one they are skipped (77 says so to ctest) instead of
// passing on the CPU. Around main(), not before it: the CUDA runtime learns of its kernels in constructors.
#include <stdio.h>
#include "kernels/cuda/cuda.h"

int __real_main(int argc, char **argv);
int __wrap_main(int argc, char **argv);

int __wrap_main(int argc, char **argv) {
    er_device *d = NULL;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    er_status rc = er_cuda_open(&d, &o);
    if (rc != ER_OK) {
        (void)printf("%s: %s\n", rc == ER_ENODEVICE ? "skipped" : "failed", er_last_error());
        return rc == ER_ENODEVICE ? 77 : 1;
    }
    er_device_close(d);
    return __real_main(argc, argv);
}
