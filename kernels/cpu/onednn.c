// oneDNN: the faster fp32 GEMM where it is built in. Kept behind er_onednn so that no other file knows its
// types.
#include "kernels/cpu/cpu.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "io/base/log.h"

#ifdef ERRATA_WITH_ONEDNN
#include "io/base/signals.h"
#include <oneapi/dnnl/dnnl.h>

struct er_onednn {
    char name[32];
};

// Everything but what a fault of the thread itself raises.
static void deferrable(sigset_t *set) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigfillset(set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) (void)sigdelset(set, faults[i]);
}

// A handler of the host program on any thread that is inside dnnl_sgemm corrupts it (io/base/signals.h). The
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

static void (*on_exception)(void);  // of main(), or NULL

// oneDNN 2.6 looks at no result when it maps memory for machine code, and writes to it. That is a crash of
// which the cause is known, and main() can say it.
static void on_segv(int sig) {
    (void)sig;
    on_exception();
}

// May this process have memory that it writes and then executes, and so much of it?
static bool may_generate_code(void) {
    const size_t bytes = (size_t)16 << 20;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return false;
    bool may = mprotect(p, bytes, PROT_READ | PROT_WRITE | PROT_EXEC) == 0;
    (void)munmap(p, bytes);
    return may;
}

// The library writes its machine code at the first product of a kind, and throws or crashes where there is no
// memory for it: now rather than in one of its threads in the middle of a job.
static er_status warm_up(void) {
    enum { N = 48 };
    static const char kind[] = {'N', 'T'};
    static const dnnl_dim_t size[] = {1, 5, N};  // vectors, narrow and wide products have code of their own
    float a[N * N] = {0}, b[N * N] = {0}, out[N * N] = {0};
    struct sigaction act, before;
    sigset_t mask;
    memset(&act, 0, sizeof act);
    act.sa_handler = on_segv;
    defer_signals(&mask);
    if (on_exception) (void)sigaction(SIGSEGV, &act, &before);
    dnnl_status_t got = dnnl_success;
    for (int i = 0; i < 8 * 9 && got == dnnl_success; i++)
        got = dnnl_sgemm(kind[i & 1], kind[i >> 1 & 1], size[i / 8 % 3], size[i / 24], N, 1, a, N, b, N,
            (float)(i >> 2 & 1), out, N);
    if (on_exception) (void)sigaction(SIGSEGV, &before, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (got == dnnl_success) return ER_OK;
    return er_fail(got == dnnl_out_of_memory ? ER_ENOMEM : ER_EDEVICE,
        "oneDNN: its first products: status %d", (int)got);
}

er_status er_onednn_open(er_onednn **out) {
    if (!may_generate_code()) {
        er_warn("oneDNN may not generate code in this process; products are OpenBLAS's");
        *out = NULL;
        return ER_OK;
    }
    er_onednn *o = calloc(1, sizeof *o);
    if (!o) return er_fail(ER_ENOMEM, "the oneDNN handle");
    er_status rc = warm_up();
    if (rc != ER_OK) {
        free(o);
        return rc;
    }
    const dnnl_version_t *v = dnnl_version();
    (void)snprintf(o->name, sizeof o->name, "onednn %d.%d.%d", v->major, v->minor, v->patch);
    *out = o;
    return ER_OK;
}

void er_onednn_close(er_onednn *o) { free(o); }
const char *er_onednn_name(const er_onednn *o) { return o->name; }

// A product that broke off may have added part of itself to `out`: only what was refused before it began may
// be left to somebody else.
er_status er_onednn_sgemm(bool *done, er_onednn *o, bool trans_a, bool trans_b, size_t m, size_t n, size_t k,
    const float *a, size_t lda, const float *b, size_t ldb, float beta, float *out, size_t ldo) {
    sigset_t before;
    if (!o) return ER_OK;
    defer_signals(&before);
    dnnl_status_t got = dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', (dnnl_dim_t)m, (dnnl_dim_t)n,
        (dnnl_dim_t)k, 1.0f, a, (dnnl_dim_t)lda, b, (dnnl_dim_t)ldb, beta, out, (dnnl_dim_t)ldo);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    *done = got == dnnl_success;
    if (got == dnnl_success || got == dnnl_unimplemented || got == dnnl_invalid_arguments) return ER_OK;
    return er_fail(got == dnnl_out_of_memory ? ER_ENOMEM : ER_EDEVICE,
        "oneDNN: a product of %zu x %zu x %zu: status %d", m, n, k, (int)got);
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
er_status er_onednn_sgemm(bool *done, er_onednn *o, bool trans_a, bool trans_b, size_t m, size_t n, size_t k,
    const float *a, size_t lda, const float *b, size_t ldb, float beta, float *out, size_t ldo) {
    (void)done, (void)o, (void)trans_a, (void)trans_b, (void)m, (void)n, (void)k, (void)a, (void)lda, (void)b,
        (void)ldb, (void)beta, (void)out, (void)ldo;
    return ER_OK;
}
#endif

// std::set_terminate and the type of the exception in flight, by the names that the C++ ABI gives them.
// Looked up, because a program without oneDNN has no C++ library.
bool er_cpu_on_exception(void (*handler)(void)) {
    void (*(*set)(void (*)(void)))(void) = NULL;
    void *found = dlsym(RTLD_DEFAULT, "_ZSt13set_terminatePFvvE");
    if (!found) return false;
    // libc looks for its unwinder when it first needs one, which is a poor time to load a library.
    void *frame[1];
    (void)backtrace(frame, 1);
    memcpy(&set, &found, sizeof set);  // ISO C knows no cast from an object to a function
    (void)set(handler);
#ifdef ERRATA_WITH_ONEDNN
    on_exception = handler;
#endif
    return true;
}

const char *er_cpu_exception_name(void) {
    typedef struct type_info {  // std::type_info of the Itanium ABI
        const void *methods;
        const char *name;
    } type_info;
    const type_info *(*current)(void) = NULL;
    void *found = dlsym(RTLD_DEFAULT, "__cxa_current_exception_type");
    if (!found) return "";
    memcpy(&current, &found, sizeof current);
    const type_info *t = current();
    return t && t->name ? t->name : "";
}
