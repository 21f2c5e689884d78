// JSON as Python's json module writes it: NaN, Infinity and -Infinity stand for numbers.
#include <stdlib.h>
#include <string.h>
#include "io/base/json.h"
#include "io/base/json_scan.h"

// A number that every reader of doubles takes for infinite; no longer than "Infinity", two longer than "NaN".
#define INFINITE "1e999"

// The checked text with its words for numbers replaced; NaN becomes infinite too: what counts is that it is
// no finite number.
static size_t replace_words(char *dst, const char *text, size_t len) {
    size_t n = 0;
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (quoted && c == '\\') {
            dst[n++] = c;
            dst[n++] = text[++i];  // a checked string does not end in a backslash
            continue;
        }
        if (c == '"') quoted = !quoted;
        if (quoted || (c != 'N' && c != 'I')) {
            dst[n++] = c;
            continue;
        }
        memcpy(dst + n, INFINITE, strlen(INFINITE));
        n += strlen(INFINITE);
        i += strlen(c == 'N' ? "NaN" : "Infinity") - 1;
    }
    return n;
}

er_status er_json_parse_python(cJSON **out, const char *text, size_t len, const char *name) {
    er_status rc = er_json_check_python(text, len, name);
    if (rc != ER_OK) return rc;
    char *copy = malloc(2 * len + 1);  // "NaN" with its comma, four bytes, becomes six
    if (!copy) return er_fail(ER_ENOMEM, "%s: %zu bytes", name, 2 * len + 1);
    size_t n = replace_words(copy, text, len);
    cJSON *tree = cJSON_ParseWithLength(copy, n);
    free(copy);
    if (!tree) return er_fail(ER_ENOMEM, "%s: a tree of %zu bytes of JSON", name, len);
    *out = tree;
    return ER_OK;
}
