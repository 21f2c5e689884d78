// Linked into tests that must run on a GPU: without one they are skipped (77 says so to ctest) instead of passing on the CPU.
#include <stdio.h>
#include <unistd.h>
#include "kernels/cuda/cuda.h"

__attribute__((constructor)) static void need_gpu(void) {
    er_device *d = NULL;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    if (er_cuda_open(&d, &o) != ER_OK) {
        (void)printf("skipped: %s\n", er_last_error());
        (void)fflush(stdout);
        _exit(77);
    }
    er_device_close(d);
}
