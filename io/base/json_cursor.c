// The cursor over a checked text: nothing here looks for what er_json_check has proven.
#include <string.h>
#include "io/base/json_internal.h"
#include "io/base/json_scan.h"
#include "io/base/utf8.h"

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
    size_t n = er_json_unquote(dst, c->at, &c->at);
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
