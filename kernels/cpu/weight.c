// Weights: the stored form, the compute copies made from it on first use, and edits rounded to the stored
// type.
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t weight_bytes(const er_weight *w) { return w->d_out * w->d_in * er_dtype_bits(w->dtype) / 8; }

// Where element [o, i] lies in the stored layout.
static size_t stored_index(const er_weight *w, size_t o, size_t i) {
    return w->conv1d ? i * w->d_out + o : o * w->d_in + i;
}

static void drop_copies(er_device *d, er_weight *w) {
    if (w->f32 != w->stored) er_cpu_release(d, w->f32);
    er_cpu_release(d, w->pack_fwd);
    er_cpu_release(d, w->pack_bwd);
    w->f32 = NULL;
    w->pack_fwd = w->pack_bwd = NULL;
}

er_status er_cpu_weight_create(er_device *d, er_weight **out, const er_weight_spec *spec) {
    er_status rc = ER_OK;
    er_weight *w = NULL;
    if (spec->dtype != ER_F32 && spec->dtype != ER_F16 && spec->dtype != ER_BF16)
        ER_FAIL(ER_EUNSUPPORTED, "a weight of type %s", er_dtype_name(spec->dtype));
    if (spec->d_out > INT_MAX || spec->d_in > INT_MAX)
        ER_FAIL(
            ER_EUNSUPPORTED, "a weight of %zu x %zu; %d at most a side", spec->d_out, spec->d_in, INT_MAX);
    if (!(w = calloc(1, sizeof *w))) ER_FAIL(ER_ENOMEM, "a weight");
    w->d_out = spec->d_out, w->d_in = spec->d_in, w->dtype = spec->dtype, w->conv1d = spec->conv1d,
    w->editable = spec->editable;
    ER_TRY(er_cpu_alloc(d, &w->stored, weight_bytes(w)));
    if (weight_bytes(w)) memcpy(w->stored, spec->bytes, weight_bytes(w));
    *out = w;
    w = NULL;
out:
    er_cpu_weight_free(d, w);
    return rc;
}

void er_cpu_weight_free(er_device *d, er_weight *w) {
    if (!w) return;
    drop_copies(d, w);
    er_cpu_release(d, w->stored);
    free(w);
}

static void refresh_f32(er_device *d, er_weight *w) {
    const size_t n = w->d_out * w->d_in, chunk = 1 << 14, width = er_dtype_bits(w->dtype) / 8;
#pragma omp parallel for num_threads(d->threads) if (n > 2 * chunk)
    for (size_t at = 0; at < n; at += chunk)
        er_to_f32(
            w->f32 + at, (const char *)w->stored + at * width, w->dtype, n - at < chunk ? n - at : chunk);
}

er_status er_cpu_weight_f32(er_device *d, er_weight *w, const float **out) {
    if (w->dtype == ER_F32) w->f32 = w->stored;
    if (!w->f32) {
        void *copy = NULL;
        er_status rc = er_cpu_alloc(d, &copy, w->d_out * w->d_in * sizeof(float));
        if (rc != ER_OK) return rc;
        w->f32 = copy;
        refresh_f32(d, w);
    }
    *out = w->f32;
    return ER_OK;
}

// Forward: B = W^T [d_in, d_out]; backward: B = W [d_out, d_in].
static void refresh_pack(er_device *d, er_weight *w, bool backward) {
    const size_t step_out = w->conv1d ? 1 : w->d_in, step_in = w->conv1d ? w->d_out : 1;
    if (backward) er_tiles_pack(d, w->pack_bwd, w->stored, w->dtype, w->d_out, w->d_in, step_out, step_in);
    else er_tiles_pack(d, w->pack_fwd, w->stored, w->dtype, w->d_in, w->d_out, step_in, step_out);
}

er_status er_cpu_weight_pack(er_device *d, er_weight *w, bool backward, const uint16_t **out) {
    uint16_t **pack = backward ? &w->pack_bwd : &w->pack_fwd;
    if (!*pack) {
        void *copy = NULL;
        er_status rc = er_cpu_alloc(d, &copy,
            backward ? er_tiles_packed_bytes(w->d_out, w->d_in) : er_tiles_packed_bytes(w->d_in, w->d_out));
        if (rc != ER_OK) return rc;
        *pack = copy;
        refresh_pack(d, w, backward);
    }
    *out = *pack;
    return ER_OK;
}

static void refresh_copies(er_device *d, er_weight *w) {
    if (w->f32 && w->f32 != w->stored) refresh_f32(d, w);
    if (w->pack_fwd) refresh_pack(d, w, false);
    if (w->pack_bwd) refresh_pack(d, w, true);
}

// fp64 to fp32 by rounding to odd: a second rounding to a type of at least two bits less is then as if it
// were the only one.
static float round_to_odd(double x) {
    float f = (float)x;
    uint32_t bits;
    if (isnan(x) || isinf(x) || (double)f == x) return f;
    memcpy(&bits, &f, sizeof bits);
    if (fabs((double)f) > fabs(x)) bits--;
    bits |= 1;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static double stored_get(const er_weight *w, size_t at) {
    uint16_t h;
    if (w->dtype == ER_F32) return (double)((const float *)w->stored)[at];
    h = ((const uint16_t *)w->stored)[at];
    return (double)(w->dtype == ER_BF16 ? er_f32_from_bf16(h) : er_f32_from_f16(h));
}

// Rounds x once to the stored type; returns the value it then has, and its bits.
static double stored_round(er_dtype t, double x, uint32_t *bits) {
    float f = t == ER_F32 ? (float)x : round_to_odd(x);
    if (t == ER_F32) {
        memcpy(bits, &f, sizeof f);
        return (double)f;
    }
    uint16_t h = t == ER_BF16 ? er_bf16_from_f32(f) : er_f16_from_f32(f);
    *bits = h;
    return (double)(t == ER_BF16 ? er_f32_from_bf16(h) : er_f32_from_f16(h));
}

er_status er_cpu_weight_add(er_device *d, er_weight *w, const double *dw, er_weight_change *change) {
    if (!w->editable)
        return er_fail(ER_EARG, "a weight of %zu x %zu was not opened for editing", w->d_out, w->d_in);
    double lost = 0, size = 0, norm = 0;
    size_t bad = SIZE_MAX;
#pragma omp parallel for num_threads(d->threads) reduction(+ : lost, size, norm) reduction(min : bad)
    for (size_t o = 0; o < w->d_out; o++)
        for (size_t i = 0; i < w->d_in; i++) {
            double step = dw[o * w->d_in + i], old = stored_get(w, stored_index(w, o, i)), sum = old + step;
            uint32_t bits;
            double kept = stored_round(w->dtype, sum, &bits);
            if (!isfinite(kept) && o * w->d_in + i < bad) bad = o * w->d_in + i;
            lost += (kept - sum) * (kept - sum);
            size += step * step;
            norm += old * old;
        }
    if (bad != SIZE_MAX)
        return er_fail(ER_ENUMERIC, "edited weight of %zu x %zu is not finite in %s at [%zu, %zu]: change %g",
            w->d_out, w->d_in, er_dtype_name(w->dtype), bad / w->d_in, bad % w->d_in, dw[bad]);
#pragma omp parallel for num_threads(d->threads)
    for (size_t o = 0; o < w->d_out; o++)
        for (size_t i = 0; i < w->d_in; i++) {
            size_t at = stored_index(w, o, i);
            uint32_t bits;
            (void)stored_round(w->dtype, stored_get(w, at) + dw[o * w->d_in + i], &bits);
            if (w->dtype == ER_F32) memcpy((float *)w->stored + at, &bits, sizeof bits);
            else ((uint16_t *)w->stored)[at] = (uint16_t)bits;
        }
    refresh_copies(d, w);
    if (change) *change = (er_weight_change){sqrt(norm), sqrt(size), sqrt(lost)};
    return ER_OK;
}

er_status er_cpu_weight_read(er_device *d, er_weight *w, void *bytes) {
    (void)d;
    if (weight_bytes(w)) memcpy(bytes, w->stored, weight_bytes(w));
    return ER_OK;
}

er_status er_cpu_weight_set(er_device *d, er_weight *w, const void *bytes) {
    if (weight_bytes(w)) memcpy(w->stored, bytes, weight_bytes(w));
    refresh_copies(d, w);
    return ER_OK;
}

// x += scale * row `at` of the table (or = when `first`), read from the stored form.
static void embed_row(float *x, const er_weight *w, size_t at, float scale, bool first) {
    for (size_t i = 0; i < w->d_in; i++) {
        float v = scale * (float)stored_get(w, stored_index(w, at, i));
        x[i] = first ? v : x[i] + v;
    }
}

er_status er_cpu_embed(er_device *d, const er_embed_args *a, float *x) {
    const er_weight *table = a->table, *position = a->position;
    for (size_t t = 0; t < a->tokens; t++) {
        int32_t token = a->token[t];
        if (token < 0 || (size_t)token >= table->d_out)
            return er_fail(
                ER_EARG, "token %d at %zu is outside the vocabulary of %zu", token, t, table->d_out);
        int64_t p = position ? (int64_t)a->pos[t] + a->pos_offset : 0;
        if (position && (p < 0 || (size_t)p >= position->d_out))
            return er_fail(ER_EARG, "position %lld at token %zu is outside the %zu known", (long long)p, t,
                position->d_out);
    }
#pragma omp parallel for num_threads(d->threads) if (a->tokens * table->d_in > 1 << 14)
    for (size_t t = 0; t < a->tokens; t++) {
        float *row = x + t * table->d_in;
        embed_row(row, table, (size_t)a->token[t], a->scale, true);
        if (position) embed_row(row, position, (size_t)((int64_t)a->pos[t] + a->pos_offset), 1, false);
    }
    return ER_OK;
}
