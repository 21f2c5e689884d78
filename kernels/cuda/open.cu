// Opening the CUDA device, its memory, and the table of its ops.
#include "kernels/cuda/device.cuh"

#include <stdio.h>
#include <stdlib.h>

static void cuda_close(er_device *d) {
    er_cuda *c = (er_cuda *)d;
    if (c->stream) (void)cudaStreamDestroy(c->stream);
    free(c);
}

// A pointer of 0 bytes is still a pointer: NULL means an argument that is absent.
static er_status cuda_alloc(er_device *d, void **out, size_t bytes) {
    (void)d;
    void *p = NULL;
    cudaError_t e = cudaMalloc(&p, bytes ? bytes : 1);
    if (e == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return er_fail(ER_ENOMEM, "%zu bytes of device memory", bytes);
    }
    er_status rc = er_cuda_status(e, "cudaMalloc", __FILE__, __LINE__);
    if (rc == ER_OK) *out = p;
    return rc;
}

static void cuda_release(er_device *d, void *p) {
    (void)d;
    (void)cudaFree(p);
}

static er_status move(er_device *d, er_stream *s, void *dst, const void *src, size_t bytes,
    cudaMemcpyKind kind, const char *what) {
    if (!bytes) return ER_OK;
    return er_cuda_status(
        cudaMemcpyAsync(dst, src, bytes, kind, er_cuda_stream(d, s)), what, __FILE__, __LINE__);
}

static er_status cuda_upload(er_device *d, er_stream *s, void *dst, const void *src, size_t bytes) {
    return move(d, s, dst, src, bytes, cudaMemcpyHostToDevice, "upload");
}

static er_status cuda_copy(er_device *d, er_stream *s, void *dst, const void *src, size_t bytes) {
    return move(d, s, dst, src, bytes, cudaMemcpyDeviceToDevice, "copy");
}

static er_status cuda_sync(er_device *d, er_stream *s) {
    return er_cuda_status(cudaStreamSynchronize(er_cuda_stream(d, s)), "sync", __FILE__, __LINE__);
}

static er_status cuda_download(er_device *d, er_stream *s, void *dst, const void *src, size_t bytes) {
    er_status rc = move(d, s, dst, src, bytes, cudaMemcpyDeviceToHost, "download");
    return rc == ER_OK ? cuda_sync(d, s) : rc;
}

static er_status cuda_zero(er_device *d, er_stream *s, void *dst, size_t bytes) {
    if (!bytes) return ER_OK;
    return er_cuda_status(cudaMemsetAsync(dst, 0, bytes, er_cuda_stream(d, s)), "zero", __FILE__, __LINE__);
}

// Missing are the weights and what multiplies by them, and the fp64 products and solves.
static constexpr er_device_ops make_table(void) {
    er_device_ops t = {};
    t.close = cuda_close;
    t.alloc = cuda_alloc;
    t.release = cuda_release;
    t.upload = cuda_upload;
    t.download = cuda_download;
    t.copy = cuda_copy;
    t.zero = cuda_zero;
    t.sync = cuda_sync;
    t.norm = er_cuda_norm;
    t.norm_backward = er_cuda_norm_backward;
    t.rope = er_cuda_rope;
    t.attention = er_cuda_attention;
    t.attention_backward = er_cuda_attention_backward;
    t.kv_store = er_cuda_kv_store;
    t.activation = er_cuda_activation;
    t.activation_backward = er_cuda_activation_backward;
    t.add = er_cuda_add;
    t.gather_rows = er_cuda_gather_rows;
    t.scatter_add_rows = er_cuda_scatter_add_rows;
    t.log_softmax = er_cuda_log_softmax;
    t.label_loss = er_cuda_label_loss;
    t.delta_step = er_cuda_delta_step;
    t.widen = er_cuda_widen;
    t.axpy_f64 = er_cuda_axpy_f64;
    t.add_diagonal = er_cuda_add_diagonal;
    return t;
}
static const er_device_ops table = make_table();

const er_device_ops *er_cuda_ops_table(void) { return &table; }

er_status er_cuda_open(er_device **out, const er_device_options *options) {
    er_status rc = ER_OK;
    er_cuda *c = NULL;
    int count = 0;
    cudaDeviceProp prop;
    if (!(c = (er_cuda *)calloc(1, sizeof *c))) ER_FAIL(ER_ENOMEM, "a device");
    ER_CUDA(cudaGetDeviceCount(&count));
    if (count < 1) ER_FAIL(ER_EDEVICE, "no cuda device");
    ER_CUDA(cudaSetDevice(0));
    ER_CUDA(cudaGetDeviceProperties(&prop, 0));
    // Non-blocking: work on CUDA's default stream neither waits for ours nor holds it up.
    ER_CUDA(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking));
    c->base.op = &table;
    c->base.precision = options->precision;
    c->base.threads = options->threads > 0 ? options->threads : 1;
    c->base.memory_limit = options->memory_limit ? options->memory_limit : prop.totalGlobalMem;
    (void)snprintf(
        c->base.name, sizeof c->base.name, "cuda: %.80s, sm_%d%d", prop.name, prop.major, prop.minor);
    *out = &c->base;
    c = NULL;
out:
    if (c) cuda_close(&c->base);
    return rc;
}
