// Ranks as processes of one machine, without MPI: forked from one parent, which watches over them.
#ifndef ER_LOCAL_RANKS_H
#define ER_LOCAL_RANKS_H
#include "kernels/comm/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ER_LOCAL_RANKS = 16 };

// Forks `size` ranks, at most ER_LOCAL_RANKS. In a rank: *out is its end of the wires, *code -1. In the
// parent, which comes back when all have ended, out->op is NULL and *code the exit code of them all: 0 when
// rank 0 ended well, else that of the lowest rank that failed, 69 for one that was killed. The parent hands
// the signals that stop a job on to the ranks, says on stderr that rank 0 was killed, and kills those that
// are still there `grace` seconds after the first has failed. SIGCHLD is no longer ignored afterwards. Comes
// before the first thread, and before er_signals_install(). EARG, ENOMEM, EIO: nothing was forked.
er_status er_local_ranks(er_wire *out, int *code, size_t size, double grace);
#ifdef __cplusplus
}
#endif
#endif
