// Sums to and from .npz files: the reference's four members, read with distrust.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "covariance/exchange_internal.h"
#include "io/base/log.h"

// ---- checks ----

// |a_ij - a_ji| may differ by what an fp32 (or fp16) sum loses, measured against sqrt(a_ii a_jj), the largest
// |a_ij| can be.
#define SYMMETRY_TOLERANCE 1e-3
#define TILE 64

static er_status check_diagonal(const double *a, size_t n, const char *path) {
    for (size_t i = 0; i < n; i++) {
        double d = a[i * n + i];
        if (!isfinite(d)) return er_fail(ER_EFORMAT, "%s: mom2.mom2[%zu][%zu] is not finite", path, i, i);
        if (d < 0) return er_fail(ER_EFORMAT, "%s: mom2.mom2[%zu][%zu] is %g, below zero", path, i, i, d);
    }
    return ER_OK;
}

// Checks one pair and leaves the mean of both in both places: an exactly symmetric matrix for the Cholesky
// that follows.
static er_status symmetrise_pair(double *a, size_t n, size_t i, size_t j, double floor, const char *path) {
    double x = a[i * n + j], y = a[j * n + i];
    if (!isfinite(x) || !isfinite(y)) {
        size_t r = isfinite(x) ? j : i, c = isfinite(x) ? i : j;
        return er_fail(ER_EFORMAT, "%s: mom2.mom2[%zu][%zu] is not finite", path, r, c);
    }
    double largest = sqrt(a[i * n + i]) * sqrt(a[j * n + j]);
    if (fabs(x - y) > SYMMETRY_TOLERANCE * largest + floor)
        return er_fail(ER_EFORMAT, "%s: not symmetric: mom2.mom2[%zu][%zu] is %g, [%zu][%zu] is %g", path, i,
            j, x, j, i, y);
    a[i * n + j] = a[j * n + i] = 0.5 * x + 0.5 * y;
    return ER_OK;
}

er_status er_second_moment_symmetrise(double *a, size_t n, const char *path) {
    er_status rc = check_diagonal(a, n, path);
    if (rc != ER_OK) return rc;
    double trace = 0;
    for (size_t i = 0; i < n; i++) trace += a[i * n + i] / (double)n;
    // Tiles, because walking down a column of a 14336-wide matrix misses the cache on every element.
    for (size_t bi = 0; bi < n; bi += TILE)
        for (size_t bj = 0; bj <= bi; bj += TILE)
            for (size_t i = bi; i < n && i < bi + TILE; i++)
                for (size_t j = bj; j < i && j < bj + TILE; j++)
                    if ((rc = symmetrise_pair(a, n, i, j, 1e-6 * trace, path)) != ER_OK) return rc;
    return ER_OK;
}

// ---- reading ----

static er_status read_member(er_npy *out, er_npz *z, const char *member, const char *path) {
    er_status rc = er_npz_read(out, z, member);
    return rc == ER_ENOENT ? er_fail(ER_EFORMAT, "%s: no member %s", path, member) : rc;
}

static er_status read_count(uint64_t *out, er_npz *z, const char *path) {
    er_npy a = {0};
    er_status rc = read_member(&a, z, "mom2.count", path);
    if (rc != ER_OK) return rc;
    int64_t count = -1;
    if (a.elements == 1 && a.type == ER_NPY_I8) memcpy(&count, a.data, sizeof count);
    if (a.elements == 1 && a.type == ER_NPY_I4) {
        int32_t narrow;
        memcpy(&narrow, a.data, sizeof narrow);
        count = narrow;
    }
    bool is_number = a.elements == 1 && (a.type == ER_NPY_I8 || a.type == ER_NPY_I4);
    er_npy_free(&a);
    if (!is_number) return er_fail(ER_EFORMAT, "%s: mom2.count is not one integer", path);
    if (count <= 0) return er_fail(ER_EFORMAT, "%s: mom2.count is %lld", path, (long long)count);
    *out = (uint64_t)count;
    return ER_OK;
}

// The sum as fp64, in the array's own memory when it is fp64 already.
static er_status cast(double **out, er_npy *a) {
    if (a->type == ER_NPY_F8) {
        *out = a->data;
        a->data = NULL;
        return ER_OK;
    }
    double *d = malloc(a->elements * sizeof *d);
    if (!d) return er_fail(ER_ENOMEM, "%llu sums", (unsigned long long)a->elements);
    const unsigned char *p = a->data;
    for (uint64_t i = 0; i < a->elements; i++) {
        float f;
        uint16_t h;
        if (a->type == ER_NPY_F4) memcpy(&f, p + 4 * i, sizeof f);
        else memcpy(&h, p + 2 * i, sizeof h), f = er_f32_from_f16(h);
        d[i] = (double)f;
    }
    *out = d;
    return ER_OK;
}

er_status er_second_moment_read(
    er_second_moment **out, er_device *dev, er_npz *z, const char *path, size_t dim) {
    er_status rc = ER_OK;
    er_npy a = {0};
    double *sum = NULL;
    er_second_moment *m = NULL;
    uint64_t count = 0;
    ER_TRY(read_count(&count, z, path));
    ER_TRY(read_member(&a, z, "mom2.mom2", path));
    if (a.type != ER_NPY_F4 && a.type != ER_NPY_F8 && a.type != ER_NPY_F2)
        ER_FAIL(ER_EFORMAT, "%s: mom2.mom2 holds no floating-point numbers", path);
    if (a.rank != 2 || a.shape[0] != a.shape[1])
        ER_FAIL(ER_EFORMAT, "%s: mom2.mom2 is not a square matrix", path);
    if (a.shape[0] != dim)
        ER_FAIL(ER_EFORMAT, "%s: mom2.mom2 is for keys of %llu, the model's have %zu", path,
            (unsigned long long)a.shape[0], dim);
    ER_TRY(cast(&sum, &a));
    er_npy_free(&a);
    a = (er_npy){0};
    ER_TRY(er_second_moment_symmetrise(sum, dim, path));
    ER_TRY(er_second_moment_create(&m, dev, dim));
    ER_TRY(dev->op->upload(dev, m->sum, sum, dim * dim * sizeof *sum));
    ER_TRY(dev->op->sync(dev));
    m->count = count;
    *out = m, m = NULL;
out:
    er_npy_free(&a);
    free(sum);
    er_second_moment_free(dev, m);
    return rc;
}

er_status er_second_moment_count(uint64_t *out, const char *path) {
    er_npz *z = NULL;
    er_status rc = er_npz_open(&z, path);
    if (rc == ER_OK) rc = read_count(out, z, path);
    er_npz_close(z);
    return rc;
}

er_status er_second_moment_import(er_second_moment **out, er_device *dev, const char *path, size_t dim) {
    er_npz *z = NULL;
    er_status rc = er_npz_open(&z, path);
    if (rc != ER_OK) return rc;
    rc = er_second_moment_read(out, dev, z, path, dim);
    er_npz_close(z);
    // Fewer rows than dimensions leave C singular; ten times as many make its small eigenvalues worth
    // trusting.
    if (rc == ER_OK && (*out)->count < 10 * dim)
        er_warn("%s: %llu rows for keys of %zu: below ten per dimension", path,
            (unsigned long long)(*out)->count, dim);
    return rc;
}

// ---- writing ----

static er_status write_text(er_npz_writer *w, const char *member, const char *text) {
    size_t n = strlen(text);
    uint32_t *wide = malloc((n ? n : 1) * sizeof *wide);
    if (!wide) return er_fail(ER_ENOMEM, "%zu characters", n);
    for (size_t i = 0; i < n; i++) wide[i] = (unsigned char)text[i];
    er_npy a = {.type = ER_NPY_U, .rank = 0, .elements = 1, .item_bytes = 4 * n, .data = wide};
    er_status rc = er_npz_add(w, member, &a);
    free(wide);
    return rc;
}

static er_status write_integer(er_npz_writer *w, const char *member, int64_t value) {
    er_npy a = {.type = ER_NPY_I8, .rank = 0, .elements = 1, .item_bytes = sizeof value, .data = &value};
    return er_npz_add(w, member, &a);
}

// fp64 to fp32 in place: element i is read at byte 8i before byte 4i is written.
static er_status narrow(double *sum, size_t n, const char *path) {
    for (size_t i = 0; i < n; i++) {
        float f = (float)sum[i];
        if (!isfinite(f)) return er_fail(ER_ENUMERIC, "%s: sum %zu is %g, beyond fp32", path, i, sum[i]);
        memcpy((char *)sum + sizeof f * i, &f, sizeof f);
    }
    return ER_OK;
}

er_status er_second_moment_write(const er_second_moment *m, er_device *dev, const char *path,
    int64_t sample_size, bool as_f64, const char *digest) {
    er_status rc = ER_OK;
    er_npz_writer *w = NULL;
    size_t n = m->dim * m->dim;
    double *sum = malloc(n * sizeof *sum);
    if (!sum) ER_FAIL(ER_ENOMEM, "%s: %zu sums", path, n);
    if (m->count == 0 || m->count > INT64_MAX)
        ER_FAIL(ER_EARG, "%s: a second moment of %llu rows", path, (unsigned long long)m->count);
    if (m->sum) ER_TRY(dev->op->download(dev, sum, m->sum, n * sizeof *sum));
    else memcpy(sum, m->offloaded, n * sizeof *sum);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(sum[i]))
            ER_FAIL(ER_ENUMERIC, "%s: sum [%zu][%zu] is not finite", path, i / m->dim, i % m->dim);
    if (!as_f64) ER_TRY(narrow(sum, n, path));
    er_npy a = {.type = as_f64 ? ER_NPY_F8 : ER_NPY_F4,
        .rank = 2,
        .shape = {m->dim, m->dim},
        .elements = n,
        .item_bytes = as_f64 ? 8 : 4,
        .data = sum};
    ER_TRY(er_npz_create(&w, path));
    ER_TRY(write_text(w, "mom2.constructor", "util.runningstats.SecondMoment()"));
    ER_TRY(write_integer(w, "mom2.count", (int64_t)m->count));
    ER_TRY(er_npz_add(w, "mom2.mom2", &a));
    ER_TRY(write_integer(w, "sample_size", sample_size));
    if (digest) ER_TRY(write_text(w, "digest", digest));
    ER_TRY(er_npz_finish(w));
out:
    er_npz_writer_free(w);
    free(sum);
    return rc;
}

er_status er_second_moment_export(
    const er_second_moment *m, er_device *dev, const char *path, int64_t sample_size, int as_f64) {
    return er_second_moment_write(m, dev, path, sample_size, as_f64 != 0, NULL);
}
