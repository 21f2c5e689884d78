// Opening the CPU device, its memory, and the table of its ops.
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"

#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static er_status cpu_copy(er_device *d, void *dst, const void *src, size_t bytes) {
    (void)d;
    if (bytes) memcpy(dst, src, bytes);
    return ER_OK;
}

static er_status cpu_zero(er_device *d, void *dst, size_t bytes) {
    (void)d;
    if (bytes) memset(dst, 0, bytes);
    return ER_OK;
}

static er_status cpu_sync(er_device *d) {
    (void)d;
    return ER_OK;
}

static er_status cpu_mark(er_device *d, unsigned mark) {
    (void)d, (void)mark;
    return ER_OK;
}

static er_status cpu_await(er_device *d, unsigned mark) {
    (void)d, (void)mark;
    return ER_OK;
}

static void cpu_close(er_device *d) {
    er_cpu *c = (er_cpu *)d;
    for (size_t i = 0; i < ER_SCRATCH_SLOTS; i++) er_cpu_give(d, c->scratch[i].at);
    er_onednn_close(c->dnn);
    free(c);
}

static const er_device_ops cpu_ops = {
    .close = cpu_close,
    .alloc = er_cpu_take,
    .release = er_cpu_give,
    .upload = cpu_copy,
    .download = cpu_copy,
    .copy = cpu_copy,
    .zero = cpu_zero,
    .sync = cpu_sync,
    .alloc_host = er_cpu_take,
    .release_host = er_cpu_give,
    .download_async = cpu_copy,
    .event_record = cpu_mark,
    .event_wait = cpu_await,
    .memory = er_cpu_memory,
    .weight_create = er_cpu_weight_create,
    .weight_free = er_cpu_weight_free,
    .weight_add = er_cpu_weight_add,
    .weight_copy_bits = er_cpu_weight_copy_bits,
    .weight_read = er_cpu_weight_read,
    .weight_set = er_cpu_weight_set,
    .embed = er_cpu_embed,
    .norm = er_cpu_norm,
    .norm_backward = er_cpu_norm_backward,
    .qk_norm = er_cpu_qk_norm,
    .qk_norm_backward = er_cpu_qk_norm_backward,
    .clip = er_cpu_clip,
    .clip_backward = er_cpu_clip_backward,
    .row_norm = er_cpu_row_norm,
    .linear = er_cpu_linear,
    .linear_backward = er_cpu_linear_backward,
    .rope = er_cpu_rope,
    .attention = er_cpu_attention,
    .attention_backward = er_cpu_attention_backward,
    .kv_store = er_cpu_kv_store,
    .activation = er_cpu_activation,
    .activation_backward = er_cpu_activation_backward,
    .add = er_cpu_add,
    .gather_rows = er_cpu_gather_rows,
    .scatter_add_rows = er_cpu_scatter_add_rows,
    .scaled_scatter = er_cpu_scaled_scatter,
    .residual = er_cpu_residual,
    .log_softmax = er_cpu_log_softmax,
    .label_loss = er_cpu_label_loss,
    .delta_step = er_cpu_delta_step,
    .syrk_accumulate = er_cpu_syrk_accumulate,
    .symmetrise = er_cpu_symmetrise,
    .syrk_f64 = er_cpu_syrk_f64,
    .gemm_f64 = er_cpu_gemm_f64,
    .cast = er_cpu_cast,
    .axpy_f64 = er_cpu_axpy_f64,
    .add_diagonal = er_cpu_add_diagonal,
    .potrf = er_cpu_potrf,
    .potrs = er_cpu_potrs,
    .syevd = er_cpu_syevd,
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
    if (c) cpu_close(&c->base);
    return rc;
}
