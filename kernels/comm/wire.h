// Bytes between the processes of a job, whatever carries them: socket pairs (local.h) or MPI (mpi.h).
// er_comm_over() makes the communicator of them; engine code never sees a wire.
#ifndef ER_WIRE_H
#define ER_WIRE_H
#include <stddef.h>
#include <stdint.h>

#include "kernels/comm/comm.h"

// This header and wire_ops.h are all that a carrier needs to know.
#include "kernels/comm/wire_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct er_comm_waits {
    double silence;  // seconds without a sign of life after which a rank counts as hung; 0: 30
    double longest;  // seconds that a rank waits in one collective while all others live; 0: no limit
} er_comm_waits;

// *out owns the wire, which is closed when this fails. Collectives are called from one thread at a time.
er_status er_comm_over(er_comm **out, const er_wire *wire, er_comm_waits waits);
// Closes the wire. After a failure the ranks that can still be reached have heard of it.
void er_comm_close(er_comm *c);
// Is this the rank whose words the user sees? The lowest that has not gone and, after a failure, has
// heard of it.
bool er_comm_speaks(const er_comm *c);
// Ranks on this rank's machine, and its number among them: the device that it takes.
void er_comm_local(const er_comm *c, size_t *rank, size_t *size);
#ifdef __cplusplus
}
#endif
#endif
