// Character classes as Hugging Face's tokenizers see them, and UTF-8 steps. Private to io/tokenizer.
#ifndef ER_TOKENIZER_UNICODE_H
#define ER_TOKENIZER_UNICODE_H
#include <stddef.h>
#include <stdint.h>

enum {
    UC_LETTER = 1,    // \p{L}
    UC_NUMBER = 2,    // \p{N}
    UC_SPACE = 4,     // \s: White_Space
    UC_WORD = 8,      // \w of a single_word added token
    UC_NUMERIC = 16,  // what Digits splits off: \p{N} of a newer Unicode
    UC_UPPER = 32,    // \p{Lu} \p{Lt} \p{Lm} \p{Lo} \p{M}
    UC_LOWER = 64     // \p{Ll} \p{Lm} \p{Lo} \p{M}
};
extern const unsigned er_uc_runs[];
extern const unsigned er_uc_run_count;

// One byte of class bits per code point, 0x110000 of them; expanded from the runs on the first call.
const uint8_t *er_uc_classes(void);

// Bytes of the character a lead byte begins; the text is valid UTF-8 everywhere below.
static inline size_t er_uc_width(unsigned char lead) {
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

// The code point at s[*at]; moves *at behind it.
static inline uint32_t er_uc_next(const char *text, size_t *at) {
    const unsigned char *s = (const unsigned char *)text + *at;
    if (s[0] < 0x80) return *at += 1, s[0];
    if (s[0] < 0xe0) return *at += 2, (uint32_t)((s[0] & 0x1f) << 6 | (s[1] & 0x3f));
    if (s[0] < 0xf0) return *at += 3, (uint32_t)((s[0] & 0x0f) << 12 | (s[1] & 0x3f) << 6 | (s[2] & 0x3f));
    return *at += 4, (uint32_t)((s[0] & 7) << 18 | (s[1] & 0x3f) << 12 | (s[2] & 0x3f) << 6 | (s[3] & 0x3f));
}

// Where the character that holds byte `at` begins; `at` itself when it is the end of the text.
static inline size_t er_uc_floor(const char *text, size_t at) {
    while (((unsigned char)text[at] & 0xc0) == 0x80) at--;
    return at;
}

// Writes a code point as UTF-8 into out[4]; returns its bytes.
static inline size_t er_uc_put(char *out, uint32_t c) {
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 0x3f)), 2;
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        return out[2] = (char)(0x80 | (c & 0x3f)), 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    return out[3] = (char)(0x80 | (c & 0x3f)), 4;
}

// Bytes of s that a decoder with replacement takes as one step: a whole character (*bad 0) or a maximal
// ill-formed part (*bad 1) as Unicode section 3.9 and Python's "replace" cut it. left > 0.
size_t er_uc_lossy_step(const unsigned char *s, size_t left, int *bad);
#endif
