// GPT-2's byte alphabet: the 188 printable bytes stand for themselves, the other 68 follow from U+0100 on, in
// order.
#include <string.h>
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

static bool printable(unsigned b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

// How many bytes below b are not printable, in closed form: they lie in [0, 20], [7f, a0] and at ad.
static unsigned hidden_below(unsigned b) {
    return b <= 0x20 ? b : b <= 0xa0 ? 0x21 + (b - 0x7f) : 0x21 + 0x22;
}

uint32_t er_byte_char(unsigned byte) { return printable(byte) ? byte : 0x100 + hidden_below(byte); }

int er_char_byte(uint32_t c) {
    if (c < 0x100) return printable(c) ? (int)c : -1;
    unsigned n = c - 0x100;
    if (n <= 0x20) return (int)n;
    if (n <= 0x42) return (int)(n - 0x21 + 0x7f);
    return n == 0x43 ? 0xad : -1;
}

size_t er_byte_map(char *out, const char *bytes, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += er_uc_put(out + n, er_byte_char((unsigned char)bytes[i]));
    return n;
}
