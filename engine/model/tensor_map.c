// Finds every tensor of the model in the checkpoint and checks its shape and type before anything is read or
// uploaded. A tensor that has no place in the model is an error too: leaving it out would compute something
// else than its author did.
#include "engine/model/family_internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 512

static bool computable(er_dtype t) { return t == ER_F32 || t == ER_F16 || t == ER_BF16 || t == ER_F64; }

static void shape_text(char *out, size_t size, const uint64_t *shape, int rank) {
    size_t at = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < rank && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%" PRIu64, i ? ", " : "", shape[i]);
    if (at < size) snprintf(out + at, size - at, "]");
}

// The tensor `name` of exactly [rows, cols] (cols 0: a vector).
static er_status find(
    const er_tensor **out, const er_checkpoint *c, const char *name, size_t rows, size_t cols) {
    const er_tensor *t = er_checkpoint_find(c, name);
    uint64_t want[2] = {rows, cols};
    int rank = cols ? 2 : 1;
    if (!t) return er_fail(ER_EFORMAT, "%s: tensor '%s' is missing", er_checkpoint_dir(c), name);
    if (t->rank != rank || memcmp(t->shape, want, (size_t)rank * sizeof *want) != 0) {
        char found[128], expected[64];
        shape_text(found, sizeof found, t->shape, t->rank);
        shape_text(expected, sizeof expected, want, rank);
        return er_fail(ER_EFORMAT, "%s: tensor '%s' is %s, expected %s",
            er_checkpoint_shard_path(c, t->shard), name, found, expected);
    }
    if (!computable(t->dtype))
        return er_fail(ER_EUNSUPPORTED, "%s: tensor '%s' is %s; F32, F16, BF16 and F64 are computed on",
            er_checkpoint_shard_path(c, t->shard), name, er_dtype_name(t->dtype));
    *out = t;
    return ER_OK;
}

static er_status find_part(const er_tensor **out, const er_checkpoint *c, const char *prefix,
    const char *module, const char *end, size_t rows, size_t cols) {
    char name[MAX_NAME];
    snprintf(name, sizeof name, "%s%s%s", prefix, module, end);
    return find(out, c, name, rows, cols);
}

static er_status find_block(
    er_block_tensors *b, const er_arch *a, const er_checkpoint *c, const char *prefix, size_t layer) {
    er_status rc = ER_OK;
    char at[MAX_NAME / 2];
    snprintf(at, sizeof at, "%s%s.%zu.", prefix, a->row->layer, layer);
    for (int i = 0; i < ROLE_COUNT; i++) {
        er_param_role role = (er_param_role)i;
        const char *module = a->module[role];
        size_t d_out, d_in;
        if (!module || (a->qk_norm_per_head && (role == ROLE_Q_NORM || role == ROLE_K_NORM))) continue;
        er_param_dims(a, role, &d_out, &d_in);
        if (er_param_is_vector(role)) ER_TRY(find_part(&b->weight[role], c, at, module, ".weight", d_out, 0));
        else if (a->row->conv1d) ER_TRY(find_part(&b->weight[role], c, at, module, ".weight", d_in, d_out));
        else ER_TRY(find_part(&b->weight[role], c, at, module, ".weight", d_out, d_in));
        if (er_param_has_bias(a, role)) ER_TRY(find_part(&b->bias[role], c, at, module, ".bias", d_out, 0));
    }
out:
    return rc;
}

// One vector for each q head, then one for each k head.
static er_status find_head_norms(
    er_block_tensors *b, const er_arch *a, const er_checkpoint *c, const char *prefix, size_t layer) {
    er_status rc = ER_OK;
    char at[MAX_NAME / 2];
    for (size_t h = 0; h < a->heads + a->kv_heads; h++) {
        bool q = h < a->heads;
        snprintf(at, sizeof at, "%s%s.%zu.%s.norms.%zu", prefix, a->row->layer, layer,
            a->module[q ? ROLE_Q_NORM : ROLE_K_NORM], q ? h : h - a->heads);
        ER_TRY(find_part(&b->qk_norm[h], c, "", at, ".weight", a->head_dim, 0));
    }
out:
    return rc;
}

// The family's name of the head that the checkpoint has; the usual one when it has none.
static const char *head_name(const er_arch *a, const er_checkpoint *c) {
    char name[MAX_NAME];
    const char *const *head = a->row->head;
    if (!head[1]) return head[0];
    snprintf(name, sizeof name, "%s.weight", head[1]);
    return er_checkpoint_find(c, name) ? head[1] : head[0];
}

static bool has(const er_checkpoint *c, const char *prefix, const char *module) {
    char name[MAX_NAME];
    snprintf(name, sizeof name, "%s%s.weight", prefix, module);
    return er_checkpoint_find(c, name) != NULL;
}

// The prefix in use, and the embedding: under its own name, or, where the head is tied to it, stored under
// the head's name alone.
static er_status find_embedding(er_tensor_map *p, const er_arch *a, const er_checkpoint *c) {
    const er_family *f = a->row;
    char layer[MAX_NAME / 2];
    snprintf(layer, sizeof layer, "%s.0.%s", f->layer, a->module[ROLE_DOWN]);
    for (size_t i = 0; i < sizeof f->prefix / sizeof f->prefix[0] && f->prefix[i]; i++) {
        p->prefix = f->prefix[i];
        if (has(c, p->prefix, f->embed))
            return find_part(&p->embed, c, p->prefix, f->embed, ".weight", a->vocab, a->hidden);
        if (a->tied_head && has(c, p->prefix, layer) && has(c, "", head_name(a, c)))
            return find_part(&p->embed, c, "", head_name(a, c), ".weight", a->vocab, a->hidden);
    }
    return er_fail(
        ER_EFORMAT, "%s: tensor '%s%s.weight' is missing", er_checkpoint_dir(c), f->prefix[0], f->embed);
}

// Some writers store a tied head a second time. The copy must be the embedding to the bit.
static er_status check_tied_copy(const er_checkpoint *c, const er_tensor *head, const er_tensor *embed) {
    er_status rc = ER_OK;
    void *x = NULL, *y = NULL;
    bool same = head->dtype == embed->dtype && head->bytes == embed->bytes;
    if (same) {
        x = malloc(head->bytes), y = malloc(head->bytes);
        if (!x || !y) ER_FAIL(ER_ENOMEM, "tensor '%s': %" PRIu64 " bytes twice", head->name, head->bytes);
        ER_TRY(er_checkpoint_read(c, head, x));
        ER_TRY(er_checkpoint_read(c, embed, y));
        same = !memcmp(x, y, head->bytes);
    }
    if (!same)
        ER_FAIL(ER_EFORMAT, "%s: tie_word_embeddings is true but '%s' differs from '%s'",
            er_checkpoint_dir(c), head->name, embed->name);
out:
    free(x), free(y);
    return rc;
}

static er_status find_head(er_tensor_map *p, const er_arch *a, const er_checkpoint *c) {
    er_status rc = ER_OK;
    const char *head = head_name(a, c);
    if (a->row->head_bias) ER_TRY(find_part(&p->head_bias, c, "", head, ".bias", a->vocab, 0));
    if (!a->tied_head) {
        ER_TRY(find_part(&p->head, c, "", head, ".weight", a->vocab, a->hidden));
        goto out;
    }
    char name[MAX_NAME];
    const er_tensor *copy = NULL;
    snprintf(name, sizeof name, "%s.weight", head);
    const er_tensor *stored = er_checkpoint_find(c, name);
    if (!stored || stored == p->embed) goto out;
    ER_TRY(find(&copy, c, name, a->vocab, a->hidden));
    ER_TRY(check_tied_copy(c, stored, p->embed));
out:
    return rc;
}

static int by_name(const void *x, const void *y) {
    return strcmp((*(const er_tensor *const *)x)->name, (*(const er_tensor *const *)y)->name);
}

// Masks, positions and tables that some writers store and every reader computes: no module of these names has
// weights in any family.
static bool is_buffer(const char *name) {
    static const char *const ends[] = {"attn.bias", "attn.masked_bias", "attention.bias",
        "attention.masked_bias", "attn.embed_positions", "rotary_emb.inv_freq",
        "rotary_emb.original_inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached", "position_ids"};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t n = strlen(ends[i]);
        if (len >= n && !strcmp(name + len - n, ends[i]) && (len == n || name[len - n - 1] == '.'))
            return true;
    }
    return false;
}

static bool ignorable(const er_arch *a, const er_checkpoint *c, const char *name) {
    const char *head = head_name(a, c);
    size_t n = strlen(head);
    if (is_buffer(name)) return true;
    return a->tied_head && !strncmp(name, head, n) && !strcmp(name + n, ".weight");
}

// Every tensor of the checkpoint is placed or known to carry no weights.
static er_status check_no_strays(const er_tensor_map *p, const er_arch *a, const er_checkpoint *c) {
    er_status rc = ER_OK;
    size_t n = 0;
    size_t norms = p->qk_norms ? a->heads + a->kv_heads : 0;
    const er_tensor *outside[] = {p->embed, p->position, p->head, p->head_bias, p->final_w, p->final_b};
    size_t n_outside = sizeof outside / sizeof *outside,
           most = a->layers * (2 * ROLE_COUNT + norms) + n_outside;
    const er_tensor **placed = malloc(most * sizeof(const er_tensor *));
    if (!placed) ER_FAIL(ER_ENOMEM, "the places of %zu layers", a->layers);
    for (size_t i = 0; i < n_outside; i++)
        if (outside[i]) placed[n++] = outside[i];
    for (size_t i = 0; i < a->layers * norms; i++) placed[n++] = p->qk_norms[i];
    for (size_t l = 0; l < a->layers; l++)
        for (size_t s = 0; s < ROLE_COUNT; s++) {
            if (p->block[l].weight[s]) placed[n++] = p->block[l].weight[s];
            if (p->block[l].bias[s]) placed[n++] = p->block[l].bias[s];
        }
    qsort(placed, n, sizeof(const er_tensor *), by_name);
    for (size_t i = 0; i < er_checkpoint_count(c); i++) {
        const er_tensor *t = er_checkpoint_at(c, i);
        if (bsearch(&t, placed, n, sizeof(const er_tensor *), by_name) || ignorable(a, c, t->name)) continue;
        ER_FAIL(ER_EUNSUPPORTED,
            "%s: tensor '%.200s' has no place in a %s of %zu layers with the biases config.json names",
            er_checkpoint_shard_path(c, t->shard), t->name, a->family, a->layers);
    }
out:
    free(placed);
    return rc;
}

er_status er_tensor_map_find(er_tensor_map *out, const er_arch *a, const er_checkpoint *c) {
    er_status rc = ER_OK;
    const er_family *f = a->row;
    er_tensor_map p = {0};
    p.block = calloc(a->layers, sizeof *p.block);
    if (!p.block) ER_FAIL(ER_ENOMEM, "the places of %zu layers", a->layers);
    if (a->qk_norm_per_head) {
        size_t norms = a->heads + a->kv_heads;
        p.qk_norms = calloc(a->layers * norms, sizeof *p.qk_norms);
        if (!p.qk_norms) ER_FAIL(ER_ENOMEM, "the places of %zu norms", a->layers * norms);
        for (size_t l = 0; l < a->layers; l++) p.block[l].qk_norm = p.qk_norms + l * norms;
    }
    ER_TRY(find_embedding(&p, a, c));
    if (a->learned_positions)
        ER_TRY(find_part(&p.position, c, p.prefix, f->position, ".weight",
            a->max_position_embeddings + (size_t)a->position_offset, a->hidden));
    for (size_t l = 0; l < a->layers; l++) {
        ER_TRY(find_block(&p.block[l], a, c, p.prefix, l));
        if (a->qk_norm_per_head) ER_TRY(find_head_norms(&p.block[l], a, c, p.prefix, l));
    }
    if (!f->norm_bare) ER_TRY(find_part(&p.final_w, c, p.prefix, f->final_norm, ".weight", a->hidden, 0));
    if (f->norm_bias) ER_TRY(find_part(&p.final_b, c, p.prefix, f->final_norm, ".bias", a->hidden, 0));
    ER_TRY(find_head(&p, a, c));
    ER_TRY(check_no_strays(&p, a, c));
    *out = p;
    p.block = NULL, p.qk_norms = NULL;
out:
    er_tensor_map_free(&p);
    return rc;
}

void er_tensor_map_free(er_tensor_map *p) {
    free(p->block), free(p->qk_norms);
    p->block = NULL, p->qk_norms = NULL;
}
