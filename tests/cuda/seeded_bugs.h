// Kernels that are wrong on purpose, to prove that the shim sees what it must see. Device pointers; 0 or a
// CUDA error.
#ifndef ER_SEEDED_BUGS_H
#define ER_SEEDED_BUGS_H
#include <stddef.h>
#include "kernels/device.h"
#ifdef __cplusplus
extern "C" {
#endif

int bug_missing_barrier(
    er_device *d, float *out, const float *x, size_t n);  // 256 threads; two sums, the last thread's answer
int bug_divergent_barrier(er_device *d, float *out);      // half of a warp waits alone
int bug_static_overrun(er_device *d, float *out);         // 96 threads in a shared array of 64
int bug_default_stream(er_device *d, float *out);         // not on an explicit stream

#ifdef __cplusplus
}
#endif
#endif
