// The processes of ranks: made, known, waited for.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "kernels/comm/local_internal.h"

enum { GRACE_S = 30 };

static er_local *new_ranks(size_t size, double seconds) {
    er_local *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    *l = (er_local){.comm = {&er_local_ops, 0, size}, .seconds = seconds, .all = MAP_FAILED};
    l->fd = malloc(size * sizeof *l->fd);
    l->pid = malloc(size * sizeof *l->pid);
    l->heads = calloc(size, sizeof *l->heads);
    l->part = malloc(ER_LOCAL_PIECE * sizeof *l->part);
    l->all = mmap(NULL, sizeof *l->all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (size_t r = 0; l->fd && l->pid && r < size; r++) l->fd[r] = -1, l->pid[r] = -1;
    return l;
}

// In the child: `hub` leads to rank 0, and nothing of the others is left open.
static void become(er_local *l, size_t rank, int hub) {
    for (size_t r = 0; r < l->comm.size; r++) {
        if (l->fd[r] >= 0) (void)close(l->fd[r]);
        l->fd[r] = -1, l->pid[r] = -1;
    }
    l->fd[0] = hub;
    l->comm.rank = rank;
}

er_status er_local_fork(er_local **out, size_t size, double seconds) {
    er_status rc = ER_OK;
    er_local *l = NULL;
    if (size == 0 || size > 4096) return er_fail(ER_EARG, "%zu ranks on one machine", size);
    l = new_ranks(size, seconds);
    if (!l || !l->fd || !l->pid || !l->heads || !l->part || l->all == MAP_FAILED)
        ER_FAIL(ER_ENOMEM, "%zu ranks", size);
    (void)fflush(NULL);  // what stands in buffers is written once
    for (size_t r = 1; r < size; r++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
            ER_FAIL(ER_EIO, "a socket pair for rank %zu: %s", r, strerror(errno));
        pid_t pid = fork();
        if (pid == 0) {
            (void)close(pair[0]);
            become(l, r, pair[1]);
            break;
        }
        (void)close(pair[1]);
        l->fd[r] = pair[0], l->pid[r] = pid;
        if (pid < 0) ER_FAIL(ER_ENOMEM, "a process for rank %zu: %s", r, strerror(errno));
    }
    *out = l, l = NULL;
out:
    er_local_free(l);
    return rc;
}

const er_comm *er_local_comm(const er_local *l) { return &l->comm; }
long er_local_process(const er_local *l, size_t rank) {
    return rank < l->comm.size && l->pid[rank] > 0 ? (long)l->pid[rank] : -1;
}

static void wait_for(pid_t pid, double until) {
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        if (er_clock() > until) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, NULL, 0);
            return;
        }
        (void)usleep(10000);
    }
}

void er_local_free(er_local *l) {
    if (!l) return;
    double until = er_clock() + GRACE_S;
    for (size_t r = 0; l->fd && r < l->comm.size; r++)
        if (l->fd[r] >= 0) (void)close(l->fd[r]);
    for (size_t r = 1; l->pid && l->comm.rank == 0 && r < l->comm.size; r++)
        if (l->pid[r] > 0) wait_for(l->pid[r], until);
    if (l->all != MAP_FAILED) (void)munmap(l->all, sizeof *l->all);
    free(l->fd);
    free(l->pid);
    free(l->heads);
    free(l->part);
    free(l);
}
