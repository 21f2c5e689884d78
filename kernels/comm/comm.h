// The ranks of a job and what they tell each other. One process is a communicator of its own, er_comm_self():
// code is written for ranks once and runs alone as it does among others.
//
// Collectives are called by all ranks in the same order. What may fail on one rank alone is brought to the
// next er_comm_agree(), which ends all ranks alike. A communicator carries one job: once it has failed,
// because a rank did, is gone, or was waited for too long, every later collective returns that failure at
// once and waits for nobody. So a rank that fails early needs not count the collectives that it leaves out.
#ifndef ER_COMM_H
#define ER_COMM_H
#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct er_comm er_comm;

// What a transport does: MPI_Allreduce, MPI_Allgatherv, MPI_Bcast over host memory; NCCL for sums of the
// device's. Every wait may time out: EDEVICE, with the collective and the ranks that were waited for.
typedef struct er_comm_ops {
    // x [n] (host) becomes its sum over the ranks, added in rank order, the same bits everywhere.
    er_status (*sum)(const er_comm *, double *x, size_t n);
    // The same for memory of the device, in the order of its queue; waits or not as the device does. NULL:
    // through host memory, by `sum`.
    er_status (*sum_dev)(const er_comm *, er_device *, double *x, size_t n);
    // all (host): the parts of all ranks one behind the other, bytes[r] of rank r; `bytes` [size] is the same
    // everywhere.
    er_status (*gather)(const er_comm *, void *all, const void *mine, const size_t *bytes);
    // x [bytes] (host) becomes what it is on rank `from`.
    er_status (*broadcast)(const er_comm *, void *x, size_t bytes, size_t from);
    // Everybody gets the failure of er_comm_gravest(), worded by er_comm_verdict(), and whether anybody was
    // asked to stop. A failure also ends whatever other collective the others wait in, where the transport
    // can tell.
    er_status (*agree)(const er_comm *, er_status mine, bool *stop);
    // raise: lets the others know that they may stop, without waiting for them. Did any rank, or is one gone?
    // Cheap, and no collective: asked about once a second of work, from the thread that calls the
    // collectives.
    bool (*alarm)(const er_comm *, bool raise);
} er_comm_ops;

struct er_comm {
    const er_comm_ops *op;
    size_t rank, size;
};

const er_comm *er_comm_self(void);

// dev [n] on the device. Through host memory it goes piece by piece.
er_status er_comm_sum_f64(const er_comm *c, er_device *d, double *dev, size_t n);
// The same through host memory, whatever else there is.
er_status er_comm_sum_by_host(const er_comm *c, er_device *d, double *dev, size_t n);
er_status er_comm_sum_host(const er_comm *c, double *x, size_t n);
er_status er_comm_gather(const er_comm *c, void *all, const void *mine, const size_t *bytes);
er_status er_comm_broadcast(const er_comm *c, void *x, size_t bytes, size_t from);
// For lengths that only their owners know. *all, malloc'd: the parts of all ranks one behind the other; bytes
// [size] gets their lengths.
er_status er_comm_collect(const er_comm *c, void **all, size_t *bytes, const void *mine, size_t own);
// *x of *bytes on rank `from`; on the others both are set, *x malloc'd.
er_status er_comm_tell(const er_comm *c, void **x, size_t *bytes, size_t from);
// Nobody passes before all have come.
er_status er_comm_barrier(const er_comm *c);

// What to return where ranks must go on or end together: mine, or another's failure (its message becomes the
// last error), or EINTERRUPTED with `what` as its message once any rank was asked to stop. `what` NULL: a
// stop is left to those who ask for it within their work.
er_status er_comm_agree(const er_comm *c, er_status mine, const char *what);
// Raised by er_comm_agree() for a rank that fails; by hand where another collective comes before it.
void er_comm_raise(const er_comm *c);
bool er_comm_is_raised(const er_comm *c);

// This rank's part of n items: contiguous, sizes differ by one at most, in rank order.
void er_comm_share(const er_comm *c, size_t n, size_t *first, size_t *count);

// ---- for transports ----

// Of the statuses [size] of all ranks the one that all return, by its rank: a failure outranks an
// interruption, of several the lowest rank's counts. *everywhere: all ranks have it.
size_t er_comm_gravest(const er_status *status, size_t size, bool *everywhere);
// Fails with `status` and `message` of `rank`, which is named unless the same befell all, or it is an
// interruption.
er_status er_comm_verdict(er_status status, const char *message, size_t rank, bool everywhere);
#ifdef __cplusplus
}
#endif
#endif
