// How far back the layers look. transformers v4 says so by a rule, v5 also lists the kind of every layer.
#include "engine/model/family_internal.h"
#include <string.h>

// One kind for every layer. `some`: whether any of them slides.
static er_status read_list(
    er_layer_set *sliding, bool *some, const cJSON *list, const char *name, const er_arch *a) {
    er_status rc = ER_OK;
    size_t n = 0;
    if (!cJSON_IsArray(list)) ER_FAIL(ER_EFORMAT, "%s: layer_types is not an array", name);
    for (const cJSON *e = list->child; e; e = e->next, n++) {
        const char *kind = cJSON_IsString(e) ? e->valuestring : "";
        bool slides = !strcmp(kind, "sliding_attention");
        if (!slides && strcmp(kind, "full_attention") != 0)
            ER_FAIL(ER_EUNSUPPORTED, "%s: layer_types: '%.40s' in layer %zu is not supported", name, kind, n);
        if (slides && n < a->layers) er_layer_put(sliding, n), *some = true;
    }
    if (n != a->layers) ER_FAIL(ER_EFORMAT, "%s: layer_types lists %zu layers of %zu", name, n, a->layers);
out:
    return rc;
}

// Without a list: every layer, those from max_window_layers on, or those that do not rotate.
static er_status apply_rule(er_layer_set *sliding, const cJSON *config, const char *name, const er_arch *a) {
    const er_window_rule rule = a->row->window;
    uint64_t lowest = rule == WINDOW_UPPER ? 28 : 0;
    er_status rc = er_json_get_u64(&lowest, config, "max_window_layers", name);
    if (rule != WINDOW_UPPER) lowest = 0;
    for (size_t l = 0; rc == ER_OK && l < a->layers; l++)
        if (rule == WINDOW_UNROTATED ? er_layer_in(&a->unrotated, l) : l >= lowest) er_layer_put(sliding, l);
    return rc;
}

static er_status check_agreement(
    const er_layer_set *listed, const er_layer_set *ruled, const char *name, const er_arch *a) {
    for (size_t l = 0; l < a->layers; l++)
        if (er_layer_in(listed, l) != er_layer_in(ruled, l))
            return er_fail(ER_EUNSUPPORTED,
                "%s: layer_types says '%s' of layer %zu, sliding_window and what goes with it in a %s say "
                "'%s'",
                name, er_layer_in(listed, l) ? "sliding_attention" : "full_attention", l, a->row->type,
                er_layer_in(ruled, l) ? "sliding_attention" : "full_attention");
    return ER_OK;
}

er_status er_window_read(er_arch *a, const cJSON *config, const char *name) {
    er_status rc = ER_OK;
    const er_window_rule rule = a->row->window;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, "sliding_window"),
                *list = cJSON_GetObjectItemCaseSensitive(config, "layer_types");
    bool by_layer = rule == WINDOW_UPPER || rule == WINDOW_UNROTATED, use = rule == WINDOW_ALL,
         within_reach = true, some = false;
    uint64_t window = a->row->default_window;
    er_layer_set ruled = {{0}}, listed = {{0}};
    if (by_layer) ER_TRY(er_json_get_bool(&use, config, "use_sliding_window", name));
    if (cJSON_IsNull(item)) use = false;
    if (use) ER_TRY(er_json_get_u64(&window, config, "sliding_window", name));
    if (use && item && !window) ER_FAIL(ER_EFORMAT, "%s: sliding_window is 0", name);
    if (use && window >= er_arch_max_seq_len(a)) within_reach = false;  // as long as any row may be: none
    if (!use || !window || !within_reach) window = 0;
    if (window) ER_TRY(apply_rule(&ruled, config, name, a));
    if (list && !cJSON_IsNull(list)) {
        ER_TRY(read_list(&listed, &some, list, name, a));
        // Only the families with a rule for some layers go by the list; elsewhere it may but agree.
        if (by_layer && window) ruled = listed;
        if (within_reach) ER_TRY(check_agreement(&listed, &ruled, name, a));
    }
    for (size_t l = 0; window && l < a->layers; l++) {
        if (!er_layer_in(&ruled, l)) continue;
        a->window = (size_t)window;
        er_layer_put(&a->windowed, l);
    }
out:
    return rc;
}
