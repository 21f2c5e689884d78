// A text to tokens: the order of the steps, and invalid UTF-8.
#include <stdlib.h>
#include <string.h>
#include "io/base/utf8.h"
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

#define MAX_TEXT ((size_t)1 << 29)  // normalizing and prefixing may grow a text; offsets stay 32 bits

void er_tokens_free(er_tokens *t) {
    if (!t) return;
    free(t->at);
    *t = (er_tokens){0};
}

static er_status put_added(
    er_run *r, const er_view *v, const er_cutter *c, er_span piece, const er_added *token) {
    er_status rc = er_tokens_reserve(r->out, 1);
    if (rc != ER_OK) return rc;
    uint32_t lead = 0, tail = 0;
    er_span at = er_view_origin(v, piece.begin, piece.end);
    // Pieces inside of one run of white space overlap; at least two characters of it trim to nothing, and
    // need no counting.
    bool blank = piece.begin >= c->spaces.begin && piece.end <= c->spaces.end && piece.end - piece.begin > 4;
    if (r->t->trim && blank && !v->from) at.begin = at.end;
    else if (r->t->trim) er_trim_count(v->bytes + piece.begin, piece.end - piece.begin, &lead, &tail);
    er_put_token(r, token->id, at, lead, tail);
    return ER_OK;
}

static er_status plain_text(er_run *r, er_view view) {
    er_status rc = ER_OK;
    ER_TRY(er_normalize(r->t, r->s, &view));
    er_cutter c = {.m = &r->t->normalized, .text = view.bytes, .len = view.len};
    er_span piece;
    const er_added *token;
    while (er_cutter_next(&c, &piece, &token)) {
        if (token) {
            ER_TRY(put_added(r, &view, &c, piece, token));
            continue;
        }
        er_view part = er_view_part(&view, piece.begin, piece.end);
        ER_TRY(er_split(r->t, r->s, &part));
        ER_TRY(er_words(r, &part));
    }
out:
    return rc;
}

static er_status put_template(er_tokens *out, const int32_t *ids, size_t n, size_t at) {
    er_status rc = er_tokens_reserve(out, n);
    if (rc != ER_OK || n == 0) return rc;
    memmove(out->at + at + n, out->at + at, (out->count - at) * sizeof *out->at);
    for (size_t i = 0; i < n; i++) out->at[at + i] = (er_token){ids[i], 0, 0};
    out->count += n;
    return ER_OK;
}

static er_status encode_text(
    const er_tokenizer *t, er_tokens *out, const char *text, size_t len, bool add_special) {
    er_status rc = ER_OK;
    er_run r = {.t = t, .out = out, .text = text, .len = len};
    out->count = 0;
    ER_TRY(er_scratch_get(&r.s, t));
    er_view all = {text, len, NULL, 0};
    er_cutter c = {.m = &t->plain, .text = text, .len = len};
    er_span piece;
    const er_added *token;
    while (er_cutter_next(&c, &piece, &token)) {
        if (token) ER_TRY(put_added(&r, &all, &c, piece, token));
        else ER_TRY(plain_text(&r, er_view_part(&all, piece.begin, piece.end)));
    }
    if (add_special) {
        ER_TRY(put_template(out, t->before, t->before_count, 0));
        ER_TRY(put_template(out, t->after, t->after_count, out->count));
    }
out:
    return rc;
}

static er_status encode_valid(
    const er_tokenizer *t, er_tokens *out, const char *text, size_t len, bool add_special) {
    return er_tokenizer_refused(t, encode_text(t, out, text, len, add_special));
}

static er_status check_size(size_t len) {
    return len <= MAX_TEXT ? ER_OK : er_fail(ER_EARG, "a text of %zu bytes, at most %zu fit", len, MAX_TEXT);
}

er_status er_tokenizer_encode(
    const er_tokenizer *t, er_tokens *out, const char *text, size_t len, bool add_special) {
    size_t bad = 0;
    er_status rc = check_size(len);
    if (rc != ER_OK) return rc;
    if (!er_utf8_valid(text, len, &bad))
        return er_fail(ER_EFORMAT, "text is not UTF-8 at byte %zu of %zu", bad, len);
    return encode_valid(t, out, text, len, add_special);
}

er_status er_tokenizer_encode_open(const er_tokenizer *t, er_tokens *out, const char *text, size_t len) {
    er_status rc = er_tokenizer_encode(t, out, text, len, true);
    if (rc == ER_OK) out->count -= t->after_count;
    return rc;
}

// The text with each ill-formed part read as U+FFFD, and for each byte of it (and its end) the byte of `text`
// it comes from.
static er_status mend(const char *text, size_t len, char **clean, uint32_t **from, size_t *clean_len) {
    char *c = malloc(len * 3 + 1);
    uint32_t *f = malloc((len * 3 + 1) * sizeof *f);
    if (!c || !f) {
        free(c);
        free(f);
        return er_fail(ER_ENOMEM, "a text of %zu bytes", len);
    }
    size_t n = 0;
    for (size_t at = 0, step; at < len; at += step) {
        int bad;
        step = er_uc_lossy_step((const unsigned char *)text + at, len - at, &bad);
        size_t put_len = bad ? 3 : step;
        memcpy(c + n, bad ? "\xef\xbf\xbd" : text + at, put_len);
        for (size_t i = 0; i < put_len; i++) f[n + i] = (uint32_t)at;
        n += put_len;
    }
    f[n] = (uint32_t)len;
    *clean = c;
    *from = f;
    *clean_len = n;
    return ER_OK;
}

er_status er_tokenizer_encode_lossy(
    const er_tokenizer *t, er_tokens *out, const char *text, size_t len, bool add_special) {
    er_status rc = ER_OK;
    char *clean = NULL;
    uint32_t *from = NULL;
    size_t n = 0, bad = 0;
    ER_TRY(check_size(len));
    if (er_utf8_valid(text, len, &bad)) return encode_valid(t, out, text, len, add_special);
    ER_TRY(mend(text, len, &clean, &from, &n));
    ER_TRY(encode_valid(t, out, clean, n, add_special));
    // Spans lie on character boundaries of the mended text, and every character of it knows where it began.
    for (size_t i = 0; i < out->count; i++) {
        out->at[i].begin = from[out->at[i].begin];
        out->at[i].end = from[out->at[i].end];
    }
out:
    free(clean);
    free(from);
    return rc;
}
