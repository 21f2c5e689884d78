// One layer's least squares against identities computed independently, by Gauss-Jordan in double.
#include "engine/solve/normal.h"

#include "engine/solve/lambda.h"
#include "tests/test.h"

typedef struct problem {
    size_t n, d, o;
    double *keys, *r, *c;  // [n, d], [o, n], [d, d] (a sum; count tokens)
    double count, lambda;
} problem;

static double *zeros(size_t n) {
    double *x = calloc(n, sizeof *x);
    assert_non_null(x);
    return x;
}

static problem make(size_t n, size_t d, size_t o, double lambda, uint64_t seed) {
    problem p = {.n = n,
        .d = d,
        .o = o,
        .keys = zeros(n * d + 1),
        .r = zeros(o * n + 1),
        .c = zeros(d * d),
        .count = 3.0 * (double)d,
        .lambda = lambda};
    for (size_t i = 0; i < n * d; i++) p.keys[i] = test_uniform(&seed);
    for (size_t i = 0; i < o * n; i++) p.r[i] = test_uniform(&seed);
    double *x = zeros(d);
    for (size_t t = 0; t < 3 * d; t++) {
        for (size_t i = 0; i < d; i++) x[i] = test_uniform(&seed) * (1.0 + (double)(i % 5));
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j < d; j++) p.c[i * d + j] += x[i] * x[j];
    }
    free(x);
    return p;
}
static void drop(problem *p) {
    free(p->keys);
    free(p->r);
    free(p->c);
}

// a [n, n] becomes its inverse; partial pivoting.
static void invert(double *a, size_t n) {
    double *b = zeros(n * n);
    for (size_t i = 0; i < n; i++) b[i * n + i] = 1;
    for (size_t k = 0; k < n; k++) {
        size_t p = k;
        for (size_t i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[p * n + k])) p = i;
        for (size_t j = 0; j < n; j++) {
            double t = a[k * n + j], u = b[k * n + j];
            a[k * n + j] = a[p * n + j], a[p * n + j] = t;
            b[k * n + j] = b[p * n + j], b[p * n + j] = u;
        }
        double s = 1 / a[k * n + k];
        for (size_t j = 0; j < n; j++) a[k * n + j] *= s, b[k * n + j] *= s;
        for (size_t i = 0; i < n; i++) {
            double f = i == k ? 0 : a[i * n + k];
            for (size_t j = 0; f != 0 && j < n; j++)
                a[i * n + j] -= f * a[k * n + j], b[i * n + j] -= f * b[k * n + j];
        }
    }
    memcpy(a, b, n * n * sizeof *a);
    free(b);
}

// out [m, n] = a [m, k] b [k, n]
static double *product(const double *a, const double *b, size_t m, size_t k, size_t n) {
    double *out = zeros(m * n + 1);
    for (size_t i = 0; i < m; i++)
        for (size_t l = 0; l < k; l++)
            for (size_t j = 0; j < n; j++) out[i * n + j] += a[i * k + l] * b[l * n + j];
    return out;
}
static double *transposed(const double *a, size_t m, size_t n) {
    double *out = zeros(m * n + 1);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) out[j * m + i] = a[i * n + j];
    return out;
}

// How the columns come in and what else there is.
typedef struct way {
    bool summed;
    double ridge, identity;
    const double *history;  // [d, d], joins K K^T; or NULL
    const double *basis;    // [rank, d]; or NULL
    size_t rank;
} way;

static er_status add_in_parts(er_normal *s, const problem *p, const double *r) {
    size_t step = s->shape.capacity > 3 ? s->shape.capacity / 2 + 1 : 1;
    for (size_t at = 0; at < p->n; at += step) {
        size_t n = p->n - at < step ? p->n - at : step;
        double *keys = NULL, *resid = NULL;
        OK(er_normal_room(s, &keys, &resid, n));
        memcpy(keys, p->keys + at * p->d, n * p->d * sizeof *keys);
        memcpy(resid, r + at * p->o, n * p->o * sizeof *resid);
        er_normal_added(s, n);
    }
    return er_normal_close(s);
}

static void solve_as(double *dw, er_solve_info *info, const problem *p, const way *w, er_status expected) {
    er_device *dev = NULL;
    OK(er_device_open(&dev, &(er_device_options){.kind = "cpu", .threads = 1}));
    er_arena a = {.dev = dev}, counted = {0};
    er_normal s, unbound;
    er_normal_shape shape = {.d_key = p->d,
        .d_out = p->o,
        .n = p->n,
        .capacity = w->summed && p->n > 5 ? 5 : p->n,
        .summed = w->summed,
        .definite = true,
        .restricted = w->basis != NULL,
        .hard = w->ridge == 0};
    double *r = transposed(p->r, p->o, p->n);
    OK(er_normal_take(&s, &a, &shape));
    OK(er_normal_take(&unbound, &counted, &shape));
    assert_int_equal(a.bytes, counted.bytes);
    assert_null(unbound.kk);
    OK(er_normal_begin(&s, 1));
    OK(add_in_parts(&s, p, r));
    if (w->history) OK(er_normal_add_matrix(&s, 1, w->history));
    OK(er_normal_begin_prior(&s));
    if (p->lambda > 0) OK(er_normal_add_matrix(&s, p->lambda / p->count, p->c));
    if (w->identity > 0) OK(er_normal_add_identity(&s, w->identity));
    s.ridge = w->ridge;
    if (w->basis) {
        memcpy(s.basis, w->basis, w->rank * p->d * sizeof *s.basis);
        OK(er_normal_restrict(&s, w->rank));
    }
    assert_int_equal(er_normal_solve(&s, info), expected);
    if (expected == ER_OK) memcpy(dw, s.rk, p->o * p->d * sizeof *dw);
    free(r);
    er_arena_release(&a);
    er_device_close(dev);
}

static void solve(double *dw, er_solve_info *info, const problem *p, er_status expected) {
    solve_as(dw, info, p, &(way){.ridge = 1}, expected);
}

static double distance(const double *a, const double *b, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) d += (a[i] - b[i]) * (a[i] - b[i]), s += b[i] * b[i];
    return sqrt(d / s);
}

// The definition: R K^T (K K^T + lambda C)^-1.
static double *by_definition(const problem *p) {
    double *kt = transposed(p->keys, p->n, p->d), *a = product(kt, p->keys, p->d, p->n, p->d);
    for (size_t i = 0; i < p->d * p->d; i++) a[i] += p->lambda * p->c[i] / p->count;
    invert(a, p->d);
    double *rk = product(p->r, p->keys, p->o, p->n, p->d), *dw = product(rk, a, p->o, p->d, p->d);
    free(kt);
    free(a);
    free(rk);
    return dw;
}

static void test_definition_in_both_forms(void **state) {
    (void)state;
    const struct {
        size_t n, d, o;
        bool dual;
    } cases[] = {
        {3, 40, 30, true}, {1, 33, 32, true}, {200, 31, 17, false}, {31, 31, 5, false}, {64, 8, 9, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        problem p = make(cases[i].n, cases[i].d, cases[i].o, 0.7, 11 + i);
        double *dw = zeros(p.o * p.d), *expected = by_definition(&p);
        er_solve_info info;
        solve(dw, &info, &p, ER_OK);
        assert_int_equal(info.dual, cases[i].dual);
        BELOW(distance(dw, expected, p.o * p.d), 1e-11);
        solve_as(dw, &info, &p, &(way){.summed = true, .ridge = 1}, ER_OK);
        assert_false(info.dual);
        BELOW(distance(dw, expected, p.o * p.d), 1e-11);
        free(dw);
        free(expected);
        drop(&p);
    }
}

// EMMET's (K^T C^-1 K + mu I)^-1 K^T C^-1 is MEMIT with lambda = mu.
static void test_emmet_is_memit(void **state) {
    (void)state;
    problem p = make(6, 24, 20, 0.35, 5);
    double *c = zeros(p.d * p.d), *dw = zeros(p.o * p.d);
    for (size_t i = 0; i < p.d * p.d; i++) c[i] = p.c[i] / p.count;
    invert(c, p.d);
    double *kc = product(p.keys, c, p.n, p.d, p.d), *kt = transposed(p.keys, p.n, p.d),
           *g = product(kc, kt, p.n, p.d, p.n);
    for (size_t i = 0; i < p.n; i++) g[i * p.n + i] += p.lambda;
    invert(g, p.n);
    double *gk = product(g, kc, p.n, p.n, p.d), *expected = product(p.r, gk, p.o, p.n, p.d);
    solve(dw, NULL, &p, ER_OK);
    BELOW(distance(dw, expected, p.o * p.d), 1e-11);
    double *all[] = {c, dw, kc, kt, g, gk, expected};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    drop(&p);
}

// One fact and lambda towards 0 is ROME: dW = r (C^-1 k)^T / (k^T C^-1 k), which meets its constraint
// exactly.
static void test_one_fact_tends_to_rome(void **state) {
    (void)state;
    problem p = make(1, 16, 12, 1e-9, 9);
    double *c = zeros(p.d * p.d), *dw = zeros(p.o * p.d);
    memcpy(c, p.c, p.d * p.d * sizeof *c);
    invert(c, p.d);
    double *u = product(p.keys, c, 1, p.d, p.d), ku = 0;
    for (size_t i = 0; i < p.d; i++) ku += p.keys[i] * u[i];
    double *expected = zeros(p.o * p.d);
    for (size_t i = 0; i < p.o; i++)
        for (size_t j = 0; j < p.d; j++) expected[i * p.d + j] = p.r[i] * u[j] / ku;
    solve(dw, NULL, &p, ER_OK);
    BELOW(distance(dw, expected, p.o * p.d), 1e-7);
    double *met = product(dw, p.keys, p.o, p.d, 1);
    BELOW(distance(met, p.r, p.o), 1e-7);
    free(met);
    free(c);
    free(dw);
    free(u);
    free(expected);
    drop(&p);
}

// Taking a fact's k k^T and r k^T out of the sums gives what solving without the fact gives.
static void test_removal_is_a_downdate(void **state) {
    (void)state;
    problem p = make(9, 20, 11, 0.5, 21);
    double *kt = transposed(p.keys, p.n, p.d), *a = product(kt, p.keys, p.d, p.n, p.d),
           *b = product(p.r, p.keys, p.o, p.n, p.d);
    const double *gone = p.keys + 8 * p.d;
    for (size_t i = 0; i < p.d; i++)
        for (size_t j = 0; j < p.d; j++)
            a[i * p.d + j] += p.lambda * p.c[i * p.d + j] / p.count - gone[i] * gone[j];
    for (size_t i = 0; i < p.o; i++)
        for (size_t j = 0; j < p.d; j++) b[i * p.d + j] -= p.r[i * p.n + 8] * gone[j];
    invert(a, p.d);
    double *expected = product(b, a, p.o, p.d, p.d), *dw = zeros(p.o * p.d), *r = zeros(p.o * 8);
    for (size_t i = 0; i < p.o; i++) memcpy(r + i * 8, p.r + i * p.n, 8 * sizeof *r);
    problem q = p;
    q.n = 8, q.r = r;
    solve(dw, NULL, &q, ER_OK);
    BELOW(distance(dw, expected, p.o * p.d), 1e-11);
    double *all[] = {kt, a, b, expected, dw, r};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    drop(&p);
}

// The hard constraint: dW K = R to the last digits, and dW = R (K^T C^-1 K)^-1 K^T C^-1. Of one fact it is
// ROME's rank-one update.
static void test_hard_constraint(void **state) {
    (void)state;
    const size_t facts[] = {1, 7};
    for (size_t k = 0; k < 2; k++) {
        size_t n = facts[k];
        problem p = make(n, 24, 20, 0.7, 55 + n);
        double *c = zeros(p.d * p.d), *dw = zeros(p.o * p.d);
        for (size_t i = 0; i < p.d * p.d; i++) c[i] = p.lambda * p.c[i] / p.count;
        invert(c, p.d);
        double *kc = product(p.keys, c, n, p.d, p.d), *kt = transposed(p.keys, n, p.d),
               *g = product(kc, kt, n, p.d, n);
        invert(g, n);
        double *gk = product(g, kc, n, n, p.d), *expected = product(p.r, gk, p.o, n, p.d);
        er_solve_info info;
        solve_as(dw, &info, &p, &(way){.ridge = 0}, ER_OK);
        assert_true(info.dual);
        BELOW(distance(dw, expected, p.o * p.d), 1e-11);
        double *met = product(dw, kt, p.o, p.d, n);
        BELOW(distance(met, p.r, p.o * n), 1e-11);
        for (size_t i = 0; n == 1 && i < p.o; i++)  // r u^T / (k^T u), u = C^-1 k
            for (size_t j = 0; j < p.d; j++) NEAR(dw[i * p.d + j], p.r[i] * kc[j] * g[0], 1e-12);
        double *all[] = {c, dw, kc, kt, g, gk, expected, met};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
        drop(&p);
    }
    problem twice = make(2, 12, 4, 1.0, 3);
    memcpy(twice.keys + 12, twice.keys, 12 * sizeof(double));  // one key, two residuals: no dW meets both
    double *dw = zeros(4 * 12);
    solve_as(dw, NULL, &twice, &(way){.ridge = 0}, ER_ENUMERIC);
    free(dw);
    drop(&twice);
}

// A fixed linear layer, fixed keys K and fixed targets V: W1 = R1 K1^T (K1 K1^T + P)^-1 with R1 = V1, then
// the second part with the residual V2 - W1 K2 and A = K1 K1^T + K2 K2^T + P, together give what one edit of
// all gives. Without the history they do not.
static void test_parts_with_history_are_one_edit(void **state) {
    (void)state;
    for (int with = 0; with < 2; with++) {
        problem all = make(18, 30, 11, 0.4, 77), a = all, b = all;
        a.n = 8, b.n = 10;
        double *once = zeros(all.o * all.d), *w1 = zeros(all.o * all.d), *w2 = zeros(all.o * all.d);
        a.r = zeros(all.o * a.n), b.r = zeros(all.o * b.n);
        b.keys = all.keys + a.n * all.d;
        for (size_t i = 0; i < all.o; i++) {
            memcpy(a.r + i * a.n, all.r + i * all.n, a.n * sizeof(double));
            memcpy(b.r + i * b.n, all.r + i * all.n + a.n, b.n * sizeof(double));
        }
        way w = {.summed = true, .ridge = 1};
        solve_as(once, NULL, &all, &w, ER_OK);
        solve_as(w1, NULL, &a, &w, ER_OK);
        double *kt = transposed(b.keys, b.n, b.d), *now = product(w1, kt, b.o, b.d, b.n),
               *k1t = transposed(a.keys, a.n, a.d), *kk = product(k1t, a.keys, a.d, a.n, a.d);
        for (size_t i = 0; i < b.o * b.n; i++) b.r[i] -= now[i];
        if (with) w.history = kk;
        solve_as(w2, NULL, &b, &w, ER_OK);
        for (size_t i = 0; i < all.o * all.d; i++) w2[i] += w1[i];
        if (with) BELOW(distance(w2, once, all.o * all.d), 1e-9);
        else assert_true(distance(w2, once, all.o * all.d) > 0.05);
        double *mine[] = {once, w1, w2, a.r, b.r, kt, now, k1t, kk};
        for (size_t i = 0; i < sizeof mine / sizeof *mine; i++) free(mine[i]);
        drop(&all);
    }
}

// Rows 0..rank-1: orthonormal, by Gram-Schmidt.
static double *orthonormal(size_t rank, size_t d, uint64_t seed) {
    double *u = zeros(rank * d);
    for (size_t i = 0; i < rank; i++) {
        for (size_t j = 0; j < d; j++) u[i * d + j] = test_uniform(&seed);
        for (int again = 0; again < 2; again++)
            for (size_t k = 0; k <= i; k++) {
                double dot = 0;
                for (size_t j = 0; j < d; j++) dot += u[i * d + j] * u[k * d + j];
                for (size_t j = 0; j < d; j++)
                    u[i * d + j] = k < i ? u[i * d + j] - dot * u[k * d + j] : u[i * d + j] / sqrt(dot);
            }
    }
    return u;
}

// dW = R K^T (K K^T + l2 I)^-1.
static void check_is_ridge(const double *dw, const problem *p, double l2) {
    problem ridge = *p;
    ridge.c = zeros(p->d * p->d), ridge.count = 1, ridge.lambda = l2;
    for (size_t i = 0; i < p->d; i++) ridge.c[i * p->d + i] = 1;
    double *expected = by_definition(&ridge);
    BELOW(distance(dw, expected, p->o * p->d), 1e-11);
    free(ridge.c);
    free(expected);
}

// AlphaEdit as its authors write it: R K^T P (P (K K^T + H) + L2 I)^-1, P = U U^T, in full size; and with P =
// I the ridge form.
static void test_restricted_is_alphaedit(void **state) {
    (void)state;
    const size_t ranks[] = {1, 9, 26};
    for (size_t k = 0; k < 6; k++) {
        problem p = make(7, 26, 15, 0, 91 + k), h = make(5, 26, 1, 0, 17);
        size_t rank = ranks[k / 2], d = p.d;
        double *u = orthonormal(rank, d, 5), *ut = transposed(u, rank, d), *proj = product(ut, u, d, rank, d),
               l2 = 0.3;
        if (rank == d)
            for (size_t i = 0; i < d * d; i++) NEAR(proj[i], i % (d + 1) == 0, 1e-12);
        double *kt = transposed(p.keys, p.n, d), *kk = product(kt, p.keys, d, p.n, d),
               *ht = transposed(h.keys, h.n, d), *hh = product(ht, h.keys, d, h.n, d);
        bool with_history = k % 2;
        for (size_t i = 0; with_history && i < d * d; i++) kk[i] += hh[i];
        double *a = product(proj, kk, d, d, d);
        for (size_t i = 0; i < d; i++) a[i * d + i] += l2;
        // R K^T P (P A + L2)^-1 is the transpose of the authors' solve(P A + L2, P K R^T): P and A are
        // symmetric.
        double *at = transposed(a, d, d);
        invert(at, d);
        double *rk = product(p.r, p.keys, p.o, p.n, d), *rkp = product(rk, proj, p.o, d, d),
               *expected = product(rkp, at, p.o, d, d);
        double *dw = zeros(p.o * d);
        way w = {.ridge = 1, .identity = l2, .basis = u, .rank = rank, .history = with_history ? hh : NULL};
        for (int summed = with_history; summed < 2; summed++) {
            w.summed = summed;
            solve_as(dw, NULL, &p, &w, ER_OK);
            BELOW(distance(dw, expected, p.o * d), 1e-11);
            if (rank == d && !with_history) check_is_ridge(dw, &p, l2);
        }
        double *all[] = {u, ut, proj, kt, kk, ht, hh, a, at, rk, rkp, expected, dw};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
        drop(&p);
        drop(&h);
    }
}

static void test_singular_is_refused(void **state) {
    (void)state;
    problem p = make(2, 12, 4, 1.0, 3);
    memset(p.c, 0, p.d * p.d * sizeof *p.c);
    double *dw = zeros(p.o * p.d);
    solve(dw, NULL, &p, ER_ENUMERIC);
    assert_non_null(strstr(er_last_error(), "not positive definite"));
    free(dw);
    drop(&p);
}

// Both traces by their definition, beyond one block of keys too.
static void check_traces(er_device *dev, size_t n, size_t d, double ratio, bool of_sums) {
    problem p = make(n, d, 1, 0.7, 31 + d);
    double trace_c = 0, trace_k = 0, lambda = -1, told = -1;
    for (size_t i = 0; i < d; i++) trace_c += p.c[i * d + i] / p.count;
    for (size_t i = 0; i < n * d; i++) trace_k += p.keys[i] * p.keys[i];
    er_second_moment *m = NULL;
    OK(er_second_moment_create(&m, dev, d));
    // What was filled in has no part in lambda.
    m->count = (uint64_t)p.count, m->filled = n % 2 ? 3.5 : 0;
    p.c[d * d - 1] += m->filled;
    OK(dev->op->upload(dev, m->sum, p.c, d * d * sizeof(double)));
    double *room = zeros(er_traces_workspace(d)), *host = zeros(2 * d), *square = zeros(d * d);
    OK(er_traces_begin(room, dev, d));
    if (of_sums) OK(dev->op->syrk_f64(dev, d, n, 1.0, p.keys, d, 0.0, square));
    OK(er_traces_queue(host, room, dev, m, square, of_sums ? NULL : p.keys, n));
    OK(dev->op->sync(dev));
    er_lambda_from_traces(&lambda, &told, host, m, &(er_hparams){.lambda = 0.7, .trace_ratio = ratio});
    bool by_traces = ratio > 0 && n;
    double expected = by_traces ? ratio * trace_k / trace_c : 0.7;
    NEAR(lambda, expected, 1e-13 * expected);
    NEAR(told, n ? expected * trace_c / trace_k : 0, 1e-13 * told);
    double *all[] = {room, host, square};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    er_second_moment_free(dev, m);
    drop(&p);
}
static void test_traces(void **state) {
    (void)state;
    er_device *dev = NULL;
    OK(er_device_open(&dev, &(er_device_options){.kind = "cpu", .threads = 1}));
    const struct { size_t n, d; } cases[] = {{1, 1}, {3, 40}, {5, 128}, {150, 129}, {7, 300}, {0, 12}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 4; k++) check_traces(dev, cases[i].n, cases[i].d, k / 2 ? 0.3 : 0, k % 2);
    er_device_close(dev);
}

static void test_no_facts_no_change(void **state) {
    (void)state;
    problem p = make(0, 12, 4, 1.0, 3);
    double *dw = zeros(p.o * p.d);
    dw[5] = 7;
    solve(dw, NULL, &p, ER_OK);
    for (size_t i = 0; i < p.o * p.d; i++) assert_true(dw[i] == 0.0);
    free(dw);
    drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_definition_in_both_forms),
        cmocka_unit_test(test_emmet_is_memit), cmocka_unit_test(test_one_fact_tends_to_rome),
        cmocka_unit_test(test_removal_is_a_downdate), cmocka_unit_test(test_singular_is_refused),
        cmocka_unit_test(test_no_facts_no_change), cmocka_unit_test(test_hard_constraint),
        cmocka_unit_test(test_parts_with_history_are_one_edit),
        cmocka_unit_test(test_restricted_is_alphaedit), cmocka_unit_test(test_traces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
