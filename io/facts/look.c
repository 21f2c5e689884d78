// The characters of a fact's strings: what is dropped at their ends, what stays and is warned of. What cannot
// be told by looking makes another text to a model, and an edit of that text is no edit of the one that
// people type.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "io/facts/chars.h"
#include "io/facts/map.h"

// Dropped at the ends of names and targets: they are never meant there. Joiners, variation selectors and
// embeddings may be.
static bool is_edge(uint32_t c) {
    if (c == 0x85) return false;  // a control character
    return er_char_is_white(c) || c == 0xad || c == 0x61c || c == 0x180e || c == 0x200b || c == 0x200e ||
           c == 0x200f || (c >= 0x2060 && c <= 0x2064) || c == 0xfeff;
}

bool er_look_is_blank(const char *s) {
    size_t len = strlen(s);
    for (size_t at = 0; at < len;) {
        uint32_t c = er_char_next(s, len, &at);
        if (!er_char_is_white(c) && !er_char_is_invisible(c)) return false;
    }
    return true;
}

static bool is_ascii_blank(uint32_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static bool dropped(er_map *m, uint32_t c, const char *where, const char *name) {
    char q[64];
    return er_map_note(
        m, er_notes_add(m->notes, NULL, "%s %s '%s' is dropped", er_char_name(q, c), where, name));
}

static size_t cut_tail(er_map *m, const char *s, size_t n, const char *name) {
    for (size_t at = n; n; n = at) {
        uint32_t c = er_char_before(s, &at);
        if (!is_edge(c)) break;
        (void)dropped(m, c, "behind", name);
    }
    return n;
}

// A joiner between letters that join, a variation selector behind a picture: that is how it is spelled.
static bool is_proper(uint32_t c, uint32_t before) {
    bool joins =
        (before >= 0x590 && before < 0x2000) || (before >= 0xfb1d && before < 0xff00) || before >= 0x11000;
    bool picture = before == 0xfe0f || (before >= 0x2100 && before < 0x2c00) || before >= 0x1f000;
    if (er_char_is_joiner(c)) return joins || picture;
    if ((c >= 0xfe00 && c <= 0xfe0f) || (c >= 0xe0020 && c <= 0xe01ef))
        return picture || er_char_is_east_asian(before) || joins || er_char_is_digit(before) ||
               before == '#' || before == '*' || before == 0xa9 || before == 0xae;
    return false;
}

static bool is_worth_saying(uint32_t c, uint32_t before) {
    if (er_char_is_invisible(c)) return !is_proper(c, before);
    if (er_char_is_white(c)) return c != ' ' && c != '\t' && c != '\n' && c != '\r';
    return c == 0x2018 || c == 0x2019 || c == 0x201b || c == 0x201c || c == 0x201d || c == 0x2bc;
}

// Where `s` leaves Unicode's form C: "U+0065 U+0301 for U+00E9". False when it does not.
static bool leaves_form_c(char dst[200], const char *s) {
    char a[64], b[64], c[64];
    utf8proc_uint8_t *nfc = utf8proc_NFC((const utf8proc_uint8_t *)s);
    const char *formed = nfc ? (const char *)nfc : s;
    size_t len = strlen(s), n = strlen(formed), i = 0;
    while (i < len && i < n && s[i] == formed[i]) i++;
    bool leaves = i < len || i < n;
    while (i && i < n && ((unsigned char)formed[i] & 0xc0) == 0x80) i--;
    size_t x = i, y = i;
    uint32_t first = er_char_next(s, len, &x), second = er_char_next(s, len, &x),
             one = er_char_next(formed, n, &y);
    if (leaves)
        (void)snprintf(dst, 200, "%s %s for %s", er_char_name(a, first),
            second ? er_char_name(b, second) : "", er_char_name(c, one));
    free(nfc);
    return leaves;
}

bool er_notes_look(er_notes *notes, const char *s, const char *name) {
    char q[64], detail[200];
    size_t len = strlen(s);
    uint32_t before = 0;
    bool plain = true;
    for (size_t at = 0; at < len;) {
        uint32_t c = er_char_next(s, len, &at);
        plain = plain && c < 0x80;
        if (c >= 0x80 && is_worth_saying(c, before) &&
            !er_notes_add(notes, NULL, "%s in '%s'", er_char_name(q, c), name))
            return false;
        if (c == ' ' && before == ' ' && !er_notes_add(notes, NULL, "two spaces in a row in '%s'", name))
            return false;
        if (!er_char_is_invisible(c) || c == 0xfe0f) before = c;
    }
    if (plain || !leaves_form_c(detail, s)) return true;
    return er_notes_add(notes, detail, "letters in '%s' are not as Unicode's form C composes them", name);
}

static bool take(er_map *m, char **out, const char *s, size_t n, const char *name) {
    free(*out);
    if (!(*out = strndup(s, n))) return er_map_no_memory(m);
    return er_map_note(m, er_notes_look(m->notes, *out, name));
}

bool er_look_name(er_map *m, char **out, const char *s, const char *name) {
    size_t len = strlen(s);
    if (er_look_is_blank(s)) return take(m, out, "", 0, name);
    for (size_t at = 0; is_edge(er_char_next(s, len, &at)); at = 0) {
        size_t begin = 0;
        (void)dropped(m, er_char_next(s, len, &begin), "in front of", name);
        s += begin, len -= begin;
    }
    return take(m, out, s, cut_tail(m, s, len, name), name) && !m->no_memory;
}

bool er_look_target(er_map *m, char **out, er_space *space, const char *s, const char *name) {
    size_t len = strlen(s), at = 0, lead = 0;
    if (er_look_is_blank(s)) return take(m, out, "", 0, name);
    char *text = malloc(len + 1);
    if (!text) return er_map_no_memory(m);
    for (size_t next = 0;; at = next) {
        uint32_t c = er_char_next(s, len, &next);
        if (!is_edge(c)) break;
        if (is_ascii_blank(c)) text[lead++] = (char)c;
        else (void)dropped(m, c, "in front of", name);
    }
    memcpy(text + lead, s + at, len - at);
    text[lead + len - at] = '\0';
    size_t n = cut_tail(m, text, lead + len - at, name);
    bool seam = lead == 1 && text[0] == ' ' && *space == ER_SPACE_AUTO, ok = true;
    if (seam) *space = ER_SPACE_ALWAYS;
    else if (lead)
        ok = er_map_note(
            m, er_notes_add(m->notes, NULL, "white space in front of '%s' is kept as it is", name));
    ok = ok && take(m, out, text + seam, n - seam, name) && !m->no_memory;
    free(text);
    return ok;
}

bool er_look_prompt(er_map *m, char **out, const char *s, const char *name) {
    return take(m, out, s, strlen(s), name);
}

bool er_look_has_control(const char *s, bool prompt) {
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (prompt && (c == '\n' || c == '\t' || c == '\r')) continue;
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)s[1] < 0xa0)) return true;
    }
    return false;
}
