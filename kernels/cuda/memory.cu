// Memory of the CUDA device and what moves between it and the host.
//
// An upload has taken its source when it returns: it goes through pinned stages, so the caller may reuse the
// source while the copy is still queued, and the copy itself never stops the host as one from pageable memory
// would.
#include "kernels/cuda/device.cuh"

#include <stdlib.h>
#include <string.h>

#define STAGE_BYTES ((size_t)4 << 20)

er_status er_cuda_stage_open(er_cuda *c) {
    er_status rc = ER_OK;
    for (unsigned i = 0; i < ER_STAGES; i++) {
        ER_CUDA(cudaMallocHost((void **)&c->stage[i].at, STAGE_BYTES));
        ER_CUDA(cudaEventCreateWithFlags(&c->stage[i].done, cudaEventDisableTiming));
    }
out:
    return rc;
}

void er_cuda_stage_close(er_cuda *c) {
    for (unsigned i = 0; i < ER_STAGES; i++) {
        if (c->stage[i].done) (void)cudaEventDestroy(c->stage[i].done);
        if (c->stage[i].at) (void)cudaFreeHost(c->stage[i].at);
    }
}

static er_status next_stage(er_cuda *c, cudaStream_t at) {
    er_status rc = ER_OK;
    if (c->stage_used) {
        ER_CUDA(cudaEventRecord(c->stage[c->stage_now].done, c->stage_stream));
        c->stage_now = (c->stage_now + 1) % ER_STAGES;
        c->stage_used = 0;
    }
    ER_CUDA(cudaEventSynchronize(c->stage[c->stage_now].done));  // at once for one that was never recorded
    c->stage_stream = at;
out:
    return rc;
}

er_status er_cuda_upload(er_device *d, void *dst, const void *src, size_t bytes) {
    er_status rc = ER_OK;
    er_cuda *c = (er_cuda *)d;
    cudaStream_t at = er_cuda_stream(d);
    for (size_t done = 0, n; done < bytes; done += n) {
        if (at != c->stage_stream || c->stage_used == STAGE_BYTES) ER_TRY(next_stage(c, at));
        n = bytes - done < STAGE_BYTES - c->stage_used ? bytes - done : STAGE_BYTES - c->stage_used;
        char *pinned = c->stage[c->stage_now].at + c->stage_used;
        memcpy(pinned, (const char *)src + done, n);
        ER_CUDA(cudaMemcpyAsync((char *)dst + done, pinned, n, cudaMemcpyHostToDevice, at));
        c->stage_used += n;
        c->stage_used = (c->stage_used + 63) & ~(size_t)63;  // sources of different types stay aligned
    }
out:
    return rc;
}

// Within memory_limit and what the driver still has: other programs may use the card too.
static er_status free_now(er_cuda *c, size_t *left) {
    er_status rc = ER_OK;
    size_t free_bytes = 0, total = 0;
    ER_CUDA(cudaMemGetInfo(&free_bytes, &total));
    *left = c->base.memory_limit > c->taken ? c->base.memory_limit - c->taken : 0;
    if (*left > free_bytes) *left = free_bytes;
out:
    return rc;
}

er_status er_cuda_memory(er_device *d, size_t *available, size_t *total) {
    *total = d->memory_limit;
    return free_now((er_cuda *)d, available);
}

static er_status note_block(er_cuda *c, void *p, size_t bytes) {
    if (c->blocks == c->block_room) {
        size_t room = c->block_room ? 2 * c->block_room : 256;
        er_cuda_block *more = (er_cuda_block *)realloc(c->block, room * sizeof *more);
        if (!more) return er_fail(ER_ENOMEM, "a list of %zu allocations", room);
        c->block = more;
        c->block_room = room;
    }
    c->block[c->blocks].at = p;
    c->block[c->blocks++].bytes = bytes;
    c->taken += bytes;
    return ER_OK;
}

// A pointer of 0 bytes is still a pointer: NULL means an argument that is absent.
er_status er_cuda_alloc(er_device *d, void **out, size_t bytes) {
    er_cuda *c = (er_cuda *)d;
    void *p = NULL;
    if (bytes > c->base.memory_limit || c->taken > c->base.memory_limit - bytes)
        return er_fail(ER_ENOMEM, "%zu bytes of device memory; %zu are in use of the %zu allowed", bytes,
            c->taken, c->base.memory_limit);
    cudaError_t e = cudaMalloc(&p, bytes ? bytes : 1);
    if (e == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return er_fail(ER_ENOMEM, "%zu bytes of device memory", bytes);
    }
    er_status rc = er_cuda_status(e, "cudaMalloc", __FILE__, __LINE__);
    if (rc == ER_OK && (rc = note_block(c, p, bytes)) != ER_OK) (void)cudaFree(p);
    if (rc == ER_OK) *out = p;
    return rc;
}

void er_cuda_release(er_device *d, void *p) {
    er_cuda *c = (er_cuda *)d;
    if (!p) return;
    for (size_t i = c->blocks; i-- > 0;)
        if (c->block[i].at == p) {
            c->taken -= c->block[i].bytes;
            c->block[i] = c->block[--c->blocks];
            break;
        }
    (void)cudaFree(p);  // waits for what still uses it
}

er_status er_cuda_scratch(er_device *d, er_cuda_slot slot, size_t bytes, void **out) {
    er_status rc = ER_OK;
    er_cuda *c = (er_cuda *)d;
    if (bytes > c->scratch[slot].bytes) {
        er_cuda_release(d, c->scratch[slot].at);
        c->scratch[slot].at = NULL;
        c->scratch[slot].bytes = 0;
        ER_TRY(er_cuda_alloc(d, &c->scratch[slot].at, bytes));
        c->scratch[slot].bytes = bytes;
    }
    *out = c->scratch[slot].at;
out:
    return rc;
}

er_status er_cuda_alloc_host(er_device *d, void **out, size_t bytes) {
    (void)d;
    void *p = NULL;
    er_status rc = er_cuda_status(cudaMallocHost(&p, bytes ? bytes : 1), "pinned memory", __FILE__, __LINE__);
    if (rc == ER_OK) *out = p;
    return rc;
}

void er_cuda_release_host(er_device *d, void *p) {
    (void)d;
    if (p) (void)cudaFreeHost(p);
}

static er_status move(
    er_device *d, void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, const char *what) {
    if (!bytes) return ER_OK;
    return er_cuda_status(
        cudaMemcpyAsync(dst, src, bytes, kind, er_cuda_stream(d)), what, __FILE__, __LINE__);
}

er_status er_cuda_copy(er_device *d, void *dst, const void *src, size_t bytes) {
    return move(d, dst, src, bytes, cudaMemcpyDeviceToDevice, "copy");
}

er_status er_cuda_sync(er_device *d) {
    return er_cuda_status(cudaStreamSynchronize(er_cuda_stream(d)), "sync", __FILE__, __LINE__);
}

er_status er_cuda_download_async(er_device *d, void *dst, const void *src, size_t bytes) {
    return move(d, dst, src, bytes, cudaMemcpyDeviceToHost, "download");
}

er_status er_cuda_download(er_device *d, void *dst, const void *src, size_t bytes) {
    er_status rc = er_cuda_download_async(d, dst, src, bytes);
    return rc == ER_OK ? er_cuda_sync(d) : rc;
}

er_status er_cuda_zero(er_device *d, void *dst, size_t bytes) {
    if (!bytes) return ER_OK;
    return er_cuda_status(cudaMemsetAsync(dst, 0, bytes, er_cuda_stream(d)), "zero", __FILE__, __LINE__);
}

er_status er_cuda_event_record(er_device *d, unsigned event) {
    er_cuda *c = (er_cuda *)d;
    return er_cuda_status(
        cudaEventRecord(c->event[event], er_cuda_stream(d)), "event record", __FILE__, __LINE__);
}

er_status er_cuda_event_wait(er_device *d, unsigned event) {
    return er_cuda_status(
        cudaEventSynchronize(((er_cuda *)d)->event[event]), "event wait", __FILE__, __LINE__);
}
