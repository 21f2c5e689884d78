// Normalization form C that remembers where each character came from. Characters are decomposed, ordered and
// recomposed as Unicode says; beside that each carries a change count (0: the character stands for one of the
// input, 1: it was inserted behind the one before), summed when two compose, and the counts decide whose
// bytes the result points at. The reference gives a composed character the bytes of its first part only, and
// so do we.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

// The reference normalizes by the tables of Unicode 9: marks assigned since have class 0 there and are never
// reordered, and the one character that newer tables compose stays in two parts.
static const uint32_t newer_marks[][2] = {{0x7fd, 0x7fd}, {0x898, 0x89f}, {0x8ca, 0x8d3}, {0x9fe, 0x9fe},
    {0xc3c, 0xc3c}, {0xd3b, 0xd3c}, {0xeba, 0xeba}, {0x1715, 0x1715}, {0x1abf, 0x1ace}, {0x1df6, 0x1dfa},
    {0xa82c, 0xa82c}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50},
    {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e}, {0x11839, 0x1183a},
    {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47},
    {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42},
    {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef}};
#define NEWER_COMPOSED 0x11938

static uint8_t class_of(uint32_t c) {
    if (c < 0x300) return 0;
    size_t lo = 0, hi = sizeof newer_marks / sizeof *newer_marks;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (newer_marks[mid][1] < c) lo = mid + 1;
        else hi = mid;
    }
    if (lo < sizeof newer_marks / sizeof *newer_marks && newer_marks[lo][0] <= c) return 0;
    return (uint8_t)utf8proc_get_property((utf8proc_int32_t)c)->combining_class;
}

static er_status reserve_changes(er_scratch *s, size_t n) {
    if (n <= s->change_capacity) return ER_OK;
    size_t capacity = n * 2 + 64;
    er_change *more = realloc(s->changes, capacity * sizeof *more);
    if (!more) return er_fail(ER_ENOMEM, "a text of %zu characters", n);
    s->changes = more;
    s->change_capacity = capacity;
    return ER_OK;
}

// Stable, by combining class; counting sort, so that a hostile run of marks costs no more than its length.
static er_status order_marks(er_change *at, size_t n) {
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++) sorted = at[i - 1].ccc <= at[i].ccc;
    if (sorted) return ER_OK;
    er_change *copy = malloc(n * sizeof *copy);
    if (!copy) return er_fail(ER_ENOMEM, "a run of %zu combining marks", n);
    memcpy(copy, at, n * sizeof *copy);
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++) start[copy[i].ccc + 1]++;
    for (size_t k = 1; k < 257; k++) start[k] += start[k - 1];
    for (size_t i = 0; i < n; i++) at[start[copy[i].ccc]++] = copy[i];
    free(copy);
    return ER_OK;
}

enum { MAX_PARTS = 8 };  // of one character; no canonical decomposition has more than four

static er_status decompose(er_scratch *s, const er_view *in, size_t *count) {
    er_status rc = ER_OK;
    size_t n = 0, marks = 0;
    for (size_t at = 0; at < in->len;) {
        utf8proc_int32_t parts[MAX_PARTS];
        uint32_t c = er_uc_next(in->bytes, &at);
        parts[0] = (utf8proc_int32_t)c;
        int boundary = 0;
        ptrdiff_t got = c < 0xc0 || c == NEWER_COMPOSED ? 1
                                                        : utf8proc_decompose_char(parts[0], parts, MAX_PARTS,
                                                              UTF8PROC_DECOMPOSE, &boundary);
        if (got < 1 || got > MAX_PARTS) got = 1, parts[0] = (utf8proc_int32_t)c;
        ER_TRY(reserve_changes(s, n + MAX_PARTS));
        for (ptrdiff_t i = 0; i < got; i++) {
            uint8_t ccc = class_of((uint32_t)parts[i]);
            if (!ccc) {
                ER_TRY(order_marks(s->changes + marks, n - marks));
                marks = n + 1;
            }
            s->changes[n++] = (er_change){(uint32_t)parts[i], i > 0, ccc};
        }
    }
    ER_TRY(order_marks(s->changes + marks, n > marks ? n - marks : 0));
    *count = n;
out:
    return rc;
}

// Unicode 3.12. Done here because utf8proc 2.8 lets a syllable swallow U+11A7, which is not a final
// consonant.
static bool compose_hangul(uint32_t a, uint32_t b, uint32_t *c) {
    if (a - 0x1100 < 19 && b - 0x1161 < 21)
        return *c = 0xac00 + ((a - 0x1100) * 21 + (b - 0x1161)) * 28, true;
    if (a - 0xac00 < 11172 && (a - 0xac00) % 28 == 0 && b - 0x11a8 < 27) return *c = a + (b - 0x11a7), true;
    return false;
}

static bool compose(uint32_t a, uint32_t b, uint32_t *c) {
    if (b < 0x300) return false;
    if (b - 0x1100 < 0x100) return compose_hangul(a, b, c);
    utf8proc_int32_t pair[3] = {(utf8proc_int32_t)a, (utf8proc_int32_t)b, 0};
    if (utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) != 1) return false;
    *c = (uint32_t)pair[0];
    return *c != NEWER_COMPOSED;
}

// In place: what is written never passes what is read. `starter` is where the last character of class 0 was
// written.
static size_t recompose(er_change *at, size_t n) {
    size_t w = 0, starter = SIZE_MAX;
    int last = -1;  // class of the mark last kept behind the starter, -1 for none
    for (size_t r = 0; r < n; r++) {
        er_change x = at[r];
        uint32_t c;
        if (starter != SIZE_MAX && last < (int)x.ccc && (last < 0 || x.ccc) &&
            compose(at[starter].c, x.c, &c)) {
            at[starter].c = c;
            at[starter].change += x.change - 1;
            continue;
        }
        if (!x.ccc) starter = w, last = -1;
        else if (starter != SIZE_MAX) last = x.ccc;
        at[w++] = x;
    }
    return w;
}

static er_span origin_at(const er_view *in, size_t byte) { return er_view_origin(in, byte, byte + 1); }

static er_status rebuild(er_scratch *s, const er_view *in, size_t n, er_text *to) {
    er_status rc = ER_OK;
    size_t at = 0;
    to->len = 0;
    for (size_t i = 0; i < n; i++) {
        const er_change *x = &s->changes[i];
        er_span from = {(uint32_t)in->base, (uint32_t)in->base};
        if (x->change > 0) {
            if (at > 0) from = origin_at(in, at - 1);
        } else {
            if (at < in->len) from = origin_at(in, at);
            for (int32_t k = x->change; k <= 0 && at < in->len; k++)
                at += er_uc_width((unsigned char)in->bytes[at]);
        }
        char utf8[4];
        ER_TRY(er_text_put(to, utf8, er_uc_put(utf8, x->c), from));
    }
out:
    return rc;
}

er_status er_nfc(er_scratch *s, const er_view *in, er_text *to, er_view *out) {
    // Nothing below U+0300 (lead byte 0xcc) decomposes into anything that would not compose again.
    size_t at = 0;
    while (at < in->len && (unsigned char)in->bytes[at] < 0xcc) at++;
    if (at == in->len) {
        *out = *in;
        return ER_OK;
    }
    size_t n = 0;
    er_status rc = decompose(s, in, &n);
    if (rc == ER_OK) rc = rebuild(s, in, recompose(s->changes, n), to);
    if (rc == ER_OK) *out = (er_view){to->bytes, to->len, to->from, in->base};
    return rc;
}
