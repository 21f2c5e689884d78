// A model folder onto the device: q|k|v and gate|up fused into one weight each, norms and biases in fp32,
// everything else in the type it is stored in.
#include "engine/model/family_internal.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARTS = 4 };  // of a fused map

typedef struct er_loader {
    er_model *m;
    const er_tensor_map *map;
    const er_model_options *options;
} er_loader;

static er_status upload_f32(er_loader *l, float **out, const float *host, size_t n) {
    er_status rc = ER_OK;
    er_device *d = l->m->dev;
    void *dev = NULL;
    ER_TRY(d->op->alloc(d, &dev, n * sizeof *host));
    ER_TRY(d->op->upload(d, dev, host, n * sizeof *host));
    ER_TRY(d->op->sync(d));  // `host` is the caller's to free
    *out = dev;
    dev = NULL;
    l->m->weight_bytes += n * sizeof *host;
out:
    if (dev) d->op->release(d, dev);
    return rc;
}

// Rows [kv_heads, the q heads of each | k | v, head_dim] to all q heads, all k, all v; `row` bytes each.
static er_status sort_heads(char **bytes, const er_arch *a, size_t row) {
    size_t head = a->head_dim * row, group = a->heads / a->kv_heads, all = a->heads + 2 * a->kv_heads;
    char *sorted = malloc(all * head);
    if (!sorted) return er_fail(ER_ENOMEM, "%zu bytes", all * head);
    for (size_t g = 0; g < a->kv_heads; g++) {
        const char *from = *bytes + g * (group + 2) * head;
        memcpy(sorted + g * group * head, from, group * head);
        memcpy(sorted + (a->heads + g) * head, from + group * head, head);
        memcpy(sorted + (a->heads + a->kv_heads + g) * head, from + (group + 1) * head, head);
    }
    free(*bytes);
    *bytes = sorted;
    return ER_OK;
}

// The vectors of up to three parts, one behind the other; NULL when the parts have none.
static er_status load_vector(
    er_loader *l, float **out, const er_tensor *const *part, size_t parts, bool by_head) {
    er_status rc = ER_OK;
    char *host = NULL;
    size_t n = 0, at = 0;
    for (size_t i = 0; i < parts; i++) n += part[i] ? (size_t)part[i]->elements : 0;
    if (!n) return ER_OK;
    if (!(host = malloc(n * sizeof(float)))) ER_FAIL(ER_ENOMEM, "%zu floats", n);
    for (size_t i = 0; i < parts; i++) {
        ER_TRY(er_checkpoint_read_f32(l->m->checkpoint, part[i], (float *)(void *)host + at));
        at += (size_t)part[i]->elements;
    }
    if (by_head) ER_TRY(sort_heads(&host, &l->m->arch, sizeof(float)));
    ER_TRY(upload_f32(l, out, (const float *)(const void *)host, n));
out:
    free(host);
    return rc;
}

// What is stored of a norm's weight, as it multiplies; ones where the family has none. `scale` multiplies it.
static er_status load_norm(er_loader *l, float **out, const er_tensor *t, double scale) {
    er_status rc = ER_OK;
    const er_arch *a = &l->m->arch;
    float *host = malloc(a->hidden * sizeof *host);
    if (!host) ER_FAIL(ER_ENOMEM, "%zu floats", a->hidden);
    if (t) ER_TRY(er_checkpoint_read_f32(l->m->checkpoint, t, host));
    for (size_t i = 0; i < a->hidden; i++) {
        float w = !t ? 1 : a->row->norm_plus_one ? 1 + host[i] : host[i];
        host[i] = (float)(scale * (double)w);
    }
    ER_TRY(upload_f32(l, out, host, a->hidden));
out:
    free(host);
    return rc;
}

// A vector for every head: of each its own, or the one they share over and over.
static er_status load_head_norm(
    er_loader *l, float **out, const er_tensor *const *each, const er_tensor *shared, size_t heads) {
    er_status rc = ER_OK;
    size_t hd = l->m->arch.head_dim;
    float *host = NULL;
    if (!each && !shared) return ER_OK;
    if (!(host = malloc(heads * hd * sizeof *host))) ER_FAIL(ER_ENOMEM, "%zu floats", heads * hd);
    for (size_t h = 0; h < heads; h++)
        ER_TRY(er_checkpoint_read_f32(l->m->checkpoint, each ? each[h] : shared, host + h * hd));
    ER_TRY(upload_f32(l, out, host, heads * hd));
out:
    free(host);
    return rc;
}

typedef struct stored_form {
    bool conv1d;   // of a single part only: stacking outputs would interleave its columns
    bool by_head;  // rows are [kv_heads, the q heads of each | k | v, head_dim]
    bool editable;
    bool lookup;  // of an embedding that is not the head too
} stored_form;

// Rows of the parts stacked into one weight. Parts of different types meet in F32, which holds all of them
// exactly; F64 is narrowed.
static er_status load_weight(
    er_loader *l, er_weight **out, const er_tensor *const *part, size_t parts, stored_form form) {
    er_status rc = ER_OK;
    er_model *m = l->m;
    assert(parts && part[0]);  // er_tensor_map_find has found every part of the family
    char *host = NULL;
    er_dtype type = part[0]->dtype;
    size_t rows = 0, cols = (size_t)part[0]->shape[1], at = 0;
    for (size_t i = 0; i < parts; i++) {
        rows += (size_t)part[i]->shape[0];
        if (part[i]->dtype != type || part[i]->dtype == ER_F64) type = ER_F32;
    }
    size_t element = er_dtype_bits(type) / 8;
    if (!(host = malloc(rows * cols * element)))
        ER_FAIL(ER_ENOMEM, "tensor '%s': %zu bytes", part[0]->name, rows * cols * element);
    for (size_t i = 0; i < parts; i++) {
        if (part[i]->dtype == type) ER_TRY(er_checkpoint_read(m->checkpoint, part[i], host + at));
        else ER_TRY(er_checkpoint_read_f32(m->checkpoint, part[i], (float *)(void *)(host + at)));
        at += (size_t)part[i]->elements * element;
    }
    if (form.by_head) ER_TRY(sort_heads(&host, &m->arch, cols * element));
    er_weight_spec spec = {.bytes = host,
        .dtype = type,
        .d_out = form.conv1d ? cols : rows,
        .d_in = form.conv1d ? rows : cols,
        .conv1d = form.conv1d,
        .editable = form.editable,
        .lookup = form.lookup};
    ER_TRY(m->dev->op->weight_create(m->dev, out, &spec));
    m->weight_bytes += rows * cols * element;
out:
    free(host);
    return rc;
}

// The parts that make up one fused map, in order; one that the family lacks is skipped.
static er_status load_map(er_loader *l, er_weight **w, float **b, const er_block_tensors *p,
    const er_param_role *role, size_t n_roles, bool editable) {
    er_status rc = ER_OK;
    const er_tensor *weight[MAX_PARTS] = {NULL}, *bias[MAX_PARTS] = {NULL};
    size_t n = 0;
    assert(n_roles <= MAX_PARTS);
    for (size_t i = 0; i < n_roles; i++)
        if (p->weight[role[i]]) weight[n] = p->weight[role[i]], bias[n++] = p->bias[role[i]];
    const er_family *f = l->m->arch.row;
    stored_form form = {
        .conv1d = f->conv1d, .by_head = f->fused_by_head && role[0] == ROLE_QKV, .editable = editable};
    ER_TRY(load_weight(l, w, weight, n, form));
    ER_TRY(load_vector(l, b, bias, n, form.by_head));
out:
    return rc;
}

static bool is_editable(const er_model_options *o, size_t layer) {
    for (size_t i = 0; o && i < o->n_editable; i++)
        if (o->editable[i] == layer) return true;
    return false;
}

static er_status load_norms(er_loader *l, er_block *b, const er_block_tensors *p) {
    er_status rc = ER_OK;
    const er_arch *a = &l->m->arch;
    const er_tensor *const *each = p->qk_norm;
    bool second = p->weight[ROLE_NORM2] || (a->row->norm_bare && !a->parallel_residual);
    ER_TRY(load_norm(l, &b->norm1_w, p->weight[ROLE_NORM1], 1));
    ER_TRY(load_vector(l, &b->norm1_b, &p->bias[ROLE_NORM1], 1, false));
    if (second) ER_TRY(load_norm(l, &b->norm2_w, p->weight[ROLE_NORM2], 1));
    ER_TRY(load_vector(l, &b->norm2_b, &p->bias[ROLE_NORM2], 1, false));
    ER_TRY(load_head_norm(l, &b->q_norm_w, each, p->weight[ROLE_Q_NORM], a->heads));
    ER_TRY(load_head_norm(l, &b->q_norm_b, NULL, p->bias[ROLE_Q_NORM], a->heads));
    if (each) each += a->heads;
    ER_TRY(load_head_norm(l, &b->k_norm_w, each, p->weight[ROLE_K_NORM], a->kv_heads));
    ER_TRY(load_head_norm(l, &b->k_norm_b, NULL, p->bias[ROLE_K_NORM], a->kv_heads));
out:
    return rc;
}

static er_status load_block(er_loader *l, size_t layer) {
    static const er_param_role qkv[] = {ROLE_QKV, ROLE_Q, ROLE_K, ROLE_V},
                               up[] = {ROLE_GATE_UP, ROLE_GATE, ROLE_UP};
    static const er_param_role out_role[] = {ROLE_OUT}, down[] = {ROLE_DOWN};
    er_status rc = ER_OK;
    er_block *b = &l->m->block[layer];
    const er_block_tensors *p = &l->map->block[layer];
    ER_TRY(load_norms(l, b, p));
    ER_TRY(load_map(l, &b->qkv, &b->qkv_b, p, qkv, 4, false));
    ER_TRY(load_map(l, &b->out, &b->out_b, p, out_role, 1, false));
    ER_TRY(load_map(l, &b->up, &b->up_b, p, up, 3, false));
    ER_TRY(load_map(l, &b->down, &b->down_b, p, down, 1, is_editable(l->options, layer)));
out:
    return rc;
}

static er_status load_rope(er_loader *l) {
    er_model *m = l->m;
    er_status rc = ER_OK;
    float *table = NULL;
    if (m->arch.rope.style == ER_ROPE_NONE) return ER_OK;
    size_t n = m->rope_positions * m->arch.rope.dims;
    if (!(table = malloc(n * sizeof *table))) ER_FAIL(ER_ENOMEM, "%zu floats", n);
    er_rope_table(table, &m->arch.rope, m->rope_positions);
    ER_TRY(upload_f32(l, &m->rope_table, table, n));
out:
    free(table);
    return rc;
}

static er_status load_weights(er_loader *l) {
    er_status rc = ER_OK;
    er_model *m = l->m;
    const er_tensor_map *p = l->map;
    // A device that cannot hold all of them keeps those it meets first: the head and the upper layers, which
    // every step of the value optimisation uses. Lower layers run once per fact.
    const stored_form plain = {0}, lookup = {.lookup = true};
    if (p->head) ER_TRY(load_weight(l, &m->head, &p->head, 1, plain));
    else ER_TRY(load_weight(l, &m->embed, &p->embed, 1, plain));
    for (size_t i = m->arch.layers; i-- > 0;) ER_TRY(load_block(l, i));
    if (p->position) ER_TRY(load_weight(l, &m->position, &p->position, 1, lookup));
    if (p->head) ER_TRY(load_weight(l, &m->embed, &p->embed, 1, lookup));
    else m->head = m->embed;
    // Where logits are scaled, the states that the head reads are: the head may be the embedding too.
    ER_TRY(load_norm(l, &m->final_w, p->final_w, (double)m->arch.logit_scale));
    ER_TRY(load_vector(l, &m->final_b, &p->final_b, 1, false));
    ER_TRY(load_vector(l, &m->head_b, &p->head_bias, 1, false));
    ER_TRY(load_rope(l));
out:
    return rc;
}

er_status er_model_load_weights(er_model *m, const er_tensor_map *map, const er_model_options *options) {
    return load_weights(&(er_loader){m, map, options});
}
