// Ranks that an MPI launcher has started (mpirun, srun). MPI itself is in a module of its own, errata_mpi.so,
// which is loaded only then: one binary runs with MPI and without, and the module can be built against the
// MPI of a cluster.
#ifndef ER_MPI_H
#define ER_MPI_H
#include "kernels/comm/wire.h"

// How many ranks the launcher's environment tells of: OMPI_COMM_WORLD_SIZE, PMI_SIZE, or SLURM_STEP_NUM_TASKS
// where srun started this process. 1: none. *variable is what said so.
size_t er_mpi_launched(const char **variable);
// Joins them. The module is $ERRATA_MPI_MODULE, or errata_mpi.so in `folders` (NULL-terminated), tried in
// turn. ENODEVICE: there is no such module, or it cannot be loaded (no MPI); EDEVICE: MPI says why.
er_status er_mpi_wire(er_wire *out, const char *const *folders);
#endif
