// JSON as a tree of cJSON, proven by er_json_check before, and its typed getters.
#include "io/base/json.h"

#include <math.h>
#include <stdlib.h>
#include "io/base/file.h"
#include "io/base/file_kind.h"
#include "io/base/json_scan.h"
#include "io/base/utf8.h"

er_status er_json_parse(cJSON **out, const char *text, size_t len, const char *name) {
    er_status rc = er_json_check(text, len, name);
    if (rc != ER_OK) return rc;
    size_t mark = er_utf8_mark(text, len);  // cJSON skips one too, but not in front of a single character
    cJSON *tree = cJSON_ParseWithLength(text + mark, len - mark);
    if (!tree)
        return er_fail(ER_ENOMEM, "%s: a tree of %zu bytes of JSON", name, len);  // the text itself is proven
    *out = tree;
    return ER_OK;
}

er_status er_json_read(cJSON **out, const char *path, size_t max_bytes) {
    char *text = NULL;
    size_t len = 0;
    er_status rc = er_file_read(&text, &len, path, max_bytes);
    if (rc == ER_OK) rc = er_json_parse(out, text, len, path);
    free(text);
    return rc;
}

// ---- typed getters ----

// The member, or NULL when absent or null.
static const cJSON *member(const cJSON *obj, const char *key) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, key);
    return v && !cJSON_IsNull(v) ? v : NULL;
}

er_status er_json_get_u64(uint64_t *out, const cJSON *obj, const char *key, const char *name) {
    const cJSON *v = member(obj, key);
    if (!v) return ER_OK;
    // From 2^53 on a double no longer tells neighbouring integers apart.
    if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0 && v->valuedouble < 0x1p53) ||
        v->valuedouble != floor(v->valuedouble))
        return er_fail(ER_EFORMAT, "%s: '%s' is not an integer of 0 .. 2^53 - 1", name, key);
    *out = (uint64_t)v->valuedouble;
    return ER_OK;
}

er_status er_json_get_f64(double *out, const cJSON *obj, const char *key, const char *name) {
    const cJSON *v = member(obj, key);
    if (!v) return ER_OK;
    if (!cJSON_IsNumber(v) || !isfinite(v->valuedouble))
        return er_fail(ER_EFORMAT, "%s: '%s' is not a finite number", name, key);
    *out = v->valuedouble;
    return ER_OK;
}

er_status er_json_get_bool(bool *out, const cJSON *obj, const char *key, const char *name) {
    const cJSON *v = member(obj, key);
    if (!v) return ER_OK;
    if (!cJSON_IsBool(v)) return er_fail(ER_EFORMAT, "%s: '%s' is not true or false", name, key);
    *out = cJSON_IsTrue(v);
    return ER_OK;
}

er_status er_json_get_str(const char **out, const cJSON *obj, const char *key, const char *name) {
    const cJSON *v = member(obj, key);
    if (!v) return ER_OK;
    if (!cJSON_IsString(v) || !v->valuestring)
        return er_fail(ER_EFORMAT, "%s: '%s' is not a string", name, key);
    *out = v->valuestring;
    return ER_OK;
}
