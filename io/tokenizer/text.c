// Bytes on their way through the normalizers, and where each came from.
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

er_span er_view_origin(const er_view *v, size_t begin, size_t end) {
    if (v->from) return (er_span){v->from[begin].begin, v->from[end - 1].end};
    while (((unsigned char)v->bytes[begin] & 0xc0) == 0x80) begin--;
    while (end < v->len && ((unsigned char)v->bytes[end] & 0xc0) == 0x80) end++;
    return (er_span){(uint32_t)(v->base + begin), (uint32_t)(v->base + end)};
}

er_view er_view_part(const er_view *v, size_t begin, size_t end) {
    return (er_view){v->bytes + begin, end - begin, v->from ? v->from + begin : NULL, v->base + begin};
}

size_t er_text_most(size_t len) {
    size_t most = 64 * len + 65536;
    return most < UINT32_MAX ? most : UINT32_MAX;  // spans are 32 bits
}

static er_status reserve(er_text *t, size_t n) {
    if (t->len + n > t->most)
        return er_fail(ER_EUNSUPPORTED, "the tokenizer makes more than %zu bytes of a text", t->most);
    if (t->capacity - t->len >= n) return ER_OK;
    size_t capacity = (t->capacity + n) * 2 + 256;
    char *more = realloc(t->bytes, capacity);
    if (!more) return er_fail(ER_ENOMEM, "%zu bytes of text", capacity);
    t->bytes = more;
    er_span *spans = realloc(t->from, capacity * sizeof *spans);
    if (!spans) return er_fail(ER_ENOMEM, "%zu bytes of text", capacity);
    t->from = spans;
    t->capacity = capacity;
    return ER_OK;
}

er_status er_text_put(er_text *t, const char *bytes, size_t n, er_span from) {
    er_status rc = reserve(t, n);
    if (rc != ER_OK || n == 0) return rc;
    memcpy(t->bytes + t->len, bytes, n);
    for (size_t i = 0; i < n; i++) t->from[t->len + i] = from;
    t->len += n;
    return ER_OK;
}

// v's bytes [begin, end), whole characters, with where they came from.
er_status er_text_copy(er_text *t, const er_view *v, size_t begin, size_t end) {
    size_t n = end - begin;
    er_status rc = reserve(t, n);
    if (rc != ER_OK || n == 0) return rc;
    memcpy(t->bytes + t->len, v->bytes + begin, n);
    if (v->from) memcpy(t->from + t->len, v->from + begin, n * sizeof *t->from);
    for (size_t at = begin, next; !v->from && at < end; at = next) {
        next = at + er_uc_width((unsigned char)v->bytes[at]);
        er_span from = {(uint32_t)(v->base + at), (uint32_t)(v->base + next)};
        for (size_t i = at; i < next; i++) t->from[t->len + i - begin] = from;
    }
    t->len += n;
    return ER_OK;
}

er_status er_spans_put(er_spans *s, size_t begin, size_t end) {
    if (s->count == s->capacity) {
        size_t capacity = s->capacity * 2 + 256;
        er_span *more = realloc(s->at, capacity * sizeof *more);
        if (!more) return er_fail(ER_ENOMEM, "%zu words", capacity);
        s->at = more;
        s->capacity = capacity;
    }
    s->at[s->count++] = (er_span){(uint32_t)begin, (uint32_t)end};
    return ER_OK;
}
