#include "io/base/json_scan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/file_kind.h"
#include "io/base/json.h"

typedef struct key {
    uint64_t hash;
    size_t offset;  // of its unescaped text in the arena
    size_t length;
    size_t at;  // in the input
} key;

typedef struct scan {
    const char *text, *name;
    size_t begin, len, at;  // begin: behind a byte order mark
    int depth;
    bool python;  // numbers need not be finite, and have words for it
    key *keys;    // of every object still open, innermost last
    size_t n_keys, cap_keys;
    char *arena;
    size_t used, cap_arena;
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

static int hex4(const char *p) {
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

static size_t put_utf8(char *dst, unsigned c) {
    if (c < 0x80) return dst[0] = (char)c, 1;
    if (c < 0x800) return dst[0] = (char)(0xc0 | c >> 6), dst[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000) {
        dst[0] = (char)(0xe0 | c >> 12), dst[1] = (char)(0x80 | (c >> 6 & 63)),
        dst[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    dst[0] = (char)(0xf0 | c >> 18), dst[1] = (char)(0x80 | (c >> 12 & 63));
    dst[2] = (char)(0x80 | (c >> 6 & 63)), dst[3] = (char)(0x80 | (c & 63));
    return 4;
}

// The character that the escape behind the backslash at `p` stands for; *used counts its bytes with the
// backslash. For a checked escape only: nothing here looks for the end of the text.
static unsigned unescape(const char *p, size_t *used) {
    *used = 2;
    switch (p[1]) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        break;
    default:
        return (unsigned char)p[1];
    }
    unsigned c = (unsigned)hex4(p + 2);
    *used = 6;
    if (c < 0xd800 || c > 0xdbff) return c;
    *used = 12;
    return 0x10000 + ((c - 0xd800) << 10) + ((unsigned)hex4(p + 8) - 0xdc00);
}

// The unescaped text of the checked string whose opening quote is at `p` into `dst`; returns its length.
static size_t unquote(char *dst, const char *p, const char **behind) {
    char *d = dst;
    for (p++; *p != '"';) {
        size_t n = 0;
        while (p[n] != '"' && p[n] != '\\') n++;
        memcpy(d, p, n);
        d += n, p += n;
        if (*p == '\\') {
            unsigned c = unescape(p, &n);
            d += put_utf8(d, c);
            p += n;
        }
    }
    *behind = p + 1;
    return (size_t)(d - dst);
}

static er_status check_escape(scan *s) {
    const char *p = s->text + s->at;
    size_t left = s->len - s->at;
    if (left < 2) return bad(s, s->len, "inside a string");
    if (strchr("\"\\/bfnrt", p[1]) && p[1]) return s->at += 2, ER_OK;
    if (p[1] != 'u') return bad(s, s->at, "unknown escape in a string");
    int c = left >= 6 ? hex4(p + 2) : -1;
    if (c < 0) return bad(s, s->at, "\\u without four hex digits");
    if (c == 0) return bad(s, s->at, "\\u0000 in a string");
    if (c >= 0xdc00 && c <= 0xdfff) return bad(s, s->at, "lone surrogate in a string");
    s->at += 6;
    if (c < 0xd800 || c > 0xdbff) return ER_OK;
    int low = left >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8) : -1;
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

// Keeps the key whose opening quote is at `at` until its object closes.
static er_status push_key(scan *s, size_t at) {
    size_t room = s->at - at;  // unescaping never lengthens
    if (s->n_keys == s->cap_keys) {
        size_t cap = s->cap_keys ? 2 * s->cap_keys : 64;
        key *keys = realloc(s->keys, cap * sizeof *keys);
        if (!keys) return er_fail(ER_ENOMEM, "%s: %zu keys", s->name, cap);
        s->keys = keys, s->cap_keys = cap;
    }
    if (s->cap_arena - s->used < room) {
        size_t cap = 2 * s->cap_arena + room + 1024;
        char *arena = realloc(s->arena, cap);
        if (!arena) return er_fail(ER_ENOMEM, "%s: %zu bytes of keys", s->name, cap);
        s->arena = arena, s->cap_arena = cap;
    }
    key *k = &s->keys[s->n_keys++];
    const char *behind;
    k->at = at;
    k->offset = s->used;
    k->length = unquote(s->arena + s->used, s->text + at, &behind);
    k->hash = 0xcbf29ce484222325ull;  // FNV-1a
    for (size_t i = 0; i < k->length; i++)
        k->hash = (k->hash ^ (unsigned char)s->arena[s->used + i]) * 0x100000001b3ull;
    s->used += k->length;
    return ER_OK;
}

static int compare_keys(const void *a, const void *b, void *arena) {
    const key *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    int c = memcmp((const char *)arena + x->offset, (const char *)arena + y->offset, x->length);
    return c ? c : x->at < y->at ? -1 : x->at > y->at;
}

static bool same_key(const scan *s, const key *x, const key *y) {
    return x->hash == y->hash && x->length == y->length &&
           memcmp(s->arena + x->offset, s->arena + y->offset, x->length) == 0;
}

static er_status duplicate(const scan *s, const key *k) {
    int shown = k->length > 60 ? 60 : (int)k->length;
    char where[96];
    return er_fail(ER_EFORMAT, "%s: %s: key \"%.*s\" stands twice in its object", s->name,
        place(where, s, k->at), shown, s->arena + k->offset);
}

// At the end of an object: no key of its own, keys[first] on, may repeat. Sorting keeps a hundred thousand of
// them cheap, and crafted hash collisions too.
static er_status check_keys(scan *s, size_t first, size_t arena_first) {
    key *k = s->keys + first;
    size_t n = s->n_keys - first;
    if (n <= 8) {
        for (size_t i = 1; i < n; i++)
            for (size_t j = 0; j < i; j++)
                if (same_key(s, &k[i], &k[j])) return duplicate(s, &k[i]);
    } else {
        qsort_r(k, n, sizeof *k, compare_keys, s->arena);
        for (size_t i = 1; i < n; i++)
            if (same_key(s, &k[i], &k[i - 1])) return duplicate(s, &k[i]);
    }
    s->n_keys = first;
    s->used = arena_first;
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
    size_t first = s->n_keys, arena_first = s->used;
    er_status rc;
    s->at++;
    skip_space(s);
    if (s->at < s->len && s->text[s->at] == '}') return s->at++, ER_OK;
    for (;;) {
        skip_space(s);
        if (s->at < s->len && s->text[s->at] == '}' && s->n_keys > first)
            return bad(s, s->at, "a comma stands before this '}'");
        if (is_comment(s)) return bad(s, s->at, no_comments);
        if (s->at >= s->len || s->text[s->at] != '"') return bad(s, s->at, "expected a key in quotes");
        size_t at = s->at;
        if ((rc = check_string(s)) != ER_OK || (rc = push_key(s, at)) != ER_OK) return rc;
        skip_space(s);
        if (s->at >= s->len || s->text[s->at] != ':') return bad(s, s->at, "expected ':' behind a key");
        s->at++;
        if ((rc = check_value(s)) != ER_OK) return rc;
        skip_space(s);
        if (s->at >= s->len || (s->text[s->at] != ',' && s->text[s->at] != '}'))
            return bad(s, s->at, is_comment(s) ? no_comments : "expected ',' or '}'");
        if (s->text[s->at++] == '}') return check_keys(s, first, arena_first);
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
    free(s.keys);
    free(s.arena);
    return rc;
}

er_status er_json_check(const char *text, size_t len, const char *name) {
    return check_all(text, len, false, name);
}

er_status er_json_check_python(const char *text, size_t len, const char *name) {
    return check_all(text, len, true, name);
}

// ---- cursor over a checked text ----

er_cursor er_cursor_over(const char *text, size_t len) {
    return (er_cursor){text + er_utf8_mark(text, len), text + len};
}

char er_cursor_peek(er_cursor *c) {
    while (c->at < c->end &&
           (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t' || *c->at == ':'))
        c->at++;
    return c->at < c->end ? *c->at : '\0';
}

static void skip_string(er_cursor *c) {
    for (c->at++; *c->at != '"'; c->at++)
        if (*c->at == '\\') c->at++;
    c->at++;
}

void er_cursor_skip(er_cursor *c) {
    int depth = 0;
    do {
        char first = er_cursor_peek(c);
        if (first == '"') {
            skip_string(c);
            continue;
        }
        if (first == '{' || first == '[') depth++;
        if (first == '}' || first == ']') depth--;
        if (strchr("{}[],", first)) {
            c->at++;
            continue;
        }
        while (c->at < c->end && !strchr(" \t\r\n,]}", *c->at)) c->at++;
    } while (depth > 0);
}

bool er_cursor_enter(er_cursor *c, char open) {
    if (er_cursor_peek(c) != open) return false;
    c->at++;
    return true;
}

bool er_cursor_next(er_cursor *c, char close) {
    char first = er_cursor_peek(c);
    if (first == ',') return c->at++, er_cursor_peek(c), true;
    if (first == close) return c->at++, false;
    return true;
}

size_t er_cursor_string_room(const er_cursor *c) {
    er_cursor copy = *c;
    er_cursor_peek(&copy);
    const char *begin = copy.at;
    skip_string(&copy);
    return (size_t)(copy.at - begin);
}

size_t er_cursor_string(er_cursor *c, char *dst) {
    er_cursor_peek(c);
    size_t n = unquote(dst, c->at, &c->at);
    dst[n] = '\0';
    return n;
}

bool er_cursor_u64(er_cursor *c, uint64_t *out) {
    uint64_t v = 0;
    const char *p = (er_cursor_peek(c), c->at);
    for (; p < c->end && *p >= '0' && *p <= '9'; p++) {
        uint64_t d = (uint64_t)(*p - '0');
        if (v > (UINT64_MAX - d) / 10) return false;
        v = v * 10 + d;
    }
    if (p == c->at || (p < c->end && strchr(".eE-", *p))) return false;
    *out = v;
    c->at = p;
    return true;
}
