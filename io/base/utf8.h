// UTF-8.
#ifndef ER_UTF8_H
#define ER_UTF8_H
#include <stdbool.h>
#include <stddef.h>

// Strict: no overlong form, no surrogate, nothing above U+10FFFF. *bad_at (or NULL): the first byte of the
// first character that is not valid, set only when the answer is false.
bool er_utf8_valid(const char *s, size_t len, size_t *bad_at);

size_t er_utf8_mark(const char *text, size_t n);  // 3 when it begins with a byte order mark, else 0
#endif
