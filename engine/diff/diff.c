// What changed between two checkpoints. Bytes are compared first; only tensors that differ are looked into.
#include "engine/diff.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "io/checkpoint.h"
#include "io/base/log.h"

#define SPAN ((size_t)4096)  // elements converted at a time
#define POWER_STEPS 30

static bool is_float(er_dtype t) { return t == ER_F32 || t == ER_F16 || t == ER_BF16 || t == ER_F64; }

// The first part of a dotted name that is a number.
static long layer_of(const char *name) {
    for (const char *p = name; p; p = strchr(p, '.') ? strchr(p, '.') + 1 : NULL) {
        char *end = NULL;
        if (*p < '0' || *p > '9') continue;
        long n = strtol(p, &end, 10);
        if (*end == '.' || *end == '\0') return n;
    }
    return -1;
}

static bool same_shape(const er_tensor *a, const er_tensor *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

static er_status add(er_diff *d, er_diff_tensor t, const char *name) {
    if ((d->count & (d->count + 1)) == 0) {  // capacity is the next power of two
        er_diff_tensor *grown = realloc(d->at, (2 * d->count + 1) * sizeof *grown);
        if (!grown) return er_fail(ER_ENOMEM, "%zu differing tensors", d->count);
        d->at = grown;
    }
    t.layer = layer_of(name);
    if (!(t.name = strdup(name))) return er_fail(ER_ENOMEM, "a tensor's name");
    d->at[d->count++] = t;
    return ER_OK;
}

static void set_shape(er_diff_tensor *out, const er_tensor *t) {
    out->cols = t->rank > 0 ? t->shape[t->rank - 1] : 1;
    out->rows = out->cols ? t->elements / out->cols : 0;
}

// ---- numbers of one tensor ----

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

// Norms and counts from both tensors as stored; delta [elements], when given, gets the difference.
static er_status measure(er_diff_tensor *out, float *delta, const er_tensor *a, const char *bytes_a,
    const er_tensor *b, const char *bytes_b) {
    static _Thread_local float x[SPAN], y[SPAN];
    size_t wide_a = er_dtype_bits(a->dtype) / 8, wide_b = er_dtype_bits(b->dtype) / 8;
    double base = 0, moved = 0;
    for (size_t at = 0; at < a->elements; at += SPAN) {
        size_t n = a->elements - at < SPAN ? a->elements - at : SPAN;
        if (er_stop_requested()) return er_stop_check("");
        er_to_f32(x, bytes_a + at * wide_a, a->dtype, n);
        er_to_f32(y, bytes_b + at * wide_b, b->dtype, n);
        for (size_t i = 0; i < n; i++) {
            double d = (double)y[i] - (double)x[i];
            base += (double)x[i] * (double)x[i];
            moved += d * d;
            if (fabs(d) > out->largest) out->largest = fabs(d);
            out->changed += bits_of(x[i]) != bits_of(y[i]);
            if (delta) delta[at + i] = (float)d;
        }
    }
    out->measured = true;
    out->base_norm = sqrt(base);
    out->norm = sqrt(moved);
    return ER_OK;
}

static double normalize(double *v, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += v[i] * v[i];
    s = sqrt(s);
    for (size_t i = 0; s > 0 && i < n; i++) v[i] /= s;
    return s;
}

// |D|_2 by power iteration on D^T D, from a fixed vector without symmetry; stops when it no longer moves.
static er_status spectral_norm(double *out, const float *d, size_t rows, size_t cols) {
    double *v = malloc((cols + rows) * sizeof *v), *u = v + cols, sigma = 0;
    er_status rc = ER_OK;
    if (!v) return er_fail(ER_ENOMEM, "%zu vectors' elements", cols + rows);
    for (size_t j = 0; j < cols; j++) v[j] = 1 + 0.5 * sin(1 + 1.7 * (double)j);
    (void)normalize(v, cols);
    for (int step = 0; step < POWER_STEPS; step++) {
        ER_TRY(er_stop_check(""));
        for (size_t i = 0; i < rows; i++) {
            double s = 0;
            for (size_t j = 0; j < cols; j++) s += (double)d[i * cols + j] * v[j];
            u[i] = s;
        }
        double now = normalize(u, rows);
        memset(v, 0, cols * sizeof *v);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++) v[j] += (double)d[i * cols + j] * u[i];
        double next = normalize(v, cols);
        bool settled = fabs(next - now) <= 1e-6 * next;
        sigma = next;
        if (settled) break;
    }
    *out = sigma;
out:
    free(v);
    return rc;
}

static er_status compare(er_diff *d, const er_checkpoint *ca, const er_tensor *a, const er_checkpoint *cb,
    const er_tensor *b, bool rank) {
    er_status rc = ER_OK;
    char *x = NULL, *y = NULL;
    float *delta = NULL;
    er_diff_tensor out = {.kind = ER_DIFF_CHANGED};
    double sigma = 0;
    set_shape(&out, b);
    if (!same_shape(a, b)) {
        out.kind = ER_DIFF_RESHAPED;
        return add(d, out, a->name);
    }
    if (!(x = malloc(a->bytes + 1)) || !(y = malloc(b->bytes + 1)))
        ER_FAIL(ER_ENOMEM, "tensor '%s': %llu bytes twice", a->name, (unsigned long long)a->bytes);
    ER_TRY(er_checkpoint_read(ca, a, x));
    ER_TRY(er_checkpoint_read(cb, b, y));
    if (a->dtype == b->dtype && a->bytes == b->bytes && memcmp(x, y, a->bytes) == 0) goto out;
    if (is_float(a->dtype) && is_float(b->dtype)) {
        if (rank && !(delta = malloc((b->elements + 1) * sizeof *delta)))
            ER_FAIL(ER_ENOMEM, "tensor '%s'", a->name);
        ER_TRY(measure(&out, delta, a, x, b, y));
        if (rank && out.norm > 0) ER_TRY(spectral_norm(&sigma, delta, out.rows, out.cols));
        if (sigma > 0) out.rank = out.norm * out.norm / (sigma * sigma);
    }
    ER_TRY(add(d, out, a->name));
out:
    free(x);
    free(y);
    free(delta);
    return rc;
}

static int by_layer(const void *x, const void *y) {
    const er_diff_tensor *a = x, *b = y;
    if (a->layer != b->layer) return a->layer < b->layer ? -1 : 1;
    return strcmp(a->name, b->name);
}

er_status er_diff_run(
    er_diff **out, const char *base_dir, const char *edited_dir, const er_diff_options *options) {
    er_status rc = ER_OK;
    er_checkpoint *a = NULL, *b = NULL;
    er_progress *progress = NULL;
    size_t done = 0;
    er_diff *d = calloc(1, sizeof *d);
    if (!d || !(d->base = strdup(base_dir)) || !(d->edited = strdup(edited_dir)))
        ER_FAIL(ER_ENOMEM, "a comparison");
    ER_TRY(er_checkpoint_open(&a, base_dir));
    ER_TRY(er_checkpoint_open(&b, edited_dir));
    progress = er_progress_begin("compare", er_checkpoint_count(a), "tensors");
    for (size_t i = 0; i < er_checkpoint_count(a); i++) {
        const er_tensor *t = er_checkpoint_at(a, i), *other = er_checkpoint_find(b, t->name);
        done = i;
        ER_TRY(er_stop_check(""));
        er_diff_tensor lost = {.kind = ER_DIFF_ONLY_BASE};
        set_shape(&lost, t);
        if (other) ER_TRY(compare(d, a, t, b, other, options && options->rank));
        else ER_TRY(add(d, lost, t->name));
        d->compared += other != NULL;
        er_progress_update(progress, i + 1);
    }
    for (size_t i = 0; i < er_checkpoint_count(b); i++) {
        const er_tensor *t = er_checkpoint_at(b, i);
        er_diff_tensor fresh = {.kind = ER_DIFF_ONLY_EDITED};
        set_shape(&fresh, t);
        if (!er_checkpoint_find(a, t->name)) ER_TRY(add(d, fresh, t->name));
    }
    ER_TRY(er_folder_check(er_checkpoint_folder_of(a), true));
    ER_TRY(er_folder_check(er_checkpoint_folder_of(b), true));
    if (d->count) qsort(d->at, d->count, sizeof *d->at, by_layer);
    *out = d;
    d = NULL;
out:
    if (progress) er_progress_end(progress);
    er_checkpoint_free(a);
    er_checkpoint_free(b);
    er_diff_free(d);
    return rc == ER_EINTERRUPTED ? er_fail(rc, "interrupted in diff: stopped after %zu tensors", done) : rc;
}

void er_diff_free(er_diff *d) {
    if (!d) return;
    for (size_t i = 0; i < d->count; i++) free(d->at[i].name);
    free(d->at);
    free(d->base);
    free(d->edited);
    free(d);
}
