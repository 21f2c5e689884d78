// Times an op and prints its line.
#include <time.h>
#include "benchmarks/ops/ops.h"

bench_state bench = {.seconds_each = 0.2};

enum { MAX_TIMES = 1000, CPU_RUNS = 20, BATCHES = 5, LONGEST_BATCH = 400 };

static double now(void) {
    struct timespec t;
    (void)clock_gettime(bench.cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool bench_wants(const char *names) { return !bench.only || strstr(names, bench.only); }

static double batch(const op_result *r, size_t calls, size_t *turn) {
    double start = now();
    for (size_t i = 0; i < calls; i++) r->call(r->data, (*turn)++);
    op_must(ops.dev->op->sync(ops.dev));
    return (now() - start) / (double)calls;
}

// A device that runs behind is never waited for between the runs of a batch: a job does not wait there
// either, and a wait costs more than a short op. Batches of at least 5 ms keep the one wait at their end
// below a percent.
timed bench_measure(const op_result *r) {
    double times[MAX_TIMES], sum = 0;
    size_t n = 0, turn = 0, calls = 1, least = CPU_RUNS;
    double first = batch(r, 1, &turn);
    if (ops.dev->is_async) {
        first = batch(r, 3, &turn);
        calls = first > 5e-3 ? 1 : (size_t)(5e-3 / (first + 1e-7)) + 1;
        if (calls > LONGEST_BATCH) calls = LONGEST_BATCH;
        least = BATCHES;
    }
    for (double start = now(); n < MAX_TIMES && (n < least || now() - start < bench.seconds_each); n++)
        sum += times[n] = batch(r, calls, &turn);
    qsort(times, n, sizeof *times, by_value);
    return (timed){times[0], times[n / 2], sum / (double)n, n * calls};
}

static double share(double rate, op_rate of) { return bench.best[of] > 0 ? 100 * rate / bench.best[of] : 0; }

void bench_print(const op_result *r, timed t) {
    double error = op_error_of(&r->e), flops = r->flops / t.min, bytes = r->bytes / t.min;
    bool good = error <= r->bound;
    if (!good) bench.wrong = true;
    if (bench.json)
        (void)printf("{\"op\":\"%s\",\"shape\":\"%s\",\"precision\":\"%s\",\"ms\":%.5f,\"median_ms\":%.5f,"
                     "\"mean_ms\":%.5f,\"runs\":%zu,\"gflops\":%.2f,\"gbytes\":%.2f,\"of_gemm\":%.4f,"
                     "\"of_copy\":%.4f,\"error\":%.3g,\"ok\":%s}\n",
            r->op, r->shape, er_precision_name(ops.dev->precision), t.min * 1e3, t.median * 1e3, t.mean * 1e3,
            t.calls, flops * 1e-9, bytes * 1e-9, share(flops, r->of) / 100, share(bytes, OP_COPY) / 100,
            isfinite(error) ? error : -1.0, good ? "true" : "false");
    else
        (void)printf("%-18s %-38s %9.3f %9.3f %9.3f %9.1f %8.1f %6.1f %6.1f  %.1e%s\n", r->op, r->shape,
            t.min * 1e3, t.median * 1e3, t.mean * 1e3, flops * 1e-9, bytes * 1e-9, share(flops, r->of),
            share(bytes, OP_COPY), error, good ? "" : "  WRONG");
    (void)fflush(stdout);
}

void bench_report(const op_result *r) {
    timed t = bench_measure(r);
    if (r->flops > 0 && r->flops / t.min > bench.best[r->of]) bench.best[r->of] = r->flops / t.min;
    bench_print(r, t);
}
