// Cases of second moments, and of the fp64 products and solves made of them.
#include "tests/ops/cases.h"

// Element i, j of X^T X, X [k, ld].
static double inner(op_field x, size_t ld, size_t k, size_t i, size_t j) {
    double sum = 0;
    for (size_t t = 0; t < k; t++) sum += op_at(x, t * ld + i) * op_at(x, t * ld + j);
    return sum;
}

// Elements of a row that are checked: all up to `n`, or a few.
static size_t column_of(size_t n, size_t j) {
    return ops.samples ? (size_t)((op_uniform() + 1) / 2 * (double)n) : j;
}
static size_t columns_of(size_t n) { return ops.samples && 3 * ops.samples < n ? 3 * ops.samples : n; }

typedef struct moment_case {
    const float *x;
    float *scratch;
    double *sum;
    size_t tokens, d_key;
} moment_case;
static void call_moment(void *p, size_t turn) {
    (void)turn;
    moment_case *c = p;
    op_must(ops.dev->op->syrk_accumulate(ops.dev, c->sum, c->x, c->scratch, c->tokens, c->d_key));
}
static void call_symmetrise(void *p, size_t turn) {
    (void)turn;
    moment_case *c = p;
    op_must(ops.dev->op->symmetrise(ops.dev, c->sum, c->d_key));
}

void op_syrk_accumulate(size_t tokens, size_t d_key) {
    if (!op_wants("syrk_accumulate symmetrise")) return;
    size_t n = d_key;
    op_field x = op_field_make(tokens * n, 1), old = op_field_make(n * n, 5);
    moment_case c = {op_field_put(x, tokens * n), op_room(n * n * 4),
        op_put_f64(op_field_put(old, n * n), n * n), tokens, n};
    double square = (double)n * (double)n;
    op_result r = {.op = "syrk_accumulate",
        .flops = (double)tokens * square,
        .bytes = 8 * square + 4 * (double)(tokens * n),
        .of = OP_GEMM,
        .call = call_moment,
        .data = &c};
    r.bound = op_product_bound(
        tokens < 1024 || ops.dev->is_async ? tokens : 1024);  // as many as are summed in fp32
    call_moment(&c, 0);
    for (size_t k = 0; k < op_count(n); k++) {
        size_t i = op_chosen(n, k);
        const double *got = op_download_f64(c.sum + i * n, n);
        for (size_t m = columns_of(i + 1), q = 0; q < m; q++) {
            size_t j = column_of(i + 1, q);
            op_differ(&r.e, got[j], op_at(old, i * n + j) + inner(x, n, tokens, i, j));
        }
    }
    (void)snprintf(r.shape, sizeof r.shape, "%zu tokens, %zu columns", tokens, n);
    op_report(&r);
    op_result mirror = {.op = "symmetrise", .bytes = 8 * square, .call = call_symmetrise, .data = &c};
    call_symmetrise(&c, 0);
    const double *whole = ops.samples ? NULL : op_download_f64(c.sum, n * n);
    for (size_t k = 0; k < op_count(n); k++) {
        size_t i = op_chosen(n, k);
        const double *row = whole ? whole + i * n : op_download_f64(c.sum + i * n, n);
        for (size_t m = columns_of(n), q = 0; q < m; q++) {
            size_t j = column_of(n, q);
            op_differ(&mirror.e, whole ? whole[j * n + i] : *op_download_f64(c.sum + j * n + i, 1), row[j]);
        }
    }
    (void)snprintf(mirror.shape, sizeof mirror.shape, "%zu rows", n);
    op_report(&mirror);
    op_end();
}

typedef struct product_case {
    er_gemm_args a;
} product_case;
static void call_gemm(void *p, size_t turn) {
    (void)turn;
    product_case *c = p;
    op_must(ops.dev->op->gemm_f64(ops.dev, &c->a));
}
static void call_syrk(void *p, size_t turn) {
    (void)turn;
    er_gemm_args *a = &((product_case *)p)->a;
    op_must(ops.dev->op->syrk_f64(ops.dev, a->n, a->k, a->alpha, a->a.at, a->a.ld, a->beta, a->c));
}

static double bound_f64(size_t k) { return DBL_EPSILON * (4 + sqrt((double)k)); }

// What stands above the diagonal is nobody's business.
void op_syrk_f64(size_t n, size_t k, double beta) {
    if (!op_wants("syrk_f64")) return;
    size_t lda = n + 3;
    op_field a = op_field_make(k * lda, 1), old = op_field_make(n * n, 4);
    product_case c = {
        {n, n, k, 0.5, {op_put_f64(op_field_put(a, k * lda), k * lda), lda, true}, {NULL, 0, false}, beta,
            beta != 0 ? op_put_f64(op_field_put(old, n * n), n * n) : op_room(n * n * 8), n}};
    double square = (double)n * (double)n;
    op_result r = {.op = "syrk_f64",
        .flops = square * (double)k,
        .bytes = 4 * square + 8 * (double)(n * k),
        .of = OP_GEMM_F64,
        .bound = bound_f64(k),
        .call = call_syrk,
        .data = &c};
    call_syrk(&c, 0);
    for (size_t s = 0; s < op_count(n); s++) {
        size_t i = op_chosen(n, s);
        const double *got = op_download_f64(c.a.c + i * n, n);
        for (size_t m = columns_of(i + 1), q = 0; q < m; q++) {
            size_t j = column_of(i + 1, q);
            op_differ(
                &r.e, got[j], 0.5 * inner(a, lda, k, i, j) + (beta != 0 ? beta * op_at(old, i * n + j) : 0));
        }
    }
    (void)snprintf(r.shape, sizeof r.shape, "%zu x %zu x %zu", n, n, k);
    op_report(&r);
    op_end();
}

void op_gemm_f64(size_t m, size_t n, size_t k, bool trans_a, bool trans_b, double beta, size_t pad) {
    if (!op_wants("gemm_f64")) return;
    size_t lda = (trans_a ? m : k) + pad, ldb = (trans_b ? k : n) + pad, ldc = n + pad;
    size_t n_a = (trans_a ? k : m) * lda, n_b = (trans_b ? n : k) * ldb, n_c = m * ldc;
    op_field a = op_field_make(n_a, 1), b = op_field_make(n_b, 1), old = op_field_make(n_c, 1);
    product_case c = {{m, n, k, 1.5, {op_put_f64(op_field_put(a, n_a), n_a), lda, trans_a},
        {op_put_f64(op_field_put(b, n_b), n_b), ldb, trans_b}, beta, op_put_f64(op_field_put(old, n_c), n_c),
        ldc}};
    op_result r = {.op = "gemm_f64",
        .flops = 2 * (double)m * (double)n * (double)k,
        .bytes = 8 * (double)(n_a + n_b + n_c),
        .of = OP_GEMM_F64,
        .bound = bound_f64(k),
        .call = call_gemm,
        .data = &c};
    call_gemm(&c, 0);
    for (size_t s = 0; s < op_count(m); s++) {
        size_t i = op_chosen(m, s);
        const double *got = op_download_f64(c.a.c + i * ldc, ldc);
        for (size_t q = 0; q < columns_of(n); q++) {
            size_t j = column_of(n, q);
            double want = 0;
            for (size_t p = 0; p < k; p++)
                want += op_at(a, trans_a ? p * lda + i : i * lda + p) *
                        op_at(b, trans_b ? j * ldb + p : p * ldb + j);
            op_differ(&r.e, got[j], 1.5 * want + (beta != 0 ? beta * op_at(old, i * ldc + j) : 0));
        }
        for (size_t j = n; j < ldc; j++)  // what lies behind a row stays
            if (got[j] != op_at(old, i * ldc + j)) r.e.off = HUGE_VAL;
    }
    (void)snprintf(r.shape, sizeof r.shape, "%zu x %zu x %zu%s%s", m, n, k, trans_a ? ", A^T" : "",
        trans_b ? ", B^T" : "");
    op_report(&r);
    op_end();
}

// ---- the solve ----

typedef struct cholesky_case {
    const double *whole;  // A
    double *a, *x;        // its factor; [rhs, n]
    size_t n, rhs;
} cholesky_case;
static void call_potrf(void *p, size_t turn) {  // and the copy of what it overwrites
    (void)turn;
    cholesky_case *c = p;
    op_must(ops.dev->op->copy(ops.dev, c->a, c->whole, c->n * c->n * 8));
    op_must(ops.dev->op->potrf(ops.dev, c->a, c->n));
}
static void call_potrs(void *p, size_t turn) {
    (void)turn;
    cholesky_case *c = p;
    op_must(ops.dev->op->potrs(ops.dev, c->a, c->n, c->x, c->rhs));
}

// A = M^T M + n I of M [n, n]; what comes back, put into A X = B, must give the right-hand sides. Relative to
// |A| |X|.
void op_cholesky(size_t n, size_t rhs) {
    if (!op_wants("potrf potrs")) return;
    op_field m = op_field_make(n * n, 1), b = op_field_make(n * rhs, 1);
    double *whole = op_room(n * n * 8), *wide = op_put_f64(op_field_put(m, n * n), n * n);
    op_must(ops.dev->op->syrk_f64(ops.dev, n, n, 1, wide, n, 0, whole));
    op_must(ops.dev->op->add_diagonal(ops.dev, whole, n, (double)n));
    op_must(ops.dev->op->symmetrise(ops.dev, whole, n));
    cholesky_case c = {whole, op_room(n * n * 8), op_put_f64(op_field_put(b, n * rhs), n * rhs), n, rhs};
    double square = (double)n * (double)n;
    op_result factor = {.op = "potrf",
        .flops = (double)n * square / 3,
        .bytes = 8 * square,
        .of = OP_GEMM_F64,
        .bound = DBL_EPSILON * 10 * sqrt((double)n),
        .call = call_potrf,
        .data = &c};
    op_result solve = factor;
    solve.op = "potrs", solve.flops = 2 * square * (double)rhs,
    solve.bytes = 8 * square + 16 * (double)(n * rhs), solve.call = call_potrs;
    call_potrf(&c, 0), call_potrs(&c, 0);
    double *a_of = NULL;
    for (size_t s = 0; s < op_count(n); s++) {
        size_t i = op_chosen(n, s);
        a_of = op_download_f64(whole + i * n, n);
        for (size_t k = 0; k < op_count(rhs); k++) {
            size_t r = op_chosen(rhs, k);
            const double *x = op_download_f64(c.x + r * n, n);
            double got = 0, size = 0;
            for (size_t j = 0; j < n; j++) got += a_of[j] * x[j], size += fabs(a_of[j] * x[j]);
            factor.e.off += pow(got - op_at(b, r * n + i), 2), factor.e.size += size * size;
        }
    }
    solve.e = factor.e;
    (void)snprintf(factor.shape, sizeof factor.shape, "%zu rows", n);
    (void)snprintf(solve.shape, sizeof solve.shape, "%zu rows, %zu sides", n, rhs);
    op_report(&factor), op_report(&solve);
    op_end();
}
