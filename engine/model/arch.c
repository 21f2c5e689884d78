// config.json to er_arch: sizes and switches, or a refusal that says why.
#include "engine/model/family_internal.h"
#include "io/base/file.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CONFIG_BYTES ((size_t)16 << 20)
#define MAX_WIDTH ((uint64_t)1 << 20)  // keeps every product of two sizes far below 2^63
#define MAX_VOCAB ((uint64_t)1 << 28)

// One size under any of its names. Absent everywhere: *out stays, *found is false.
static er_status get_size(
    size_t *out, bool *found, const cJSON *config, const er_config_key *key, uint64_t max, const char *name) {
    er_status rc = ER_OK;
    const char *first = NULL;
    uint64_t value = 0;
    *found = false;
    for (size_t i = 0; i < ER_MAX_ALIASES && key->name[i]; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, key->name[i]);
        uint64_t v = 0;
        if (!item || cJSON_IsNull(item)) continue;
        ER_TRY(er_json_get_u64(&v, config, key->name[i], name));
        if (!v || v > max)
            ER_FAIL(ER_EFORMAT, "%s: %s is %llu; 1 to %llu is possible", name, key->name[i],
                (unsigned long long)v, (unsigned long long)max);
        if (first && v != value)
            ER_FAIL(ER_EFORMAT, "%s: %s is %llu but %s is %llu", name, first, (unsigned long long)value,
                key->name[i], (unsigned long long)v);
        first = key->name[i], value = v;
    }
    if (first) *out = (size_t)value, *found = true;
out:
    return rc;
}

static bool is_absent(const cJSON *config, const er_config_key *key) {
    for (size_t i = 0; i < ER_MAX_ALIASES && key->name[i]; i++)
        if (cJSON_GetObjectItemCaseSensitive(config, key->name[i])) return false;
    return true;
}

// `absent` where the key is not there at all; null is no size.
static er_status need_size(size_t *out, const cJSON *config, const er_config_key *key, size_t absent,
    uint64_t max, const char *name) {
    bool found = false;
    er_status rc = get_size(out, &found, config, key, max, name);
    if (rc != ER_OK || found) return rc;
    if (!absent || !is_absent(config, key))
        return er_fail(ER_EFORMAT, "%s: %s is missing", name, key->name[0]);
    *out = absent;
    return ER_OK;
}

static er_status read_sizes(er_arch *a, const cJSON *config, const char *name) {
    er_status rc = ER_OK;
    const er_family *f = a->row;
    const er_config_key vocab = {{"vocab_size"}};
    bool found = false;
    ER_TRY(need_size(&a->layers, config, &f->layers, f->default_layers, ER_MAX_LAYERS, name));
    ER_TRY(need_size(&a->hidden, config, &f->hidden, f->default_hidden, MAX_WIDTH, name));
    ER_TRY(need_size(&a->heads, config, &f->heads, f->default_heads, MAX_WIDTH, name));
    ER_TRY(need_size(&a->vocab, config, &vocab, f->default_vocab, MAX_VOCAB, name));
    ER_TRY(need_size(&a->max_position_embeddings, config, &f->max_position_embeddings,
        f->default_max_position_embeddings, (uint64_t)1 << 30, name));
    // Absent is not null here either.
    a->kv_heads = f->default_kv_heads && is_absent(config, &f->kv_heads) ? f->default_kv_heads : a->heads;
    ER_TRY(get_size(&a->kv_heads, &found, config, &f->kv_heads, MAX_WIDTH, name));
    if (a->heads % a->kv_heads)
        ER_FAIL(ER_EFORMAT, "%s: %zu attention heads cannot share %zu key-value heads", name, a->heads,
            a->kv_heads);
    ER_TRY(get_size(&a->head_dim, &found, config, &f->head_dim, MAX_WIDTH, name));
    if (!found && f->default_head_dim && is_absent(config, &f->head_dim)) a->head_dim = f->default_head_dim;
    else if (!found) {
        if (a->hidden % a->heads)
            ER_FAIL(
                ER_EFORMAT, "%s: hidden size %zu is not a multiple of %zu heads", name, a->hidden, a->heads);
        a->head_dim = a->hidden / a->heads;
    }
    if (a->heads * a->head_dim > MAX_WIDTH)
        ER_FAIL(ER_EFORMAT, "%s: %zu heads of %zu dimensions is too wide", name, a->heads, a->head_dim);
    if (f->d_ff_is_4h) a->d_ff = 4 * a->hidden;
    if (f->d_ff_is_4h) ER_TRY(get_size(&a->d_ff, &found, config, &f->d_ff, 4 * MAX_WIDTH, name));
    else ER_TRY(need_size(&a->d_ff, config, &f->d_ff, f->default_d_ff, 4 * MAX_WIDTH, name));
out:
    return rc;
}

static er_status read_activation(er_arch *a, const cJSON *config, const char *name) {
    static const struct {
        const char *name;
        er_act_kind kind;
    } known[] = {{"gelu_new", ER_GELU_NEW}, {"gelu_pytorch_tanh", ER_GELU_NEW}, {"gelu_fast", ER_GELU_NEW},
        {"gelu", ER_GELU_ERF}, {"silu", ER_SILU}, {"swish", ER_SILU}, {"relu", ER_RELU}};
    const char *act = a->row->default_act;
    for (size_t i = 0; i < ER_MAX_ALIASES && a->row->act.name[i]; i++) {
        er_status rc = er_json_get_str(&act, config, a->row->act.name[i], name);
        if (rc != ER_OK) return rc;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(known[i].name, act)) {
            a->act = known[i].kind;
            return ER_OK;
        }
    return er_fail(ER_EUNSUPPORTED, "%s: activation '%.40s' is not supported", name, act);
}

static er_status read_switches(er_arch *a, const cJSON *config, const char *name) {
    er_status rc = ER_OK;
    const er_family *f = a->row;
    double eps = f->default_eps;
    a->norm = f->norm;
    a->gated = f->gated;
    a->parallel_residual = f->parallel_residual;
    a->learned_positions = f->rope == ER_ROPE_NONE;
    a->position_offset = f->position_offset;
    a->tied_head = f->default_tied;
    for (int i = 0; i < ROLE_COUNT; i++) a->module[i] = f->param[i].module;
    a->qk_norms = f->param[ROLE_Q_NORM].module != NULL;
    a->qk_norm = f->norm;
    a->embed_scale = a->residual_scale = a->logit_scale = 1;
    a->attention_bias = f->default_attention_bias;
    if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(config, "tie_word_embeddings"))) a->tied_head = false;
    ER_TRY(er_json_get_bool(&a->tied_head, config, "tie_word_embeddings", name));
    ER_TRY(er_json_get_bool(&a->attention_bias, config, "attention_bias", name));
    ER_TRY(er_json_get_bool(&a->mlp_bias, config, "mlp_bias", name));
    for (size_t i = 0; i < ER_MAX_ALIASES && f->eps.name[i]; i++)
        ER_TRY(er_json_get_f64(&eps, config, f->eps.name[i], name));
    if (!(eps >= 0 && eps < 1)) ER_FAIL(ER_EFORMAT, "%s: %s is %g", name, f->eps.name[0], eps);
    a->norm_eps = (float)eps;
    a->attention_scale = (float)(1.0 / sqrt((double)a->head_dim));
    ER_TRY(read_activation(a, config, name));
    if (f->rope != ER_ROPE_NONE) ER_TRY(er_rope_read(&a->rope, config, name, a));
    if (f->check) ER_TRY(f->check(config, name, a));
    ER_TRY(er_window_read(a, config, name));
out:
    return rc;
}

// eos_token_id is a number or a list of them.
static er_status read_eos(er_arch *a, const cJSON *config, const char *name) {
    const cJSON *eos = cJSON_GetObjectItemCaseSensitive(config, "eos_token_id");
    a->eos = -1;
    if (cJSON_IsArray(eos)) eos = eos->child;
    if (!eos || cJSON_IsNull(eos)) return ER_OK;
    if (!cJSON_IsNumber(eos)) return er_fail(ER_EFORMAT, "%s: eos_token_id is not a number", name);
    double v = eos->valuedouble;
    // Ids outside the embedding occur in real configurations (-1, or GPT-2's 50256 kept in a small copy); no
    // such token exists.
    if (v >= 0 && v < (double)a->vocab && v == floor(v)) a->eos = (int32_t)v;
    return ER_OK;
}

static bool same_scalar(const cJSON *x, const cJSON *y) {
    return cJSON_IsArray(x) || cJSON_IsObject(x) || cJSON_Compare(x, y, true);
}

// A text model that was taken out of a wrapper may keep the wrapper's word for it. What transformers reads is
// the outer value, but not everywhere, so both must be the same.
static er_status refuse_contradictions(const cJSON *config, const char *name) {
    const cJSON *d_ff = cJSON_GetObjectItemCaseSensitive(config, "text_config");
    if (!cJSON_IsObject(d_ff)) return ER_OK;
    for (const cJSON *e = d_ff->child; e; e = e->next) {
        const cJSON *outer = cJSON_GetObjectItemCaseSensitive(config, e->string);
        if (outer && !same_scalar(outer, e))
            return er_fail(
                ER_EFORMAT, "%s: %.60s is one thing at the top and another in text_config", name, e->string);
    }
    return ER_OK;
}

// What is refused whatever the family.
static er_status refuse_features(const cJSON *config, const char *name) {
    static const char *const expert_keys[] = {
        "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"};
    const cJSON *quant = cJSON_GetObjectItemCaseSensitive(config, "quantization_config");
    if (quant && !cJSON_IsNull(quant)) {
        const cJSON *method = cJSON_GetObjectItemCaseSensitive(quant, "quant_method");
        return er_fail(ER_EUNSUPPORTED,
            "%s: quantization_config (%.40s): quantised weights cannot take an edit", name,
            cJSON_IsString(method) ? method->valuestring : "unnamed method");
    }
    for (size_t i = 0; i < sizeof expert_keys / sizeof expert_keys[0]; i++) {
        const cJSON *n = cJSON_GetObjectItemCaseSensitive(config, expert_keys[i]);
        if (cJSON_IsNumber(n) && n->valuedouble > 1)
            return er_fail(ER_EUNSUPPORTED,
                "%s: %s is %g: mixture of experts: each token sees its own choice of weights", name,
                expert_keys[i], n->valuedouble);
    }
    return ER_OK;
}

// "module.Class", possibly behind "repository--", of the first class that config.json would load from the
// checkpoint's own code.
static const char *remote_class(const cJSON *config) {
    static const char *const keys[] = {"AutoModelForCausalLM", "AutoModel"};
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(config, "auto_map");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(map, keys[i]);
        if (cJSON_IsArray(item)) item = item->child;
        if (cJSON_IsString(item)) return item->valuestring;
    }
    return NULL;
}

static bool row_has_class(const er_family *f, const char *class) {
    for (size_t i = 0; i < sizeof f->classes / sizeof f->classes[0] && f->classes[i]; i++)
        if (!strcmp(f->classes[i], class)) return true;
    return false;
}

static er_status choose_family(er_arch *a, const cJSON *config, const char *name) {
    er_status rc = ER_OK;
    const char *type = NULL;
    ER_TRY(er_json_get_str(&type, config, "model_type", name));
    if (!type) ER_FAIL(ER_EFORMAT, "%s: model_type is missing", name);
    const char *why = er_family_refusal(type);
    if (why) ER_FAIL(ER_EUNSUPPORTED, "%s: model_type '%.60s': %s", name, type, why);
    a->row = er_family_find(type);
    const char *remote = remote_class(config), *dot = remote ? strrchr(remote, '.') : NULL;
    if (remote && (!a->row || !row_has_class(a->row, dot ? dot + 1 : remote)))
        ER_FAIL(ER_EUNSUPPORTED,
            "%s: model_type '%.60s' brings code of its own (auto_map: %.80s), which is never run", name, type,
            remote);
    if (!a->row) {
        char list[256];
        er_family_list(list, sizeof list);
        ER_FAIL(ER_EUNSUPPORTED, "%s: model_type '%.60s' is not known; supported: %s", name, type, list);
    }
    snprintf(a->family, sizeof a->family, "%s", type);
    const cJSON *classes = cJSON_GetObjectItemCaseSensitive(config, "architectures");
    const cJSON *first = cJSON_IsArray(classes) ? classes->child : NULL;
    if (!first || !cJSON_IsString(first)) goto out;
    if (row_has_class(a->row, first->valuestring)) goto out;
    ER_FAIL(ER_EUNSUPPORTED, "%s: architecture '%.60s' is not supported; for %s it is %s", name,
        first->valuestring, type, a->row->classes[0]);
out:
    return rc;
}

er_status er_arch_parse(er_arch *out, const char *json, size_t len, const char *name) {
    er_status rc = ER_OK;
    cJSON *config = NULL;
    er_arch a = {0};
    ER_TRY(er_json_parse_python(&config, json, len, name));
    if (!cJSON_IsObject(config)) ER_FAIL(ER_EFORMAT, "%s: not an object", name);
    ER_TRY(choose_family(&a, config, name));
    assert(a.row);
    ER_TRY(refuse_features(config, name));
    ER_TRY(refuse_contradictions(config, name));
    ER_TRY(read_sizes(&a, config, name));
    ER_TRY(read_switches(&a, config, name));
    ER_TRY(read_eos(&a, config, name));
    *out = a;
out:
    cJSON_Delete(config);
    return rc;
}

er_status er_arch_read(er_arch *out, const char *config_path) {
    char *text = NULL;
    size_t len = 0;
    er_status rc = ER_OK;
    ER_TRY(er_file_read(&text, &len, config_path, MAX_CONFIG_BYTES));
    ER_TRY(er_arch_parse(out, text, len, config_path));
out:
    free(text);
    return rc;
}

er_status er_arch_read_in(er_arch *out, er_folder *folder) {
    er_status rc = ER_OK;
    const char *text = NULL;
    size_t len = 0;
    char *path = er_path_join(er_folder_dir(folder), "config.json");
    if (!path) ER_FAIL(ER_ENOMEM, "a path in %s", er_folder_dir(folder));
    ER_TRY(er_folder_read(&text, &len, folder, "config.json", MAX_CONFIG_BYTES));
    ER_TRY(er_arch_parse(out, text, len, path));
out:
    free(path);
    return rc;
}
