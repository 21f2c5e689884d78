// A model folder becomes a model: read, checked, loaded, and freed again.
#include "engine/model/family_internal.h"
#include "io/base/log.h"
#include <stdlib.h>
#include <string.h>

static er_status check_editable(const er_model *m, const er_tensor_map *p, const er_model_options *o) {
    for (size_t i = 0; o && i < o->n_editable; i++) {
        size_t layer = o->editable[i];
        if (layer >= m->arch.layers)
            return er_fail(ER_EARG, "%s: layer %zu: the model has layers 0 to %zu",
                er_checkpoint_dir(m->checkpoint), layer, m->arch.layers - 1);
        const er_tensor *t = p->block[layer].weight[ROLE_DOWN];
        if (t->dtype == ER_F64)
            return er_fail(ER_EUNSUPPORTED, "%s: tensor '%s' is F64: edits are written in F32, F16 or BF16",
                er_checkpoint_shard_path(m->checkpoint, t->shard), t->name);
    }
    return ER_OK;
}

static er_status name_downs(er_model *m, const er_tensor_map *p) {
    for (size_t i = 0; i < m->arch.layers; i++) {
        const er_tensor *t = p->block[i].weight[ROLE_DOWN];
        m->block[i].down_tensor = t;
        m->block[i].down_name = strndup(t->name, strlen(t->name) - strlen(".weight"));
        if (!m->block[i].down_name) return er_fail(ER_ENOMEM, "a name of %zu bytes", strlen(t->name));
    }
    return ER_OK;
}

// Sizes, tensors and names: everything that can be refused is refused here. The caller frees `map`.
static er_status open_checked(
    er_model *m, er_tensor_map *map, const char *dir, const er_model_options *options) {
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
    ER_TRY(er_tensor_map_find(map, &m->arch, m->checkpoint));
    ER_TRY(check_editable(m, map, options));
    if (!(m->block = calloc(m->arch.layers, sizeof *m->block)))
        ER_FAIL(ER_ENOMEM, "%zu layers", m->arch.layers);
    ER_TRY(name_downs(m, map));
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
    er_tensor_map map = {0};
    char hex[65];
    er_model *m = calloc(1, sizeof *m);
    if (!m) ER_FAIL(ER_ENOMEM, "a model");
    m->dev = dev;
    ER_TRY(open_checked(m, &map, dir, options));
    if (tokenizer) ER_TRY(open_tokenizer(m, dir));
    if (!options || !options->check_only) ER_TRY(er_model_load_weights(m, &map, options));
    bool digested = options && options->digest && !options->check_only;
    if (digested) ER_TRY(er_checkpoint_digest(m->checkpoint, hex));
    // Bytes that were digested are compared when they are copied; of others only the clock can tell.
    ER_TRY(er_folder_check(er_checkpoint_folder_of(m->checkpoint), !digested));
    *out = m;
    m = NULL;
out:
    er_tensor_map_free(&map);
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
