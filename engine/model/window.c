// How far back the layers look. transformers v4 says so by a rule, v5 also lists the kind of every layer.
#include "engine/model/family.h"
#include <string.h>

// The list must be full attention below and sliding windows from some layer on: `from`, or a->layers. Where
// no window is within reach, any order is the same.
static er_status read_list(
    size_t *from, const cJSON *list, bool within_reach, const char *name, const er_arch *a) {
    er_status rc = ER_OK;
    size_t n = 0;
    if (!cJSON_IsArray(list)) ER_FAIL(ER_EFORMAT, "%s: layer_types is not an array", name);
    *from = a->layers;
    for (const cJSON *e = list->child; e; e = e->next, n++) {
        const char *kind = cJSON_IsString(e) ? e->valuestring : "";
        bool full = !strcmp(kind, "full_attention");
        if (!full && strcmp(kind, "sliding_attention") != 0)
            ER_FAIL(ER_EUNSUPPORTED, "%s: layer_types: '%.40s' in layer %zu is not supported", name, kind, n);
        if (within_reach && full && *from < a->layers)
            ER_FAIL(ER_EUNSUPPORTED,
                "%s: layer_types: full attention in layer %zu above a sliding window in layer %zu is not "
                "supported",
                name, n, *from);
        if (!full && *from == a->layers) *from = n;
    }
    if (n != a->layers) ER_FAIL(ER_EFORMAT, "%s: layer_types lists %zu layers of %zu", name, n, a->layers);
out:
    return rc;
}

er_status er_window_read(er_arch *a, const cJSON *config, const char *name) {
    er_status rc = ER_OK;
    const er_window_rule rule = a->row->window;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, "sliding_window"),
                *list = cJSON_GetObjectItemCaseSensitive(config, "layer_types");
    bool use = rule == WINDOW_ALL, within_reach = true;
    uint64_t window = a->row->default_window, lowest = 28;
    size_t from = 0, listed = 0;
    if (rule == WINDOW_UPPER) {
        ER_TRY(er_json_get_bool(&use, config, "use_sliding_window", name));
        ER_TRY(er_json_get_u64(&lowest, config, "max_window_layers", name));
        from = lowest < a->layers ? (size_t)lowest : a->layers;
    }
    if (cJSON_IsNull(item)) use = false;
    if (use) ER_TRY(er_json_get_u64(&window, config, "sliding_window", name));
    if (use && item && !window) ER_FAIL(ER_EFORMAT, "%s: sliding_window is 0", name);
    if (use && window >= er_arch_longest_row(a)) within_reach = false;
    if (!use || !window || !within_reach) window = 0, from = a->layers;
    if (list && !cJSON_IsNull(list)) {
        ER_TRY(read_list(&listed, list, within_reach, name, a));
        // Only the families with a rule for some layers go by the list; elsewhere it may but agree.
        if (rule == WINDOW_UPPER && window) from = listed;
        if (within_reach && listed != from)
            ER_FAIL(ER_EUNSUPPORTED,
                "%s: layer_types has sliding windows from layer %zu on, sliding_window from layer %zu on",
                name, listed, from);
    }
    if (from < a->layers) a->window = (size_t)window, a->window_from = from;
out:
    return rc;
}
