// The text of a JSON string: its escapes undone.
#include "io/base/json_internal.h"

#include <string.h>

int er_json_hex4(const char *p) {
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
    unsigned c = (unsigned)er_json_hex4(p + 2);
    *used = 6;
    if (c < 0xd800 || c > 0xdbff) return c;
    *used = 12;
    return 0x10000 + ((c - 0xd800) << 10) + ((unsigned)er_json_hex4(p + 8) - 0xdc00);
}

// The unescaped text of the checked string whose opening quote is at `p` into `dst`; returns its length.
size_t er_json_unquote(char *dst, const char *p, const char **behind) {
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
