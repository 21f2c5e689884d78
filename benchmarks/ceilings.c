#include "benchmarks/ceilings.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "benchmarks/random_model.h"

double er_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- memory ----

static const er_device_ops *own_ops;
static er_device_ops watching;
static size_t peak;

static void look(er_device *d) {
    size_t available = 0, total = 0;
    if (own_ops->memory(d, &available, &total) == ER_OK && total - available > peak) peak = total - available;
}
static er_status watched_alloc(er_device *d, void **out, size_t bytes) {
    er_status rc = own_ops->alloc(d, out, bytes);
    look(d);
    return rc;
}
static er_status watched_weight(er_device *d, er_weight **out, const er_weight_spec *spec) {
    er_status rc = own_ops->weight_create(d, out, spec);
    look(d);
    return rc;
}

void er_watch_memory(er_device *dev) {
    own_ops = dev->op;
    watching = *own_ops;
    watching.alloc = watched_alloc;
    watching.weight_create = watched_weight;
    dev->op = &watching;
}
size_t er_watch_peak(void) {
    size_t was = peak;
    peak = 0;
    return was;
}

// ---- rates ----

enum { ROUNDS = 3, REPEATS = 5, PERIOD = 1048573 };

typedef struct bench {
    er_device *d;
    er_weight *w;
    void *x, *y, *z;
    size_t n;
} bench;

static er_status run_linear(bench *b) { return b->d->op->linear(b->d, b->y, b->x, b->w, NULL, b->n, 0); }
static er_status run_gemm64(bench *b) {
    return b->d->op->gemm_f64(b->d,
        &(er_gemm_args){b->n, b->n, b->n, 1.0, {b->x, b->n, false}, {b->z, b->n, true}, 0.0, b->y, b->n});
}
static er_status run_copy(bench *b) { return b->d->op->copy(b->d, b->y, b->x, b->n); }

// Seconds of one call, the best of some rounds behind a warm-up.
static er_status time_calls(double *best, bench *b, er_status (*call)(bench *)) {
    er_status rc = ER_OK;
    *best = 1e30;
    ER_TRY(call(b));
    for (int round = 0; round < ROUNDS; round++) {
        ER_TRY(b->d->op->sync(b->d));
        double start = er_now();
        for (int i = 0; i < REPEATS; i++) ER_TRY(call(b));
        ER_TRY(b->d->op->sync(b->d));
        double each = (er_now() - start) / REPEATS;
        if (each < *best) *best = each;
    }
out:
    return rc;
}

// Random numbers, not zeros: a GPU's clock depends on how many bits change.
static void *random_block(size_t elements, size_t width) {
    uint64_t random = 88172645463325252ULL;
    char *p = malloc(elements * width);
    size_t first = elements < PERIOD ? elements : PERIOD;
    for (size_t i = 0; p && i < first; i++) {
        float f = er_random_request(&random);
        double g = (double)f;
        uint16_t h = er_bf16_from_f32(f);
        memcpy(p + i * width, width == 2 ? (void *)&h : width == 4 ? (void *)&f : (void *)&g, width);
    }
    for (size_t have = first, take; p && have < elements; have += take) {
        take = have < elements - have ? have : elements - have;
        memcpy(p + have * width, p, take * width);
    }
    return p;
}

static er_status place(bench *b, void **out, size_t elements, size_t width) {
    er_status rc = ER_OK;
    void *host = random_block(elements, width);
    if (!host) ER_FAIL(ER_ENOMEM, "%zu numbers", elements);
    ER_TRY(b->d->op->alloc(b->d, out, elements * width));
    ER_TRY(b->d->op->upload(b->d, *out, host, elements * width));
    ER_TRY(b->d->op->sync(b->d));
out:
    free(host);
    return rc;
}

static void clear(bench *b) {
    if (b->x) b->d->op->release(b->d, b->x);
    if (b->y) b->d->op->release(b->d, b->y);
    if (b->z) b->d->op->release(b->d, b->z);
    if (b->w) b->d->op->weight_free(b->d, b->w);
    *b = (bench){.d = b->d};
}

static er_status linear_rate(double *rate, bench *b, size_t n) {
    er_status rc = ER_OK;
    double each, cube = 2.0 * (double)n * (double)n * (double)n;
    uint16_t *bits = random_block(n * n, sizeof *bits);
    er_weight_spec spec = {.bytes = bits, .dtype = ER_BF16, .d_out = n, .d_in = n};
    if (!bits) ER_FAIL(ER_ENOMEM, "%zu numbers", n * n);
    b->n = n;
    ER_TRY(b->d->op->weight_create(b->d, &b->w, &spec));
    ER_TRY(place(b, &b->x, n * n, sizeof(float)));
    ER_TRY(b->d->op->alloc(b->d, &b->y, n * n * sizeof(float)));
    ER_TRY(time_calls(&each, b, run_linear));
    *rate = cube / each;
out:
    free(bits);
    clear(b);
    return rc;
}

static er_status gemm64_rate(double *rate, bench *b, size_t n) {
    er_status rc = ER_OK;
    double each, cube = 2.0 * (double)n * (double)n * (double)n;
    b->n = n;
    ER_TRY(place(b, &b->x, n * n, sizeof(double)));
    ER_TRY(place(b, &b->z, n * n, sizeof(double)));
    ER_TRY(b->d->op->alloc(b->d, &b->y, n * n * sizeof(double)));
    ER_TRY(time_calls(&each, b, run_gemm64));
    *rate = cube / each;
out:
    clear(b);
    return rc;
}

static er_status copy_rate(double *rate, bench *b, size_t bytes) {
    er_status rc = ER_OK;
    double each;
    b->n = bytes;
    ER_TRY(place(b, &b->x, bytes / 4, 4));
    ER_TRY(b->d->op->alloc(b->d, &b->y, bytes));
    ER_TRY(time_calls(&each, b, run_copy));
    *rate = 2 * (double)bytes / each;
out:
    clear(b);
    return rc;
}

er_status er_ceilings_measure(er_ceilings *out, er_device *dev, size_t gemm_size) {
    er_status rc = ER_OK;
    bench b = {.d = dev};
    bool cpu = !strncmp(dev->name, "cpu", 3);
    er_ceilings c = {.gemm_size = gemm_size ? gemm_size
                                  : cpu     ? 1024
                                            : 8192,
        .gemm64_size = cpu ? 512 : 4096,
        .copy_bytes = (size_t)(cpu ? 64 : 1024) << 20};
    ER_TRY(linear_rate(&c.gemm, &b, c.gemm_size));
    ER_TRY(gemm64_rate(&c.gemm64, &b, c.gemm64_size));
    ER_TRY(copy_rate(&c.copy, &b, c.copy_bytes));
    *out = c;
out:
    return rc;
}
