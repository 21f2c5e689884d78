// Words to tokens: each as one, out of the cache, or merged from its bytes or characters.
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

er_status er_tokens_reserve(er_tokens *t, size_t n) {
    if (t->capacity - t->count >= n) return ER_OK;
    size_t capacity = t->capacity * 2 + n + 16;
    er_token *more = realloc(t->at, capacity * sizeof *more);
    if (!more) return er_fail(ER_ENOMEM, "%zu tokens", capacity);
    t->at = more;
    t->capacity = capacity;
    return ER_OK;
}

// trim_offsets: the span lets go of white space at its ends, counted in characters of the token's own text.
// With add_prefix_space a single space in front of the first token may be the one we added, and stays.
static er_span trimmed(const er_run *r, er_span at, uint32_t lead, uint32_t tail) {
    if (lead == 1 && r->t->trim_keeps_prefix && (r->out->count == 0 || at.begin == 0)) lead = 0;
    for (; lead > 0 && at.begin < at.end; lead--)
        at.begin += (uint32_t)er_uc_width((unsigned char)r->text[at.begin]);
    uint32_t end = at.end;
    for (; tail > 0 && end > 0; tail--) end = (uint32_t)er_uc_floor(r->text, end - 1);
    if (tail == 0) at.end = end > at.begin ? end : at.begin;
    return at;
}

void er_put_token(er_run *r, int32_t id, er_span at, uint32_t lead, uint32_t tail) {
    if (r->t->trim && (lead | tail)) at = trimmed(r, at, lead, tail);
    r->out->at[r->out->count++] = (er_token){id, at.begin, at.end};
}

static void put_bpe(er_run *r, const er_view *v, size_t begin, size_t end, int32_t id) {
    const er_entry *e = &r->t->vocab.by_id[id];
    er_put_token(r, id, er_view_origin(v, begin, end), e->lead, e->tail);
}

static er_status reserve_symbols(er_scratch *s, size_t n) {
    if (n <= s->symbol_capacity) return ER_OK;
    er_symbol *more = realloc(s->symbols, (n * 2 + 64) * sizeof *more);
    if (!more) return er_fail(ER_ENOMEM, "a word of %zu bytes", n);
    s->symbols = more;
    s->symbol_capacity = n * 2 + 64;
    return ER_OK;
}

static bool falls_back(const er_tokenizer *t, const char *bytes, size_t n) {
    bool all = t->byte_fallback;
    for (size_t i = 0; i < n && all; i++) all = t->byte_token[(unsigned char)bytes[i]] >= 0;
    return all;
}

// A word's characters as symbols. One without a token becomes its bytes' tokens, or an unknown token, or
// nothing. As in the reference bytes do not end a run of unknown characters: the run's token comes behind
// them, and since places are counted in lengths, the spans are exchanged with it.
static er_status char_symbols(er_run *r, const char *bytes, size_t len, size_t *count) {
    const er_tokenizer *t = r->t;
    er_symbol *symbols = r->s->symbols;
    size_t n = 0, unknown = 0;
    for (size_t at = 0, next; at < len; at = next) {
        size_t width = er_uc_width((unsigned char)bytes[at]);
        next = at + width;
        int32_t id =
            width == 1 ? t->byte_id[(unsigned char)bytes[at]] : er_vocab_find(&t->vocab, bytes + at, width);
        if (id >= 0 && (t->vocab.by_id[id].flags & ID_MODEL)) {
            if (unknown) symbols[n++] = (er_symbol){t->unk_id, (uint32_t)unknown}, unknown = 0;
            symbols[n++] = (er_symbol){id, (uint32_t)width};
        } else if (falls_back(t, bytes + at, width)) {
            for (size_t i = at; i < next; i++)
                symbols[n++] = (er_symbol){t->byte_token[(unsigned char)bytes[i]], 1};
        } else if (t->has_unk) {
            if (t->unk_id < 0)
                return er_fail(ER_EFORMAT,
                    "character '%.*s' has no token and the unk_token is not in the vocabulary", (int)width,
                    bytes + at);
            if (unknown && !t->fuse_unk)
                symbols[n++] = (er_symbol){t->unk_id, (uint32_t)unknown}, unknown = 0;
            unknown += width;
        }
    }
    if (unknown) symbols[n++] = (er_symbol){t->unk_id, (uint32_t)unknown};
    *count = n;
    return ER_OK;
}

// A word some of whose bytes have no token, spelled in the byte alphabet and read as characters. The
// reference counts lengths in bytes of the spelling and lets a vanished byte pull what follows it to the
// left; spans must show the same.
static er_status word_with_gaps(er_run *r, const er_view *v, er_span w) {
    er_status rc = ER_OK;
    er_scratch *s = r->s;
    size_t n = 0, mapped = 0, len = w.end - w.begin;
    ER_TRY(reserve_symbols(s, 2 * len));
    ER_TRY(er_tokens_reserve(r->out, 2 * len));
    if (s->raw_capacity < 2 * len) {
        uint32_t *more = realloc(s->raw_of, 4 * len * sizeof *more);
        if (more) s->raw_of = more;
        char *spelling = realloc(s->spelling, 4 * len);
        if (spelling) s->spelling = spelling;
        if (!more || !spelling) ER_FAIL(ER_ENOMEM, "a word of %zu bytes", len);
        s->raw_capacity = 4 * len;
    }
    for (uint32_t i = w.begin; i < w.end; i++) {
        size_t width = er_byte_map(s->spelling + mapped, v->bytes + i, 1);
        while (width-- > 0) s->raw_of[mapped++] = i;
    }
    ER_TRY(char_symbols(r, s->spelling, mapped, &n));
    ER_TRY(er_bpe_merge(&r->t->merges, &s->heap, s->symbols, &n));
    for (size_t i = 0, at = 0; i < n; at += s->symbols[i++].len)
        put_bpe(r, v, s->raw_of[at], (size_t)s->raw_of[at + s->symbols[i].len - 1] + 1, s->symbols[i].id);
out:
    return rc;
}

static er_status whole_word(er_run *r, const char *bytes, size_t len, int32_t *id) {
    char small[2 * ER_CACHE_KEY], *mapped = small;
    *id = -1;
    if (len > ER_CACHE_KEY && !(mapped = malloc(2 * len)))
        return er_fail(ER_ENOMEM, "a word of %zu bytes", len);
    int32_t found = r->t->byte_level ? er_vocab_find(&r->t->vocab, mapped, er_byte_map(mapped, bytes, len))
                                     : er_vocab_find(&r->t->vocab, bytes, len);
    if (found >= 0 && (r->t->vocab.by_id[found].flags & ID_MODEL)) *id = found;
    if (mapped != small) free(mapped);
    return ER_OK;
}

static er_status word(er_run *r, const er_view *v, er_span w) {
    er_status rc = ER_OK;
    const er_tokenizer *t = r->t;
    er_scratch *s = r->s;
    const char *bytes = v->bytes + w.begin;
    size_t len = w.end - w.begin, n = 0;
    bool kept = len <= ER_CACHE_KEY;
    uint64_t hash = kept ? er_tok_hash(bytes, len) : 0;
    ER_TRY(er_tokens_reserve(r->out, len));
    const uint32_t *known = kept ? er_cache_get(&s->cache, hash, bytes, len, &n) : NULL;
    if (known) {
        size_t at = w.begin;
        for (size_t i = 0; i < n; at += known[i++] & 1023)
            put_bpe(r, v, at, at + (known[i] & 1023), (int32_t)(known[i] >> 10));
        return ER_OK;
    }
    ER_TRY(reserve_symbols(s, len));
    int32_t whole = -1;
    if (t->ignore_merges) ER_TRY(whole_word(r, bytes, len, &whole));
    if (whole >= 0) {
        s->symbols[n++] = (er_symbol){whole, (uint32_t)len};
    } else if (!t->byte_level) {
        ER_TRY(char_symbols(r, bytes, len, &n));
        ER_TRY(er_bpe_merge(&t->merges, &s->heap, s->symbols, &n));
    } else {
        bool gaps = false;
        for (size_t i = 0; i < len; i++) {
            int32_t id = t->byte_id[(unsigned char)bytes[i]];
            gaps = gaps || id < 0;
            s->symbols[n++] = (er_symbol){id, 1};
        }
        if (gaps) return word_with_gaps(r, v, w);
        ER_TRY(er_bpe_merge(&t->merges, &s->heap, s->symbols, &n));
    }
    if (kept) er_cache_put(&s->cache, hash, bytes, len, s->symbols, n);
    size_t at = w.begin;
    for (size_t i = 0; i < n; at += s->symbols[i++].len)
        put_bpe(r, v, at, at + s->symbols[i].len, s->symbols[i].id);
out:
    return rc;
}

er_status er_words(er_run *r, const er_view *v) {
    er_status rc = ER_OK;
    for (size_t i = 0; rc == ER_OK && i < r->s->words.count; i++) rc = word(r, v, r->s->words.at[i]);
    return rc;
}
