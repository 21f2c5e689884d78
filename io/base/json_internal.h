// What the check of a text and the cursor over it share: strings, and the keys of the objects that are open.
#ifndef ER_JSON_INTERNAL_H
#define ER_JSON_INTERNAL_H
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

// ---- json_string.c ----
int er_json_hex4(const char *p);  // four hex digits; -1: they are none
// The unescaped text of the checked string whose opening quote is at `p`, into `dst`, which needs no more
// bytes than the string has with its quotes. Returns its length; *behind: what follows the closing quote.
size_t er_json_unquote(char *dst, const char *p, const char **behind);

// ---- json_keys.c: no key may stand twice in its object ----
typedef struct er_json_key {
    uint64_t hash;
    size_t offset;  // of its unescaped text in er_json_keys.text
    size_t length;
    size_t at;  // in the input
} er_json_key;
typedef struct er_json_keys {  // of every object that is still open, the innermost last
    er_json_key *list;
    size_t count, capacity;
    char *text;
    size_t used, text_capacity;
} er_json_keys;
// Keeps the key whose opening quote is at `quoted`, byte `at` of the input, until its object closes. `len`:
// its bytes with the quotes. ENOMEM names `name`.
er_status er_json_keys_push(er_json_keys *k, const char *quoted, size_t len, size_t at, const char *name);
// The end of an object, whose keys are list[first] and those behind it: the first of them that stands twice,
// or NULL.
const er_json_key *er_json_keys_duplicate(er_json_keys *k, size_t first);
// Drops the keys of that object; `used` is what the text held before it began.
void er_json_keys_close(er_json_keys *k, size_t first, size_t used);
void er_json_keys_free(er_json_keys *k);
#endif
