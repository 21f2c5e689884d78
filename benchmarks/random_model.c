#include "benchmarks/random_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One block of random numbers is drawn; every weight is a window of it, repeated. Its length is a prime, so
// that no two rows of a weight start at the same place of it until there are as many rows as that.
#define LONG_PERIOD 33554393u
#define SHORT_PERIOD 1048573u
#define MOST_POSITIONS 32768u

typedef struct maker {
    er_model *m;
    const er_shape *s;
    const er_random_options *o;
    uint16_t *pool;  // BF16, the block repeated as often as the largest weight needs
    size_t period, windows;
    uint64_t random;
} maker;

static size_t largest_weight(const er_arch *a) {
    size_t rows[] = {a->vocab, er_arch_qkv_rows(a), er_arch_up_rows(a), a->d_ff}, most = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i] > most) most = rows[i];
    return most * a->hidden;
}

// Uniform with the deviation that keeps a normalised input at about its size through a square map; the
// residual stream then grows with the square root of the depth and stays finite.
static er_status fill_pool(maker *k) {
    const er_arch *a = &k->m->arch;
    size_t largest = largest_weight(a);
    k->period = largest > 1u << 22 ? LONG_PERIOD : SHORT_PERIOD;
    size_t n = largest + k->period;
    float reach = 1.28f / sqrtf((float)a->hidden) * sqrtf(3.0f) / 32768.0f;
    if (!(k->pool = malloc((n + 4) * sizeof *k->pool))) return er_fail(ER_ENOMEM, "%zu random numbers", n);
    for (size_t i = 0; i < k->period; i += 4) {
        uint64_t r = er_random_next(&k->random);
        for (size_t j = 0; j < 4; j++, r >>= 16)
            k->pool[i + j] = er_bf16_from_f32(((float)(int)(r & 0xffff) - 32767.5f) * reach);
    }
    for (size_t have = k->period, take; have < n; have += take) {
        take = have < n - have ? have : n - have;
        memcpy(k->pool + have, k->pool, take * sizeof *k->pool);
    }
    return ER_OK;
}

static er_status show(
    maker *k, const char *name, const uint16_t *bits, size_t d_out, size_t d_in, bool conv1d) {
    float *values = malloc(d_out * d_in * sizeof *values);
    if (!values) return er_fail(ER_ENOMEM, "%zu floats", d_out * d_in);
    for (size_t r = 0; r < d_out; r++)
        for (size_t c = 0; c < d_in; c++)
            values[r * d_in + c] = er_f32_from_bf16(bits[conv1d ? c * d_out + r : r * d_in + c]);
    er_status rc = k->o->sink(k->o->ctx, name, values, d_out, d_in);
    free(values);
    return rc;
}

static er_status weight(
    maker *k, er_weight **out, const char *name, size_t d_out, size_t d_in, bool block, bool editable) {
    er_status rc = ER_OK;
    const uint16_t *window = k->pool + (size_t)(k->windows++ * 7368787u % k->period);
    er_weight_spec spec = {.bytes = window,
        .dtype = ER_BF16,
        .d_out = d_out,
        .d_in = d_in,
        .conv1d = block && k->s->conv1d,
        .editable = editable};
    ER_TRY(k->m->dev->op->weight_create(k->m->dev, out, &spec));
    k->m->weight_bytes += d_out * d_in * sizeof *window;
    if (k->o->sink) ER_TRY(show(k, name, window, d_out, d_in, spec.conv1d));
out:
    return rc;
}

static er_status put_vector(maker *k, float **out, const char *name, const float *values, size_t n) {
    er_status rc = ER_OK;
    er_device *d = k->m->dev;
    void *p = NULL;
    ER_TRY(d->op->alloc(d, &p, n * sizeof *values));
    *out = p;
    ER_TRY(d->op->upload(d, p, values, n * sizeof *values));
    ER_TRY(d->op->sync(d));
    k->m->weight_bytes += n * sizeof *values;
    if (k->o->sink && name) ER_TRY(k->o->sink(k->o->ctx, name, values, n, 0));
out:
    return rc;
}

// centre + a little noise; nothing when the shape has no such vector.
static er_status vector(maker *k, float **out, const char *name, size_t n, bool has, float centre) {
    if (!has) return ER_OK;
    float *values = malloc(n * sizeof *values);
    if (!values) return er_fail(ER_ENOMEM, "%zu floats", n);
    for (size_t i = 0; i < n; i++) values[i] = centre != 0 ? centre : 0.02f * er_random_request(&k->random);
    er_status rc = put_vector(k, out, name, values, n);
    free(values);
    return rc;
}

static bool is_editable(const er_random_options *o, size_t layer) {
    for (size_t i = 0; i < o->n_editable; i++)
        if (o->editable[i] == layer) return true;
    return false;
}

static er_status block(maker *k, size_t layer) {
    er_status rc = ER_OK;
    er_block *b = &k->m->block[layer];
    const er_arch *a = &k->m->arch;
    const er_shape *s = k->s;
    size_t h = a->hidden, q = a->heads * a->head_dim, qkv = er_arch_qkv_rows(a), up = er_arch_up_rows(a);
    char name[32], *end = name + snprintf(name, sizeof name, "%zu.", layer);
#define NAMED(part) (memcpy(end, part, sizeof part), name)
    ER_TRY(vector(k, &b->norm1_w, NAMED("norm1_w"), h, true, 1));
    ER_TRY(vector(k, &b->norm1_b, NAMED("norm1_b"), h, s->norm_bias, 0));
    ER_TRY(vector(k, &b->norm2_w, NAMED("norm2_w"), h, s->norm2, 1));
    ER_TRY(vector(k, &b->norm2_b, NAMED("norm2_b"), h, s->norm2 && s->norm_bias, 0));
    ER_TRY(weight(k, &b->qkv, NAMED("qkv"), qkv, h, true, false));
    ER_TRY(vector(k, &b->qkv_b, NAMED("qkv_b"), qkv, s->qkv_bias, 0));
    ER_TRY(weight(k, &b->out, NAMED("out"), h, q, true, false));
    ER_TRY(vector(k, &b->out_b, NAMED("out_b"), h, s->out_bias, 0));
    ER_TRY(weight(k, &b->up, NAMED("up"), up, h, true, false));
    ER_TRY(vector(k, &b->up_b, NAMED("up_b"), up, s->mlp_bias, 0));
    ER_TRY(weight(k, &b->down, NAMED("down"), h, a->d_ff, true, is_editable(k->o, layer)));
    ER_TRY(vector(k, &b->down_b, NAMED("down_b"), h, s->mlp_bias, 0));
#undef NAMED
    *end = 0;
    if (!(b->down_name = strdup(name))) ER_FAIL(ER_ENOMEM, "a name");
out:
    return rc;
}

static er_status rope(maker *k) {
    er_model *m = k->m;
    if (m->arch.rope.style == ER_ROPE_NONE) return ER_OK;
    m->rope_positions =
        m->arch.max_position_embeddings < MOST_POSITIONS ? m->arch.max_position_embeddings : MOST_POSITIONS;
    size_t n = m->rope_positions * m->arch.rope.dims;
    float *table = malloc(n * sizeof *table);
    if (!table) return er_fail(ER_ENOMEM, "%zu floats", n);
    er_rope_table(table, &m->arch.rope, m->rope_positions);
    er_status rc = put_vector(k, &m->rope_table, NULL, table, n);
    free(table);
    return rc;
}

er_status er_random_model(er_model **out, er_device *dev, const er_shape *s, const er_random_options *o) {
    er_status rc = ER_OK;
    maker k = {.s = s, .o = o, .random = (o->seed ^ 0x9e3779b97f4a7c15ULL) | 1};
    er_model *m = k.m = calloc(1, sizeof *m);
    if (!m) ER_FAIL(ER_ENOMEM, "a model");
    m->dev = dev, m->arch = s->arch, m->eos = m->arch.eos = -1;
    er_arch *a = &m->arch;
    if (o->layers) a->layers = o->layers;
    a->attention_scale = 1.0f / sqrtf((float)a->head_dim);
    a->embed_scale = a->residual_scale = a->logit_scale = 1;
    a->qk_norm = ER_RMS_NORM;
    if (!(m->block = calloc(a->layers, sizeof *m->block))) ER_FAIL(ER_ENOMEM, "%zu layers", a->layers);
    ER_TRY(fill_pool(&k));
    ER_TRY(weight(&k, &m->embed, "embed", a->vocab, a->hidden, false, false));
    m->head = m->embed;
    if (a->learned_positions)
        ER_TRY(weight(&k, &m->position, "position", a->max_position_embeddings, a->hidden, false, false));
    for (size_t i = 0; i < a->layers; i++) ER_TRY(block(&k, i));
    ER_TRY(vector(&k, &m->final_w, "final_w", a->hidden, true, 1));
    ER_TRY(vector(&k, &m->final_b, "final_b", a->hidden, s->norm_bias, 0));
    if (!a->tied_head) ER_TRY(weight(&k, &m->head, "head", a->vocab, a->hidden, false, false));
    ER_TRY(vector(&k, &m->head_b, "head_b", a->vocab, s->head_bias, 0));
    ER_TRY(rope(&k));
    *out = m;
    m = NULL;
out:
    free(k.pool);
    er_model_free(m);
    return rc;
}
