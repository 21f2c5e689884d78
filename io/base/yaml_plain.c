// What an unquoted YAML scalar is: a string, null, a truth value or a number.
#include "io/base/yaml_internal.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static bool one_of(const char *text, const char *const *words) {
    for (; *words; words++)
        if (!strcmp(text, *words)) return true;
    return false;
}

static const char *digits(const char *s) { return s + strspn(s, "0123456789"); }

// [-+]? ( . digits | digits ( . digits? )? ) ( [eE] [-+]? digits )?
static bool is_decimal(const char *s) {
    if (*s == '-' || *s == '+') s++;
    const char *whole = digits(s), *end = whole;
    if (*whole == '.') end = digits(whole + 1);
    if (end - s == (*whole == '.')) return false;  // no digit on either side of the point
    if (*end == 'e' || *end == 'E') {
        const char *power = end + 1;
        if (*power == '-' || *power == '+') power++;
        end = digits(power);
        if (end == power) return false;
    }
    return *end == '\0';
}

// 0o17 and 0x1f. Any length: a double takes what it holds.
static bool read_based(double *out, const char *s) {
    unsigned base = !strncmp(s, "0x", 2) ? 16 : !strncmp(s, "0o", 2) ? 8 : 0;
    static const char all[] = "0123456789abcdef0123456789ABCDEF";
    double v = 0;
    if (!base || !s[2]) return false;
    for (s += 2; *s; s++) {
        const char *at = strchr(all, *s);
        size_t digit = at ? (size_t)(at - all) % 16 : base;
        if (digit >= base) return false;
        v = v * base + (double)digit;
    }
    *out = v;
    return true;
}

er_yaml_kind er_yaml_plain(double *number, const char *text) {
    static const char *const
        nulls[] = {"", "~", "null", "Null", "NULL", NULL},
        *const yes[] = {"true", "True", "TRUE", NULL}, *const no[] = {"false", "False", "FALSE", NULL},
        *const endless[] = {".inf", ".Inf", ".INF", NULL}, *const nan[] = {".nan", ".NaN", ".NAN", NULL};
    double v = 0;
    if (one_of(text, nulls)) return ER_YAML_NULL;
    if (one_of(text, yes) || one_of(text, no)) {
        *number = one_of(text, yes);
        return ER_YAML_BOOL;
    }
    if (one_of(text, nan) || one_of(text + (*text == '-' || *text == '+'), endless)) return ER_YAML_INFINITE;
    if (is_decimal(text)) v = strtod(text, NULL);
    else if (!read_based(&v, text)) return ER_YAML_STRING;
    if (!isfinite(v)) return ER_YAML_INFINITE;
    *number = v;
    return ER_YAML_NUMBER;
}
