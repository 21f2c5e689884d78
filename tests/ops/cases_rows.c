// Cases of ops that move or add rows: by index, into the key/value cache, and into the fp64 rows of the
// solve.
#include "tests/ops/cases.h"

typedef struct rows_case {
    float *dst;
    const float *src;
    const int32_t *index;
    size_t n, width;
} rows_case;
static void call_gather(void *p, size_t turn) {
    (void)turn;
    rows_case *c = p;
    op_must(ops.dev->op->gather_rows(ops.dev, c->dst, c->src, c->index, c->n, c->width));
}
static void call_scatter(void *p, size_t turn) {
    (void)turn;
    rows_case *c = p;
    op_must(ops.dev->op->scatter_add_rows(ops.dev, c->dst, c->src, c->index, c->n, c->width));
}
static void call_add(void *p, size_t turn) {
    (void)turn;
    rows_case *c = p;
    op_must(ops.dev->op->add(ops.dev, c->dst, c->src, c->n));
}

static size_t pick(size_t n) { return (size_t)((op_uniform() + 1) / 2 * (double)n); }

void op_gather_rows(size_t n, size_t width) {
    if (!op_wants("gather_rows")) return;
    size_t rows = n + 5;
    op_field f = op_field_make(rows * width, 1);
    int32_t *index = op_host(n * sizeof *index);
    for (size_t i = 0; i < n; i++) index[i] = (int32_t)pick(rows);
    rows_case c = {op_room(n * width * 4), op_field_put(f, rows * width), op_put(index, n * 4), n, width};
    op_result r = {.op = "gather_rows", .bytes = 8 * (double)(n * width), .call = call_gather, .data = &c};
    call_gather(&c, 0);
    for (size_t k = 0; k < op_count(n); k++) {
        size_t i = op_chosen(n, k);
        op_compare(&r.e, c.dst + i * width, op_row(f, (size_t)index[i] * width, width), width);
    }
    (void)snprintf(r.shape, sizeof r.shape, "%zu x %zu", n, width);
    op_report(&r);
    op_end();
}

// Four in a run go to one row, one in fifty nowhere, and the last one to the first row again.
static int32_t *targets_of(size_t n) {
    int32_t *index = op_host(n * sizeof *index);
    for (size_t i = 0; i < n; i++) index[i] = i % 50 == 3 ? -1 : i + 1 == n ? 0 : (int32_t)(i / 4);
    return index;
}

void op_scatter_add_rows(size_t n, size_t width) {
    if (!op_wants("scatter_add_rows")) return;
    size_t rows = n / 4 + 1;
    op_field src = op_field_make(n * width, 1), dst = op_field_make(rows * width, 1);
    int32_t *index = targets_of(n);
    rows_case c = {
        op_field_put(dst, rows * width), op_field_put(src, n * width), op_put(index, n * 4), n, width};
    op_result r = {.op = "scatter_add_rows",
        .bytes = 6 * (double)(n * width),
        .bound = 2 * EPS,
        .call = call_scatter,
        .data = &c};
    call_scatter(&c, 0);
    for (size_t k = 0; k < op_count(rows); k++) {
        size_t row = op_chosen(rows, k);
        double *want = op_row(dst, row * width, width);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; index[i] == (int32_t)row && j < width; j++)
                want[j] += op_at(src, i * width + j);
        op_compare(&r.e, c.dst + row * width, want, width);
    }
    (void)snprintf(r.shape, sizeof r.shape, "%zu x %zu into %zu", n, width, rows);
    op_report(&r);
    op_end();
}

void op_add(size_t n) {
    if (!op_wants("add")) return;
    op_field x = op_field_make(n, 1), y = op_field_make(n, 1);
    rows_case c = {op_field_put(y, n), op_field_put(x, n), NULL, n, 1};
    op_result r = {.op = "add", .bytes = 12 * (double)n, .bound = EPS, .call = call_add, .data = &c};
    call_add(&c, 0);
    double *want = op_row(y, 0, n);
    for (size_t i = 0; i < n; i++) want[i] += op_at(x, i);
    op_compare(&r.e, c.dst, want, n);
    (void)snprintf(r.shape, sizeof r.shape, "%zu", n);
    op_report(&r);
    op_end();
}

typedef struct store_case {
    er_kv_store_args a;
} store_case;
static void call_store(void *p, size_t turn) {
    (void)turn;
    store_case *c = p;
    op_must(ops.dev->op->kv_store(ops.dev, &c->a));
}

// Backwards into a cache of two positions more; every ninth token is not stored.
void op_kv_store(size_t tokens, size_t kv_dim, size_t behind) {
    if (!op_wants("kv_store")) return;
    size_t k_at = 2 * kv_dim, ld = 4 * kv_dim + behind, capacity = tokens + 2;
    op_field f = op_field_make(tokens * ld, 1), old = op_field_make(capacity * kv_dim, 1);
    int32_t *at = op_host(tokens * sizeof *at), *from = op_host(capacity * sizeof *from);
    for (size_t i = 0; i < capacity; i++) from[i] = -1;
    for (size_t t = 0; t < tokens; t++) {
        at[t] = t % 9 == 4 ? -1 : (int32_t)(tokens - t);
        if (at[t] >= 0) from[at[t]] = (int32_t)t;
    }
    store_case c = {{tokens, kv_dim, ld, k_at, op_field_put(f, tokens * ld), op_put(at, tokens * 4),
        op_field_put(old, capacity * kv_dim), op_field_put(old, capacity * kv_dim)}};
    op_result r = {.op = "kv_store", .bytes = 16 * (double)(tokens * kv_dim), .call = call_store, .data = &c};
    call_store(&c, 0);
    for (size_t k = 0; k < op_count(capacity); k++) {
        size_t i = op_chosen(capacity, k), row = (size_t)from[i] * ld + k_at;
        bool stored = from[i] >= 0;
        op_compare(&r.e, c.a.cache_k + i * kv_dim,
            stored ? op_row(f, row, kv_dim) : op_row(old, i * kv_dim, kv_dim), kv_dim);
        op_compare(&r.e, c.a.cache_v + i * kv_dim,
            stored ? op_row(f, row + kv_dim, kv_dim) : op_row(old, i * kv_dim, kv_dim), kv_dim);
    }
    (void)snprintf(r.shape, sizeof r.shape, "%zu x %zu", tokens, kv_dim);
    op_report(&r);
    op_end();
}

// ---- rows of the solve ----

typedef struct scaled_case {
    double *dst;
    const float *src, *scale;
    const int32_t *index;
    size_t n, width;
} scaled_case;
static void call_scaled(void *p, size_t turn) {
    (void)turn;
    scaled_case *c = p;
    op_must(ops.dev->op->scaled_scatter(ops.dev, c->dst, c->src, c->scale, c->index, c->n, c->width));
}

// Runs of equal indices, one skipped, and the first target met again at the end.
void op_scaled_scatter(size_t n, size_t width, size_t targets, bool indexed) {
    if (!op_wants("scaled_scatter")) return;
    size_t rows = indexed ? targets : n, run = n / targets + 1;
    op_field src = op_field_make(n * width, 2), scale = op_field_make(n, 1),
             dst = op_field_make(rows * width, 3);
    int32_t *index = op_host(n * sizeof *index);
    for (size_t i = 0; i < n; i++) index[i] = i == 3 ? -1 : i + 1 == n ? 0 : (int32_t)(i / run);
    double *start = op_put_f64(op_field_put(dst, rows * width), rows * width);
    scaled_case c = {start, op_field_put(src, n * width), op_field_put(scale, n),
        indexed ? op_put(index, n * 4) : NULL, n, width};
    op_result r = {.op = "scaled_scatter",
        .bytes = 4 * (double)(n * width) + (indexed ? 16 : 8) * (double)(rows * width),
        .bound = 4 * DBL_EPSILON,
        .call = call_scaled,
        .data = &c};
    if (run > 16) r.bound *= sqrt((double)run / 16);
    call_scaled(&c, 0);
    for (size_t k = 0; k < op_count(rows); k++) {
        size_t row = op_chosen(rows, k);
        double *want = op_row(dst, row * width, width);
        for (size_t j = 0; !indexed && j < width; j++)
            want[j] = op_at(scale, row) * op_at(src, row * width + j);
        for (size_t i = 0; indexed && i < n; i++)
            for (size_t j = 0; index[i] == (int32_t)row && j < width; j++)
                want[j] += op_at(scale, i) * op_at(src, i * width + j);
        op_compare_f64(&r.e, c.dst + row * width, want, width);
    }
    (void)snprintf(r.shape, sizeof r.shape, indexed ? "%zu x %zu into %zu" : "%zu x %zu", n, width, rows);
    op_report(&r);
    op_end();
}

typedef struct residual_case {
    double *r;
    er_residual a;
} residual_case;
static void call_residual(void *p, size_t turn) {
    (void)turn;
    residual_case *c = p;
    op_must(ops.dev->op->residual(ops.dev, c->r, &c->a));
}

void op_residual(size_t rows, size_t width, size_t requests) {
    if (!op_wants("residual")) return;
    size_t n = rows * width, n_z = requests * width;
    op_field orig = op_field_make(n, 5), cur = op_field_make(n, 5), z = op_field_make(n_z, 5),
             start = op_field_make(n_z, 5), scale = op_field_make(rows, 1);
    int32_t *request = op_host(rows * sizeof *request);
    for (size_t i = 0; i < rows; i++) request[i] = (int32_t)(i * 3 % requests);
    residual_case c = {
        op_room(n * 8), {rows, width, op_field_put(orig, n), op_field_put(cur, n), op_field_put(z, n_z),
                            op_field_put(start, n_z), op_put(request, rows * 4), op_field_put(scale, rows)}};
    op_result r = {.op = "residual",
        .bytes = 16 * (double)n + 8 * (double)n_z,
        .bound = 8 * DBL_EPSILON,
        .call = call_residual,
        .data = &c};
    call_residual(&c, 0);
    for (size_t k = 0; k < op_count(rows); k++) {
        size_t row = op_chosen(rows, k), at = row * width, u = (size_t)request[row] * width;
        double *want = op_host(width * sizeof *want);
        for (size_t j = 0; j < width; j++)
            want[j] = op_at(scale, row) *
                      (op_at(orig, at + j) + op_at(z, u + j) - op_at(start, u + j) - op_at(cur, at + j));
        op_compare_f64(&r.e, c.r + at, want, width);
    }
    (void)snprintf(r.shape, sizeof r.shape, "%zu x %zu of %zu requests", rows, width, requests);
    op_report(&r);
    op_end();
}
