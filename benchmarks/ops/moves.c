// Ops that move rows: by index, into the key/value cache, and into the fp64 rows of the solve.
#include "benchmarks/ops/ops.h"

typedef struct mover {
    float *dst, *src, *cache_k, *cache_v;
    int32_t *index, *target;  // [dev]: a permutation; and rows of the sum, four in a run to one
    size_t n, width;
} mover;
static void run_gather(void *p, size_t turn) {
    (void)turn;
    mover *m = p;
    bench_must(bench.dev->op->gather_rows(bench.dev, m->dst, m->src, m->index, m->n, m->width));
}
static void run_scatter(void *p, size_t turn) {
    (void)turn;
    mover *m = p;
    bench_must(bench.dev->op->scatter_add_rows(bench.dev, m->dst, m->src, m->target, m->n, m->width));
}
static void run_store(void *p, size_t turn) {  // src as fused rows: q is width / 2, k and v a quarter each
    (void)turn;
    mover *m = p;
    bench_must(
        bench.dev->op->kv_store(bench.dev, &(er_kv_store_args){m->n, m->width / 4, m->width, m->width / 2,
                                               m->src, m->index, m->cache_k, m->cache_v}));
}

void bench_rows_moved(size_t n, size_t width) {
    if (!bench_wants("gather_rows scatter_add_rows kv_store")) return;
    field f = bench_field(1);
    size_t quarter = width / 4;
    int32_t *index = bench_host(n * 4), *target = bench_host(n * 4);
    for (size_t i = 0; i < n; i++) index[i] = (int32_t)(i * 5 % n), target[i] = (int32_t)(i / 4);
    if (n % 5 == 0)
        for (size_t i = 0; i < n; i++) index[i] = (int32_t)(n - 1 - i);
    mover m = {bench_room(n * width * 4), bench_field_room(f, n * width), bench_room(n * quarter * 4),
        bench_room(n * quarter * 4), bench_upload(index, n * 4), bench_upload(target, n * 4), n, width};
    check gather = {0, 0}, scatter = {0, 0}, store = {0, 0};
    run_gather(&m, 0), run_store(&m, 0);
    for (int s = 0; s < SAMPLES; s++) {
        size_t i = bench_pick(n), col = bench_pick(width), at = (size_t)index[i] * quarter + col % quarter;
        bench_compare(
            &gather, bench_got(m.dst, i * width + col), bench_at(f, (size_t)index[i] * width + col));
        bench_compare(&store, bench_got(m.cache_k, at), bench_at(f, i * width + 2 * quarter + col % quarter));
        bench_compare(&store, bench_got(m.cache_v, at), bench_at(f, i * width + 3 * quarter + col % quarter));
    }
    bench_must(bench.dev->op->zero(bench.dev, m.dst, n * width * 4));
    run_scatter(&m, 0);
    for (int s = 0; s < SAMPLES; s++) {
        size_t row = bench_pick(n / 4), col = bench_pick(width);
        double sum = 0;
        for (size_t i = 4 * row; i < 4 * row + 4; i++) sum += bench_at(f, i * width + col);
        bench_compare(&scatter, bench_got(m.dst, row * width + col), sum);
    }
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu x %zu", n, width);
    double bytes = 8 * (double)(n * width);
    bench_report(&(bench_case){.op = "gather_rows",
        .shape = shape,
        .bytes = bytes,
        .c = gather,
        .bound = 0,
        .run = run_gather,
        .data = &m});
    bench_report(&(bench_case){.op = "kv_store",
        .shape = shape,
        .bytes = bytes / 2,
        .c = store,
        .bound = 0,
        .run = run_store,
        .data = &m});
    bench_report(&(bench_case){.op = "scatter_add_rows",
        .shape = shape,
        .bytes = 0.75 * bytes,
        .c = scatter,
        .bound = 1e-6,
        .run = run_scatter,
        .data = &m});
    const void *all[] = {m.dst, m.src, m.cache_k, m.cache_v, m.index, m.target};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_release(all[i]);
    free(index), free(target), bench_field_free(f);
}

// ---- rows of the solve ----

enum { ROWS_A_UNIT = 8 };
typedef struct solver_rows {
    double *dst;
    float *src, *scale;
    int32_t *index;
    size_t n, width;
    er_residual r;
} solver_rows;
static void run_rows(void *p, size_t turn) {
    (void)turn;
    solver_rows *s = p;
    bench_must(bench.dev->op->scaled_scatter(bench.dev, s->dst, s->src, s->scale, s->index, s->n, s->width));
}
static void run_residual(void *p, size_t turn) {
    (void)turn;
    solver_rows *s = p;
    bench_must(bench.dev->op->residual(bench.dev, s->dst, &s->r));
}

static void add_rows(size_t n, size_t width, field f, field scale, const int32_t *index) {
    size_t requests = n / ROWS_A_UNIT;
    solver_rows s = {bench_room(requests * width * 8), bench_field_room(f, n * width),
        bench_field_room(scale, n), bench_upload(index, n * 4), n, width, {0}};
    run_rows(&s, 0);
    check c = {0, 0};
    for (int k = 0; k < SAMPLES; k++) {
        size_t row = bench_pick(requests), col = bench_pick(width);
        double sum = 0;
        for (size_t i = row * ROWS_A_UNIT; i < (row + 1) * ROWS_A_UNIT; i++)
            sum += bench_at(scale, i) * bench_at(f, i * width + col);
        bench_compare(&c, bench_got_f64(s.dst, row * width + col), sum);
    }
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu x %zu into %zu", n, width, requests);
    bench_report(&(bench_case){.op = "scaled_scatter",
        .shape = shape,
        .bytes = 4 * (double)(n * width) + 16 * (double)(requests * width),
        .c = c,
        .bound = 1e-12,
        .run = run_rows,
        .data = &s});
    bench_release(s.dst), bench_release(s.src), bench_release(s.scale), bench_release(s.index);
}

static void subtract_rows(size_t n, size_t width, field f, field scale, const int32_t *index) {
    size_t requests = n / ROWS_A_UNIT;
    solver_rows s = {.dst = bench_room(n * width * 8)};
    s.r = (er_residual){n, width, bench_field_room(f, n * width), bench_field_room(scale, n * width),
        bench_field_room(f, requests * width), bench_field_room(scale, requests * width),
        bench_upload(index, n * 4), bench_field_room(scale, n)};
    run_residual(&s, 0);
    check c = {0, 0};
    for (int k = 0; k < SAMPLES; k++) {
        size_t row = bench_pick(n), col = bench_pick(width), i = row * width + col,
               u = row / ROWS_A_UNIT * width + col;
        bench_compare(&c, bench_got_f64(s.dst, i),
            bench_at(scale, row) *
                (bench_at(f, i) + bench_at(f, u) - bench_at(scale, u) - bench_at(scale, i)));
    }
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu x %zu of %zu requests", n, width, requests);
    bench_report(&(bench_case){.op = "residual",
        .shape = shape,
        .bytes = 16 * (double)(n * width) + 8 * (double)(requests * width),
        .c = c,
        .bound = 1e-12,
        .run = run_residual,
        .data = &s});
    const void *all[] = {s.dst, s.r.h_orig, s.r.h_cur, s.r.target_z, s.r.z_start, s.r.request, s.r.scale};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_release(all[i]);
}

void bench_rows_f64(size_t n, size_t d_ff, size_t hidden) {
    if (!bench_wants("scaled_scatter residual")) return;
    field f = bench_field(1), scale = bench_field(1);
    int32_t *index = bench_host(n * 4);
    for (size_t i = 0; i < n; i++) index[i] = (int32_t)(i / ROWS_A_UNIT);
    add_rows(n, d_ff, f, scale, index);
    subtract_rows(n, hidden, f, scale, index);
    free(index), bench_field_free(f), bench_field_free(scale);
}
