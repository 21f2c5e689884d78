// Proves that a text is JSON: one pass, no tree.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/file_kind.h"
#include "io/base/json_internal.h"
#include "io/base/json_scan.h"
#include "io/base/utf8.h"

typedef struct scan {
    const char *text, *name;
    size_t begin, len, at;  // begin: behind a byte order mark
    int depth;
    bool python;        // numbers need not be finite, and have words for it
    er_json_keys keys;  // of the objects that are open
} scan;

// "byte 17", or where the text has more lines than one "line 3, column 5 (byte 17)"; columns are characters.
static const char *place(char out[96], const scan *s, size_t at) {
    size_t line = 1, column = 1, n = at < s->len ? at : s->len;
    for (size_t i = s->begin; i < n; i++) {
        if (s->text[i] == '\n') line++, column = 0;
        if (((unsigned char)s->text[i] & 0xc0) != 0x80) column++;
    }
    const char *more = memchr(s->text, '\n', s->len);
    if (more && (size_t)(more - s->text) + 1 < s->len)
        (void)snprintf(out, 96, "line %zu, column %zu (byte %zu)", line, column, n);
    else (void)snprintf(out, 96, "byte %zu", n);
    return out;
}

static er_status bad(const scan *s, size_t at, const char *reason) {
    char where[96];
    return er_fail(
        ER_EFORMAT, "%s: %s: %s%s", s->name, place(where, s, at), at >= s->len ? "ends here: " : "", reason);
}

static void skip_space(scan *s) {
    while (s->at < s->len) {
        char c = s->text[s->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') break;
        s->at++;
    }
}

static er_status check_escape(scan *s) {
    const char *p = s->text + s->at;
    size_t left = s->len - s->at;
    if (left < 2) return bad(s, s->len, "inside a string");
    if (strchr("\"\\/bfnrt", p[1]) && p[1]) return s->at += 2, ER_OK;
    if (p[1] != 'u') return bad(s, s->at, "unknown escape in a string");
    int c = left >= 6 ? er_json_hex4(p + 2) : -1;
    if (c < 0) return bad(s, s->at, "\\u without four hex digits");
    if (c == 0) return bad(s, s->at, "\\u0000 in a string");
    if (c >= 0xdc00 && c <= 0xdfff) return bad(s, s->at, "lone surrogate in a string");
    s->at += 6;
    if (c < 0xd800 || c > 0xdbff) return ER_OK;
    int low = left >= 12 && p[6] == '\\' && p[7] == 'u' ? er_json_hex4(p + 8) : -1;
    if (low < 0xdc00 || low > 0xdfff) return bad(s, s->at - 6, "lone surrogate in a string");
    s->at += 6;
    return ER_OK;
}

static er_status check_string(scan *s) {
    size_t begin = s->at++;
    for (;;) {
        // UTF-8 was checked over the whole text, so that only three kinds of bytes matter here.
        while (s->at < s->len) {
            unsigned char c = (unsigned char)s->text[s->at];
            if (c < 0x20 || c == '"' || c == '\\') break;
            s->at++;
        }
        if (s->at >= s->len) return bad(s, begin, "string is not closed");
        if (s->text[s->at] == '"') return s->at++, ER_OK;
        if (s->text[s->at] != '\\') return bad(s, s->at, "control character in a string");
        er_status rc = check_escape(s);
        if (rc != ER_OK) return rc;
    }
}

static size_t digits(scan *s) {
    size_t n = 0;
    while (s->at < s->len && s->text[s->at] >= '0' && s->text[s->at] <= '9') s->at++, n++;
    return n;
}

static er_status check_word(scan *s, const char *word) {
    size_t n = strlen(word);
    if (s->len - s->at < n || memcmp(s->text + s->at, word, n) != 0) return bad(s, s->at, "not a JSON value");
    s->at += n;
    return ER_OK;
}

static er_status check_number(scan *s) {
    size_t begin = s->at;
    char copy[64];
    if (s->text[s->at] == '-') s->at++;
    if (s->python && s->at < s->len && s->text[s->at] == 'I') return check_word(s, "Infinity");
    if (s->at < s->len && s->text[s->at] == '0') s->at++;
    else if (!digits(s)) return bad(s, begin, "not a JSON value");
    if (s->at < s->len && s->text[s->at] >= '0' && s->text[s->at] <= '9')
        return bad(s, begin, "number with a leading zero");
    if (s->at < s->len && s->text[s->at] == '.') {
        s->at++;
        if (!digits(s)) return bad(s, begin, "number without digits after its point");
    }
    if (s->at < s->len && (s->text[s->at] == 'e' || s->text[s->at] == 'E')) {
        s->at++;
        if (s->at < s->len && (s->text[s->at] == '+' || s->text[s->at] == '-')) s->at++;
        if (!digits(s)) return bad(s, begin, "number without digits in its exponent");
    }
    size_t n = s->at - begin;
    if (n >= sizeof copy) return bad(s, begin, "number longer than 63 characters");
    if (n < 16 && !memchr(s->text + begin, 'e', n) && !memchr(s->text + begin, 'E', n)) return ER_OK;
    memcpy(copy, s->text + begin, n);
    copy[n] = '\0';
    if (!s->python && !isfinite(strtod(copy, NULL))) return bad(s, begin, "number too large");
    return ER_OK;
}

// At the end of an object: no key of its own may repeat.
static er_status close_keys(scan *s, size_t first, size_t used) {
    const er_json_key *twice = er_json_keys_duplicate(&s->keys, first);
    char where[96];
    if (twice)
        return er_fail(ER_EFORMAT, "%s: %s: key \"%.*s\" stands twice in its object", s->name,
            place(where, s, twice->at), twice->length > 60 ? 60 : (int)twice->length,
            s->keys.text + twice->offset);
    er_json_keys_close(&s->keys, first, used);
    return ER_OK;
}

static er_status check_value(scan *s);

static const char no_comments[] = "comments are not JSON";

static bool is_comment(const scan *s) {
    if (s->at >= s->len) return false;
    return s->text[s->at] == '#' ||
           (s->text[s->at] == '/' && s->len - s->at > 1 && strchr("/*", s->text[s->at + 1]));
}

static er_status check_object(scan *s) {
    size_t first = s->keys.count, used = s->keys.used;
    er_status rc;
    s->at++;
    skip_space(s);
    if (s->at < s->len && s->text[s->at] == '}') return s->at++, ER_OK;
    for (;;) {
        skip_space(s);
        if (s->at < s->len && s->text[s->at] == '}' && s->keys.count > first)
            return bad(s, s->at, "a comma stands before this '}'");
        if (is_comment(s)) return bad(s, s->at, no_comments);
        if (s->at >= s->len || s->text[s->at] != '"') return bad(s, s->at, "expected a key in quotes");
        size_t at = s->at;
        if ((rc = check_string(s)) != ER_OK) return rc;
        rc = er_json_keys_push(&s->keys, s->text + at, s->at - at, at, s->name);
        if (rc != ER_OK) return rc;
        skip_space(s);
        if (s->at >= s->len || s->text[s->at] != ':') return bad(s, s->at, "expected ':' behind a key");
        s->at++;
        if ((rc = check_value(s)) != ER_OK) return rc;
        skip_space(s);
        if (s->at >= s->len || (s->text[s->at] != ',' && s->text[s->at] != '}'))
            return bad(s, s->at, is_comment(s) ? no_comments : "expected ',' or '}'");
        if (s->text[s->at++] == '}') return close_keys(s, first, used);
    }
}

static er_status check_array(scan *s) {
    er_status rc;
    s->at++;
    skip_space(s);
    if (s->at < s->len && s->text[s->at] == ']') return s->at++, ER_OK;
    for (bool first = true;; first = false) {
        skip_space(s);
        if (!first && s->at < s->len && s->text[s->at] == ']')
            return bad(s, s->at, "a comma stands before this ']'");
        if ((rc = check_value(s)) != ER_OK) return rc;
        skip_space(s);
        if (s->at >= s->len || (s->text[s->at] != ',' && s->text[s->at] != ']'))
            return bad(s, s->at, is_comment(s) ? no_comments : "expected ',' or ']'");
        if (s->text[s->at++] == ']') return ER_OK;
    }
}

static er_status check_value(scan *s) {
    er_status rc;
    skip_space(s);
    if (s->at >= s->len) return bad(s, s->at, "a value is missing");
    if (is_comment(s)) return bad(s, s->at, no_comments);
    switch (s->text[s->at]) {
    case '"':
        return check_string(s);
    case 't':
        return check_word(s, "true");
    case 'f':
        return check_word(s, "false");
    case 'n':
        return check_word(s, "null");
    case 'N':
    case 'I':
        if (s->python) return check_word(s, s->text[s->at] == 'N' ? "NaN" : "Infinity");
        return bad(s, s->at, "NaN and Infinity are not JSON");
    case '{':
    case '[':
        if (++s->depth > ER_JSON_DEPTH) return bad(s, s->at, "nested more than 128 levels deep");
        rc = s->text[s->at] == '{' ? check_object(s) : check_array(s);
        s->depth--;
        return rc;
    default:
        return check_number(s);
    }
}

static er_status check_all(const char *text, size_t len, bool python, const char *name) {
    er_status rc = ER_OK;
    size_t bad_at = 0;
    size_t mark = er_utf8_mark(text, len);
    scan s = {.text = text, .name = name, .begin = mark, .len = len, .at = mark, .python = python};
    if (!er_utf8_valid(text, len, &bad_at)) ER_TRY(bad(&s, bad_at, "not valid UTF-8"));
    ER_TRY(check_value(&s));
    skip_space(&s);
    if (s.at < len) ER_TRY(bad(&s, s.at, is_comment(&s) ? no_comments : "something follows the value"));
out:
    if (rc == ER_EFORMAT) {
        const er_file_kind *kind = er_file_kind_of(text, len);
        if (kind) rc = er_fail(ER_EFORMAT, "%s: %s", name, kind->words);
    }
    er_json_keys_free(&s.keys);
    return rc;
}

er_status er_json_check(const char *text, size_t len, const char *name) {
    return check_all(text, len, false, name);
}

er_status er_json_check_python(const char *text, size_t len, const char *name) {
    return check_all(text, len, true, name);
}
