// A growing string, and the escaping of hostile text.
#include "engine/report/text_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool room_for(er_text *t, size_t more) {
    if (t->failed) return false;
    if (t->n + more + 1 > t->room) {
        size_t room = 2 * (t->n + more + 1);
        char *s = realloc(t->s, room);
        if (!s) {
            t->failed = true;
            return false;
        }
        t->s = s;
        t->room = room;
    }
    return true;
}

void er_text_add(er_text *t, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) t->failed = true;
    if (n >= 0 && room_for(t, (size_t)n)) {
        (void)vsnprintf(t->s + t->n, (size_t)n + 1, fmt, again);
        t->n += (size_t)n;
    }
    va_end(again);
}

static void put(er_text *t, const char *s, size_t n) {
    if (!room_for(t, n)) return;
    memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = '\0';
}

void er_text_escaped(er_text *t, const char *s, size_t most) {
    size_t n = s ? strlen(s) : 0, cut = most && n > most ? most : n;
    if (!s) {
        put(t, "\xe2\x80\x93", 3);
        return;
    }
    while (cut < n && cut > 0 && ((unsigned char)s[cut] & 0xc0) == 0x80) cut--;
    for (size_t i = 0; i < cut; i++) {
        switch (s[i]) {
        case '&':
            put(t, "&amp;", 5);
            break;
        case '<':
            put(t, "&lt;", 4);
            break;
        case '>':
            put(t, "&gt;", 4);
            break;
        case '"':
            put(t, "&quot;", 6);
            break;
        case '\'':
            put(t, "&#39;", 5);
            break;
        case '\n':
            put(t, " \xe2\x86\xb5 ", 5);
            break;  // a return arrow
        default:
            if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f) put(t, "\xc2\xb7", 2);
            else put(t, s + i, 1);
        }
    }
    if (cut < n) put(t, "\xe2\x80\xa6", 3);
}
