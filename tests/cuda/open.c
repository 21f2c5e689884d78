// er_device_open() of the tests in this folder: they run on the CUDA device, which the program does not offer
// yet. Without a GPU they are skipped (77 says so to ctest).
#include <stdio.h>
#include <stdlib.h>
#include "kernels/cuda/cuda.h"

er_status er_device_open(er_device **out, const er_device_options *options) {
    er_status rc = er_cuda_open(out, options);
    if (rc == ER_EDEVICE) {
        printf("skipped: %s\n", er_last_error());
        exit(77);
    }
    return rc;
}

void er_device_close(er_device *d) {
    if (d) d->op->close(d);
}
