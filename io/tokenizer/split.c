// Pre-tokenizers: each step cuts every word of the step before, and a step never looks beyond the word it
// cuts.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer/internal.h"
#include "io/tokenizer/unicode.h"

static pthread_once_t onig_once = PTHREAD_ONCE_INIT;
static void onig_start(void) {
    OnigEncoding used[] = {ONIG_ENCODING_UTF8};
    (void)onig_initialize(used, 1);
    (void)onig_set_retry_limit_in_search(10000000);  // an expression that backtracks without end becomes an error
}

er_status er_regex_new(regex_t **out, const char *pattern, const char *name) {
    (void)pthread_once(&onig_once, onig_start);
    OnigErrorInfo info;
    const OnigUChar *p = (const OnigUChar *)pattern;
    int code = onig_new(
        out, p, p + strlen(pattern), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, &info);
    if (code == ONIG_NORMAL) return ER_OK;
    OnigUChar why[ONIG_MAX_ERROR_MESSAGE_LEN];
    (void)onig_error_code_to_str(why, code, &info);
    return er_fail(ER_EFORMAT, "%s: regular expression '%.80s': %s", name, pattern, (const char *)why);
}

static er_status put_cut(er_scratch *s, size_t begin, size_t end, bool hit) {
    if (s->cuts.count == s->hit_room) {
        size_t room = s->hit_room * 2 + 256;
        uint8_t *more = realloc(s->hit, room);
        if (!more) return er_fail(ER_ENOMEM, "%zu words", room);
        s->hit = more;
        s->hit_room = room;
    }
    s->hit[s->cuts.count] = hit;
    return er_spans_put(&s->cuts, begin, end);
}

// The next match of a step at or after `from` in text[from, end): literal or regular expression.
static er_status search(
    const er_step *step, er_scratch *s, const char *text, er_span w, size_t from, er_span *m, bool *found) {
    *found = false;
    if (step->match == MATCH_LITERAL) {
        const char *p = memmem(text + from, w.end - from, step->literal, step->literal_len);
        if ((*found = p != NULL))
            *m = (er_span){(uint32_t)(p - text), (uint32_t)((size_t)(p - text) + step->literal_len)};
        return ER_OK;
    }
    const OnigUChar *b = (const OnigUChar *)text + w.begin, *e = (const OnigUChar *)text + w.end;
    int at = onig_search(step->regex, b, e, (const OnigUChar *)text + from, e, s->region, ONIG_OPTION_NONE);
    if (at == ONIG_MISMATCH) return ER_OK;
    if (at < 0) {
        OnigUChar why[ONIG_MAX_ERROR_MESSAGE_LEN];
        (void)onig_error_code_to_str(why, at);
        return er_fail(ER_EUNSUPPORTED, "pre_tokenizer 'Split' on a word of %u bytes: %s", w.end - w.begin,
            (const char *)why);
    }
    *m = (er_span){w.begin + (uint32_t)s->region->beg[0], w.begin + (uint32_t)s->region->end[0]};
    *found = true;
    return ER_OK;
}

// An empty match right behind the match before it does not count; the search then moves one character on.
static er_status cut_by_search(const er_step *step, er_scratch *s, const char *text, er_span w) {
    er_status rc = ER_OK;
    size_t from = w.begin, done = w.begin;
    int64_t last = -1;
    while (from <= w.end) {
        er_span m;
        bool found;
        ER_TRY(search(step, s, text, w, from, &m, &found));
        if (!found) break;
        if (m.begin == m.end && last == (int64_t)m.end) {
            from += from < w.end ? er_uc_width((unsigned char)text[from]) : 1;
            continue;
        }
        if (done != m.begin) ER_TRY(put_cut(s, done, m.begin, false));
        ER_TRY(put_cut(s, m.begin, m.end, true));
        from = done = m.end;
        last = m.end;
    }
    if (done != w.end) ER_TRY(put_cut(s, done, w.end, false));
out:
    return rc;
}

static er_status cut_numeric(er_scratch *s, const char *text, er_span w) {
    const uint8_t *classes = er_uc_classes();
    er_status rc = ER_OK;
    size_t done = w.begin;
    for (size_t at = w.begin, next; at < w.end; at = next) {
        next = at;
        if (!(classes[er_uc_next(text, &next)] & UC_NUMERIC)) continue;
        if (done < at) ER_TRY(put_cut(s, done, at, false));
        ER_TRY(put_cut(s, at, next, true));
        done = next;
    }
    if (done < w.end) ER_TRY(put_cut(s, done, w.end, false));
out:
    return rc;
}

static size_t scan(const er_step *step, const uint8_t *classes, const char *text, size_t at, size_t end) {
    return step->match == MATCH_GPT2 ? er_scan_gpt2(classes, text, at, end)
                                     : er_scan_words(classes, text, at, end, step->digits);
}

static er_status cut(const er_step *step, er_scratch *s, const char *text, er_span w) {
    er_status rc = ER_OK;
    s->cuts.count = 0;
    if (step->match == MATCH_NUMERIC) return cut_numeric(s, text, w);
    if (step->match == MATCH_LITERAL || step->match == MATCH_REGEX) return cut_by_search(step, s, text, w);
    const uint8_t *classes = er_uc_classes();
    for (size_t at = w.begin, next; at < w.end; at = next) {
        next = scan(step, classes, text, at, w.end);
        ER_TRY(put_cut(s, at, next, true));
    }
out:
    return rc;
}

// What a delimiter becomes. Merging joins a match to its neighbour unless the stretch before it (after it)
// was a match too; contiguous joins neighbours of one kind, where "before the first" counts as no match but
// has nothing to join.
static er_status behave(const er_step *step, er_scratch *s) {
    er_status rc = ER_OK;
    const er_span *c = s->cuts.at;
    size_t n = s->cuts.count, first = s->next.count;
    bool before = false;
    for (size_t k = 0; k < n; k++) {
        size_t i = step->behavior == SPLIT_NEXT ? n - 1 - k : k;
        bool hit = (s->hit[i] != 0) != step->invert, join = false;
        if (step->behavior == SPLIT_REMOVED && hit) continue;
        if (step->behavior == SPLIT_CONTIGUOUS) join = hit == before;
        if (step->behavior == SPLIT_PREVIOUS || step->behavior == SPLIT_NEXT) join = hit && !before;
        before = hit;
        if (join && s->next.count > first) {
            if (step->behavior == SPLIT_NEXT) s->next.at[s->next.count - 1].begin = c[i].begin;
            else s->next.at[s->next.count - 1].end = c[i].end;
        } else {
            ER_TRY(er_spans_put(&s->next, c[i].begin, c[i].end));
        }
    }
    if (step->behavior == SPLIT_NEXT && n > 0) {
        for (size_t i = first, j = s->next.count - 1; i < j; i++, j--) {
            er_span x = s->next.at[i];
            s->next.at[i] = s->next.at[j], s->next.at[j] = x;
        }
    }
    size_t kept = first;
    for (size_t i = first; i < s->next.count; i++)
        if (s->next.at[i].begin < s->next.at[i].end) s->next.at[kept++] = s->next.at[i];
    s->next.count = kept;
out:
    return rc;
}

static er_status split_step(const er_step *step, er_scratch *s, const char *text) {
    er_status rc = ER_OK;
    bool scanned = step->match == MATCH_GPT2 || step->match == MATCH_WORDS;
    // Scanners leave no gaps, so isolating their matches and removing what is not a match are the same plain
    // loop.
    bool plain =
        scanned && (step->behavior == SPLIT_ISOLATED || (step->behavior == SPLIT_REMOVED && step->invert));
    const uint8_t *classes = er_uc_classes();
    s->next.count = 0;
    for (size_t i = 0; i < s->words.count; i++) {
        er_span w = s->words.at[i];
        if (plain) {
            for (size_t at = w.begin, next; at < w.end; at = next) {
                next = scan(step, classes, text, at, w.end);
                ER_TRY(er_spans_put(&s->next, at, next));
            }
            continue;
        }
        ER_TRY(cut(step, s, text, w));
        ER_TRY(behave(step, s));
    }
    er_spans swap = s->words;
    s->words = s->next;
    s->next = swap;
out:
    return rc;
}

// add_prefix_space: every word that has no space in front gets one, which points at the word's first
// character.
static er_status prefix_step(er_scratch *s, er_view *view) {
    er_status rc = ER_OK;
    er_text *t = &s->prefixed;
    t->len = 0;
    for (size_t i = 0; i < s->words.count; i++) {
        er_span w = s->words.at[i];
        size_t begin = t->len;
        if (view->bytes[w.begin] != ' ')
            ER_TRY(er_text_put(t, " ", 1, er_view_origin(view, w.begin, w.begin + 1)));
        for (size_t at = w.begin, next; at < w.end; at = next) {
            next = at + er_uc_width((unsigned char)view->bytes[at]);
            ER_TRY(er_text_put(t, view->bytes + at, next - at, er_view_origin(view, at, at + 1)));
        }
        s->words.at[i] = (er_span){(uint32_t)begin, (uint32_t)t->len};
    }
    *view = (er_view){t->bytes, t->len, t->from, 0};
out:
    return rc;
}

er_status er_split(const er_tokenizer *t, er_scratch *s, er_view *view) {
    er_status rc = ER_OK;
    s->words.count = 0;
    if (view->len) ER_TRY(er_spans_put(&s->words, 0, view->len));
    for (size_t i = 0; i < t->step_count; i++) {
        if (t->steps[i].match == MATCH_PREFIX) ER_TRY(prefix_step(s, view));
        else ER_TRY(split_step(&t->steps[i], s, view->bytes));
    }
out:
    return rc;
}
