// How many threads a job may have. libgomp ends the process when it cannot start one, and both GEMM libraries
// take for granted that a team is as large as it was asked for: with a smaller one (OMP_THREAD_LIMIT,
// OMP_DYNAMIC) they wait for ever or leave parts of a product out. So all of it is found out first.
#include "kernels/cpu/cpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "io/base/log.h"

static void *wait_for_gate(void *gate) {
    (void)pthread_mutex_lock(gate);
    (void)pthread_mutex_unlock(gate);
    return NULL;
}

// How many of `n` threads there can be at once, this one among them. *why is an errno.
static er_status startable(int *out, int *why, int n) {
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *thread = malloc((size_t)n * sizeof *thread);
    if (!thread) return er_fail(ER_ENOMEM, "%d threads", n);
    int started = 0;
    *why = 0;
    (void)pthread_mutex_lock(&gate);  // none may end before the last has begun
    while (started < n - 1 && !(*why = pthread_create(&thread[started], NULL, wait_for_gate, &gate)))
        started++;
    (void)pthread_mutex_unlock(&gate);
    for (int i = 0; i < started; i++) (void)pthread_join(thread[i], NULL);
    free(thread);
    *out = started + 1;
    return ER_OK;
}

// OpenBLAS maps a buffer for each thread and tries for ever where it cannot (ulimit -v). How many of n there
// is room for.
static int buffers_of(int n) {
    void *at[64];
    int got = 0, wanted = n < 64 ? n : 64;
    while (got < wanted && (at[got] = mmap(NULL, ER_BLAS_BUFFER, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) != MAP_FAILED)
        got++;
    for (int i = 0; i < got; i++) (void)munmap(at[i], ER_BLAS_BUFFER);
    return got < wanted ? got : n;
}

static int team_of(int n) {
    int got = 1;
    omp_set_dynamic(0);
#pragma omp parallel num_threads(n)
    {
#pragma omp single
        got = omp_get_num_threads();
    }
    return got;
}

int er_cpu_threads_most(void) {
    int processors = omp_get_num_procs();
    return processors > 4 ? 4 * processors : 16;
}

er_status er_cpu_threads(int *out, int asked) {
    int processors = omp_get_num_procs(), most = er_cpu_threads_most(), can = 1, why = 0;
    if (asked > most)
        return er_fail(ER_EARG, "%d threads: this process may use %d processor%s, so %d at most", asked,
            processors, processors == 1 ? "" : "s", most);
    int wanted = asked > 0 ? asked : processors;
    er_status rc = startable(&can, &why, wanted);
    if (rc != ER_OK) return rc;
    if (can < wanted)
        er_warn(
            "only %d of %d threads can be started: %s; computing with %d", can, wanted, strerror(why), can);
    int room = buffers_of(can);
    if (room < 1)
        return er_fail(ER_ENOMEM, "no address space for OpenBLAS's buffer of %zu bytes", ER_BLAS_BUFFER);
    if (room < can)
        er_warn(
            "there is address space for the buffers of %d of %d threads; computing with %d", room, can, room);
    if (room < can) can = room;
    int team = team_of(can);
    if (team < can && asked > 0) er_warn("OpenMP gives %d of %d threads; computing with %d", team, can, team);
    *out = team;
    return ER_OK;
}
