// Opening the CUDA device, and the table of its ops.
#include "kernels/cuda/device.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void er_cuda_close(er_device *d) {
    er_cuda *c = (er_cuda *)d;
    if (c->stream) (void)cudaStreamSynchronize(c->stream);
    er_cuda_offload_close(c);
    er_cuda_stage_close(c);
    for (int i = 0; i < ER_EVENTS; i++)
        if (c->event[i]) (void)cudaEventDestroy(c->event[i]);
    if (c->solver_params) (void)cusolverDnDestroyParams(c->solver_params);
    if (c->solver) (void)cusolverDnDestroy(c->solver);
    if (c->blas) (void)cublasDestroy(c->blas);
    for (int i = 0; i < ER_SCRATCH_SLOTS; i++) er_cuda_release(d, c->scratch[i].at);
    er_cuda_release(d, c->blas_space);
    free(c->block);
    free(c->solver_host);
    if (c->stream) (void)cudaStreamDestroy(c->stream);
    free(c);
}

static constexpr er_device_ops make_table(void) {
    er_device_ops t = {};
#define ER_OP(name, params, args) t.name = er_cuda_##name;
#define ER_SURE_OP(type, name, params, args) t.name = er_cuda_##name;
#include "kernels/ops.def"
    return t;
}
static const er_device_ops table = make_table();

static __global__ void k_nothing(int unused) { (void)unused; }

// er_device_open() has checked `kind`: "cuda" is the first device that this process sees, "cuda:2" the third.
// *sharers: the ranks that take it.
static er_status device_number(int *out, size_t *sharers, const er_device_options *o) {
    const char *kind = o->kind ? o->kind : "auto";
    er_status rc = ER_OK;
    int count = 0, driver = 0, built = 0, at = !strncmp(kind, "cuda:", 5) ? atoi(kind + 5) : 0;
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e == cudaErrorInsufficientDriver) {
        (void)cudaGetLastError();
        (void)cudaDriverGetVersion(&driver);
        (void)cudaRuntimeGetVersion(&built);
        if (!driver) return er_fail(ER_ENODEVICE, "no cuda device: no NVIDIA driver is loaded");
        return er_fail(ER_EDEVICE,
            "the NVIDIA driver is too old: it has CUDA %d.%d, this program needs %d.%d", driver / 1000,
            driver % 1000 / 10, built / 1000, built % 1000 / 10);
    }
    if (e == cudaErrorNoDevice) {
        (void)cudaGetLastError();
        return er_fail(ER_ENODEVICE, "no cuda device");
    }
    ER_CUDA(e);
    if (count < 1) ER_FAIL(ER_ENODEVICE, "no cuda device");
    *sharers = o->local_size ? o->local_size : 1;
    if (o->local_size && strncmp(kind, "cuda:", 5) != 0) {
        at = static_cast<int>(o->local_rank % static_cast<size_t>(count));
        *sharers = (o->local_size - static_cast<size_t>(at) - 1) / static_cast<size_t>(count) + 1;
    }
    if (at >= count) ER_FAIL(ER_EDEVICE, "device '%s': there are %d", kind, count);
    *out = at;
out:
    return rc;
}

// Ampere is the first with bf16 and TF32. A card newer than this program runs its PTX, if it has any for it.
static er_status check_capability(const cudaDeviceProp *p, cudaStream_t at) {
    if (p->major < 8)
        return er_fail(ER_EDEVICE, "%s has compute capability %d.%d; 8.0 (Ampere) or later is needed",
            p->name, p->major, p->minor);
    cudaError_t e = ER_LAUNCH(k_nothing, 1, 32, at, 0);
    if (e == cudaSuccess) e = cudaStreamSynchronize(at);
    if (e == cudaErrorNoKernelImageForDevice) {
        (void)cudaGetLastError();
        return er_fail(ER_EDEVICE, "this program holds no code for %s (compute capability %d.%d)", p->name,
            p->major, p->minor);
    }
    return er_cuda_status(e, "first kernel", __FILE__, __LINE__);
}

static er_status open_libraries(er_cuda *c) {
    er_status rc = ER_OK;
    ER_BLAS(cublasCreate(&c->blas));
    ER_TRY(er_cuda_alloc(&c->base, &c->blas_space, ER_BLAS_SPACE));
    ER_BLAS(cublasSetMathMode(c->blas, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION));
    ER_SOLVER(cusolverDnCreate(&c->solver));
    ER_SOLVER(cusolverDnCreateParams(&c->solver_params));
out:
    return rc;
}

// Two thirds of the card for weights; the rest is for what they are used on. For tests:
// ERRATA_DEBUG_WEIGHT_LIMIT, in bytes.
static size_t weight_limit(size_t memory) {
    const char *debug = getenv("ERRATA_DEBUG_WEIGHT_LIMIT");
    return debug ? (size_t)strtoull(debug, NULL, 10) : memory / 3 * 2;
}

er_status er_cuda_open(er_device **out, const er_device_options *options) {
    er_status rc = ER_OK;
    er_cuda *c = NULL;
    int number = 0;
    size_t free_bytes = 0, total = 0, sharers = 1;
    cudaDeviceProp prop;
    if (!(c = (er_cuda *)calloc(1, sizeof *c))) ER_FAIL(ER_ENOMEM, "a device");
    ER_TRY(device_number(&number, &sharers, options));
    ER_CUDA(cudaSetDevice(number));
    ER_CUDA(cudaGetDeviceProperties(&prop, number));
    // Non-blocking: work on CUDA's default stream neither waits for ours nor holds it up.
    ER_CUDA(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking));
    ER_TRY(check_capability(&prop, c->stream));
    ER_CUDA(cudaMemGetInfo(&free_bytes, &total));
    if (free_bytes > total / sharers) free_bytes = total / sharers;
    c->base.memory_limit =
        options->memory_limit && options->memory_limit < free_bytes ? options->memory_limit : free_bytes;
    ER_TRY(open_libraries(c));
    ER_TRY(er_cuda_stage_open(c));
    for (int i = 0; i < ER_EVENTS; i++)
        ER_CUDA(cudaEventCreateWithFlags(&c->event[i], cudaEventDisableTiming));
    c->base.op = &table;
    c->base.precision = options->precision;
    c->base.threads = options->threads > 0 ? options->threads : 1;
    c->base.is_async = true;
    c->sharers = sharers;
    c->base.sums = er_cuda_sums();
    c->weight_limit = weight_limit(c->base.memory_limit);
    (void)snprintf(c->base.name, sizeof c->base.name, "cuda: %.60s, sm_%d%d, %.0f GB, %s", prop.name,
        prop.major, prop.minor, (double)prop.totalGlobalMem * 1e-9, er_precision_name(options->precision));
    *out = &c->base;
    c = NULL;
out:
    if (c) er_cuda_close(&c->base);
    return rc;
}
