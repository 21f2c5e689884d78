// The preset of a model's family and size, or the rule of thumb; and what any settings must keep to.
#include "engine/hparams.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/hparams/fields_internal.h"
#include "engine/presets.h"

// A shape alone does not tell who trained it: vocabulary, context and rotary base tell some more apart. The
// vocabulary is a range, for fine-tuned copies add tokens and padding.
static bool matches(const cJSON *p, const er_arch *a) {
    uint64_t layers = 0, hidden = 0, d_ff = 0, from = 0, to = UINT64_MAX, positions = 0;
    double base = a->rope.base;
    const char *family = "";
    (void)er_json_get_str(&family, p, "family", "preset");
    (void)er_json_get_u64(&layers, p, "layers_of_model", "preset");
    (void)er_json_get_u64(&hidden, p, "hidden", "preset");
    (void)er_json_get_u64(&d_ff, p, "d_ff", "preset");
    (void)er_json_get_u64(&from, p, "vocab_from", "preset");
    (void)er_json_get_u64(&to, p, "vocab_to", "preset");
    (void)er_json_get_u64(&positions, p, "positions_from", "preset");
    (void)er_json_get_f64(&base, p, "rope_theta", "preset");
    return !strcmp(family, a->family) && layers == a->layers && hidden == a->hidden && d_ff == a->d_ff &&
           from <= a->vocab && a->vocab <= to && positions <= a->max_position_embeddings &&
           fabs(base - a->rope.base) < 0.5;
}

// Up to five layers that end a quarter of the way up, as the published settings of larger models do; never
// layer 0, unless it is the only one.
static er_status rule_of_thumb(er_hparams *h, const cJSON *rule, const er_arch *a) {
    double last = 0.25;
    er_status rc = er_json_get_f64(&last, rule, "depth_last", "rule");
    if (rc != ER_OK) return rc;
    size_t z = (size_t)floor(last * (double)a->layers);
    if (z >= a->layers) z = a->layers - 1;
    size_t first = z >= 4 ? z - 4 : 0;
    if (first == 0 && z > 0) first = 1;
    for (size_t l = first; l <= z; l++) h->layers[h->n_layers++] = l;
    h->layers_guessed = h->lambda_guessed = true;
    (void)snprintf(h->preset, sizeof h->preset, ER_RULE_OF_THUMB);
    return er_hparams_read_fields(h, rule, "rule");
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
        rc = er_hparams_read_layers(h, found, name);
        if (rc == ER_OK) rc = er_hparams_read_fields(h, found, name);
    } else {
        rc = rule_of_thumb(h, cJSON_GetObjectItemCaseSensitive(all, "rule"), a);
    }
    const cJSON *chosen = cJSON_GetObjectItemCaseSensitive(profiles, profile);
    if (rc == ER_OK && !chosen)
        rc = er_fail(ER_EARG, "--profile '%s' is not one of default, reference", profile);
    if (rc == ER_OK) rc = er_hparams_read_fields(h, chosen, profile);
    // A preset may say what its own model likes under the default profile; the reference profile stays the
    // reference's.
    const cJSON *own = found ? cJSON_GetObjectItemCaseSensitive(found, profile) : NULL;
    if (rc == ER_OK && own) rc = er_hparams_read_layers(h, own, profile);
    if (rc == ER_OK && own) rc = er_hparams_read_fields(h, own, profile);
    return rc;
}

static er_status open_presets(cJSON **all) {
    const char *text = NULL;
    for (const er_preset_file *f = er_preset_files; f->name; f++)
        if (!strcmp(f->name, "presets")) text = f->text;
    if (!text) return er_fail(ER_ECONFIG, "this build carries no presets");
    return er_json_parse(all, text, strlen(text), "presets.json");
}

er_status er_hparams_own_of_preset(er_hparams *h) {
    cJSON *all = NULL;
    const cJSON *p = NULL;
    er_status rc = open_presets(&all);
    if (rc != ER_OK) return rc;
    cJSON_ArrayForEach(p, cJSON_GetObjectItemCaseSensitive(all, "presets")) {
        const char *name = "";
        (void)er_json_get_str(&name, p, "name", "preset");
        if (strcmp(name, h->preset) != 0) continue;
        const cJSON *of_profile = cJSON_GetObjectItemCaseSensitive(p, h->profile);
        rc = er_hparams_read_own(h, p, name);
        if (rc == ER_OK && of_profile) rc = er_hparams_read_own(h, of_profile, name);
        break;
    }
    cJSON_Delete(all);
    return rc;
}

er_status er_hparams_resolve(er_hparams *out, const er_arch *arch, const char *profile) {
    cJSON *all = NULL;
    er_status rc = open_presets(&all);
    if (rc != ER_OK) return rc;
    er_hparams h = {.seed = 1,
        .editor = {.name = "memit", .alg_name = "MEMIT"},  // all of whose keys are those of er_hparams
        .space = strcmp(profile, "reference") ? ER_SPACE_AUTO : ER_SPACE_ALWAYS};
    (void)snprintf(h.profile, sizeof h.profile, "%s", profile);
    rc = resolve(&h, all, arch, profile);
    cJSON_Delete(all);
    if (rc == ER_OK) *out = h;
    return rc;
}

static er_status check_layers(const er_hparams *h, const er_arch *a) {
    if (!h->n_layers) return er_hparams_refuse(h, "layers", "no layers to edit");
    for (size_t i = 0; i < h->n_layers; i++) {
        if (h->layers[i] >= a->layers)
            return er_hparams_refuse(
                h, "layers", "layer %zu: the model has layers 0 to %zu", h->layers[i], a->layers - 1);
        if (i && h->layers[i] <= h->layers[i - 1])
            return er_hparams_refuse(
                h, "layers", "layers must ascend: %zu after %zu", h->layers[i], h->layers[i - 1]);
    }
    if (h->loss_layer && h->loss_layer != a->layers)
        return er_hparams_refuse(h, "v_loss_layer",
            "v_loss_layer %zu: the loss is taken at the model's output, behind layer %zu", h->loss_layer - 1,
            a->layers - 1);
    return ER_OK;
}

// Finite, and above `least`; or `least` itself where it is allowed.
static er_status check_real(const er_hparams *h, const char *key, double v, bool zero) {
    if (!isfinite(v)) return er_hparams_refuse(h, key, "%s is not finite", key);
    if (zero ? v < 0 : !(v > 0))
        return er_hparams_refuse(
            h, key, zero ? "%s %g must not be negative" : "%s %g is not above 0", key, v);
    return ER_OK;
}

// Settings for another model would edit other layers of another depth with another's numbers.
static er_status check_model(const er_hparams *h, const er_arch *a) {
    char own[256];
    if (!a->row) return ER_OK;
    er_arch_down_module(own, sizeof own, a);
    const char *key =
        h->rewrite_module[0] && !er_arch_has_module(a, h->rewrite_module, true) ? "rewrite_module_tmp"
        : h->layer_module[0] && !er_arch_has_module(a, h->layer_module, false)  ? "layer_module_tmp"
                                                                                : NULL;
    if (key)
        return er_fail(ER_ECONFIG,
            "%s: settings for another model: %s is \"%s\", and this model's edited module is \"%s\"", h->file,
            key, key[0] == 'r' ? h->rewrite_module : h->layer_module, own);
    er_hparams_compare_model(h, a);
    return ER_OK;
}

er_status er_hparams_check(const er_hparams *h, const er_arch *a) {
    er_status rc = ER_OK;
    ER_TRY(check_model(h, a));
    ER_TRY(check_layers(h, a));
    if (h->steps < 1 || h->steps > 100000)
        return er_hparams_refuse(h, "v_num_grad_steps", "v_num_grad_steps %zu is not in 1..100000", h->steps);
    if (h->n_prefixes > 1000)
        return er_hparams_refuse(h, "n_prefixes", "n_prefixes %zu: 1000 at most", h->n_prefixes);
    if (h->n_relation_prompts > 1000)
        return er_hparams_refuse(
            h, "n_relation_prompts", "n_relation_prompts %zu: 1000 at most", h->n_relation_prompts);
    ER_TRY(check_real(h, "v_lr", h->lr, false));
    ER_TRY(check_real(h, "clamp_norm_factor", h->clamp, false));
    ER_TRY(check_real(h, "v_weight_decay", h->decay, true));
    ER_TRY(check_real(h, "kl_factor", h->kl, true));
    if (!isfinite(h->stop)) return er_hparams_refuse(h, "stop", "stop is not finite");
    ER_TRY(check_real(h, "mom2_update_weight", h->lambda, false));
    ER_TRY(check_real(h, "mom2_trace_ratio", h->trace_ratio, true));
    if (!(h->trace_ratio > 0) && h->lambda_guessed)
        return er_hparams_refuse(h, "mom2_trace_ratio",
            "mom2_trace_ratio is 0, and without a preset for this model only a mom2_update_weight (--lambda) "
            "can take its place");
    if (!(h->key_bare > 0 && h->key_bare <= 1))
        return er_hparams_refuse(h, "key_bare", "key_bare %g is not in (0, 1]", h->key_bare);
out:
    return rc;
}
