// Memory of cases, fields, and comparing.
#include "tests/ops/cases.h"

#include "tests/support/guard.h"

enum { PERIOD = 4 * 262139, MOST = 1 << 17 };  // 4 times a prime: rows of a matrix never repeat

op_runner ops = {.seed = 1};

static void *kept[MOST];  // host memory until op_end()
static size_t n_kept;

bool op_wants(const char *names) { return !ops.wants || ops.wants(names); }

void op_must(er_status rc) {
    if (rc != ER_OK) ops.failed(er_last_error());
}

double op_error_of(const op_error *e) {
    double error = sqrt(e->off) / (sqrt(e->size) + 1e-300);
    return isfinite(error) ? error : HUGE_VAL;
}

void op_report(op_result *r) {
    if (op_wants(r->op)) ops.report(r);
}

void *op_host(size_t bytes) {
    void *p = n_kept < MOST ? calloc(bytes + !bytes, 1) : NULL;
    if (!p) ops.failed("no host memory for a case");
    return kept[n_kept++] = p;
}

void *op_room(size_t bytes) { return guard_alloc(ops.dev, bytes); }

void *op_put(const void *host, size_t bytes) { return guard_put(ops.dev, host, bytes); }

double *op_put_f64(const float *dev_x, size_t n) {
    double *wide = op_room(n * sizeof *wide);
    op_must(ops.dev->op->cast(ops.dev, wide, dev_x, n));
    return wide;
}

double *op_download(const float *dev_x, size_t n) {
    float *got = op_host(n * sizeof *got);
    double *wide = op_host(n * sizeof *wide);
    guard_get(ops.dev, got, dev_x, n * sizeof *got);
    for (size_t i = 0; i < n; i++) wide[i] = (double)got[i];
    return wide;
}

double *op_download_f64(const double *dev_x, size_t n) {
    double *got = op_host(n * sizeof *got);
    guard_get(ops.dev, got, dev_x, n * sizeof *got);
    return got;
}

void op_end(void) {
    guard_end(ops.dev);
    while (n_kept) free(kept[--n_kept]);
    ops.seed = 1;  // a case has the same numbers whatever ran before it
}

double op_uniform(void) {
    uint64_t z = (ops.seed += 0x9e3779b97f4a7c15ull);  // splitmix64
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1;
}

op_field op_field_make(size_t n, double scale) {
    op_field f = {NULL, n < 1 ? 1 : n < PERIOD ? n : PERIOD};
    f.block = op_host(f.period * sizeof *f.block);
    ops.seed += n;
    for (size_t i = 0; i < f.period; i++) f.block[i] = (float)(op_uniform() * scale);
    return f;
}

float *op_field_put(op_field f, size_t n) {
    float *d = op_room(n * sizeof *d);
    size_t have = n < f.period ? n : f.period;
    op_must(ops.dev->op->upload(ops.dev, d, f.block, have * sizeof *d));
    for (size_t more; have < n; have += more) {
        more = have < n - have ? have : n - have;
        op_must(ops.dev->op->copy(ops.dev, d + have, d, more * sizeof *d));
    }
    return d;
}

double *op_row(op_field f, size_t at, size_t n) {
    double *x = op_host(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = op_at(f, at + i);
    return x;
}

void *op_stored(op_field f, er_dtype t, size_t d_out, size_t d_in, bool conv1d) {
    size_t each = (size_t)er_dtype_bits(t) / 8, n = d_out * d_in, period = f.period;
    char *bytes = op_host(n * each), *block = op_host(period * each);
    er_from_f32(block, f.block, t, period);
    er_to_f32(f.block, block, t, period);
    if (!conv1d)
        for (size_t i = 0; i < n; i += period)
            memcpy(bytes + i * each, block, (n - i < period ? n - i : period) * each);
    for (size_t o = 0; conv1d && o < d_out; o++)
        for (size_t i = 0; i < d_in; i++)
            memcpy(bytes + (i * d_out + o) * each, block + (o * d_in + i) % period * each, each);
    return bytes;
}

size_t op_count(size_t n) { return ops.samples && ops.samples < n ? ops.samples : n; }

size_t op_chosen(size_t n, size_t k) {
    if (op_count(n) == n) return k;
    return (size_t)((op_uniform() + 1) / 2 * (double)n);
}

void op_compare(op_error *e, const float *dev_x, const double *want, size_t n) {
    size_t before = n_kept;
    const double *got = op_download(dev_x, n);
    for (size_t i = 0; i < n; i++) op_differ(e, got[i], want[i]);
    while (n_kept > before) free(kept[--n_kept]);
}

void op_compare_f64(op_error *e, const double *dev_x, const double *want, size_t n) {
    size_t before = n_kept;
    const double *got = op_download_f64(dev_x, n);
    for (size_t i = 0; i < n; i++) op_differ(e, got[i], want[i]);
    while (n_kept > before) free(kept[--n_kept]);
}

// Rounding of the k products and sums grows like sqrt(k). Rounded inputs: each factor is off by up to 2^-9 of
// itself in bf16, 2^-11 in fp16 and TF32.
double op_product_bound(size_t k) {
    switch (ops.dev->precision) {
    case ER_BF16_COMPUTE:
        return 0x1p-7;
    case ER_FP16_COMPUTE:
    case ER_TF32_COMPUTE:
        return 0x1p-9;
    case ER_FP32:
        break;
    }
    return EPS * (2 + 0.3 * sqrt((double)k));
}
