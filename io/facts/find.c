// The subject's place in a prompt that holds it in full: the whole word before a piece of one, and across
// spellings that look alike.
#include "io/facts/facts_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "io/facts/chars.h"

// The search by look compares everywhere; a longer text is no prompt.
#define MAX_TEXT ((size_t)1 << 14)
#define MAX_SUBJECT ((size_t)1 << 10)

static bool is_wordy(uint32_t c) { return er_char_is_letter(c) || er_char_is_digit(c); }
static bool is_korean(uint32_t c) { return (c >= 0xac00 && c <= 0xd7a3) || (c >= 0x1100 && c <= 0x11ff); }

// No word goes on between the two. Scripts without spaces have no such place, so any will do; Korean hangs
// its particles on.
static bool is_border(uint32_t left, uint32_t right) {
    return !is_wordy(left) || !is_wordy(right) || er_char_is_unspaced(left) || er_char_is_unspaced(right) ||
           is_korean(right);
}

// An accent by itself: what it stands behind is half a letter.
static bool is_accent(uint32_t c) {
    return (c >= 0x300 && c <= 0x36f) || (c >= 0x1ab0 && c <= 0x1aff) || (c >= 0x1dc0 && c <= 0x1dff);
}

static er_match_kind rank(const char *text, size_t len, size_t begin, size_t end) {
    size_t from = begin, first = begin, to = end, behind = end;
    uint32_t left = er_char_before(text, &from), right = er_char_next(text, len, &behind);
    bool starts = is_border(left, er_char_next(text, len, &first));
    bool ends = is_border(er_char_before(text, &to), right);
    return starts ? ends ? ER_MATCH_WORD : ER_MATCH_BEGINS : ER_MATCH_INSIDE;
}

static void offer(er_found *best, const char *text, size_t len, size_t begin, size_t end) {
    size_t behind = end;
    if (is_accent(er_char_next(text, len, &behind))) return;
    er_match_kind r = rank(text, len, begin, end);
    if (best->count && r == best->kind) best->count++;
    if (best->count && r >= best->kind) return;
    *best = (er_found){.begin = begin, .end = end, .kind = r, .count = 1};
}

// ---- folded texts: characters compared by their look, each with the bytes it came from ----

typedef struct folded {
    uint32_t *c, *begin, *end;  // [count]
    size_t count;
} folded;

enum { MAX_PARTS = 18 };  // of the longest decomposition of one character

static bool fold(folded *out, const char *s, bool loose) {
    size_t len = strlen(s), capacity = MAX_PARTS * (len + 1);
    utf8proc_option_t how =
        loose ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK
              : UTF8PROC_DECOMPOSE;
    *out = (folded){malloc(3 * capacity * sizeof *out->c), NULL, NULL, 0};
    if (!out->c) return false;
    out->begin = out->c + capacity, out->end = out->begin + capacity;
    for (size_t at = 0, next = 0; at < len; at = next) {
        utf8proc_int32_t part[MAX_PARTS];
        int boundary = 0;
        uint32_t c = er_char_next(s, len, &next);
        utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, part, MAX_PARTS, how, &boundary);
        if (n < 0 || n > MAX_PARTS) n = 1, part[0] = (utf8proc_int32_t)c;
        for (utf8proc_ssize_t i = 0; i < n; i++) {
            uint32_t plain = er_char_plain((uint32_t)part[i]);
            bool again = plain == ' ' && out->count && out->c[out->count - 1] == ' ';
            if (again) out->end[out->count - 1] = (uint32_t)next;
            if (!plain || again) continue;
            out->c[out->count] = plain;
            out->begin[out->count] = (uint32_t)at;
            out->end[out->count++] = (uint32_t)next;
        }
    }
    return true;
}

static bool find_folded(er_found *out, const char *text, const char *subject, bool loose) {
    folded t = {0}, s = {0};
    size_t len = strlen(text);
    if (len > MAX_TEXT || strlen(subject) > MAX_SUBJECT) return true;
    bool ok = fold(&t, text, loose) && fold(&s, subject, loose);
    for (size_t i = 0; ok && s.count && i + s.count <= t.count; i++) {
        if (memcmp(t.c + i, s.c, s.count * sizeof *s.c) != 0) continue;
        size_t last = i + s.count - 1;
        if (last + 1 < t.count && is_accent(t.c[last + 1])) continue;
        offer(out, text, len, t.begin[i], t.end[last]);
    }
    free(t.c);
    free(s.c);
    return ok;
}

bool er_facts_find(er_found *out, const char *text, const char *subject) {
    size_t n = strlen(subject), len = strlen(text);
    *out = (er_found){0};
    for (const char *at = text; n && (at = strstr(at, subject)) != NULL; at += n)
        offer(out, text, len, (size_t)(at - text), (size_t)(at - text) + n);
    if (out->count) return true;
    if (!find_folded(out, text, subject, false)) return false;
    out->respelled = out->count > 0;
    return true;
}

bool er_facts_find_loose(er_found *out, const char *text, const char *subject) {
    *out = (er_found){0};
    return find_folded(out, text, subject, true);
}
