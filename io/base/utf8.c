// UTF-8: is it valid, and does a byte order mark stand in front?
#include "io/base/utf8.h"

#include <stdint.h>
#include <string.h>

bool er_utf8_valid(const char *text, size_t len, size_t *bad_at) {
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    while (i < len) {
        uint64_t eight;
        if (len - i >= 8 && (memcpy(&eight, s + i, 8), (eight & 0x8080808080808080ull) == 0)) {
            i += 8;
            continue;
        }
        unsigned char c = s[i];
        // Second-byte bounds shut out overlong forms, surrogates and what lies above U+10FFFF.
        unsigned char low = 0x80, high = 0xbf;
        size_t more;
        if (c < 0x80) more = 0;
        else if (c >= 0xc2 && c <= 0xdf) more = 1;
        else if (c >= 0xe0 && c <= 0xef)
            more = 2, low = c == 0xe0 ? 0xa0 : low, high = c == 0xed ? 0x9f : high;
        else if (c >= 0xf0 && c <= 0xf4)
            more = 3, low = c == 0xf0 ? 0x90 : low, high = c == 0xf4 ? 0x8f : high;
        else goto bad;
        if (more > len - i - 1) goto bad;
        for (size_t k = 1; k <= more; k++) {
            if (s[i + k] < low || s[i + k] > high) goto bad;
            low = 0x80, high = 0xbf;
        }
        i += more + 1;
    }
    return true;
bad:
    if (bad_at) *bad_at = i;
    return false;
}

size_t er_utf8_mark(const char *text, size_t n) {
    return n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}
