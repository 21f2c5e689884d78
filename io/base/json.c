#include "io/base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/file.h"
#include "io/base/file_kind.h"
#include "io/base/json_scan.h"

bool er_utf8_valid(const char *text, size_t len, size_t *bad_at) {
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    while (i < len) {
        uint64_t eight;
        if (len - i >= 8 && (memcpy(&eight, s + i, 8), (eight & 0x8080808080808080ull) == 0)) {
            i += 8;
            continue;
        }
        unsigned char c = s[i];
        // Second-byte bounds shut out overlong forms, surrogates and what lies above U+10FFFF.
        unsigned char low = 0x80, high = 0xbf;
        size_t more;
        if (c < 0x80) more = 0;
        else if (c >= 0xc2 && c <= 0xdf) more = 1;
        else if (c >= 0xe0 && c <= 0xef)
            more = 2, low = c == 0xe0 ? 0xa0 : low, high = c == 0xed ? 0x9f : high;
        else if (c >= 0xf0 && c <= 0xf4)
            more = 3, low = c == 0xf0 ? 0x90 : low, high = c == 0xf4 ? 0x8f : high;
        else goto bad;
        if (more > len - i - 1) goto bad;
        for (size_t k = 1; k <= more; k++) {
            if (s[i + k] < low || s[i + k] > high) goto bad;
            low = 0x80, high = 0xbf;
        }
        i += more + 1;
    }
    return true;
bad:
    if (bad_at) *bad_at = i;
    return false;
}

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
