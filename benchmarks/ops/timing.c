// Times an op and prints its line.
#include <time.h>
#include "benchmarks/ops/ops.h"

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

bool bench_wants(const char *ops) { return !bench.only || strstr(ops, bench.only); }

double bench_gemm_bound(size_t k) {
    double sums = k > 1024 ? sqrt((double)k / 1024) : 1;  // fp32 sums of random terms
    if (bench.dev->precision == ER_BF16_COMPUTE) return 0x1p-7;
    if (bench.dev->precision != ER_FP32) return 0x1p-9;
    return 1e-6 * sums;
}

static double batch(const bench_case *k, size_t runs, size_t *turn) {
    double start = now();
    for (size_t i = 0; i < runs; i++) k->run(k->data, (*turn)++);
    bench_must(bench.dev->op->sync(bench.dev));
    return (now() - start) / (double)runs;
}

// A device that runs behind is never waited for between the runs of a batch: a job does not wait there
// either, and a wait costs more than a short op. Batches of at least 5 ms keep the one wait at their end
// below a percent.
timed bench_measure(const bench_case *k) {
    double times[MAX_TIMES], sum = 0;
    size_t n = 0, turn = 0, runs = 1, least = CPU_RUNS;
    double first = batch(k, 1, &turn);
    if (bench.dev->is_async) {
        first = batch(k, 3, &turn);
        runs = first > 5e-3 ? 1 : (size_t)(5e-3 / (first + 1e-7)) + 1;
        if (runs > LONGEST_BATCH) runs = LONGEST_BATCH;
        least = BATCHES;
    }
    for (double start = now(); n < MAX_TIMES && (n < least || now() - start < bench.seconds_each); n++)
        sum += times[n] = batch(k, runs, &turn);
    qsort(times, n, sizeof *times, by_value);
    return (timed){times[0], times[n / 2], sum / (double)n, n * runs};
}

static double share(double rate, ceiling of) { return bench.best[of] > 0 ? 100 * rate / bench.best[of] : 0; }

void bench_print(const bench_case *k, timed t) {
    double error = sqrt(k->c.off / (k->c.size + 1e-300)), flops = k->flops / t.min, bytes = k->bytes / t.min;
    bool good = error <= k->bound;
    if (!good) bench.wrong = true;
    if (bench.json)
        (void)printf("{\"op\":\"%s\",\"shape\":\"%s\",\"precision\":\"%s\",\"ms\":%.5f,\"median_ms\":%.5f,"
                     "\"mean_ms\":%.5f,\"runs\":%zu,\"gflops\":%.2f,\"gbytes\":%.2f,\"of_gemm\":%.4f,"
                     "\"of_copy\":%.4f,\"error\":%.3g,\"ok\":%s}\n",
            k->op, k->shape, er_precision_name(bench.dev->precision), t.min * 1e3, t.median * 1e3,
            t.mean * 1e3, t.runs, flops * 1e-9, bytes * 1e-9, share(flops, k->best) / 100,
            share(bytes, BENCH_COPY) / 100, isfinite(error) ? error : -1.0, good ? "true" : "false");
    else
        (void)printf("%-18s %-38s %9.3f %9.3f %9.3f %9.1f %8.1f %6.1f %6.1f  %.1e%s\n", k->op, k->shape,
            t.min * 1e3, t.median * 1e3, t.mean * 1e3, flops * 1e-9, bytes * 1e-9, share(flops, k->best),
            share(bytes, BENCH_COPY), error, good ? "" : "  WRONG");
    (void)fflush(stdout);
}

void bench_report(const bench_case *k) {
    if (!bench_wants(k->op)) return;
    timed t = bench_measure(k);
    if (k->flops > 0 && k->flops / t.min > bench.best[k->best]) bench.best[k->best] = k->flops / t.min;
    bench_print(k, t);
}
