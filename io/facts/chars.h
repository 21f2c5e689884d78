// Characters as the facts reader looks at them. Private to io/facts. Texts are valid UTF-8; a stray byte
// counts as itself.
#ifndef ER_FACTS_CHARS_H
#define ER_FACTS_CHARS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The character at s[*at], 0 at the end; moves *at behind it.
uint32_t er_char_next(const char *s, size_t len, size_t *at);
// The character that ends at s[*at], 0 at the beginning; moves *at to its first byte.
uint32_t er_char_before(const char *s, size_t *at);

bool er_char_is_white(uint32_t c);  // Unicode's White_Space
// Nothing is drawn for it: zero width, soft hyphen, byte order mark, direction mark, variation selector, tag.
bool er_char_is_invisible(uint32_t c);
// U+200C and U+200D: letters join, or do not, because of it. Proper in many scripts and in emoji.
bool er_char_is_joiner(uint32_t c);
bool er_char_is_letter(uint32_t c);  // letters and the marks on them
bool er_char_is_digit(uint32_t c);
// Chinese and Japanese, with their punctuation and full-width forms; not Korean
bool er_char_is_east_asian(uint32_t c);
// Thai, Lao, Khmer, Burmese, Tibetan and others written without spaces between words
bool er_char_is_south_east(uint32_t c);
static inline bool er_char_is_unspaced(uint32_t c) {
    return er_char_is_east_asian(c) || er_char_is_south_east(c);
}
// Compared by their look: curly to straight quotes, all dashes to "-", all white space to one blank. 0: leave
// it out.
uint32_t er_char_plain(uint32_t c);
// "U+200B (zero width space)", "U+00E9" where it has no name here; into dst[64], which is returned.
const char *er_char_name(char dst[64], uint32_t c);
#endif
