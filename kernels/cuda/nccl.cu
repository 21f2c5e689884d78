// Sums of device memory over ranks by NCCL, on the device's own stream. Calls do not block: a rank that has
// failed is noticed while this one waits, and the communicator is aborted. libnccl is loaded only when ranks
// meet, so that one binary runs without it.
#include "kernels/cuda/device.cuh"

#ifdef ERRATA_WITH_NCCL
#include <nccl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "io/base/clock.h"
#include "kernels/comm/device_sum.h"
#ifdef __CUDACC__
#include <dlfcn.h>
#endif

namespace {

struct library {
    decltype(&ncclGetUniqueId) get_unique_id;
    decltype(&ncclCommInitRankConfig) init;
    decltype(&ncclCommGetAsyncError) async_error;
    decltype(&ncclAllReduce) all_reduce;
    decltype(&ncclCommFinalize) finalize;
    decltype(&ncclCommDestroy) destroy;
    decltype(&ncclCommAbort) abort;
    decltype(&ncclGetErrorString) error_string;
};

#ifdef __CUDACC__
const library *nccl() {
    static library l;
    static bool tried, there;
    if (tried) return there ? &l : NULL;
    tried = true;
    void *so = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!so) return NULL;
    const struct {
        void **to;
        const char *name;
    } calls[] = {{reinterpret_cast<void **>(&l.get_unique_id), "ncclGetUniqueId"},
        {reinterpret_cast<void **>(&l.init), "ncclCommInitRankConfig"},
        {reinterpret_cast<void **>(&l.async_error), "ncclCommGetAsyncError"},
        {reinterpret_cast<void **>(&l.all_reduce), "ncclAllReduce"},
        {reinterpret_cast<void **>(&l.finalize), "ncclCommFinalize"},
        {reinterpret_cast<void **>(&l.destroy), "ncclCommDestroy"},
        {reinterpret_cast<void **>(&l.abort), "ncclCommAbort"},
        {reinterpret_cast<void **>(&l.error_string), "ncclGetErrorString"}};
    there = true;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        there = (*calls[i].to = dlsym(so, calls[i].name)) != NULL && there;
    return there ? &l : NULL;
}
#else  // the fibers' own
const library *nccl() {
    static const library l = {ncclGetUniqueId, ncclCommInitRankConfig, ncclCommGetAsyncError, ncclAllReduce,
        ncclCommFinalize, ncclCommDestroy, ncclCommAbort, ncclGetErrorString};
    return &l;
}
#endif

struct ranks {
    const library *l;
    ncclComm_t comm;  // NULL once aborted
    cudaEvent_t done;
};

void give_up(ranks *r) {
    if (r->comm) (void)r->l->abort(r->comm);
    r->comm = NULL;
}

er_status failed(const er_comm *c, ranks *r, const char *what, ncclResult_t e) {
    give_up(r);
    return er_comm_failed(c, er_fail(ER_EDEVICE, "%s: %s", what, r->l->error_string(e)));
}

// Until NCCL is done with a call, and `done` has passed where it is given.
er_status await(const er_comm *c, ranks *r, const char *what, cudaEvent_t done) {
    double since = er_clock(), looked = since;
    for (;;) {
        ncclResult_t e = ncclSuccess;
        cudaError_t passed = cudaSuccess;
        if (done)
            passed = cudaEventQuery(done);  // first: what has passed may have passed because of an error
        if (r->l->async_error(r->comm, &e) != ncclSuccess) e = ncclSystemError;
        if (e != ncclSuccess && e != ncclInProgress) return failed(c, r, what, e);
        if (passed != cudaSuccess && passed != cudaErrorNotReady) {
            give_up(r);
            return er_comm_failed(c, er_cuda_status(passed, what, __FILE__, __LINE__));
        }
        if (e == ncclSuccess && passed == cudaSuccess) return ER_OK;
        double now = er_clock();
        if (now - since > 0.0005) {
            const struct timespec nap = {0, 100000};
            (void)nanosleep(&nap, NULL);
        }
        if (now - looked < 0.1) continue;
        looked = now;
        er_status rc = er_comm_watch(c, what, since);
        if (rc == ER_OK) continue;
        give_up(r);
        return rc;
    }
}

er_status sum(void *state, const er_comm *c, er_device *d, double *x, size_t n) {
    ranks *r = static_cast<ranks *>(state);
    er_status rc = ER_OK;
    if (!r->comm) return er_comm_failed(c, er_fail(ER_EDEVICE, "NCCL was given up"));
    ncclResult_t e = r->l->all_reduce(x, x, n, ncclFloat64, ncclSum, r->comm, er_cuda_stream(d));
    if (e != ncclSuccess && e != ncclInProgress) return failed(c, r, "ncclAllReduce", e);
    if ((rc = await(c, r, "ncclAllReduce", NULL)) != ER_OK) return rc;  // it is queued
    rc = er_cuda_status(cudaEventRecord(r->done, er_cuda_stream(d)), "ncclAllReduce", __FILE__, __LINE__);
    if (rc == ER_OK) return await(c, r, "ncclAllReduce", r->done);
    give_up(r);
    return er_comm_failed(c, rc);
}

void close(void *state, bool ranks_failed) {
    ranks *r = static_cast<ranks *>(state);
    if (!r) return;
    if (ranks_failed) give_up(r);
    if (r->comm) {
        ncclResult_t e = r->l->finalize(r->comm);
        for (double since = er_clock(); e == ncclInProgress && er_clock() - since < 10;)
            if (r->l->async_error(r->comm, &e) != ncclSuccess) break;
        if (e == ncclSuccess) (void)r->l->destroy(r->comm);
        else give_up(r);
    }
    if (r->done) (void)cudaEventDestroy(r->done);
    free(r);
}

const er_device_sum ops = {sum, close};

// NCCL refuses two ranks on one device.
bool there(er_device *d) { return reinterpret_cast<er_cuda *>(d)->sharers == 1 && nccl() != NULL; }

er_status open(er_device *d, const er_comm *c, const er_device_sum **out, void **state) {
    er_status rc = ER_OK;
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclResult_t e = ncclSuccess;
    ranks *r = static_cast<ranks *>(calloc(1, sizeof *r));
    (void)d;
    memset(&id, 0, sizeof id);
    if (!r) ER_TRY(er_comm_failed(c, er_fail(ER_ENOMEM, "NCCL")));
    r->l = nccl();
    if (c->rank == 0 && (e = r->l->get_unique_id(&id)) != ncclSuccess)
        ER_TRY(failed(c, r, "ncclGetUniqueId", e));
    ER_TRY(er_comm_broadcast(c, &id, sizeof id, 0));
    rc = er_cuda_status(
        cudaEventCreateWithFlags(&r->done, cudaEventDisableTiming), "NCCL's event", __FILE__, __LINE__);
    if (rc != ER_OK) ER_TRY(er_comm_failed(c, rc));
    config.blocking = 0;
    e = r->l->init(&r->comm, static_cast<int>(c->size), id, static_cast<int>(c->rank), &config);
    if (e != ncclSuccess && e != ncclInProgress) ER_TRY(failed(c, r, "ncclCommInitRankConfig", e));
    ER_TRY(await(c, r, "ncclCommInitRankConfig", NULL));
    *out = &ops;
    *state = r;
    r = NULL;
out:
    close(r, true);
    return rc;
}
const er_device_sums sums = {there, open};

}  // namespace

const struct er_device_sums *er_cuda_sums(void) { return &sums; }
#else
const struct er_device_sums *er_cuda_sums(void) { return NULL; }
#endif
