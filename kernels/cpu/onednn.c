// oneDNN: the faster fp32 GEMM where it is built in. Kept behind er_onednn so that no other file knows its
// types.
#include "kernels/cpu/cpu.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef ERRATA_WITH_ONEDNN
#include "io/signals.h"
#include <oneapi/dnnl/dnnl.h>

struct er_onednn {
    char name[32];
};

er_status er_onednn_open(er_onednn **out) {
    er_onednn *o = calloc(1, sizeof *o);
    if (!o) return er_fail(ER_ENOMEM, "the oneDNN handle");
    const dnnl_version_t *v = dnnl_version();
    (void)snprintf(o->name, sizeof o->name, "onednn %d.%d.%d", v->major, v->minor, v->patch);
    *out = o;
    return ER_OK;
}

void er_onednn_close(er_onednn *o) { free(o); }
const char *er_onednn_name(const er_onednn *o) { return o->name; }

// Everything but what a fault of the thread itself raises.
static void deferrable(sigset_t *set) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigfillset(set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) (void)sigdelset(set, faults[i]);
}

// A handler of the host program on any thread that is inside dnnl_sgemm corrupts it (io/signals.h). The
// caller's mask is put back afterwards: 0.3 us a call. The workers of its OpenMP pool keep theirs, and are
// asked each time, since libgomp ends and starts them as teams shrink and grow: 3 to 15 us a call with two
// threads. A program whose threads have all inherited the mask of er_signals_block() is spared that.
static void defer_signals(sigset_t *before) {
    sigset_t set;
    deferrable(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, before);
    if (er_signals_blocked() || omp_get_max_threads() == 1) return;
#pragma omp parallel
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

bool er_onednn_sgemm(er_onednn *o, bool trans_a, bool trans_b, size_t m, size_t n, size_t k, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *out, size_t ldo) {
    sigset_t before;
    if (!o) return false;
    defer_signals(&before);
    dnnl_status_t said = dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', (dnnl_dim_t)m, (dnnl_dim_t)n,
        (dnnl_dim_t)k, 1.0f, a, (dnnl_dim_t)lda, b, (dnnl_dim_t)ldb, beta, out, (dnnl_dim_t)ldo);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return said == dnnl_success;
}

#else
er_status er_onednn_open(er_onednn **out) {
    *out = NULL;
    return ER_OK;
}
void er_onednn_close(er_onednn *o) { (void)o; }
const char *er_onednn_name(const er_onednn *o) {
    (void)o;
    return "";
}
bool er_onednn_sgemm(er_onednn *o, bool trans_a, bool trans_b, size_t m, size_t n, size_t k, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *out, size_t ldo) {
    (void)o, (void)trans_a, (void)trans_b, (void)m, (void)n, (void)k, (void)a, (void)lda, (void)b, (void)ldb,
        (void)beta, (void)out, (void)ldo;
    return false;
}
#endif
