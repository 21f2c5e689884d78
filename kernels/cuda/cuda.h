// The CUDA device as C sees it.
//
// All work goes to one stream of the device's own, never CUDA's default one. Labels, tokens and indices live
// on the device and cannot be checked without waiting for it: a label or token outside the vocabulary and a
// KL row without a reference get NaN as result, where the CPU device says EARG.
#ifndef ER_CUDA_H
#define ER_CUDA_H
#include "kernels/device.h"
#ifdef __cplusplus
extern "C" {
#endif

// ENODEVICE without a GPU; EDEVICE with a driver that is too old, or with a GPU that this program has no code
// for.
er_status er_cuda_open(er_device **out, const er_device_options *options);

#ifdef __cplusplus
}
#endif
#endif
