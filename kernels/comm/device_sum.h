// Sums of memory that lives on devices, by something faster than the wire between the ranks: NCCL. A device's
// folder implements it, engine code calls er_comm_join().
#ifndef ER_DEVICE_SUM_H
#define ER_DEVICE_SUM_H
#include "kernels/comm/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct er_device_sum {
    // x [n] on the device becomes its sum over the ranks, the same bits everywhere, in the order of the
    // device's queue. Returns when it is there, or with a failure of this rank or another.
    er_status (*sum)(void *state, const er_comm *, er_device *, double *x, size_t n);
    void (*close)(void *state, bool failed);  // failed: some rank has; nobody is waited for
} er_device_sum;

// What er_device.sums points to. Has this machine what it takes? Then all ranks open it together, and *state
// is theirs until `close`.
typedef struct er_device_sums {
    bool (*there)(er_device *);
    er_status (*open)(er_device *, const er_comm *, const er_device_sum **ops, void **state);
} er_device_sums;

// All ranks call it, once, each with its device. From then on er_comm_sum_f64() goes by NCCL when every rank
// has a GPU and NCCL, and otherwise through host memory as before; *how (static) says which, for the user.
// EDEVICE when NCCL is there and fails.
er_status er_comm_join(const er_comm *c, er_device *d, const char **how);
// Before the device closes: sums go through host memory again.
void er_comm_leave(const er_comm *c);

// For implementations. While they wait outside the wire, about ten times a second: the failure of any rank,
// as er_comm_ops has it. `since`: er_clock() when the wait began.
er_status er_comm_watch(const er_comm *c, const char *what, double since);
// This rank failed while it summed: the others hear of it, and all return the same.
er_status er_comm_failed(const er_comm *c, er_status rc);
#ifdef __cplusplus
}
#endif
#endif
