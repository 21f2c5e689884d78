// The rates that all others are shares of: a long copy, and the best products in the device's precision and
// in fp64.
#include "benchmarks/ops/ops.h"

typedef struct lift {
    char *to, *from;
    size_t bytes;
} lift;
static void run_copy(void *p, size_t turn) {
    (void)turn;
    lift *l = p;
    bench_must(bench.dev->op->copy(bench.dev, l->to, l->from, l->bytes));
}

typedef struct product {
    er_weight *w;
    float *x, *y;
    double *a, *b, *c;
    size_t n;
} product;
static void run_linear(void *p, size_t turn) {
    (void)turn;
    product *q = p;
    bench_must(bench.dev->op->linear(bench.dev, q->y, q->x, q->w, NULL, q->n, 0));
}
static void run_gemm(void *p, size_t turn) {
    (void)turn;
    product *q = p;
    bench_must(bench.dev->op->gemm_f64(bench.dev,
        &(er_gemm_args){q->n, q->n, q->n, 1, {q->a, q->n, false}, {q->b, q->n, false}, 0, q->c, q->n}));
}

static void measure_copy(size_t bytes) {
    lift l = {bench_room(bytes), bench_room(bytes), bytes};
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu MiB, read and written", bytes >> 20);
    bench_case k = {.op = "copy", .shape = shape, .bytes = 2 * (double)bytes, .run = run_copy, .data = &l};
    timed t = bench_measure(&k);
    bench.best[BENCH_COPY] = k.bytes / t.min;
    bench_print(&k, t);
    bench_release(l.to), bench_release(l.from);
}

static void measure_gemm(size_t n) {
    field f = bench_field(1);
    product q = {.x = bench_field_room(f, n * n), .y = bench_room(n * n * 4), .n = n};
    er_dtype stored = bench.dev->precision == ER_BF16_COMPUTE ? ER_BF16 : ER_F32;
    void *bytes = bench_stored(f, stored, n * n);
    bench_must(bench.dev->op->weight_create(
        bench.dev, &q.w, &(er_weight_spec){bytes, stored, n, n, false, false, false}));
    char shape[64];
    (void)snprintf(shape, sizeof shape, "linear, %zu cubed", n);
    double cube = (double)n * (double)n * (double)n;
    bench_case k = {.op = "gemm",
        .shape = shape,
        .flops = 2 * cube,
        .bytes = 12 * (double)(n * n),
        .best = BENCH_GEMM,
        .run = run_linear,
        .data = &q};
    timed t = bench_measure(&k);
    bench.best[BENCH_GEMM] = k.flops / t.min;
    bench_print(&k, t);
    bench.dev->op->weight_free(bench.dev, q.w);
    bench_release(q.x), bench_release(q.y);
    free(bytes), bench_field_free(f);
}

static void measure_gemm_f64(size_t n) {
    field f = bench_field(1);
    float *from = bench_field_room(f, n * n);
    product q = {.a = bench_room(n * n * 8), .b = bench_room(n * n * 8), .c = bench_room(n * n * 8), .n = n};
    bench_must(bench.dev->op->cast(bench.dev, q.a, from, n * n));
    bench_must(bench.dev->op->cast(bench.dev, q.b, from, n * n));
    char shape[64];
    (void)snprintf(shape, sizeof shape, "fp64, %zu cubed", n);
    double cube = (double)n * (double)n * (double)n;
    bench_case k = {.op = "gemm_f64",
        .shape = shape,
        .flops = 2 * cube,
        .bytes = 24 * (double)(n * n),
        .best = BENCH_GEMM_F64,
        .run = run_gemm,
        .data = &q};
    timed t = bench_measure(&k);
    bench.best[BENCH_GEMM_F64] = k.flops / t.min;
    bench_print(&k, t);
    bench_release(q.a), bench_release(q.b), bench_release(q.c), bench_release(from);
    bench_field_free(f);
}

void bench_ceilings(void) {
    bool gpu = bench.dev->is_async;
    measure_copy((size_t)(gpu ? 1024 : 256) << 20);
    measure_gemm(gpu ? 8192 : 1536);
    measure_gemm_f64(gpu ? 8192 : 768);
}
