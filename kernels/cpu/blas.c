// OpenBLAS belongs to the whole process: its number of threads is one for all callers, its pool serves one
// product at a time, and a second caller waits for it without sleeping. So the jobs of a process take turns.
#include <cblas.h>
#include <pthread.h>
#include <stdlib.h>

#include "kernels/cpu/cpu.h"
#include "kernels/host_threads.h"

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

// OpenMP's number of threads belongs to the calling thread, and OpenBLAS asks for it.
void er_cpu_blas_begin(const er_device *d) {
    (void)pthread_mutex_lock(&turn);
    omp_set_num_threads(d->threads);
}

void er_cpu_blas_end(void) { (void)pthread_mutex_unlock(&turn); }

void er_cpu_blas_threads(int threads) {
    (void)pthread_mutex_lock(&turn);
    openblas_set_num_threads(threads);
    (void)pthread_mutex_unlock(&turn);
}

struct er_host_threads {
    int team, dynamic;
};
static size_t keepers;  // under `turn`, as the next
static int of_blas;     // as the first of them found it

er_status er_host_threads_keep(er_host_threads **out) {
    er_host_threads *kept = malloc(sizeof *kept);
    if (!kept) return er_fail(ER_ENOMEM, "the settings of the calling thread");
    *kept = (er_host_threads){.team = omp_get_max_threads(), .dynamic = omp_get_dynamic()};
    (void)pthread_mutex_lock(&turn);
    if (!keepers++) of_blas = openblas_get_num_threads();
    (void)pthread_mutex_unlock(&turn);
    *out = kept;
    return ER_OK;
}

void er_host_threads_put_back(er_host_threads *kept) {
    if (!kept) return;
    (void)pthread_mutex_lock(&turn);
    if (!--keepers) openblas_set_num_threads(of_blas);
    (void)pthread_mutex_unlock(&turn);
    omp_set_num_threads(kept->team);
    omp_set_dynamic(kept->dynamic);
    free(kept);
}
