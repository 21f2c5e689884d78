// Device memory with contents that the host knows.
#include "benchmarks/ops/ops.h"

bench_state bench = {.seconds_each = 0.3, .seed = 1};

void bench_must(er_status rc) {
    if (rc == ER_OK) return;
    (void)fprintf(stderr, "bench_ops: %s\n", er_last_error());
    exit(1);
}

void *bench_host(size_t bytes) {
    void *p = malloc(bytes + !bytes);
    if (p) return p;
    (void)fprintf(stderr, "bench_ops: %zu bytes of host memory\n", bytes);
    exit(1);
}

void *bench_room(size_t bytes) {
    void *p = NULL;
    bench_must(bench.dev->op->alloc(bench.dev, &p, bytes));
    bench_must(bench.dev->op->zero(bench.dev, p, bytes));
    return p;
}

void bench_release(const void *dev_ptr) { bench.dev->op->release(bench.dev, (void *)dev_ptr); }

void *bench_upload(const void *host, size_t bytes) {
    void *p = bench_room(bytes);
    bench_must(bench.dev->op->upload(bench.dev, p, host, bytes));
    return p;
}

double bench_uniform(void) {
    uint64_t z = (bench.seed += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1;
}

size_t bench_pick(size_t n) { return (size_t)((bench_uniform() + 1) / 2 * (double)n); }

field bench_field(double scale) {
    field f = {bench_host(FIELD_PERIOD * sizeof *f.block)};
    for (size_t i = 0; i < FIELD_PERIOD; i++) f.block[i] = (float)(bench_uniform() * scale);
    return f;
}

void bench_field_free(field f) { free(f.block); }

float *bench_field_room(field f, size_t n) {
    float *d = bench_room(n * sizeof *d);
    size_t have = n < FIELD_PERIOD ? n : FIELD_PERIOD;
    bench_must(bench.dev->op->upload(bench.dev, d, f.block, have * sizeof *d));
    for (size_t more; have < n; have += more) {
        more = have < n - have ? have : n - have;
        bench_must(bench.dev->op->copy(bench.dev, d + have, d, more * sizeof *d));
    }
    return d;
}

double bench_got(const float *dev_ptr, size_t i) {
    float x = 0;
    bench_must(bench.dev->op->download(bench.dev, &x, dev_ptr + i, sizeof x));
    return (double)x;
}

double bench_got_f64(const double *dev_ptr, size_t i) {
    double x = 0;
    bench_must(bench.dev->op->download(bench.dev, &x, dev_ptr + i, sizeof x));
    return x;
}

void *bench_stored(field f, er_dtype t, size_t n) {
    size_t each = (size_t)er_dtype_bits(t) / 8, period = FIELD_PERIOD * each, bytes = n * each;
    char *at = bench_host(bytes), *block = bench_host(period);
    er_from_f32(block, f.block, t, FIELD_PERIOD);
    er_to_f32(f.block, block, t, FIELD_PERIOD);
    for (size_t i = 0; i < bytes; i += period) memcpy(at + i, block, bytes - i < period ? bytes - i : period);
    free(block);
    return at;
}
