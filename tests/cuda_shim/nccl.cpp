// NCCL on memory that processes share. A collective is checked on all ranks to be the same one, of the same
// count and type; what it receives into is NaN until it is through; sums are added in an order that differs
// from rank to rank of the schedule; a rank that waits too long dies and names the collective and whom it
// waited for.
#include "nccl.h"
#include "runtime.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <atomic>
#include <random>
#include <string>
#include <vector>

enum : size_t { RANKS = 16, CHUNK = 1 << 15 };  // doubles

struct member {
    std::atomic<uint32_t> joined, aborted;
    std::atomic<uint64_t> arrived, phase;  // collectives begun; barriers passed within them
    uint64_t count;                        // of the one begun, written before `arrived`
    int type, op;
    double data[CHUNK];
};

struct shim_nccl_comm {
    member *all;
    size_t rank, size;
    uint64_t begun = 0, phase = 0;
    bool told = true, done = true, finalised = false;  // told: that the last call is queued
    bool cut_short = false;                            // a collective, by an abort elsewhere
};

static bool fails(void) { return shim_call() != cudaSuccess; }

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void nap(void) {
    struct timespec t = {0, 50000};
    (void)nanosleep(&t, nullptr);
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    if (fails()) return ncclSystemError;
    int fd = memfd_create("fake nccl", 0);  // lives as long as this process
    if (fd < 0 || ftruncate(fd, (off_t)(RANKS * sizeof(member))) != 0) return ncclSystemError;
    (void)snprintf(id->internal, sizeof id->internal, "/proc/%d/fd/%d", (int)getpid(), fd);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(
    ncclComm_t *comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config) {
    if (ranks < 1 || (size_t)ranks > RANKS || rank < 0 || rank >= ranks) return ncclInvalidArgument;
    if (config->magic != 0xcafebeef || config->blocking != 0) return ncclInvalidArgument;
    if (fails()) return ncclSystemError;
    int fd = open(id.internal, O_RDWR | O_CLOEXEC);
    void *p = fd < 0 ? MAP_FAILED
                     : mmap(nullptr, RANKS * sizeof(member), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) (void)close(fd);
    if (p == MAP_FAILED) return ncclSystemError;
    *comm = new shim_nccl_comm();
    (*comm)->all = static_cast<member *>(p), (*comm)->rank = (size_t)rank, (*comm)->size = (size_t)ranks;
    if ((*comm)->all[rank].joined.exchange(1)) shim_die("ncclCommInitRankConfig: rank %d twice", rank);
    shim_handle_made("nccl", *comm);
    return ncclInProgress;
}

static bool everybody(const shim_nccl_comm *c, bool (*is)(const member &, uint64_t), uint64_t n) {
    for (size_t r = 0; r < c->size; r++)
        if (!is(c->all[r], n)) return false;
    return true;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *error) {
    shim_handle_check("nccl", c);
    if (fails()) return ncclSystemError;
    *error = ncclSuccess;
    for (size_t r = 0; r < c->size; r++)
        if (c->all[r].aborted || c->cut_short) *error = ncclRemoteError;
    if (*error != ncclSuccess) return ncclSuccess;
    if (!everybody(
            c, [](const member &m, uint64_t) { return m.joined != 0; }, 0)) {
        *error = ncclInProgress;
        return ncclSuccess;
    }
    if (!c->told) {
        c->told = true, *error = ncclInProgress;
        return ncclSuccess;
    }
    // A GPU works by itself; fibers have to be driven.
    if (everybody(
            c, [](const member &m, uint64_t n) { return m.arrived >= n; }, c->begun))
        shim_drain_all();
    if (c->cut_short) *error = ncclRemoteError;
    return ncclSuccess;
}

static bool barrier(shim_nccl_comm *c) {
    double since = now();
    c->all[c->rank].phase = ++c->phase;
    for (size_t r = 0; r < c->size; r++)
        while (c->all[r].phase < c->phase) {
            if (c->all[r].aborted) {
                c->cut_short = true;
                return false;
            }
            if (now() - since > 30)
                shim_die("nccl: rank %zu is stuck in all-reduce %llu, waiting for rank %zu", c->rank,
                    (unsigned long long)c->begun, r);
            nap();
        }
    return true;
}

static void all_reduce(shim_nccl_comm *c, double *x, size_t count) {
    std::mt19937_64 order(c->begun);  // the same on all ranks: NCCL's results are, too
    std::vector<size_t> rank(c->size);
    for (size_t r = 0; r < c->size; r++) {
        const member &m = c->all[r], &mine = c->all[c->rank];
        if (m.count != mine.count || m.type != mine.type || m.op != mine.op)
            shim_die("nccl: all-reduce %llu has %llu elements on rank %zu, %llu on rank %zu",
                (unsigned long long)c->begun, (unsigned long long)m.count, r, (unsigned long long)mine.count,
                c->rank);
        rank[r] = r;
    }
    for (size_t at = 0; at < count; at += CHUNK) {
        size_t n = std::min<size_t>(CHUNK, count - at);
        memcpy(c->all[c->rank].data, x + at, n * sizeof *x);
        for (size_t i = 0; i < n; i++) x[at + i] = static_cast<double>(NAN);
        if (!barrier(c)) return;
        std::shuffle(rank.begin(), rank.end(), order);
        std::vector<double> sum(n, 0.0);
        for (size_t r : rank)
            for (size_t i = 0; i < n; i++) sum[i] += c->all[r].data[i];
        if (!barrier(c)) return;
        memcpy(x + at, sum.data(), n * sizeof *x);
    }
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
    ncclComm_t c, cudaStream_t stream) {
    shim_handle_check("nccl", c);
    if (type != ncclFloat64 || op != ncclSum || send != recv) return ncclInvalidArgument;
    if (!c->done || c->finalised) return ncclInvalidUsage;
    if (fails()) return ncclSystemError;
    shim_check_device_ptr("ncclAllReduce", recv, count * sizeof(double));
    member &me = c->all[c->rank];
    me.count = count, me.type = type, me.op = op;
    me.arrived = ++c->begun;
    c->done = c->told = false;
    double *x = static_cast<double *>(recv);
    (void)shim_enqueue("ncclAllReduce", stream, [c, x, count] {
        if (!c->all[c->rank].aborted) all_reduce(c, x, count);
        c->done = true;
    });
    return ncclInProgress;
}

ncclResult_t ncclCommFinalize(ncclComm_t c) {
    shim_handle_check("nccl", c);
    if (fails()) return ncclSystemError;
    c->finalised = true;
    return ncclInProgress;
}

static void drop(ncclComm_t c) {
    shim_drain_all();  // what is queued looks at the communicator
    shim_handle_dropped("nccl", c);
    (void)munmap(c->all, RANKS * sizeof(member));
    delete c;
}

ncclResult_t ncclCommDestroy(ncclComm_t c) {
    if (!c->finalised) return ncclInvalidUsage;
    drop(c);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t c) {
    shim_handle_check("nccl", c);
    c->all[c->rank].aborted = 1;
    drop(c);
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t e) {
    static const char *const words[] = {"no error", "unhandled cuda error", "unhandled system error",
        "internal error", "invalid argument", "invalid usage",
        "remote process exited or there was a network error", "in progress"};
    return words[e];
}
