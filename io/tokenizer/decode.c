// Ids to text: the tokens' strings through the decoders, each of which turns one list of strings into
// another.
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

typedef struct er_strings {
    char *at;
    size_t len, byte_capacity, most;
    size_t *end;  // of each string
    size_t count, capacity;
} er_strings;

static er_status put(er_strings *l, const char *s, size_t n) {
    if (l->len + n > l->most)
        return er_fail(ER_EUNSUPPORTED, "the tokenizer decodes to more than %zu bytes", l->most);
    if (l->byte_capacity - l->len < n || !l->at) {
        size_t capacity = (l->byte_capacity + n) * 2 + 64;
        char *more = realloc(l->at, capacity);
        if (!more) return er_fail(ER_ENOMEM, "%zu bytes of text", capacity);
        l->at = more;
        l->byte_capacity = capacity;
    }
    if (n) memcpy(l->at + l->len, s, n);
    l->len += n;
    return ER_OK;
}

// Ends a string where the bytes end.
static er_status cut(er_strings *l) {
    if (l->count == l->capacity) {
        size_t capacity = l->capacity * 2 + 64;
        size_t *more = realloc(l->end, capacity * sizeof *more);
        if (!more) return er_fail(ER_ENOMEM, "%zu tokens", capacity);
        l->end = more;
        l->capacity = capacity;
    }
    l->end[l->count++] = l->len;
    return ER_OK;
}

static er_span string_at(const er_strings *l, size_t i) {
    return (er_span){(uint32_t)(i ? l->end[i - 1] : 0), (uint32_t)l->end[i]};
}

// A token's bytes through the byte alphabet; a token with one character outside of it stands for its own
// text, whole.
static er_status put_mapped(er_strings *b, const char *s, size_t len) {
    size_t start = b->len;
    for (size_t at = 0; at < len;) {
        int byte = er_char_byte(er_uc_next(s, &at));
        if (byte < 0) {
            b->len = start;
            return put(b, s, len);
        }
        char c = (char)byte;
        er_status rc = put(b, &c, 1);
        if (rc != ER_OK) return rc;
    }
    return ER_OK;
}

// ByteLevel: all tokens become one string; ill-formed parts of it become U+FFFD.
static er_status bytes_step(const er_strings *in, er_strings *out) {
    er_status rc = ER_OK;
    er_strings raw = {.most = SIZE_MAX};
    for (size_t i = 0; i < in->count; i++) {
        er_span w = string_at(in, i);
        ER_TRY(put_mapped(&raw, in->at + w.begin, w.end - w.begin));
    }
    for (size_t at = 0, step; at < raw.len; at += step) {
        int bad;
        step = er_uc_lossy_step((const unsigned char *)raw.at + at, raw.len - at, &bad);
        if (bad) ER_TRY(put(out, "\xef\xbf\xbd", 3));
        else ER_TRY(put(out, raw.at + at, step));
    }
    ER_TRY(cut(out));
out:
    free(raw.at);
    return rc;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The byte that "<0xXX>" stands for, or -1. A plus sign is a digit of a kind to the reference.
static int byte_of(const char *s, size_t len) {
    if (len != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>') return -1;
    int high = s[3] == '+' ? 0 : hex_digit(s[3]), low = hex_digit(s[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// A run of byte tokens is one string when it is UTF-8, and otherwise one U+FFFD per byte.
static er_status put_run(er_strings *out, const er_strings *run) {
    er_status rc = ER_OK;
    bool valid = true;
    for (size_t at = 0; at < run->len && valid;) {
        int bad;
        at += er_uc_lossy_step((const unsigned char *)run->at + at, run->len - at, &bad);
        valid = !bad;
    }
    if (valid) {
        ER_TRY(put(out, run->at, run->len));
        ER_TRY(cut(out));
        goto out;
    }
    for (size_t i = 0; i < run->len; i++) {
        ER_TRY(put(out, "\xef\xbf\xbd", 3));
        ER_TRY(cut(out));
    }
out:
    return rc;
}

static er_status fallback_step(const er_strings *in, er_strings *out) {
    er_status rc = ER_OK;
    er_strings run = {.most = SIZE_MAX};
    for (size_t i = 0; i <= in->count; i++) {
        er_span w = i < in->count ? string_at(in, i) : (er_span){0, 0};
        int byte = i < in->count ? byte_of(in->at + w.begin, w.end - w.begin) : -1;
        char c = (char)byte;
        if (byte >= 0) {
            ER_TRY(put(&run, &c, 1));
            continue;
        }
        if (run.len) ER_TRY(put_run(out, &run));
        run.len = 0;
        if (i == in->count) break;
        ER_TRY(put(out, in->at + w.begin, w.end - w.begin));
        ER_TRY(cut(out));
    }
out:
    free(run.at);
    return rc;
}

static er_status replace_step(
    const er_tokenizer *t, const er_decoder *d, const er_strings *in, er_strings *out) {
    er_status rc = ER_OK;
    er_scratch *s = NULL;
    ER_TRY(er_scratch_get(&s, t));
    for (size_t i = 0; i < in->count; i++) {
        er_span w = string_at(in, i);
        s->cuts.count = 0;
        if (w.begin < w.end) ER_TRY(er_pattern_cut(&d->pattern, s, in->at, w));
        for (size_t k = 0; k < s->cuts.count; k++) {
            er_span c = s->cuts.at[k];
            if (s->hit[k]) ER_TRY(put(out, d->content, d->len));
            else ER_TRY(put(out, in->at + c.begin, c.end - c.begin));
        }
        ER_TRY(cut(out));
    }
out:
    return rc;
}

static er_status strip_step(const er_decoder *d, const er_strings *in, er_strings *out) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < in->count; i++) {
        er_span w = string_at(in, i);
        for (uint64_t k = 0; k < d->start && w.end - w.begin >= d->len; k++, w.begin += (uint32_t)d->len)
            if (memcmp(in->at + w.begin, d->content, d->len) != 0) break;
        for (uint64_t k = 0; k < d->stop && w.end - w.begin >= d->len; k++, w.end -= (uint32_t)d->len)
            if (memcmp(in->at + w.end - d->len, d->content, d->len) != 0) break;
        ER_TRY(put(out, in->at + w.begin, w.end - w.begin));
        ER_TRY(cut(out));
    }
out:
    return rc;
}

static er_status metaspace_step(const er_decoder *d, const er_strings *in, er_strings *out) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < in->count; i++) {
        er_span w = string_at(in, i);
        for (size_t at = w.begin, next; at < w.end; at = next) {
            next = at + er_uc_width((unsigned char)in->at[at]);
            bool mark = next - at == d->len && !memcmp(in->at + at, d->content, d->len);
            if (!mark) ER_TRY(put(out, in->at + at, next - at));
            else if (i > 0 || !d->drop_first) ER_TRY(put(out, " ", 1));
        }
        ER_TRY(cut(out));
    }
out:
    return rc;
}

static er_status run_step(const er_tokenizer *t, const er_decoder *d, const er_strings *in, er_strings *out) {
    er_status rc;
    switch (d->kind) {
    case DECODE_BYTES:
        return bytes_step(in, out);
    case DECODE_REPLACE:
        return replace_step(t, d, in, out);
    case DECODE_FALLBACK:
        return fallback_step(in, out);
    case DECODE_STRIP:
        return strip_step(d, in, out);
    case DECODE_METASPACE:
        return metaspace_step(d, in, out);
    case DECODE_FUSE:
        break;
    }
    rc = put(out, in->at, in->len);
    return rc == ER_OK ? cut(out) : rc;
}

// An added token that the normalizer changes is decoded in its normalized form, as it would be met in a text.
// Whether it is special, the reference asks by that form: so such a token is never left out.
static const char *token_text(const er_tokenizer *t, int32_t id, size_t *len, bool *special) {
    const er_entry *e = &t->vocab.by_id[id];
    const char *own = t->vocab.strings + e->at;
    *len = e->len;
    *special = (e->flags & ID_SPECIAL) != 0;
    if (!t->norm_count || !(e->flags & ID_ADDED)) return own;
    for (size_t i = 0; i < t->normalized.count; i++) {
        const er_added *a = &t->normalized.at[i];
        if (a->id != id || (a->len == e->len && !memcmp(a->pattern, own, e->len))) continue;
        int32_t same = er_vocab_find(&t->vocab, a->pattern, a->len);
        *special = same >= 0 && (t->vocab.by_id[same].flags & ID_SPECIAL);
        *len = a->len;
        return a->pattern;
    }
    return own;
}

static er_status strings_of(
    const er_tokenizer *t, er_strings *out, const int32_t *ids, size_t n, bool skip_special) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= t->vocab.ids || !t->vocab.by_id[ids[i]].flags) continue;
        size_t len;
        bool special;
        const char *s = token_text(t, ids[i], &len, &special);
        if (skip_special && special) continue;
        if (!t->has_decoder && out->count) ER_TRY(put(out, " ", 1));
        ER_TRY(put(out, s, len));
        ER_TRY(cut(out));
    }
out:
    return rc;
}

er_status er_tokenizer_decode(
    const er_tokenizer *t, char **out, const int32_t *ids, size_t n, bool skip_special) {
    er_status rc = ER_OK;
    er_strings a = {.most = UINT32_MAX}, b = {0};
    ER_TRY(strings_of(t, &a, ids, n, skip_special));
    size_t most = er_text_most(a.len);
    for (size_t i = 0; i < t->decoder_count; i++) {
        b.len = b.count = 0;
        b.most = most;
        ER_TRY(run_step(t, &t->decoders[i], &a, &b));
        er_strings swap = a;
        a = b;
        b = swap;
    }
    a.most = SIZE_MAX;
    ER_TRY(put(&a, "", 1));
    *out = a.at;
    a.at = NULL;
out:
    free(a.at);
    free(a.end);
    free(b.at);
    free(b.end);
    return er_tokenizer_refused(t, rc);
}
