// A device that fails: a table of ops in front of a device's own, made from kernels/ops.def, which counts
// every call of an op that can fail and fails one of them. One device at a time.
#ifndef ER_TEST_FAULTS_H
#define ER_TEST_FAULTS_H
#include "kernels/device.h"

typedef struct er_faults {
    const er_device_ops *real;  // the device's own
    size_t calls;               // so far
    size_t fail_at;             // this call fails with EDEVICE, counted from 1; 0: none does
} er_faults;
extern er_faults faults;

// The table in front of `real`. A test that wants to see more of an op puts a function of its own in, which
// calls that of this table.
er_device_ops faults_ops(const er_device_ops *real);
#endif
