// The numbers by their keys, from JSON and to it.
#include "engine/hparams/fields_internal.h"

#include <math.h>
#include <string.h>

typedef struct field {  // one number and the key it has in files
    const char *key;
    enum { F_SIZE, F_REAL, F_BOOL } kind;
    size_t offset;
} field;

#define FIELD(key, kind, member)                                                                             \
    { key, kind, offsetof(er_hparams, member) }
static const field fields[] = {
    FIELD("v_num_grad_steps", F_SIZE, steps),
    FIELD("v_lr", F_REAL, lr),
    FIELD("clamp_norm_factor", F_REAL, clamp),
    FIELD("v_weight_decay", F_REAL, decay),
    FIELD("kl_factor", F_REAL, kl),
    FIELD("mom2_update_weight", F_REAL, lambda),
    FIELD("mom2_trace_ratio", F_REAL, trace_ratio),
    FIELD("stop", F_REAL, stop),
    FIELD("cov_tokens", F_SIZE, cov_tokens),
    FIELD("n_prefixes", F_SIZE, n_prefixes),
    FIELD("n_relation_prompts", F_SIZE, n_relation_prompts),
    FIELD("key_bare", F_REAL, key_bare),
    FIELD("merge_subjects", F_BOOL, merge_subjects),
    FIELD("key_per_prompt", F_BOOL, key_per_prompt),
    // as files of version 0.1 spell them
    FIELD("n_siblings", F_SIZE, n_relation_prompts),
    FIELD("key_per_row", F_BOOL, key_per_prompt),
};
enum { N_FIELDS = sizeof fields / sizeof *fields, N_TOLD = N_FIELDS - 2 };

er_status er_hparams_read_fields(er_hparams *h, const cJSON *obj, const char *name) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < N_FIELDS; i++) {
        char *at = (char *)h + fields[i].offset;
        uint64_t u = 0;
        switch (fields[i].kind) {
        case F_SIZE:
            u = *(size_t *)(void *)at;
            ER_TRY(er_json_get_u64(&u, obj, fields[i].key, name));
            *(size_t *)(void *)at = (size_t)u;
            break;
        case F_REAL:
            ER_TRY(er_json_get_f64((double *)(void *)at, obj, fields[i].key, name));
            break;
        case F_BOOL:
            ER_TRY(er_json_get_bool((bool *)(void *)at, obj, fields[i].key, name));
            break;
        }
    }
    ER_TRY(er_hparams_read_own(h, obj, name));
out:
    return rc == ER_EFORMAT ? ER_ECONFIG : rc;
}

size_t er_hparams_own_index(const er_editor_settings *e, const char *key) {
    for (size_t i = 0; i < e->n_fields; i++)
        if (!strcmp(key, e->fields[i].key)) return i;
    return SIZE_MAX;
}

er_status er_hparams_read_own(er_hparams *h, const cJSON *obj, const char *name) {
    er_status rc = ER_OK;
    for (size_t i = 0; rc == ER_OK && i < h->editor.n_fields; i++)
        rc = er_json_get_f64(&h->own[i], obj, h->editor.fields[i].key, name);
    return rc == ER_EFORMAT ? ER_ECONFIG : rc;
}

er_status er_hparams_read_layers(er_hparams *h, const cJSON *obj, const char *name) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(obj, "layers");
    if (!list) return ER_OK;
    if (!cJSON_IsArray(list)) return er_fail(ER_ECONFIG, "%s: 'layers' is not an array", name);
    size_t n = 0;
    for (const cJSON *x = list->child; x; x = x->next) {
        double v = x->valuedouble;
        if (!cJSON_IsNumber(x) || !(v >= 0) || v > 1e6 || v != floor(v))
            return er_fail(ER_ECONFIG, "%s: 'layers' entry %zu is not a layer number", name, n);
        if (n == ER_MAX_EDIT_LAYERS)
            return er_fail(ER_ECONFIG, "%s: more than %d layers", name, ER_MAX_EDIT_LAYERS);
        h->layers[n++] = (size_t)v;
    }
    h->n_layers = n;
    h->layers_guessed = false;
    return ER_OK;
}

_Static_assert(N_FIELDS + 2 + ER_OWN_FIELDS <= ER_HPARAM_KEYS, "er_hparams.from has a place for every key");

size_t er_hparams_index(const er_hparams *h, const char *key) {
    size_t i = 0, own = er_hparams_own_index(&h->editor, key);
    if (!strcmp(key, "layers")) return N_FIELDS;
    if (own < ER_OWN_FIELDS) return N_FIELDS + 2 + own;
    while (i < N_FIELDS && strcmp(key, fields[i].key) != 0) i++;
    return i < N_FIELDS ? i : N_FIELDS + 1;  // v_loss_layer, which only a file gives
}

const char *er_hparams_key(size_t i) { return i < N_FIELDS ? fields[i].key : NULL; }

bool er_hparams_has_field(const er_hparams *h, const char *key) {
    if (er_hparams_own_index(&h->editor, key) != SIZE_MAX) return true;
    for (size_t i = 0; i < N_FIELDS; i++)
        if (!strcmp(key, fields[i].key)) return true;
    return false;
}

cJSON *er_hparams_json(const er_hparams *h) {
    cJSON *o = cJSON_CreateObject(), *layers = o ? cJSON_AddArrayToObject(o, "layers") : NULL;
    // Of the two that exclude each other only the one in force: what is told may be given as a file again.
    size_t not_in_force =
        h->trace_ratio > 0 ? offsetof(er_hparams, lambda) : offsetof(er_hparams, trace_ratio);
    bool ok = layers && cJSON_AddStringToObject(o, "alg_name", h->editor.alg_name) &&
              cJSON_AddStringToObject(o, "profile", h->profile) &&
              cJSON_AddStringToObject(o, "preset", h->preset);
    for (size_t i = 0; ok && i < h->n_layers; i++)
        ok = cJSON_AddItemToArray(layers, cJSON_CreateNumber((double)h->layers[i]));
    for (size_t i = 0; ok && i < N_TOLD; i++) {
        const char *at = (const char *)h + fields[i].offset;
        if (fields[i].offset == not_in_force) continue;
        switch (fields[i].kind) {
        case F_SIZE:
            ok = cJSON_AddNumberToObject(o, fields[i].key, (double)*(const size_t *)(const void *)at);
            break;
        case F_REAL:
            ok = cJSON_AddNumberToObject(o, fields[i].key, *(const double *)(const void *)at);
            break;
        case F_BOOL:
            ok = cJSON_AddBoolToObject(o, fields[i].key, *(const bool *)(const void *)at);
            break;
        }
    }
    for (size_t i = 0; ok && i < h->editor.n_fields; i++)
        ok = cJSON_AddNumberToObject(o, h->editor.fields[i].key, h->own[i]);
    ok = ok && cJSON_AddNumberToObject(o, "seed", (double)h->seed);
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}
