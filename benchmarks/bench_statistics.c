// Text sampled from a model and the covariance pass over it, in tokens a second and against the GEMM rate of
// the same machine.
//
//     bench_statistics MODEL_DIR [TOKENS] [bf16]
//
// Checks first that the sums are those of keys: the trace of each is the sum of squares, counted by a second
// pass with other batches. Exits with 1 when it is not.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "engine/cli/terminal.h"
#include "engine/statistics.h"
#include "io/base/clock.h"
#include "io/base/log.h"

static double peak_mib(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024.0;
}

// GFLOP/s of one large product on the device, best of five: what the pass could reach at most.
static er_status gemm_rate(double *out, er_device *dev) {
    enum { M = 2048, N = 2048 };
    er_status rc = ER_OK;
    er_weight *w = NULL;
    void *x = NULL, *y = NULL;
    float *zeros = calloc((size_t)N * N, sizeof *zeros);
    if (!zeros) ER_FAIL(ER_ENOMEM, "%d floats", N * N);
    ER_TRY(dev->op->alloc(dev, &x, (size_t)M * N * sizeof(float)));
    ER_TRY(dev->op->alloc(dev, &y, (size_t)M * N * sizeof(float)));
    ER_TRY(dev->op->zero(dev, x, (size_t)M * N * sizeof(float)));
    ER_TRY(dev->op->weight_create(
        dev, &w, &(er_weight_spec){.bytes = zeros, .dtype = ER_F32, .d_out = N, .d_in = N}));
    *out = 0;
    for (int i = 0; i < 6; i++) {
        double t = er_clock();
        ER_TRY(dev->op->linear(dev, y, x, w, NULL, M, 0));
        ER_TRY(dev->op->sync(dev));
        t = er_clock() - t;
        if (i && 2e-9 * M * N * N / t > *out) *out = 2e-9 * M * N * N / t;
    }
out:
    if (w) dev->op->weight_free(dev, w);
    if (x) dev->op->release(dev, x);
    if (y) dev->op->release(dev, y);
    free(zeros);
    return rc;
}

static er_status trace_of(double *out, er_device *dev, const er_second_moment *m) {
    double *s = malloc(m->dim * m->dim * sizeof *s);
    if (!s) return er_fail(ER_ENOMEM, "%zu sums", m->dim * m->dim);
    er_status rc = dev->op->download(dev, s, m->sum, m->dim * m->dim * sizeof *s);
    *out = 0;
    for (size_t i = 0; rc == ER_OK && i < m->dim; i++) *out += s[i * m->dim + i];
    free(s);
    return rc;
}

static er_status pass(er_second_moment **c, er_model *m, const size_t *layers, size_t n,
    const er_sequences *rows, size_t batch, double *flops) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < n; i++) ER_TRY(er_second_moment_create(&c[i], m->dev, m->arch.d_ff));
    ER_TRY(er_statistics_rows(c, m, layers, n, rows, batch, flops));
out:
    if (rc != ER_OK) er_statistics_free(c, n, m->dev);
    return rc;
}

static er_status check(
    er_model *m, const size_t *layers, size_t n, er_second_moment *const *c, const er_sequences *rows) {
    er_second_moment *again[8] = {0};
    er_status rc = pass(again, m, layers, n, rows, 700, NULL);
    for (size_t i = 0; rc == ER_OK && i < n; i++) {
        double a = 0, b = 0;
        if ((rc = trace_of(&a, m->dev, c[i])) != ER_OK || (rc = trace_of(&b, m->dev, again[i])) != ER_OK)
            break;
        double bound = m->dev->precision == ER_FP32 ? 1e-5 : 1e-2;
        if (!(fabs(a - b) <= bound * b))
            rc = er_fail(ER_ENUMERIC, "layer %zu: traces %g and %g", layers[i], a, b);
    }
    er_statistics_free(again, n, m->dev);
    return rc;
}

static er_status bench(const char *dir, size_t tokens, bool bf16) {
    er_status rc = ER_OK;
    er_device *dev = NULL;
    er_model *m = NULL;
    er_sequences *rows = NULL;
    er_second_moment *c[5] = {0};
    size_t layers[5], n = 0;
    double rate = 0, flops = 0, t, loaded, sampled;
    er_device_options d = ER_DEVICE_OPTIONS_DEFAULT;
    if (bf16) d.precision = ER_BF16_COMPUTE;
    ER_TRY(er_device_open(&dev, &d));
    ER_TRY(gemm_rate(&rate, dev));
    ER_TRY(er_model_open(&m, dev, dir, &(er_model_options){0}));
    loaded = peak_mib();
    er_sample_options o = {.tokens = tokens, .seed = 1};
    er_sample_defaults(&o, m);
    t = er_clock();
    ER_TRY(er_sample_text(&rows, m, &o));
    t = er_clock() - t, sampled = peak_mib();
    double sample_flops =
        er_arch_layer_flops(&m->arch) * (double)m->arch.layers + er_arch_head_flops(&m->arch);
    printf("# %s\n# one 2048^3 product: %.0f GFLOP/s\n", dev->name, rate);
    printf("stage   tokens  seconds  tokens/s  GFLOP/s  %%gemm  peak MiB\n");
    printf("load         -        -         -        -      -  %8.0f\n", loaded);
    double gf = 1e-9 * sample_flops * (double)rows->tokens / t;
    printf("sample  %6zu %8.2f  %8.0f  %7.0f  %5.0f  %8.0f\n", rows->tokens, t, (double)rows->tokens / t, gf,
        100 * gf / rate, sampled);
    // Five layers around the first quarter, where facts are usually edited.
    for (size_t l = m->arch.layers / 8; n < 5 && l < m->arch.layers; l++) layers[n++] = l;
    t = er_clock();
    ER_TRY(pass(c, m, layers, n, rows, 0, &flops));
    t = er_clock() - t, gf = 1e-9 * flops / t;
    printf("covary  %6zu %8.2f  %8.0f  %7.0f  %5.0f  %8.0f   layers %zu-%zu\n", rows->tokens, t,
        (double)rows->tokens / t, gf, 100 * gf / rate, peak_mib(), layers[0], layers[n - 1]);
    ER_TRY(check(m, layers, n, c, rows));
out:
    er_sequences_free(rows);
    if (dev) er_statistics_free(c, n, dev);
    er_model_free(m);
    er_device_close(dev);
    return rc;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench_statistics MODEL_DIR [TOKENS] [bf16]\n");
        return 2;
    }
    er_terminal_listen();
    er_log_set_level(ER_LOG_WARN);
    size_t tokens = argc > 2 ? (size_t)strtoull(argv[2], NULL, 10) : 0;
    er_status rc = bench(argv[1], tokens, argc > 3 && !strcmp(argv[3], "bf16"));
    if (rc != ER_OK) fprintf(stderr, "bench_statistics: %s\n", er_last_error());
    return rc == ER_OK ? 0 : 1;
}
