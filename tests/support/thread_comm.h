// Ranks as threads of one process: the communicator that tests run jobs with.
#ifndef ER_THREAD_COMM_H
#define ER_THREAD_COMM_H
#include "kernels/comm/comm.h"

enum { THREAD_RANKS = 8 };
typedef struct thread_comms thread_comms;
// comm[i] is rank i of `size`; none waits longer than `seconds` for the others: EDEVICE names who is missing,
// and in what.
er_status thread_comms_create(
    thread_comms **out, const er_comm *comm[THREAD_RANKS], size_t size, double seconds);
void thread_comms_free(thread_comms *t);
// Tells `rank` that it was asked to stop.
void thread_comms_stop(thread_comms *t, size_t rank);
#endif
