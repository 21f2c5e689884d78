// Linked where no CUDA backend is built.
#include "kernels/cuda/cuda.h"

er_status er_cuda_open(er_device **out, const er_device_options *options) {
    (void)out, (void)options;
    return er_fail(ER_ENODEVICE, "device 'cuda' is not built in; use 'cpu' or 'auto'");
}
