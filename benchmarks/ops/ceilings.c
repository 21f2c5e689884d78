// The rates that all others are shares of: a long copy, and the best products in the device's precision and
// in fp64.
#include "benchmarks/ops/ops.h"

typedef struct lift {
    char *to, *from;
    size_t bytes;
} lift;
static void call_copy(void *p, size_t turn) {
    (void)turn;
    lift *l = p;
    op_must(ops.dev->op->copy(ops.dev, l->to, l->from, l->bytes));
}

static void measure(op_result *r) {
    timed t = bench_measure(r);
    bench.best[r->of] = (r->of == OP_COPY ? r->bytes : r->flops) / t.min;
    bench_print(r, t);
}

static void measure_copy(size_t bytes) {
    lift l = {op_room(bytes), op_room(bytes), bytes};
    op_result r = {.op = "copy", .bytes = 2 * (double)bytes, .call = call_copy, .data = &l};
    (void)snprintf(r.shape, sizeof r.shape, "%zu MiB, read and written", bytes >> 20);
    measure(&r);
    op_end();
}

// The first rate of its kind is what the case of a large product reaches.
static void take_best(const op_result *r) {
    op_result named = *r;
    if (!strcmp(r->op, "linear_backward")) return;
    if (!strcmp(r->op, "linear")) named.op = "gemm";
    measure(&named);
}

void bench_ceilings(void) {
    bool gpu = ops.dev->is_async;
    size_t gemm = gpu ? 8192 : 1536, wide = gpu ? 8192 : 768;
    ops.report = take_best, ops.wants = NULL;
    measure_copy((size_t)(gpu ? 1024 : 256) << 20);
    op_linear(gemm, gemm, gemm, ops.dev->precision == ER_BF16_COMPUTE ? ER_BF16 : ER_F32, false, false, 0);
    op_gemm_f64(wide, wide, wide, false, false, 0, 0);
    ops.report = bench_report, ops.wants = bench_wants;
}
