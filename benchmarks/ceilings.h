// What this device reaches at its best, measured in the same run as the stages, and the memory it held
// meanwhile.
#ifndef ER_CEILINGS_H
#define ER_CEILINGS_H
#include "kernels/device.h"

typedef struct er_ceilings {
    size_t gemm_size, gemm64_size, copy_bytes;
    double gemm;    // FLOP/s of `linear`, square
    double gemm64;  // FLOP/s of gemm_f64, square
    double copy;    // bytes/s read and written by `copy`
} er_ceilings;
// Sizes fit for the device when 0.
er_status er_ceilings_measure(er_ceilings *out, er_device *dev, size_t gemm_size);

// Puts a table of ops in front of the device's own that looks at the memory left after each allocation. One
// device at a time.
void er_watch_memory(er_device *dev);
size_t er_watch_peak(
    void);            // most bytes in use at any allocation since the last call, by anybody on the device
double er_now(void);  // seconds
#endif
