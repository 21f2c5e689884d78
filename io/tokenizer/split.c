// Pre-tokenizers: each step cuts every word of the step before, and a step never looks beyond the word it
// cuts.
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

static er_status cut_numeric(er_scratch *s, const char *text, er_span w) {
    const uint8_t *classes = er_uc_classes();
    er_status rc = ER_OK;
    size_t done = w.begin;
    for (size_t at = w.begin, next; at < w.end; at = next) {
        next = at;
        if (!(classes[er_uc_next(text, &next)] & UC_NUMERIC)) continue;
        if (done < at) ER_TRY(er_put_cut(s, done, at, false));
        ER_TRY(er_put_cut(s, at, next, true));
        done = next;
    }
    if (done < w.end) ER_TRY(er_put_cut(s, done, w.end, false));
out:
    return rc;
}

static size_t scan(const er_step *step, const uint8_t *classes, const char *text, size_t at, size_t end) {
    if (step->match == MATCH_GPT2) return er_scan_gpt2(classes, text, at, end);
    if (step->match == MATCH_WORDS) return er_scan_words(classes, text, at, end, step->digits);
    return er_scan_cased(classes, text, at, end, step->digits, step->contractions);
}

static er_status cut(const er_step *step, er_scratch *s, const char *text, er_span w) {
    er_status rc = ER_OK;
    if (step->match == MATCH_PATTERN) return er_pattern_cut(&step->pattern, s, text, w);
    s->cuts.count = 0;
    if (step->match == MATCH_NUMERIC) return cut_numeric(s, text, w);
    const uint8_t *classes = er_uc_classes();
    for (size_t at = w.begin, next; at < w.end; at = next) {
        next = scan(step, classes, text, at, w.end);
        ER_TRY(er_put_cut(s, at, next, true));
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
    bool scanned = step->match == MATCH_GPT2 || step->match == MATCH_WORDS || step->match == MATCH_CASED;
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

er_status er_split(const er_tokenizer *t, er_scratch *s, er_view *view) {
    er_status rc = ER_OK;
    s->words.count = 0;
    s->prefixed[0].most = s->prefixed[1].most = er_text_most(view->len);
    if (view->len) ER_TRY(er_spans_put(&s->words, 0, view->len));
    for (size_t i = 0; i < t->step_count; i++) {
        if (t->steps[i].match == MATCH_PREFIX) ER_TRY(er_step_prefix(s, view));
        else if (t->steps[i].match == MATCH_METASPACE) ER_TRY(er_step_metaspace(&t->steps[i], s, view));
        else ER_TRY(split_step(&t->steps[i], s, view->bytes));
    }
out:
    return rc;
}
