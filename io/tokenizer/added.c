// Added tokens: cut out of the text before anything else looks at it, leftmost first, the longest at each
// place.
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

er_status er_matcher_add(er_matcher *m, const char *pattern, size_t len, er_added flags) {
    if (m->count == m->capacity) {
        size_t capacity = m->capacity * 2 + 16;
        er_added *more = realloc(m->at, capacity * sizeof *more);
        if (!more) return er_fail(ER_ENOMEM, "%zu added tokens", capacity);
        m->at = more;
        m->capacity = capacity;
    }
    if (!(flags.pattern = malloc(len))) return er_fail(ER_ENOMEM, "an added token of %zu bytes", len);
    memcpy(flags.pattern, pattern, len);
    flags.len = len;
    m->at[m->count++] = flags;
    return ER_OK;
}

static int by_bytes(const void *a, const void *b) {
    const er_added *x = a, *y = b;
    int c = memcmp(x->pattern, y->pattern, x->len < y->len ? x->len : y->len);
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

er_status er_matcher_build(er_matcher *m, const char *name) {
    if (m->count) qsort(m->at, m->count, sizeof *m->at, by_bytes);
    for (size_t i = 0; i < m->count; i++) {
        m->starts[(unsigned char)m->at[i].pattern[0]] = true;
        if (i && !by_bytes(&m->at[i - 1], &m->at[i]))
            return er_fail(ER_EFORMAT, "%s: two added tokens match the same text '%.*s'", name,
                (int)(m->at[i].len < 60 ? m->at[i].len : 60), m->at[i].pattern);
    }
    return ER_OK;
}

void er_matcher_free(er_matcher *m) {
    for (size_t i = 0; i < m->count; i++) free(m->at[i].pattern);
    free(m->at);
}

// First of at[lo, hi), all longer than d and equal before it, whose byte d is not below c.
static size_t lower(const er_matcher *m, size_t lo, size_t hi, size_t d, unsigned c) {
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)m->at[mid].pattern[d] < c) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

// The longest pattern that text begins with, by narrowing the sorted range byte after byte.
static const er_added *longest(const er_matcher *m, const char *text, size_t len) {
    const er_added *best = NULL;
    size_t lo = 0, hi = m->count;
    for (size_t d = 0; lo < hi; d++) {
        if (m->at[lo].len == d) best = &m->at[lo++];
        if (d == len || lo == hi) break;
        unsigned c = (unsigned char)text[d];
        if ((unsigned char)m->at[lo].pattern[d] == c && (unsigned char)m->at[hi - 1].pattern[d] == c)
            continue;
        hi = lower(m, lo, hi, d, c + 1);
        lo = lower(m, lo, hi, d, c);
    }
    return best;
}

static bool has_class(const char *text, size_t at, unsigned class) {
    return (er_uc_classes()[er_uc_next(text, &at)] & class) != 0;
}

static bool stands_alone(const er_cutter *c, size_t begin, size_t end) {
    if (begin > 0 && has_class(c->text, er_uc_floor(c->text, begin - 1), UC_WORD)) return false;
    return end == c->len || !has_class(c->text, end, UC_WORD);
}

// The end of the white space at `at`. Matches inside of it would all look for the same end again.
static size_t skip_space(er_cutter *c, size_t at) {
    size_t end = at;
    if (at >= c->spaces.begin && at < c->spaces.end) return c->spaces.end;
    while (end < c->len && has_class(c->text, end, UC_SPACE)) end += er_uc_width((unsigned char)c->text[end]);
    c->spaces = (er_span){(uint32_t)at, (uint32_t)end};
    return end;
}

// The next match with white space swallowed where it asks for it. A rejected match is skipped whole: no
// shorter one is tried.
static const er_added *find(er_cutter *c) {
    while (c->search < c->len) {
        const er_added *a = NULL;
        size_t begin = c->search;
        while (begin < c->len && (!c->m->starts[(unsigned char)c->text[begin]] ||
                                     !(a = longest(c->m, c->text + begin, c->len - begin))))
            begin++;
        if (!a) {
            c->search = c->len;
            return NULL;
        }
        size_t end = begin + a->len;
        c->search = end;
        if (a->single_word && !stands_alone(c, begin, end)) continue;
        if (a->lstrip) {
            while (begin > c->done && has_class(c->text, er_uc_floor(c->text, begin - 1), UC_SPACE))
                begin = er_uc_floor(c->text, begin - 1);
            if (begin < c->done) begin = c->done;
        }
        if (a->rstrip) end = skip_space(c, end);
        // All of it may have been swallowed by the match before: then it is no token.
        if (begin >= end) continue;
        c->found = (er_span){(uint32_t)begin, (uint32_t)end};
        return a;
    }
    return NULL;
}

bool er_cutter_next(er_cutter *c, er_span *piece, const er_added **token) {
    if (!c->token && c->m->count) c->token = find(c);
    if (c->token) {
        if (c->done < c->found.begin) {
            *piece = (er_span){(uint32_t)c->done, c->found.begin};
            *token = NULL;
            c->done = c->found.begin;
            return true;
        }
        *piece = c->found;
        *token = c->token;
        c->done = c->found.end;
        c->token = NULL;
        return true;
    }
    if (c->done >= c->len) return false;
    *piece = (er_span){(uint32_t)c->done, (uint32_t)c->len};
    *token = NULL;
    c->done = c->len;
    return true;
}
