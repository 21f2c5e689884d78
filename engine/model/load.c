// A model folder onto the device: q|k|v and gate|up fused into one weight each, norms and biases in fp32,
// everything else in the type it is stored in.
#include "engine/model/family_internal.h"
#include "io/base/file.h"
#include "io/base/log.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct er_loader {
    er_model *m;
    const er_places *places;
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

typedef struct er_layout {
    bool conv1d;   // of a single part only: stacking outputs would interleave its columns
    bool by_head;  // rows are [kv_heads, the q heads of each | k | v, head_dim]
    bool editable;
    bool lookup;  // of an embedding that is not the head too
} er_layout;

// Rows of the parts stacked into one weight. Parts of different types meet in F32, which holds all of them
// exactly; F64 is narrowed.
static er_status load_weight(
    er_loader *l, er_weight **out, const er_tensor *const *part, size_t parts, er_layout layout) {
    er_status rc = ER_OK;
    er_model *m = l->m;
    assert(parts && part[0]);  // er_places_find has found every part of the family
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
    if (layout.by_head) ER_TRY(sort_heads(&host, &m->arch, cols * element));
    er_weight_spec spec = {.bytes = host,
        .dtype = type,
        .d_out = layout.conv1d ? cols : rows,
        .d_in = layout.conv1d ? rows : cols,
        .conv1d = layout.conv1d,
        .editable = layout.editable,
        .lookup = layout.lookup};
    ER_TRY(m->dev->op->weight_create(m->dev, out, &spec));
    m->weight_bytes += rows * cols * element;
out:
    free(host);
    return rc;
}

// The slots that make up one fused map, in order; a slot the family lacks is skipped.
static er_status load_map(er_loader *l, er_weight **w, float **b, const er_block_places *p,
    const er_slot *slot, size_t slots, bool editable) {
    er_status rc = ER_OK;
    const er_tensor *weight[4] = {NULL}, *bias[4] = {NULL};
    size_t n = 0;
    for (size_t i = 0; i < slots; i++)
        if (p->weight[slot[i]]) weight[n] = p->weight[slot[i]], bias[n++] = p->bias[slot[i]];
    const er_family *f = l->m->arch.row;
    er_layout layout = {
        .conv1d = f->conv1d, .by_head = f->fused_by_head && slot[0] == SLOT_QKV, .editable = editable};
    ER_TRY(load_weight(l, w, weight, n, layout));
    ER_TRY(load_vector(l, b, bias, n, layout.by_head));
out:
    return rc;
}

static bool is_editable(const er_model_options *o, size_t layer) {
    for (size_t i = 0; o && i < o->n_editable; i++)
        if (o->editable[i] == layer) return true;
    return false;
}

static er_status load_norms(er_loader *l, er_block *b, const er_block_places *p) {
    er_status rc = ER_OK;
    const er_arch *a = &l->m->arch;
    const er_tensor *const *each = p->qk_norm;
    bool second = p->weight[SLOT_NORM2] || (a->row->norm_bare && !a->parallel_residual);
    ER_TRY(load_norm(l, &b->norm1_w, p->weight[SLOT_NORM1], 1));
    ER_TRY(load_vector(l, &b->norm1_b, &p->bias[SLOT_NORM1], 1, false));
    if (second) ER_TRY(load_norm(l, &b->norm2_w, p->weight[SLOT_NORM2], 1));
    ER_TRY(load_vector(l, &b->norm2_b, &p->bias[SLOT_NORM2], 1, false));
    ER_TRY(load_head_norm(l, &b->q_norm_w, each, p->weight[SLOT_Q_NORM], a->heads));
    ER_TRY(load_head_norm(l, &b->q_norm_b, NULL, p->bias[SLOT_Q_NORM], a->heads));
    if (each) each += a->heads;
    ER_TRY(load_head_norm(l, &b->k_norm_w, each, p->weight[SLOT_K_NORM], a->kv_heads));
    ER_TRY(load_head_norm(l, &b->k_norm_b, NULL, p->bias[SLOT_K_NORM], a->kv_heads));
out:
    return rc;
}

static er_status load_block(er_loader *l, size_t layer) {
    static const er_slot qkv[] = {SLOT_QKV, SLOT_Q, SLOT_K, SLOT_V},
                         up[] = {SLOT_GATE_UP, SLOT_GATE, SLOT_UP};
    static const er_slot out_slot[] = {SLOT_OUT}, down[] = {SLOT_DOWN};
    er_status rc = ER_OK;
    er_block *b = &l->m->block[layer];
    const er_block_places *p = &l->places->block[layer];
    ER_TRY(load_norms(l, b, p));
    ER_TRY(load_map(l, &b->qkv, &b->qkv_b, p, qkv, 4, false));
    ER_TRY(load_map(l, &b->out, &b->out_b, p, out_slot, 1, false));
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
    const er_places *p = l->places;
    // A device that cannot hold all of them keeps those it meets first: the head and the upper layers, which
    // every step of the value optimisation uses. Lower layers run once per fact.
    const er_layout plain = {0}, lookup = {.lookup = true};
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

static er_status check_editable(const er_model *m, const er_places *p, const er_model_options *o) {
    for (size_t i = 0; o && i < o->n_editable; i++) {
        size_t layer = o->editable[i];
        if (layer >= m->arch.layers)
            return er_fail(ER_EARG, "%s: layer %zu: the model has layers 0 to %zu",
                er_checkpoint_dir(m->checkpoint), layer, m->arch.layers - 1);
        const er_tensor *t = p->block[layer].weight[SLOT_DOWN];
        if (t->dtype == ER_F64)
            return er_fail(ER_EUNSUPPORTED, "%s: tensor '%s' is F64: edits are written in F32, F16 or BF16",
                er_checkpoint_shard_path(m->checkpoint, t->shard), t->name);
    }
    return ER_OK;
}

static er_status name_downs(er_model *m, const er_places *p) {
    for (size_t i = 0; i < m->arch.layers; i++) {
        const er_tensor *t = p->block[i].weight[SLOT_DOWN];
        m->block[i].down_tensor = t;
        m->block[i].down_name = strndup(t->name, strlen(t->name) - strlen(".weight"));
        if (!m->block[i].down_name) return er_fail(ER_ENOMEM, "a name of %zu bytes", strlen(t->name));
    }
    return ER_OK;
}

// Sizes, places and names; everything that can be refused is refused here. `places` outlives the call.
static er_status open_checked(
    er_model *m, er_places *places, const char *dir, const er_model_options *options) {
    er_status rc = ER_OK;
    er_folder *folder = options ? options->folder : NULL;
    if (!folder) {
        ER_TRY(er_folder_open(&m->folder, dir));
        folder = m->folder;
    }
    ER_TRY(er_arch_read_in(&m->arch, folder));
    m->eos = m->arch.eos;
    m->rope_positions = m->arch.learned_positions ? 0 : er_arch_max_seq_len(&m->arch);
    ER_TRY(er_checkpoint_open_in(&m->checkpoint, folder));
    if (options && options->digest && !options->check_only) er_checkpoint_watch(m->checkpoint);
    ER_TRY(er_places_find(places, &m->arch, m->checkpoint));
    ER_TRY(check_editable(m, places, options));
    if (!(m->block = calloc(m->arch.layers, sizeof *m->block)))
        ER_FAIL(ER_ENOMEM, "%zu layers", m->arch.layers);
    ER_TRY(name_downs(m, places));
out:
    return rc;
}

static er_status open_tokenizer(er_model *m, const char *dir) {
    er_status rc = er_tokenizer_open_in(&m->tokenizer, er_checkpoint_folder_of(m->checkpoint));
    if (rc != ER_OK) return rc;
    // Fine-tunes add padding tokens without a row of the embedding; a text that has one is refused.
    if (er_tokenizer_vocab(m->tokenizer) > m->arch.vocab)
        er_warn("%s: the tokenizer has %zu ids, the embedding %zu rows (vocab_size of config.json)", dir,
            er_tokenizer_vocab(m->tokenizer), m->arch.vocab);
    int32_t bos = er_tokenizer_bos(m->tokenizer);
    if (bos >= 0 && (size_t)bos >= m->arch.vocab)
        return er_fail(ER_EFORMAT,
            "%s: the tokenizer puts token %d in front of every text, the embedding has %zu rows (vocab_size "
            "of "
            "config.json)",
            dir, bos, m->arch.vocab);
    if (er_tokenizer_eos(m->tokenizer) >= 0) m->eos = er_tokenizer_eos(m->tokenizer);
    return ER_OK;
}

static er_status open_model(
    er_model **out, er_device *dev, const char *dir, const er_model_options *options, bool tokenizer) {
    er_status rc = ER_OK;
    er_places places = {0};
    char hex[65];
    er_model *m = calloc(1, sizeof *m);
    if (!m) ER_FAIL(ER_ENOMEM, "a model");
    m->dev = dev;
    ER_TRY(open_checked(m, &places, dir, options));
    if (tokenizer) ER_TRY(open_tokenizer(m, dir));
    if (!options || !options->check_only) ER_TRY(load_weights(&(er_loader){m, &places, options}));
    bool digested = options && options->digest && !options->check_only;
    if (digested) ER_TRY(er_checkpoint_digest(m->checkpoint, hex));
    // Bytes that were digested are compared when they are copied; of others only the clock can tell.
    ER_TRY(er_folder_check(er_checkpoint_folder_of(m->checkpoint), !digested));
    *out = m;
    m = NULL;
out:
    er_places_free(&places);
    er_model_free(m);
    return rc;
}

er_status er_model_open(er_model **out, er_device *dev, const char *dir, const er_model_options *options) {
    return open_model(out, dev, dir, options, true);
}

er_status er_model_load(er_model **out, er_device *dev, const char *dir, const er_model_options *options) {
    return open_model(out, dev, dir, options, false);
}

static void free_vector(er_device *d, float *v) {
    if (v) d->op->release(d, v);
}

static void free_weight(er_device *d, er_weight *w) {
    if (w) d->op->weight_free(d, w);
}

void er_model_free(er_model *m) {
    if (!m) return;
    er_device *d = m->dev;
    for (size_t i = 0; m->block && i < m->arch.layers; i++) {
        er_block *b = &m->block[i];
        free(b->down_name);
        float *vectors[] = {b->norm1_w, b->norm1_b, b->norm2_w, b->norm2_b, b->q_norm_w, b->q_norm_b,
            b->k_norm_w, b->k_norm_b, b->qkv_b, b->out_b, b->up_b, b->down_b};
        er_weight *weights[] = {b->qkv, b->out, b->up, b->down};
        for (size_t j = 0; j < sizeof vectors / sizeof vectors[0]; j++) free_vector(d, vectors[j]);
        for (size_t j = 0; j < sizeof weights / sizeof weights[0]; j++) free_weight(d, weights[j]);
    }
    if (m->head != m->embed) free_weight(d, m->head);
    free_weight(d, m->embed);
    free_weight(d, m->position);
    float *vectors[] = {m->head_b, m->final_w, m->final_b, m->rope_table};
    for (size_t j = 0; j < sizeof vectors / sizeof vectors[0]; j++) free_vector(d, vectors[j]);
    er_tokenizer_free(m->tokenizer);
    er_checkpoint_free(m->checkpoint);
    er_folder_free(m->folder);
    free(m->block);
    free(m);
}
