// A settings file over the preset: the reference's JSON, or EasyEdit's YAML with the same keys.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/hparams/fields_internal.h"
#include "io/base/file.h"
#include "io/base/log.h"
#include "io/base/yaml.h"

// Keys of such files that say nothing this engine does not know from the model itself, or that are looked at
// elsewhere here.
static const char *const known_elsewhere[] = {"alg_name", "attn_module_tmp", "batch_size", "depth_first",
    "depth_last", "device", "fact_token", "family", "fp16", "hidden", "d_ff", "layer_module_tmp",
    "layer_selection", "layers", "layers_of_model", "lm_head_module", "ln_f_module", "max_length",
    "mlp_module_tmp", "model_name", "model_parallel", "mom2_adjustment", "mom2_dataset", "mom2_dtype",
    "mom2_n_samples", "name", "P_loc", "positions_from", "preset", "profile", "rewrite_module_tmp",
    "rope_theta", "seed", "source", "stats_dir", "v_loss_layer", "vocab_from", "vocab_to", NULL};

static bool known_key(const er_hparams *h, const char *key, er_editor_list editors) {
    er_editor_settings whose;
    for (size_t i = 0; known_elsewhere[i]; i++)
        if (!strcmp(key, known_elsewhere[i])) return true;
    return er_hparams_has_field(h, key) || er_hparams_is_idle(&whose, h, key, editors);
}

// Absent, null, or the one word that is meant here.
static er_status only(
    const cJSON *obj, const char *key, const char *word, const char *why, const char *path) {
    const char *given = word;
    er_status rc = er_json_get_str(&given, obj, key, path);
    if (rc == ER_OK && strcmp(given, word) != 0)
        rc = er_fail(ER_ECONFIG, "%s: '%s' is \"%.40s\": %s", path, key, given, why);
    return rc;
}

static er_status read_editor(er_hparams *h, const cJSON *obj, const char *path, er_editor_list editors) {
    const char *name = NULL, *flag = h->editor.name;
    er_editor_settings e;
    er_status rc = er_json_get_str(&name, obj, "alg_name", path);
    if (rc != ER_OK || !name) return rc;
    if (!er_hparams_find_editor(&e, name, editors))
        return er_fail(
            ER_ECONFIG, "%s: 'alg_name' is \"%.40s\": settings of another method than MEMIT", path, name);
    if (h->editor_given && strcmp(flag, e.name) != 0)
        return er_fail(ER_ECONFIG, "%s: 'alg_name' is \"%.40s\", and --editor says %s", path, name, flag);
    return er_hparams_set_editor(h, name, editors);
}

// What would make the file's numbers mean something else.
static er_status check_meaning(er_hparams *h, const cJSON *obj, const char *path, er_editor_list editors) {
    er_status rc = ER_OK;
    bool adjusted = true;
    uint64_t loss_layer = UINT64_MAX, seed = h->seed;
    ER_TRY(read_editor(h, obj, path, editors));
    ER_TRY(only(obj, "fact_token", "subject_last", "only \"subject_last\" is computed here", path));
    ER_TRY(only(obj, "layer_selection", "all", "only \"all\" is computed here", path));
    ER_TRY(er_json_get_bool(&adjusted, obj, "mom2_adjustment", path));
    if (!adjusted)
        ER_FAIL(ER_ECONFIG, "%s: 'mom2_adjustment' is false: there is no solve without the covariance", path);
    ER_TRY(er_json_get_u64(&loss_layer, obj, "v_loss_layer", path));
    if (loss_layer != UINT64_MAX) h->loss_layer = (size_t)loss_layer + 1;
    ER_TRY(er_json_get_u64(&seed, obj, "seed", path));
    if (seed == 0) ER_FAIL(ER_ECONFIG, "%s: 'seed' is 0: 1 .. 2^53 - 1", path);
    h->seed = seed;
out:
    return rc;
}

static bool given(const cJSON *obj, const char *key) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, key);
    return v && !cJSON_IsNull(v);
}

// A text by its key, cut to `size`; absent or no text: "".
static void keep_text(char *out, size_t size, const cJSON *obj, const char *key) {
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(obj, key));
    (void)snprintf(out, size, "%s", s ? s : "");
}

static void keep_origin(er_hparams *h, const cJSON *obj, const char *path) {
    size_t n = strlen(path),
           most = sizeof h->file - 1;  // the end of a long path says more than its beginning
    (void)snprintf(h->file, sizeof h->file, "%s", n > most ? path + n - most : path);
    for (const cJSON *x = obj->child; x; x = x->next) {
        bool known = er_hparams_has_field(h, x->string) || !strcmp(x->string, "layers") ||
                     !strcmp(x->string, "v_loss_layer");
        if (known && !cJSON_IsNull(x)) er_hparams_mark(h, x->string, ER_FROM_FILE);
    }
    keep_text(h->model_name, sizeof h->model_name, obj, "model_name");
    keep_text(h->rewrite_module, sizeof h->rewrite_module, obj, "rewrite_module_tmp");
    keep_text(h->layer_module, sizeof h->layer_module, obj, "layer_module_tmp");
    if (!h->layer_module[0]) keep_text(h->layer_module, sizeof h->layer_module, obj, "mlp_module_tmp");
    if (!h->layer_module[0]) keep_text(h->layer_module, sizeof h->layer_module, obj, "attn_module_tmp");
}

static void warn_unknown(const er_hparams *h, const cJSON *obj, const char *path, er_editor_list editors) {
    er_editor_settings whose;
    for (const cJSON *x = obj->child; x; x = x->next) {
        if (er_hparams_is_idle(&whose, h, x->string, editors))
            er_warn(
                "%s: key '%s' is no setting of %s and has no effect", path, x->string, h->editor.alg_name);
        if (known_key(h, x->string, editors)) continue;
        const char *meant = er_hparams_nearest(x->string, known_elsewhere, editors);
        if (meant)
            er_warn("%s: key '%s' is not known and has no effect; '%s' may be meant", path, x->string, meant);
        else er_warn("%s: key '%s' is not known and has no effect", path, x->string);
    }
}

// What a published file says that has no counterpart here is told, but no reason to warn: every such file has
// it.
static void tell_ignored(const cJSON *obj, const char *path) {
    static const char *const ignored[] = {"batch_size", "device", "fp16", "max_length", "model_parallel",
        "mom2_dataset", "mom2_dtype", "mom2_n_samples", "P_loc", "stats_dir"};
    char list[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (given(obj, ignored[i]) && used + 32 < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", ignored[i]);
    if (used) er_info("settings    %s: without effect here: %s", path, list);
}

// A file that leaves everything as it was is not the file that was meant.
static er_status check_applies(
    const er_hparams *h, const cJSON *obj, const char *path, er_editor_list editors) {
    er_editor_settings whose;
    if (!obj->child) return er_fail(ER_ECONFIG, "%s: holds no settings", path);
    for (const cJSON *x = obj->child; x; x = x->next)
        if (er_hparams_has_field(h, x->string) || er_hparams_is_idle(&whose, h, x->string, editors) ||
            !strcmp(x->string, "layers") || !strcmp(x->string, "alg_name") ||
            !strcmp(x->string, "v_loss_layer") || !strcmp(x->string, "seed"))
            return ER_OK;
    const char *meant = NULL;
    for (const cJSON *x = obj->child; x && !meant; x = x->next) {
        meant =
            known_key(h, x->string, editors) ? NULL : er_hparams_nearest(x->string, known_elsewhere, editors);
        if (meant)
            return er_fail(
                ER_ECONFIG, "%s: nothing in it applies; '%s' may be meant by '%s'", path, meant, x->string);
    }
    return er_fail(ER_ECONFIG,
        "%s: nothing in it applies: '%s' and the other keys are no settings of MEMIT's", path,
        obj->child->string);
}

static er_status merge(er_hparams *h, const cJSON *obj, const char *path, er_editor_list editors) {
    er_status rc = ER_OK;
    er_hparams all = *h;
    bool lambda = given(obj, "mom2_update_weight");
    double ratio = 0;
    ER_TRY(er_json_get_f64(&ratio, obj, "mom2_trace_ratio", path));
    if (lambda && ratio != 0)
        ER_FAIL(ER_ECONFIG, "%s: 'mom2_update_weight' and 'mom2_trace_ratio' exclude each other", path);
    ER_TRY(check_meaning(&all, obj, path, editors));
    ER_TRY(er_hparams_check_method(&all, obj, path, editors));
    ER_TRY(check_applies(&all, obj, path, editors));
    ER_TRY(er_hparams_read_layers(&all, obj, path));
    ER_TRY(er_hparams_read_fields(&all, obj, path));
    if (lambda) all.trace_ratio = 0, all.lambda_guessed = false;
    warn_unknown(&all, obj, path, editors);
    tell_ignored(obj, path);
    keep_origin(&all, obj, path);
    size_t used = strlen(all.preset);
    (void)snprintf(all.preset + used, sizeof all.preset - used, " + file");
    *h = all;
out:
    return rc;
}

er_status er_hparams_merge_file(er_hparams *h, const char *path, er_editor_list editors) {
    cJSON *obj = NULL;
    const char *ending = strrchr(path, '.');
    bool yaml = ending && (!strcasecmp(ending, ".yaml") || !strcasecmp(ending, ".yml"));
    char *text = NULL;
    size_t len = 0;
    er_status rc = er_file_read(&text, &len, path, ER_YAML_BYTES);
    if (rc != ER_OK) return rc;  // no settings file at all: a pipe, a folder, a name too long
    rc = yaml ? er_yaml_parse(&obj, text, len, path) : er_json_parse(&obj, text, len, path);
    free(text);
    if (rc == ER_OK && !cJSON_IsObject(obj)) rc = er_fail(ER_ECONFIG, "%s: not a JSON object", path);
    if (rc == ER_OK) rc = merge(h, obj, path, editors);
    cJSON_Delete(obj);
    return rc == ER_EFORMAT ? ER_ECONFIG : rc;
}
