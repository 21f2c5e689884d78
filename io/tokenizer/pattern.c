// What Split and Replace look for: a String or a Regex, found as the reference finds it.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

static pthread_once_t onig_once = PTHREAD_ONCE_INIT;
static void onig_start(void) {
    OnigEncoding used[] = {ONIG_ENCODING_UTF8};
    (void)onig_initialize(used, 1);
    (void)onig_set_retry_limit_in_search(
        10000000);  // an expression that backtracks without end becomes an error
}

er_status er_pattern_regex(er_pattern *p, const char *expression, const char *name) {
    (void)pthread_once(&onig_once, onig_start);
    OnigErrorInfo info;
    const OnigUChar *e = (const OnigUChar *)expression;
    if (!(p->expression = strdup(expression)))
        return er_fail(ER_ENOMEM, "an expression of %zu bytes", strlen(expression));
    int code = onig_new(&p->regex, e, e + strlen(expression), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
        ONIG_SYNTAX_DEFAULT, &info);
    if (code == ONIG_NORMAL) return ER_OK;
    OnigUChar why[ONIG_MAX_ERROR_MESSAGE_LEN];
    (void)onig_error_code_to_str(why, code, &info);
    return er_fail(ER_EFORMAT, "%s: regular expression '%.80s': %s", name, expression, (const char *)why);
}

er_status er_pattern_literal(er_pattern *p, const char *literal, const char *type, const char *name) {
    if (!*literal)
        return er_fail(ER_EUNSUPPORTED, "%s: '%s' with an empty String is not supported", name, type);
    if (!(p->literal = strdup(literal))) return er_fail(ER_ENOMEM, "a pattern of %zu bytes", strlen(literal));
    p->len = strlen(literal);
    return ER_OK;
}

void er_pattern_free(er_pattern *p) {
    free(p->literal);
    free(p->expression);
    if (p->regex) onig_free(p->regex);
}

er_status er_put_cut(er_scratch *s, size_t begin, size_t end, bool hit) {
    if (s->cuts.count == s->hit_capacity) {
        size_t capacity = s->hit_capacity * 2 + 256;
        uint8_t *more = realloc(s->hit, capacity);
        if (!more) return er_fail(ER_ENOMEM, "%zu words", capacity);
        s->hit = more;
        s->hit_capacity = capacity;
    }
    s->hit[s->cuts.count] = hit;
    return er_spans_put(&s->cuts, begin, end);
}

// The next match at or after `from` in text[from, end).
static er_status search(
    const er_pattern *p, er_scratch *s, const char *text, er_span w, size_t from, er_span *m, bool *found) {
    *found = false;
    if (p->literal) {
        const char *hit = memmem(text + from, w.end - from, p->literal, p->len);
        if ((*found = hit != NULL))
            *m = (er_span){(uint32_t)(hit - text), (uint32_t)((size_t)(hit - text) + p->len)};
        return ER_OK;
    }
    const OnigUChar *b = (const OnigUChar *)text + w.begin, *e = (const OnigUChar *)text + w.end;
    int at = onig_search(p->regex, b, e, (const OnigUChar *)text + from, e, s->region, ONIG_OPTION_NONE);
    if (at == ONIG_MISMATCH) return ER_OK;
    if (at < 0) {
        OnigUChar why[ONIG_MAX_ERROR_MESSAGE_LEN];
        (void)onig_error_code_to_str(why, at);
        return er_fail(ER_EUNSUPPORTED,
            "the tokenizer's regular expression '%.80s' on a word of %u bytes: %s", p->expression,
            w.end - w.begin, (const char *)why);
    }
    // \K inside of a lookaround moves a match's beginning in front of the match before, or behind its end.
    int begin = s->region->beg[0], end = s->region->end[0];
    if (begin < 0 || end < begin || w.begin + (size_t)begin < from)
        return er_fail(ER_EUNSUPPORTED,
            "the tokenizer's regular expression '%.80s' has matches that overlap or end before they begin",
            p->expression);
    *m = (er_span){w.begin + (uint32_t)begin, w.begin + (uint32_t)end};
    *found = true;
    return ER_OK;
}

// An empty match right behind the match before it does not count; the search then moves one character on.
er_status er_pattern_cut(const er_pattern *p, er_scratch *s, const char *text, er_span w) {
    er_status rc = ER_OK;
    size_t from = w.begin, done = w.begin;
    int64_t last = -1;
    s->cuts.count = 0;
    while (from <= w.end) {
        er_span m;
        bool found;
        ER_TRY(search(p, s, text, w, from, &m, &found));
        if (!found) break;
        if (m.begin == m.end && last == (int64_t)m.end) {
            from += from < w.end ? er_uc_width((unsigned char)text[from]) : 1;
            continue;
        }
        if (done != m.begin) ER_TRY(er_put_cut(s, done, m.begin, false));
        ER_TRY(er_put_cut(s, m.begin, m.end, true));
        from = done = m.end;
        last = m.end;
    }
    if (done != w.end) ER_TRY(er_put_cut(s, done, w.end, false));
out:
    return rc;
}
