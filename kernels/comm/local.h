// Ranks as processes of one machine: forked from this one, joined by socket pairs. Everything goes through
// rank 0.
//
//     er_local *ranks = NULL;
//     ER_TRY(er_local_fork(&ranks, 2, 600));            // from here on two processes run the same code
//     er_status rc = er_job_edit_ranks(&report, &options, er_local_comm(ranks));
//     if (er_local_comm(ranks)->rank) _exit(er_exit_code(rc));
//     er_local_free(ranks);                             // waits for the others
#ifndef ER_LOCAL_H
#define ER_LOCAL_H
#include "kernels/comm/comm.h"

typedef struct er_local er_local;
// Before this process has a thread or has entered an OpenMP region: a forked child has neither the threads
// nor knows that they are gone. The child's log is as the parent's; rank 0's speaks for all when the others
// set theirs to quiet. A wait for another rank takes `seconds` at most, and forever where that is 0. A rank
// whose process ends is noticed at once.
er_status er_local_fork(er_local **out, size_t size, double seconds);
const er_comm *er_local_comm(const er_local *l);  // of this process
// The process of a rank, on rank 0: for tests that kill it. -1: it is not known.
long er_local_process(const er_local *l, size_t rank);
// Rank 0 waits for the processes of the others; those that are still there half a minute later are killed.
// NULL is fine.
void er_local_free(er_local *l);
#endif
