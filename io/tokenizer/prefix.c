// Pre-tokenizers that change the words: ByteLevel's prefix space, and Metaspace. What they put in front of a
// word points at the word's first character.
#include <string.h>
#include "io/tokenizer/tokenizer_internal.h"

static er_text *next_text(er_scratch *s) {
    s->prefixed_turn = !s->prefixed_turn;
    s->prefixed[s->prefixed_turn].len = 0;
    return &s->prefixed[s->prefixed_turn];
}

er_status er_step_prefix(er_scratch *s, er_view *view) {
    er_status rc = ER_OK;
    er_text *t = next_text(s);
    for (size_t i = 0; i < s->words.count; i++) {
        er_span w = s->words.at[i];
        size_t begin = t->len;
        if (view->bytes[w.begin] != ' ')
            ER_TRY(er_text_put(t, " ", 1, er_view_origin(view, w.begin, w.begin + 1)));
        ER_TRY(er_text_copy(t, view, w.begin, w.end));
        s->words.at[i] = (er_span){(uint32_t)begin, (uint32_t)t->len};
    }
    *view = (er_view){t->bytes, t->len, t->from, 0};
out:
    return rc;
}

// Does the word get the mark in front? Not where it has one, be it as a space; and by the scheme "first" only
// at the very beginning of the input.
static bool gets_mark(const er_step *step, const er_view *view, er_span w) {
    const char *bytes = view->bytes + w.begin;
    size_t len = w.end - w.begin;
    const er_pattern *mark = &step->pattern;
    if (*bytes == ' ' || (len >= mark->len && !memcmp(bytes, mark->literal, mark->len))) return false;
    if (step->scheme == SCHEME_FIRST) return er_view_origin(view, w.begin, w.begin + 1).begin == 0;
    return step->scheme == SCHEME_ALWAYS;
}

er_status er_step_metaspace(const er_step *step, er_scratch *s, er_view *view) {
    er_status rc = ER_OK;
    er_text *t = next_text(s);
    const er_pattern *mark = &step->pattern;
    for (size_t i = 0; i < s->words.count; i++) {
        er_span w = s->words.at[i];
        size_t begin = t->len;
        if (gets_mark(step, view, w))
            ER_TRY(er_text_put(t, mark->literal, mark->len, er_view_origin(view, w.begin, w.begin + 1)));
        for (size_t at = w.begin; at < w.end; at++) {
            const char *space = memchr(view->bytes + at, ' ', w.end - at);
            size_t stop = space ? (size_t)(space - view->bytes) : w.end;
            ER_TRY(er_text_copy(t, view, at, stop));
            if (space) ER_TRY(er_text_put(t, mark->literal, mark->len, er_view_origin(view, stop, stop + 1)));
            at = stop;
        }
        s->words.at[i] = (er_span){(uint32_t)begin, (uint32_t)t->len};
    }
    *view = (er_view){t->bytes, t->len, t->from, 0};
out:
    return rc;
}
