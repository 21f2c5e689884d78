// Streams of the fake runtime: queues that run at a sync, the copies and kernels in them, and events.
#include "runtime.h"

#include <stdio.h>
#include <time.h>
#include <deque>
#include <map>
#include <memory>
#include <set>

// ---- streams ----

struct shim_stream {
    std::deque<std::function<void()>> queue;
    uint64_t id, queued, done;
};
static std::set<shim_stream *> &streams = *new std::set<shim_stream *>;
static uint64_t streams_made;

static void drain(shim_stream *s, uint64_t upto) {
    if (s->done >= upto) return;
    shim_enter();
    while (s->done < upto) {
        auto work = std::move(s->queue.front());
        s->queue.pop_front();
        work();
        s->done++;
    }
    shim_leave();
}

void shim_drain_all(void) {
    for (auto *s : streams) drain(s, s->queued);
}

void shim_lose_all(void) {
    for (auto *s : streams) s->queue.clear(), s->done = s->queued;
}

static void check_stream(const char *what, cudaStream_t s) {
    if (!streams.count(s)) shim_die("%s: not on an explicit stream", what);
}

cudaError_t shim_enqueue(const char *what, cudaStream_t s, std::function<void()> work) {
    check_stream(what, s);
    s->queue.push_back(std::move(work));
    s->queued++;
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *dst, size_t dpitch, const void *src, size_t spitch, size_t width,
    size_t height, cudaMemcpyKind kind, cudaStream_t s) {
    FALLIBLE();
    if (width > dpitch || width > spitch) return shim_fail(cudaErrorInvalidValue);
    bool to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (shim_on_device(dst) != to || shim_on_device(src) != from)
        return shim_fail(cudaErrorInvalidMemcpyDirection);
    if (to) shim_check_device_ptr("copy to", dst, height ? (height - 1) * dpitch + width : 0);
    if (from) shim_check_device_ptr("copy from", src, height ? (height - 1) * spitch + width : 0);
    if (!to) shim_check_pinned("copy to", dst, height ? (height - 1) * dpitch + width : 0);
    if (!from) shim_check_pinned("copy from", src, height ? (height - 1) * spitch + width : 0);
    return shim_enqueue("copy", s, [=] {
        for (size_t i = 0; i < height; i++)
            memcpy((char *)dst + i * dpitch, (const char *)src + i * spitch, width);
    });
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, cudaMemcpyKind kind, cudaStream_t s) {
    return cudaMemcpy2DAsync(dst, n, src, n, n, 1, kind, s);
}

cudaError_t cudaMemsetAsync(void *dst, int v, size_t n, cudaStream_t s) {
    FALLIBLE();
    shim_check_device_ptr("cudaMemsetAsync", dst, n);
    return shim_enqueue("cudaMemsetAsync", s, [=] { memset(dst, v, n); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
    FALLIBLE();
    if (flags != cudaStreamNonBlocking) return shim_fail(cudaErrorInvalidValue);
    *s = new shim_stream();
    (*s)->id = ++streams_made;
    streams.insert(*s);
    return cudaSuccess;
}

// A sync that fails waits all the same: work still queued then would reach memory that its owner, told of the
// failure, has freed.
static cudaError_t before_sync(void) {
    cudaError_t e = shim_call();
    return e == cudaSuccess ? e : shim_fail(e);
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    check_stream("cudaStreamSynchronize", s);
    cudaError_t rc = before_sync();
    drain(s, s->queued);
    return rc;
}

cudaError_t cudaDeviceSynchronize(void) {
    cudaError_t rc = before_sync();
    shim_drain_all();
    return rc;
}

cudaError_t cudaStreamQuery(cudaStream_t s) {
    FALLIBLE();
    check_stream("cudaStreamQuery", s);
    return s->done < s->queued ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) {
    check_stream("cudaStreamDestroy", s);
    drain(s, s->queued);
    streams.erase(s);
    delete s;
    return shim_dead ? shim_fail(cudaErrorLaunchFailure) : cudaSuccess;
}

// ---- events: a place in the queue of a stream ----

struct shim_event {
    unsigned flags;
    uint64_t stream, at;  // the stream's number; 0: never recorded
    std::shared_ptr<double> when;
};
static std::set<shim_event *> &events = *new std::set<shim_event *>;

static void check_event(const char *what, cudaEvent_t e) {
    if (!events.count(e)) shim_die("%s: not an event", what);
}

// The stream in which the event is still to come, or NULL when it has.
static shim_stream *awaited(const shim_event &e) {
    for (auto *s : streams)
        if (s->id == e.stream) return s->done < e.at ? s : nullptr;
    return nullptr;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
    FALLIBLE();
    *e = new shim_event();
    (*e)->flags = flags;
    events.insert(*e);
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t e) {
    check_event("cudaEventDestroy", e);
    events.erase(e);
    delete e;
    return shim_dead ? shim_fail(cudaErrorLaunchFailure) : cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    FALLIBLE();
    check_event("cudaEventRecord", e);
    std::shared_ptr<double> when = std::make_shared<double>(0);
    (void)shim_enqueue("cudaEventRecord", s, [when] {
        struct timespec t;
        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        *when = 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
    });
    e->stream = s->id, e->at = s->queued, e->when = when;
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e) {
    FALLIBLE();
    check_event("cudaEventQuery", e);
    return awaited(*e) ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    check_event("cudaEventSynchronize", e);
    cudaError_t rc = before_sync();
    if (auto *s = awaited(*e)) drain(s, e->at);
    return rc;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags) {
    FALLIBLE();
    if (flags) return shim_fail(cudaErrorInvalidValue);
    check_event("cudaStreamWaitEvent", e);
    shim_event now = *e;  // a later record does not move what is waited for
    return shim_enqueue("cudaStreamWaitEvent", s, [now] {
        if (auto *other = awaited(now)) drain(other, now.at);
    });
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end) {
    FALLIBLE();
    check_event("cudaEventElapsedTime", start), check_event("cudaEventElapsedTime", end);
    if (!start->when || !end->when || ((start->flags | end->flags) & cudaEventDisableTiming))
        return shim_fail(cudaErrorInvalidResourceHandle);
    if (awaited(*start) || awaited(*end)) return cudaErrorNotReady;
    *ms = (float)(*end->when - *start->when);
    return cudaSuccess;
}

// ---- kernels ----

static std::map<const void *, size_t> &shared_limit = *new std::map<const void *, size_t>;

cudaError_t cudaFuncSetAttribute(const void *func, cudaFuncAttribute attr, int value) {
    FALLIBLE();
    if (attr == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    if (value < 0 || (size_t)value > SHARED_OPTIN) return shim_fail(cudaErrorInvalidValue);
    shared_limit[func] = (size_t)value;
    return cudaSuccess;
}

cudaError_t shim_enqueue_grid(const char *name, const void *kernel, dim3 grid, dim3 block, size_t smem,
    cudaStream_t s, std::function<void()> body) {
    FALLIBLE();
    uint64_t n = (uint64_t)block.x * block.y * block.z;
    if (!n || n > 1024 || block.z > 64 || !grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu ||
        grid.y > 65535 || grid.z > 65535)
        return shim_fail(cudaErrorInvalidConfiguration);
    auto limit = shared_limit.find(kernel);
    if (smem > (limit != shared_limit.end() && limit->second > SHARED ? limit->second : (size_t)SHARED))
        return shim_fail(cudaErrorInvalidValue);
    return shim_enqueue(name, s, [=] { shim_run_grid(name, grid, block, smem, body); });
}

int shim_stream_leaks(void) {
    for (size_t i = 0; i < streams.size(); i++) fputs("cuda shim: leaked a stream\n", stderr);
    for (size_t i = 0; i < events.size(); i++) fputs("cuda shim: leaked an event\n", stderr);
    return (int)(streams.size() + events.size());
}
