#include <stdlib.h>
#include <string.h>
#include "io/tokenizer/internal.h"
#include "io/tokenizer/unicode.h"

typedef struct er_bytes {
    char *at;
    size_t len, room;
} er_bytes;

static er_status put_bytes(er_bytes *b, const char *s, size_t n) {
    if (b->room - b->len < n) {
        size_t room = (b->room + n) * 2 + 64;
        char *more = realloc(b->at, room);
        if (!more) return er_fail(ER_ENOMEM, "%zu bytes of text", room);
        b->at = more;
        b->room = room;
    }
    if (n) memcpy(b->at + b->len, s, n);
    b->len += n;
    return ER_OK;
}

// A token's bytes through the byte alphabet; a token with one character outside of it stands for its own
// text, whole.
static er_status put_token(er_bytes *b, const char *s, size_t len) {
    size_t start = b->len;
    for (size_t at = 0; at < len;) {
        int byte = er_char_byte(er_uc_next(s, &at));
        if (byte < 0) {
            b->len = start;
            return put_bytes(b, s, len);
        }
        char c = (char)byte;
        er_status rc = put_bytes(b, &c, 1);
        if (rc != ER_OK) return rc;
    }
    return ER_OK;
}

// Ill-formed parts become U+FFFD; a NUL is left in and ends the string for who reads it as one.
static er_status mend(er_bytes *out, const er_bytes *in) {
    er_status rc = ER_OK;
    for (size_t at = 0, step; at < in->len; at += step) {
        int bad;
        step = er_uc_lossy_step((const unsigned char *)in->at + at, in->len - at, &bad);
        if (bad) ER_TRY(put_bytes(out, "\xef\xbf\xbd", 3));
        else ER_TRY(put_bytes(out, in->at + at, step));
    }
    ER_TRY(put_bytes(out, "", 1));
out:
    return rc;
}

// An added token that the normalizer changes is decoded in its normalized form, as it would be met in a text.
static const char *token_text(const er_tokenizer *t, int32_t id, size_t *len) {
    const er_entry *e = &t->vocab.by_id[id];
    if (t->nfc && (e->flags & ID_ADDED))
        for (size_t i = 0; i < t->normalized.count; i++)
            if (t->normalized.at[i].id == id)
                return *len = t->normalized.at[i].len, t->normalized.at[i].pattern;
    *len = e->len;
    return t->vocab.strings + e->at;
}

er_status er_tokenizer_decode(
    const er_tokenizer *t, char **out, const int32_t *ids, size_t n, bool skip_special) {
    er_status rc = ER_OK;
    er_bytes raw = {0}, text = {0};
    bool first = true;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= t->vocab.ids) continue;
        uint32_t flags = t->vocab.by_id[ids[i]].flags;
        if (!flags || (skip_special && (flags & ID_SPECIAL))) continue;
        size_t len;
        const char *s = token_text(t, ids[i], &len);
        if (t->byte_decoder) {
            ER_TRY(put_token(&raw, s, len));
        } else {
            if (!first) ER_TRY(put_bytes(&raw, " ", 1));
            ER_TRY(put_bytes(&raw, s, len));
        }
        first = false;
    }
    ER_TRY(mend(&text, &raw));
    *out = text.at;
    text.at = NULL;
out:
    free(raw.at);
    free(text.at);
    return rc;
}
