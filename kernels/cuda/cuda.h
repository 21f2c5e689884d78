// The CUDA device as C sees it. It does not have every op yet, so er_device_open() does not offer it: an op
// that is missing is NULL in the table, and only tests open the device.
//
// A stream of kernels/device.h is a cudaStream_t here; NULL is the device's own stream, never CUDA's default
// one. Labels and indices live on the device and cannot be checked without waiting for it: a label outside
// the vocabulary and a KL row without a reference get NaN as loss and gradient, where the CPU device says
// EARG.
#ifndef ER_CUDA_H
#define ER_CUDA_H
#include "kernels/device.h"
#ifdef __cplusplus
extern "C" {
#endif

const er_device_ops *er_cuda_ops_table(void);
// The first CUDA device that this process sees. EDEVICE without one, or without a driver.
er_status er_cuda_open(er_device **out, const er_device_options *options);

#ifdef __cplusplus
}
#endif
#endif
