// Normalization form C that remembers where each character came from. Characters are decomposed, ordered and
// recomposed as Unicode says; beside that each carries a change count (0: the character stands for one of the
// input, 1: it was inserted behind the one before), summed when two compose, and the counts decide whose
// bytes the result points at. The reference gives a composed character the bytes of its first part only, and
// so do we.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "io/tokenizer/internal.h"
#include "io/tokenizer/unicode.h"

static er_status changes_room(er_scratch *s, size_t n) {
    if (n <= s->change_room) return ER_OK;
    size_t room = n * 2 + 64;
    er_change *more = realloc(s->changes, room * sizeof *more);
    if (!more) return er_fail(ER_ENOMEM, "a text of %zu characters", n);
    s->changes = more;
    s->change_room = room;
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

static er_status decompose(er_scratch *s, const er_view *in, size_t *count) {
    er_status rc = ER_OK;
    size_t n = 0, marks = 0;
    for (size_t at = 0; at < in->len;) {
        utf8proc_int32_t parts[8];
        uint32_t c = er_uc_next(in->bytes, &at);
        parts[0] = (utf8proc_int32_t)c;
        int boundary = 0;
        ptrdiff_t got =
            c < 0xc0 ? 1 : utf8proc_decompose_char(parts[0], parts, 8, UTF8PROC_DECOMPOSE, &boundary);
        if (got < 1 || got > 8) got = 1, parts[0] = (utf8proc_int32_t)c;
        ER_TRY(changes_room(s, n + 8));
        for (ptrdiff_t i = 0; i < got; i++) {
            uint8_t ccc = parts[i] < 0x300 ? 0 : (uint8_t)utf8proc_get_property(parts[i])->combining_class;
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

static bool compose(uint32_t a, uint32_t b, uint32_t *c) {
    if (b < 0x300) return false;
    utf8proc_int32_t pair[3] = {(utf8proc_int32_t)a, (utf8proc_int32_t)b, 0};
    if (utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) != 1) return false;
    *c = (uint32_t)pair[0];
    return true;
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

static er_status rebuild(er_scratch *s, const er_view *in, size_t n) {
    er_status rc = ER_OK;
    size_t at = 0;
    s->normal.len = 0;
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
        ER_TRY(er_text_put(&s->normal, utf8, er_uc_put(utf8, x->c), from));
    }
out:
    return rc;
}

er_status er_nfc(er_scratch *s, const er_view *in, er_view *out) {
    // Nothing below U+0300 (lead byte 0xcc) decomposes into anything that would not compose again.
    size_t at = 0;
    while (at < in->len && (unsigned char)in->bytes[at] < 0xcc) at++;
    if (at == in->len) {
        *out = *in;
        return ER_OK;
    }
    size_t n = 0;
    er_status rc = decompose(s, in, &n);
    if (rc == ER_OK) rc = rebuild(s, in, recompose(s->changes, n));
    if (rc == ER_OK) *out = (er_view){s->normal.bytes, s->normal.len, s->normal.from, 0};
    return rc;
}
