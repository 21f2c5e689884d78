// Private to io/: strict JSON (RFC 8259) without a tree. er_json_check() proves that a text is well formed;
// what is proven may then be read by the cursor below, whose functions only have to look at types. Numbers
// keep their spelling, so 2.0 is not 2.
#ifndef ER_JSON_SCAN_H
#define ER_JSON_SCAN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

#define ER_JSON_DEPTH 128

// EFORMAT "NAME: byte N: reason", with line and column where there are several lines, or what the text is
// instead (er_file_kind_of), unless the whole of it is one value: valid UTF-8, with or without a byte order
// mark, no raw control character, \u0000 or lone surrogate in a string, no key twice in an object, finite
// numbers of at most 63 characters.
er_status er_json_check(const char *text, size_t len, const char *name);
// The same but for NaN, Infinity, -Infinity and numbers that are not finite.
er_status er_json_check_python(const char *text, size_t len, const char *name);

typedef struct er_cursor {
    const char *at, *end;
} er_cursor;
er_cursor er_cursor_over(const char *text, size_t len);  // a checked text, behind its byte order mark
// The first character of the next key, value, ',' or end, behind spaces and ':'
char er_cursor_peek(er_cursor *c);
void er_cursor_skip(er_cursor *c);              // over one value
bool er_cursor_enter(er_cursor *c, char open);  // '{' or '[': false when something else is next
// Over a ',' to the next member; false over `close`, at the end
bool er_cursor_next(er_cursor *c, char close);
// A string's text behind the cursor. `dst` needs room for er_cursor_string_room() bytes; returns the length,
// a NUL follows.
size_t er_cursor_string_room(const er_cursor *c);
size_t er_cursor_string(er_cursor *c, char *dst);
bool er_cursor_u64(er_cursor *c, uint64_t *out);  // only digits, and no more than 2^64 - 1
#endif
