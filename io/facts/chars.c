// Characters by what they look like: white, invisible, letters, unspaced scripts.
#include "io/facts/chars.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

uint32_t er_char_next(const char *s, size_t len, size_t *at) {
    utf8proc_int32_t c = 0;
    if (*at >= len) return 0;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)s + *at, (utf8proc_ssize_t)(len - *at), &c);
    if (n < 1) return (unsigned char)s[(*at)++];
    *at += (size_t)n;
    return (uint32_t)c;
}

uint32_t er_char_before(const char *s, size_t *at) {
    size_t end = *at, i = end;
    if (!end) return 0;
    do i--;
    while (i && end - i < 4 && ((unsigned char)s[i] & 0xc0) == 0x80);
    *at = i;
    return er_char_next(s, end, &i);
}

typedef struct span {
    uint32_t first, last;
} span;

static bool within(const span *at, size_t n, uint32_t c) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (at[mid].last < c) lo = mid + 1;
        else hi = mid;
    }
    return lo < n && at[lo].first <= c;
}
#define WITHIN(spans, c) within(spans, sizeof(spans) / sizeof(spans)[0], c)

bool er_char_is_white(uint32_t c) {
    static const span white[] = {{0x09, 0x0d}, {0x20, 0x20}, {0x85, 0x85}, {0xa0, 0xa0}, {0x1680, 0x1680},
        {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};
    return WITHIN(white, c);
}

bool er_char_is_invisible(uint32_t c) {
    static const span none[] = {{0xad, 0xad}, {0x34f, 0x34f}, {0x61c, 0x61c}, {0x115f, 0x1160},
        {0x17b4, 0x17b5}, {0x180b, 0x180f}, {0x200b, 0x200f}, {0x202a, 0x202e}, {0x2060, 0x206f},
        {0x3164, 0x3164}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff9, 0xfffb},
        {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff}};
    return WITHIN(none, c);
}

bool er_char_is_joiner(uint32_t c) { return c == 0x200c || c == 0x200d; }

bool er_char_is_letter(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_ME;
}

bool er_char_is_digit(uint32_t c) { return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND; }

bool er_char_is_east_asian(uint32_t c) {
    static const span east[] = {{0x2e80, 0x2fff}, {0x3001, 0x312f}, {0x31a0, 0x31ff}, {0x3220, 0x325f},
        {0x3280, 0x4dbf}, {0x4e00, 0xa4cf}, {0xf900, 0xfaff}, {0xfe30, 0xfe4f}, {0xff01, 0xff9f},
        {0xffe0, 0xffe6}, {0x16fe0, 0x18d8f}, {0x1b000, 0x1b16f}, {0x20000, 0x3ffff}};
    return WITHIN(east, c);
}

bool er_char_is_south_east(uint32_t c) {
    static const span south[] = {{0xe01, 0xe3e}, {0xe40, 0xfff}, {0x1000, 0x109f}, {0x1780, 0x17ff},
        {0x1950, 0x19ff}, {0x1a20, 0x1aaf}, {0x1b00, 0x1b7f}, {0xa980, 0xa9df}, {0xa9e0, 0xa9ff},
        {0xaa60, 0xaadf}};
    return WITHIN(south, c);
}

uint32_t er_char_plain(uint32_t c) {
    if (er_char_is_white(c)) return ' ';
    if (er_char_is_invisible(c)) return 0;
    switch (c) {
    case 0x2018:
    case 0x2019:
    case 0x201a:
    case 0x201b:
    case 0x2032:
    case 0x2bc:
    case 0xff07:
    case 0x60:
    case 0xb4:
        return '\'';
    case 0x201c:
    case 0x201d:
    case 0x201e:
    case 0x201f:
    case 0x2033:
    case 0xff02:
        return '"';
    case 0x2010:
    case 0x2011:
    case 0x2012:
    case 0x2013:
    case 0x2014:
    case 0x2015:
    case 0x2212:
    case 0xff0d:
        return '-';
    default:
        return c;
    }
}

const char *er_char_name(char dst[64], uint32_t c) {
    static const struct {
        uint32_t c;
        const char *name;
    } names[] = {{0x09, "tab"}, {0x0a, "line feed"}, {0x0d, "carriage return"}, {0x20, "space"},
        {0x27, "apostrophe"}, {0xa0, "no-break space"}, {0xad, "soft hyphen"},
        {0x34f, "combining grapheme joiner"}, {0x61c, "Arabic letter mark"}, {0x2007, "figure space"},
        {0x2009, "thin space"}, {0x200b, "zero width space"}, {0x200c, "zero width non-joiner"},
        {0x200d, "zero width joiner"}, {0x200e, "left-to-right mark"}, {0x200f, "right-to-left mark"},
        {0x2018, "left single quotation mark"}, {0x2019, "right single quotation mark"},
        {0x201c, "left double quotation mark"}, {0x201d, "right double quotation mark"},
        {0x2028, "line separator"}, {0x2029, "paragraph separator"}, {0x202a, "left-to-right embedding"},
        {0x202b, "right-to-left embedding"}, {0x202c, "pop directional formatting"},
        {0x202d, "left-to-right override"}, {0x202e, "right-to-left override"},
        {0x202f, "narrow no-break space"}, {0x2060, "word joiner"}, {0x2066, "left-to-right isolate"},
        {0x2067, "right-to-left isolate"}, {0x2068, "first strong isolate"},
        {0x2069, "pop directional isolate"}, {0x3000, "ideographic space"}, {0x3164, "Hangul filler"},
        {0xfe0e, "variation selector-15"}, {0xfe0f, "variation selector-16"}, {0xfeff, "byte order mark"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].c != c) continue;
        (void)snprintf(dst, 64, "U+%04X (%s)", (unsigned)c, names[i].name);
        return dst;
    }
    const char *kind = er_char_is_white(c) ? " (white space)" : er_char_is_invisible(c) ? " (invisible)" : "";
    (void)snprintf(dst, 64, "U+%04X%s", (unsigned)c, kind);
    return dst;
}
