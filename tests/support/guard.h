// Device buffers for tests: filled with NaN, fenced by canaries on both sides, freed together.
#ifndef ER_TEST_GUARD_H
#define ER_TEST_GUARD_H
#include "kernels/device.h"

void *guard_alloc(er_device *d, size_t bytes);                  // every byte 0xff: NaN as fp32 and fp64
void *guard_put(er_device *d, const void *host, size_t bytes);  // the same, then filled from the host
void guard_get(er_device *d, void *host, const void *dev, size_t bytes);
void guard_end(er_device *d);  // checks every canary, frees every buffer
// Called when a device call fails or a canary is dead; it must not return. Without one the program ends.
void guard_on_failure(void (*handler)(const char *message));

// ---- numbers (numbers.c) ----

double *test_doubles(
    uint64_t *seed, size_t n, double scale);    // uniform in [-scale, scale), rounded to fp32. free()
float *test_narrow(const double *x, size_t n);  // free()
float *guard_put_narrow(er_device *d, const double *x, size_t n);  // fp32 on the device
// test_rel_error of dev [n] against `expected`, in units of FLT_EPSILON.
double guard_error(er_device *d, const float *dev, const double *expected, size_t n);
#endif
