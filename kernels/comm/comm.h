// The ranks of a job and what they tell each other. One process is a communicator of its own, er_comm_self(): code is written for
// ranks once and runs alone as it does among others. Collectives are called by all ranks in the same order.
#ifndef ER_COMM_H
#define ER_COMM_H
#include "kernels/device.h"

typedef struct er_comm er_comm;
typedef struct er_comm_ops {
    // x [n] (host) becomes its sum over the ranks, added in rank order, the same bits everywhere.
    er_status (*sum)(const er_comm *, double *x, size_t n);
    // The same for memory of the device; waits or not as the device does. NULL: through host memory, by `sum`.
    er_status (*sum_dev)(const er_comm *, er_device *, double *x, size_t n);
    // Everybody gets the gravest status of all, with the message of the first rank that has it, and whether anybody was asked to stop.
    er_status (*agree)(const er_comm *, er_status mine, bool *stop);
} er_comm_ops;

struct er_comm {
    const er_comm_ops *op;
    size_t rank, size;
};

const er_comm *er_comm_self(void);
// dev [n] on the device.
er_status er_comm_sum_f64(const er_comm *c, er_device *d, double *dev, size_t n);
er_status er_comm_sum_host(const er_comm *c, double *x, size_t n);
// What to return where ranks must go on or end together: mine, or another's failure (its message becomes the last error), or
// EINTERRUPTED with `what` as its message once any rank was asked to stop.
er_status er_comm_agree(const er_comm *c, er_status mine, const char *what);
// This rank's part of n items: contiguous, sizes differ by one at most, in rank order.
void er_comm_share(const er_comm *c, size_t n, size_t *first, size_t *count);
#endif
