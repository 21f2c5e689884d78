// Second moments, and the fp64 products and solves made of them.
#include "benchmarks/ops/ops.h"

typedef struct solve {
    float *x, *scratch;
    double *sum, *a, *b, *c;  // b [rhs, n]
    size_t tokens, n, rhs;
} solve;
static void run_moment(void *p, size_t turn) {
    (void)turn;
    solve *s = p;
    bench_must(bench.dev->op->syrk_accumulate(bench.dev, s->sum, s->x, s->scratch, s->tokens, s->n));
}
static void run_symmetrise(void *p, size_t turn) {
    (void)turn;
    solve *s = p;
    bench_must(bench.dev->op->symmetrise(bench.dev, s->sum, s->n));
}
static void run_potrf(void *p, size_t turn) {  // and the copy of what it overwrites
    (void)turn;
    solve *s = p;
    bench_must(bench.dev->op->copy(bench.dev, s->a, s->sum, s->n * s->n * 8));
    bench_must(bench.dev->op->potrf(bench.dev, s->a, s->n));
}
static void run_potrs(void *p, size_t turn) {
    (void)turn;
    solve *s = p;
    bench_must(bench.dev->op->potrs(bench.dev, s->a, s->n, s->c, s->rhs));
}
static void run_gemm(void *p, size_t turn) {
    (void)turn;
    solve *s = p;
    bench_must(bench.dev->op->gemm_f64(bench.dev,
        &(er_gemm_args){s->n, s->n, s->rhs, 1, {s->b, s->n, true}, {s->b, s->n, false}, 0, s->a, s->n}));
}
static void run_syrk(void *p, size_t turn) {
    (void)turn;
    solve *s = p;
    bench_must(bench.dev->op->syrk_f64(bench.dev, s->n, s->rhs, 1, s->b, s->n, 0, s->a));
}

static void moments(solve *s, field x) {
    check c = {0, 0};
    for (int k = 0; k < SAMPLES; k++) {
        size_t i = bench_pick(s->n), j = bench_pick(i + 1);
        double want = 0;
        for (size_t t = 0; t < s->tokens; t++) want += bench_at(x, t * s->n + i) * bench_at(x, t * s->n + j);
        bench_compare(&c, bench_got_f64(s->sum, i * s->n + j), want);
    }
    char shape[64];
    double square = (double)s->n * (double)s->n;
    (void)snprintf(shape, sizeof shape, "%zu tokens, %zu columns", s->tokens, s->n);
    bench_report(&(bench_case){"syrk_accumulate", shape, (double)s->tokens * square,
        8 * square + 4 * (double)(s->tokens * s->n), BENCH_GEMM, c, bench_gemm_bound(s->tokens), run_moment,
        s});
}

static void products(solve *s, field b) {
    char shape[64];
    double square = (double)s->n * (double)s->n, inputs = 8 * (double)(s->n * s->rhs);
    (void)snprintf(shape, sizeof shape, "%zu x %zu x %zu", s->n, s->n, s->rhs);
    for (int lower = 0; lower < 2; lower++) {
        bench_action *run = lower ? run_syrk : run_gemm;
        run(s, 0);
        check c = {0, 0};
        for (int k = 0; k < SAMPLES; k++) {
            size_t i = bench_pick(s->n), j = bench_pick(lower ? i + 1 : s->n);
            double want = 0;
            for (size_t r = 0; r < s->rhs; r++) want += bench_at(b, r * s->n + i) * bench_at(b, r * s->n + j);
            bench_compare(&c, bench_got_f64(s->a, i * s->n + j), want);
        }
        bench_report(
            &(bench_case){lower ? "syrk_f64" : "gemm_f64", shape, (lower ? 1 : 2) * square * (double)s->rhs,
                lower ? 4 * square + inputs : 8 * square + 2 * inputs, BENCH_GEMM_F64, c, 1e-12, run, s});
    }
}

// A = X'X + tokens I, whole, in s->sum: rows of A times the last solution must give its right-hand side.
static check check_solution(const solve *s, field b) {
    double *row = bench_host(s->n * 8), *solution = bench_host(s->n * 8);
    check c = {0, 0};
    bench_must(bench.dev->op->download(bench.dev, solution, s->c + (s->rhs - 1) * s->n, s->n * 8));
    for (int k = 0; k < SAMPLES / 4; k++) {
        size_t i = bench_pick(s->n);
        double got = 0;
        bench_must(bench.dev->op->download(bench.dev, row, s->sum + i * s->n, s->n * 8));
        for (size_t j = 0; j < s->n; j++) got += row[j] * solution[j];
        bench_compare(&c, got, bench_at(b, (s->rhs - 1) * s->n + i));
    }
    free(row), free(solution);
    return c;
}

static void solves(solve *s, field b) {
    char shape[64];
    double n = (double)s->n, square = n * n;
    const er_device_ops *op = bench.dev->op;
    bench_must(op->zero(bench.dev, s->sum, s->n * s->n * 8));
    run_moment(s, 0);
    bench_must(op->add_diagonal(bench.dev, s->sum, s->n, (double)s->tokens));
    run_symmetrise(s, 0);
    check c = {0, 0};
    for (int k = 0; k < SAMPLES; k++) {
        size_t i = bench_pick(s->n), j = bench_pick(s->n);
        bench_compare(&c, bench_got_f64(s->sum, i * s->n + j), bench_got_f64(s->sum, j * s->n + i));
    }
    (void)snprintf(shape, sizeof shape, "%zu rows", s->n);
    bench_report(&(bench_case){.op = "symmetrise",
        .shape = shape,
        .bytes = 8 * square,
        .c = c,
        .bound = 0,
        .run = run_symmetrise,
        .data = s});
    run_potrf(s, 0), run_potrs(s, 0);
    c = check_solution(s, b);
    bench_report(
        &(bench_case){"potrf", shape, n * square / 3, 8 * square, BENCH_GEMM_F64, c, 1e-10, run_potrf, s});
    (void)snprintf(shape, sizeof shape, "%zu rows, %zu sides", s->n, s->rhs);
    bench_report(&(bench_case){"potrs", shape, 2 * square * (double)s->rhs,
        8 * square + 16 * n * (double)s->rhs, BENCH_GEMM_F64, c, 1e-10, run_potrs, s});
}

void bench_solve(size_t tokens, size_t n, size_t rhs) {
    if (!bench_wants("syrk_accumulate symmetrise potrf potrs gemm_f64 syrk_f64")) return;
    field x = bench_field(1), b = bench_field(1);
    float *narrow = bench_field_room(b, n * rhs);
    solve s = {bench_field_room(x, tokens * n), bench_room(n * n * 4), bench_room(n * n * 8),
        bench_room(n * n * 8), bench_room(n * rhs * 8), bench_room(n * rhs * 8), tokens, n, rhs};
    bench_must(bench.dev->op->cast(bench.dev, s.b, narrow, n * rhs));
    bench_must(bench.dev->op->cast(bench.dev, s.c, narrow, n * rhs));
    run_moment(&s, 0);
    moments(&s, x);
    products(&s, b);
    solves(&s, b);
    const void *all[] = {narrow, s.x, s.scratch, s.sum, s.a, s.b, s.c};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_release(all[i]);
    bench_field_free(x), bench_field_free(b);
}
