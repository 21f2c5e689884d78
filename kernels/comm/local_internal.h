// Inside kernels/comm/: what the process of a rank knows of the others.
#ifndef ER_LOCAL_INTERNAL_H
#define ER_LOCAL_INTERNAL_H
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>
#include "kernels/comm/local.h"

enum { ER_LOCAL_SAID = 512, ER_LOCAL_PIECE = 1 << 17 };

typedef struct er_local_head {  // of a collective, and of the verdict on it
    uint32_t kind, stop;
    int32_t status;
    uint32_t unused;
    uint64_t n;
    char said[ER_LOCAL_SAID];
} er_local_head;

typedef struct er_local_shared {  // by the processes of all ranks
    _Atomic(int) raised;
    _Atomic(int) broken;  // 1: being written, 2: status and said stand
    int status;
    char said[ER_LOCAL_SAID];
} er_local_shared;

struct er_local {
    er_comm comm;  // first: what ranks are known by
    int *fd;       // [size] rank 0: of the others; else fd[0] alone
    pid_t *pid;    // [size] rank 0: of the others
    er_local_shared *all;
    double seconds;
    er_status ended;
    char said[ER_LOCAL_SAID];  // of `ended`
    double *part;              // [ER_LOCAL_PIECE] rank 0
    er_local_head *heads;      // [size] rank 0
};

extern const er_comm_ops er_local_ops;
#endif
