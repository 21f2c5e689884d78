// Words that messages about records have in common.
#include <stdio.h>
#include <string.h>
#include "io/facts/facts_internal.h"

const char *er_facts_quote(char dst[80], const char *s) {
    size_t n = strlen(s), cut = n > 60 ? 60 : n;
    while (cut < n && ((unsigned char)s[cut] & 0xc0) == 0x80) cut--;
    (void)snprintf(dst, 80, "'%.*s%s'", (int)cut, s, cut < n ? "..." : "");
    for (char *p = dst; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';  // a message is one line
    return dst;
}

const char *er_json_kind(const cJSON *v) {
    if (cJSON_IsString(v)) return "a string";
    if (cJSON_IsNumber(v)) return "a number";
    if (cJSON_IsBool(v)) return "true or false";
    if (cJSON_IsArray(v)) return "an array";
    if (cJSON_IsObject(v)) return "an object";
    return "null";
}

const char *er_facts_place(const er_facts *f) { return f->is_lines ? "line" : "record"; }
