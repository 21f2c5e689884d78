// Opening the CPU device, its memory, and the table of its ops.
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"

#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

er_status er_cpu_copy(er_device *d, void *dst, const void *src, size_t bytes) {
    (void)d;
    if (bytes) memcpy(dst, src, bytes);
    return ER_OK;
}

// Device memory is host memory here, and nothing is queued.
er_status er_cpu_upload(er_device *d, void *dst, const void *src, size_t bytes) {
    return er_cpu_copy(d, dst, src, bytes);
}

er_status er_cpu_download(er_device *d, void *dst, const void *src, size_t bytes) {
    return er_cpu_copy(d, dst, src, bytes);
}

er_status er_cpu_download_async(er_device *d, void *dst, const void *src, size_t bytes) {
    return er_cpu_copy(d, dst, src, bytes);
}

er_status er_cpu_zero(er_device *d, void *dst, size_t bytes) {
    (void)d;
    if (bytes) memset(dst, 0, bytes);
    return ER_OK;
}

er_status er_cpu_alloc_host(er_device *d, void **out, size_t bytes) { return er_cpu_alloc(d, out, bytes); }

void er_cpu_release_host(er_device *d, void *p) { er_cpu_release(d, p); }

er_status er_cpu_sync(er_device *d) {
    (void)d;
    return ER_OK;
}

er_status er_cpu_event_record(er_device *d, unsigned event) {
    (void)d, (void)event;
    return ER_OK;
}

er_status er_cpu_event_wait(er_device *d, unsigned event) {
    (void)d, (void)event;
    return ER_OK;
}

void er_cpu_close(er_device *d) {
    er_cpu *c = (er_cpu *)d;
    for (size_t i = 0; i < ER_SCRATCH_SLOTS; i++) er_cpu_release(d, c->scratch[i].at);
    er_onednn_close(c->dnn);
    free(c);
}

static const er_device_ops cpu_ops = {
#define ER_OP(name, params, args) .name = er_cpu_##name,
#define ER_SURE_OP(type, name, params, args) .name = er_cpu_##name,
#include "kernels/ops.def"
};

// The processor's name as /proc/cpuinfo gives it; "cpu" when it gives none.
static void cpu_model(char *out, size_t cap) {
    (void)snprintf(out, cap, "cpu");
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        line[strcspn(line, "\n")] = 0;
        (void)snprintf(out, cap, "%.44s", colon + 2);
        break;
    }
    if (f) (void)fclose(f);
}

// "OpenBLAS 0.3.21 ..." -> "0.3.21"
static void blas_version(char *out, size_t cap) {
    const char *config = openblas_get_config();
    const char *space = strchr(config, ' ');
    if (space) config = space + 1;
    (void)snprintf(out, cap, "%.*s", (int)strcspn(config, " "), config);
}

static void name_device(er_cpu *c) {
    char model[48], blas[16];
    cpu_model(model, sizeof model);
    blas_version(blas, sizeof blas);
    const char *form = "";
    if (c->base.precision == ER_BF16_COMPUTE)
        form = c->unit == ER_BF16_TILES ? ", amx bf16" : ", avx512 bf16";
    else if (c->unit == ER_BF16_TILES) form = ", amx bf16 x 3";
    (void)snprintf(c->base.name, sizeof c->base.name, "cpu: %s, %d thread%s, openblas %s%s%s%s", model,
        c->base.threads, c->base.threads == 1 ? "" : "s", blas, c->dnn ? ", " : "",
        c->dnn ? er_onednn_name(c->dnn) : "", form);
}

er_status er_device_cpu_open(er_device **out, const er_device_options *options) {
    er_status rc = ER_OK;
    er_cpu *c = NULL;
    if (options->precision != ER_FP32 && options->precision != ER_BF16_COMPUTE)
        ER_FAIL(ER_EDEVICE, "%s compute needs a GPU; a CPU has fp32 and bf16",
            er_precision_name(options->precision));
    if (!(c = calloc(1, sizeof *c))) ER_FAIL(ER_ENOMEM, "a device");
    c->base.op = &cpu_ops;
    c->base.precision = options->precision;
    ER_TRY(er_cpu_threads(&c->base.threads, options->threads));
    c->base.memory_limit = options->memory_limit ? options->memory_limit : er_cpu_room_now().total;
    c->base.memory_bound = options->memory_limit > 0;
    ER_TRY(er_onednn_open(&c->dnn));
    c->unit = er_tiles_unit();
    if (options->precision == ER_BF16_COMPUTE && c->unit == ER_BF16_NONE)
        ER_FAIL(ER_EDEVICE, "bf16 compute needs a processor with AMX or AVX512_BF16 instructions; use fp32");
    // Both libraries use OpenMP: one pool of threads for them and for the loops here.
    er_cpu_blas_threads(c->base.threads);
    omp_set_num_threads(c->base.threads);
    name_device(c);
    *out = &c->base;
    c = NULL;
out:
    if (c) er_cpu_close(&c->base);
    return rc;
}
