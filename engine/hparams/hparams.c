#include "engine/hparams.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/presets.h"
#include "io/log.h"

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
    FIELD("stop", F_REAL, stop),
    FIELD("cov_tokens", F_SIZE, cov_tokens),
    FIELD("n_prefixes", F_SIZE, n_prefixes),
    FIELD("n_siblings", F_SIZE, n_siblings),
    FIELD("key_bare", F_REAL, key_bare),
    FIELD("merge_subjects", F_BOOL, merge_subjects),
    FIELD("key_per_row", F_BOOL, key_per_row),
};
enum { N_FIELDS = sizeof fields / sizeof *fields };

// Keys of the reference's files that say nothing this engine does not know from the model itself.
static const char *const known_elsewhere[] = {"layer_selection", "mom2_adjustment", "rewrite_module_tmp",
    "layer_module_tmp", "mlp_module_tmp", "attn_module_tmp", "ln_f_module", "lm_head_module", "mom2_dataset",
    "mom2_n_samples", "mom2_dtype", "alg_name", "model_name", "stats_dir", "device", "model_parallel", "name",
    "family", "layers_of_model", "hidden", "vocab", "source", "layers", "depth_first", "depth_last",
    "fact_token", "v_loss_layer", NULL};

static er_status read_fields(er_hparams *h, const cJSON *obj, const char *name) {
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
out:
    return rc == ER_EFORMAT ? ER_ECONFIG : rc;
}

static er_status read_layers(er_hparams *h, const cJSON *obj, const char *name) {
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
    return ER_OK;
}

static bool matches(const cJSON *p, const er_arch *a) {
    uint64_t layers = 0, hidden = 0, vocab = 0;
    const char *family = "";
    (void)er_json_get_str(&family, p, "family", "preset");
    (void)er_json_get_u64(&layers, p, "layers_of_model", "preset");
    (void)er_json_get_u64(&hidden, p, "hidden", "preset");
    (void)er_json_get_u64(&vocab, p, "vocab", "preset");
    return !strcmp(family, a->family) && layers == a->layers && hidden == a->hidden &&
           (!vocab || vocab == a->vocab);
}

// Five layers that end a quarter of the way up, as the published settings of larger models do.
static er_status rule_of_thumb(er_hparams *h, const cJSON *rule, const er_arch *a) {
    double last = 0.25;
    er_status rc = er_json_get_f64(&last, rule, "depth_last", "rule");
    if (rc != ER_OK) return rc;
    size_t z = (size_t)floor(last * (double)a->layers);
    if (z >= a->layers) z = a->layers - 1;
    size_t first = z >= 4 ? z - 4 : 0;
    if (first == 0 && z > 0) first = 1;
    for (size_t l = first; l <= z; l++) h->layers[h->n_layers++] = l;
    (void)snprintf(h->preset, sizeof h->preset, "rule of thumb");
    return read_fields(h, rule, "rule");
}

static er_status resolve(er_hparams *h, const cJSON *all, const er_arch *a, const char *profile) {
    const cJSON *p = NULL, *found = NULL, *list = cJSON_GetObjectItemCaseSensitive(all, "presets");
    const cJSON *profiles = cJSON_GetObjectItemCaseSensitive(all, "profiles");
    er_status rc = ER_OK;
    cJSON_ArrayForEach(p, list) if (!found && matches(p, a)) found = p;
    if (found) {
        const char *name = "";
        (void)er_json_get_str(&name, found, "name", "preset");
        (void)snprintf(h->preset, sizeof h->preset, "%s", name);
        rc = read_layers(h, found, name);
        if (rc == ER_OK) rc = read_fields(h, found, name);
    } else {
        rc = rule_of_thumb(h, cJSON_GetObjectItemCaseSensitive(all, "rule"), a);
    }
    const cJSON *chosen = cJSON_GetObjectItemCaseSensitive(profiles, profile);
    if (rc == ER_OK && !chosen)
        rc = er_fail(ER_EARG, "profile '%s' is not one of default, reference", profile);
    if (rc == ER_OK) rc = read_fields(h, chosen, profile);
    // A preset may say what its own model likes under the default profile; the reference profile stays the
    // reference's.
    const cJSON *own = found ? cJSON_GetObjectItemCaseSensitive(found, profile) : NULL;
    if (rc == ER_OK && own) rc = read_layers(h, own, profile);
    if (rc == ER_OK && own) rc = read_fields(h, own, profile);
    return rc;
}

er_status er_hparams_resolve(er_hparams *out, const er_arch *arch, const char *profile) {
    const char *text = NULL;
    for (const er_preset_file *f = er_preset_files; f->name; f++)
        if (!strcmp(f->name, "presets")) text = f->text;
    if (!text) return er_fail(ER_ECONFIG, "this build carries no presets");
    cJSON *all = NULL;
    er_status rc = er_json_parse(&all, text, strlen(text), "presets.json");
    if (rc != ER_OK) return rc;
    er_hparams h = {.seed = 1};
    (void)snprintf(h.profile, sizeof h.profile, "%s", profile);
    rc = resolve(&h, all, arch, profile);
    cJSON_Delete(all);
    if (rc == ER_OK) *out = h;
    return rc;
}

static bool known_key(const char *key) {
    for (size_t i = 0; i < N_FIELDS; i++)
        if (!strcmp(key, fields[i].key)) return true;
    for (size_t i = 0; known_elsewhere[i]; i++)
        if (!strcmp(key, known_elsewhere[i])) return true;
    return false;
}

er_status er_hparams_merge_file(er_hparams *h, const char *path) {
    cJSON *obj = NULL;
    er_status rc = er_json_read(&obj, path, (size_t)1 << 20);
    if (rc == ER_EFORMAT) rc = ER_ECONFIG;
    if (rc != ER_OK) return rc;
    if (!cJSON_IsObject(obj)) ER_FAIL(ER_ECONFIG, "%s: not a JSON object", path);
    const char *token = "subject_last";
    if (er_json_get_str(&token, obj, "fact_token", path) != ER_OK || strcmp(token, "subject_last") != 0)
        ER_FAIL(ER_ECONFIG, "%s: 'fact_token' must be \"subject_last\"", path);
    for (const cJSON *x = obj->child; x; x = x->next)
        if (!known_key(x->string)) er_warn("%s: key '%s' is not known and has no effect", path, x->string);
    ER_TRY(read_layers(h, obj, path));
    ER_TRY(read_fields(h, obj, path));
    size_t used = strlen(h->preset);
    (void)snprintf(h->preset + used, sizeof h->preset - used, " + file");
out:
    cJSON_Delete(obj);
    return rc;
}

er_status er_hparams_check(const er_hparams *h, const er_arch *a) {
    if (!h->n_layers) return er_fail(ER_ECONFIG, "no layers to edit");
    for (size_t i = 0; i < h->n_layers; i++) {
        if (h->layers[i] >= a->layers)
            return er_fail(
                ER_ECONFIG, "layer %zu: the model has layers 0 to %zu", h->layers[i], a->layers - 1);
        if (i && h->layers[i] <= h->layers[i - 1])
            return er_fail(ER_ECONFIG, "layers must ascend: %zu after %zu", h->layers[i], h->layers[i - 1]);
    }
    if (h->steps < 1 || h->steps > 100000)
        return er_fail(ER_ECONFIG, "v_num_grad_steps %zu is not in 1..100000", h->steps);
    const double real[] = {h->lr, h->clamp, h->decay, h->kl, h->stop, h->lambda};
    for (size_t i = 0; i < sizeof real / sizeof *real; i++)
        if (!isfinite(real[i])) return er_fail(ER_ECONFIG, "a hyper-parameter is not finite");
    if (h->n_prefixes > 1000 || h->n_siblings > 1000)
        return er_fail(
            ER_ECONFIG, "n_prefixes %zu and n_siblings %zu: 1000 at most", h->n_prefixes, h->n_siblings);
    if (!(h->lr > 0)) return er_fail(ER_ECONFIG, "v_lr %g is not above 0", h->lr);
    if (!(h->clamp > 0)) return er_fail(ER_ECONFIG, "clamp_norm_factor %g is not above 0", h->clamp);
    if (!(h->decay >= 0) || !(h->kl >= 0))
        return er_fail(ER_ECONFIG, "v_weight_decay and kl_factor must not be negative");
    if (!(h->lambda > 0)) return er_fail(ER_ECONFIG, "mom2_update_weight %g is not above 0", h->lambda);
    if (!(h->key_bare > 0 && h->key_bare <= 1))
        return er_fail(ER_ECONFIG, "key_bare %g is not in (0, 1]", h->key_bare);
    return ER_OK;
}

cJSON *er_hparams_json(const er_hparams *h) {
    cJSON *o = cJSON_CreateObject(), *layers = o ? cJSON_AddArrayToObject(o, "layers") : NULL;
    bool ok = layers && cJSON_AddStringToObject(o, "profile", h->profile) &&
              cJSON_AddStringToObject(o, "preset", h->preset);
    for (size_t i = 0; ok && i < h->n_layers; i++)
        ok = cJSON_AddItemToArray(layers, cJSON_CreateNumber((double)h->layers[i]));
    for (size_t i = 0; ok && i < N_FIELDS; i++) {
        const char *at = (const char *)h + fields[i].offset;
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
    ok = ok && cJSON_AddNumberToObject(o, "seed", (double)h->seed);
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}
