// What the ranks of one machine share. Internal to kernels/comm/.
#ifndef ER_LOCAL_INTERNAL_H
#define ER_LOCAL_INTERNAL_H
#include <stdatomic.h>

#include "kernels/comm/local.h"

typedef struct er_local_rank {  // in memory that all ranks and the parent share
    _Atomic uint32_t state, alarm, beat;
    uint32_t status;
    char message[ER_WIRE_MESSAGE];  // written before `state`
} er_local_rank;

// The rank's end; socket[r] leads to rank r. Owns the sockets from then on.
er_status er_local_wire(er_wire *out, er_local_rank *page, size_t rank, size_t size, const int *socket);
#endif
