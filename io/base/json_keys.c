// The keys of the objects that are open, so that none stands twice.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/json_internal.h"

er_status er_json_keys_push(er_json_keys *k, const char *quoted, size_t len, size_t at, const char *name) {
    if (k->count == k->capacity) {
        size_t capacity = k->capacity ? 2 * k->capacity : 64;
        er_json_key *list = realloc(k->list, capacity * sizeof *list);
        if (!list) return er_fail(ER_ENOMEM, "%s: %zu keys", name, capacity);
        k->list = list, k->capacity = capacity;
    }
    if (k->text_capacity - k->used < len) {  // unescaping never lengthens
        size_t capacity = 2 * k->text_capacity + len + 1024;
        char *text = realloc(k->text, capacity);
        if (!text) return er_fail(ER_ENOMEM, "%s: %zu bytes of keys", name, capacity);
        k->text = text, k->text_capacity = capacity;
    }
    er_json_key *key = &k->list[k->count++];
    const char *behind;
    key->at = at;
    key->offset = k->used;
    key->length = er_json_unquote(k->text + k->used, quoted, &behind);
    key->hash = 0xcbf29ce484222325ull;  // FNV-1a
    for (size_t i = 0; i < key->length; i++)
        key->hash = (key->hash ^ (unsigned char)k->text[k->used + i]) * 0x100000001b3ull;
    k->used += key->length;
    return ER_OK;
}

static int compare_keys(const void *a, const void *b, void *text) {
    const er_json_key *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    int c = memcmp((const char *)text + x->offset, (const char *)text + y->offset, x->length);
    return c ? c : x->at < y->at ? -1 : x->at > y->at;
}

static bool same_key(const er_json_keys *k, const er_json_key *x, const er_json_key *y) {
    return x->hash == y->hash && x->length == y->length &&
           memcmp(k->text + x->offset, k->text + y->offset, x->length) == 0;
}

// Sorting keeps a hundred thousand keys cheap, and crafted hash collisions too.
const er_json_key *er_json_keys_duplicate(er_json_keys *k, size_t first) {
    er_json_key *own = k->list + first;
    size_t n = k->count - first;
    if (n <= 8) {
        for (size_t i = 1; i < n; i++)
            for (size_t j = 0; j < i; j++)
                if (same_key(k, &own[i], &own[j])) return &own[i];
        return NULL;
    }
    qsort_r(own, n, sizeof *own, compare_keys, k->text);
    for (size_t i = 1; i < n; i++)
        if (same_key(k, &own[i], &own[i - 1])) return &own[i];
    return NULL;
}

void er_json_keys_close(er_json_keys *k, size_t first, size_t used) {
    k->count = first;
    k->used = used;
}

void er_json_keys_free(er_json_keys *k) {
    free(k->list);
    free(k->text);
}
