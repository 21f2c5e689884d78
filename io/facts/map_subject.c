// A prompt that holds its subject in full gets the "{}" that errata's own format has.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "io/facts/chars.h"
#include "io/facts/map.h"

static bool folds_to(const char *prompt, const char *subject) {
    utf8proc_uint8_t *p = NULL, *s = NULL;
    utf8proc_option_t how = UTF8PROC_NULLTERM | UTF8PROC_CASEFOLD;
    bool found = utf8proc_map((const utf8proc_uint8_t *)prompt, 0, &p, how) > 0 &&
                 utf8proc_map((const utf8proc_uint8_t *)subject, 0, &s, how) > 0 &&
                 strstr((char *)p, (char *)s) != NULL;
    free(p);
    free(s);
    return found;
}

// "U+2019 (...) there, U+0027 (...) in 'subject'": where the two spellings first part.
static void difference(char dst[180], const char *prompt, const er_found *at, const char *subject) {
    char a[64], b[64];
    size_t n = strlen(subject), i = 0;
    while (i < n && at->begin + i < at->end && prompt[at->begin + i] == subject[i]) i++;
    while (i && ((unsigned char)subject[i] & 0xc0) == 0x80) i--;
    size_t x = at->begin + i, y = i;
    uint32_t there = er_char_next(prompt, at->end, &x), here = er_char_next(subject, n, &y);
    (void)snprintf(dst, 180, "%s there, %s in 'subject'", there ? er_char_name(a, there) : "its end",
        here ? er_char_name(b, here) : "its end");
}

static bool refuse_subject(er_map *m, const char *name) {
    const er_fact *f = &m->fact;
    char q[80], differs[180];
    er_found found;
    if (folds_to(f->prompt, f->subject))
        return er_map_refuse(
            m, "subject %s occurs in '%s' only with other capitals", er_facts_quote(q, f->subject), name);
    if (!er_facts_find_loose(&found, f->prompt, f->subject)) return er_map_no_memory(m);
    if (!found.count)
        return er_map_refuse(m, "subject %s does not occur in '%s'", er_facts_quote(q, f->subject), name);
    difference(differs, f->prompt, &found, f->subject);
    return er_map_refuse(m, "subject %s occurs in '%s' only spelled otherwise: %s",
        er_facts_quote(q, f->subject), name, differs);
}

// The word of the prompt that the subject is a part of.
static void whole_word(char dst[80], const char *prompt, const er_found *at) {
    size_t len = strlen(prompt), begin = at->begin, end = at->end;
    for (size_t to = begin; begin && er_char_is_letter(er_char_before(prompt, &to)); begin = to) {}
    for (size_t to = end; end < len && er_char_is_letter(er_char_next(prompt, len, &to)); end = to) {}
    char *word = strndup(prompt + begin, end - begin);
    er_facts_quote(dst, word ? word : "");
    free(word);
}

static bool note_place(er_map *m, const er_found *at) {
    const er_fact *f = &m->fact;
    char q[80], word[80], detail[200];
    if (at->respelled) {
        difference(detail, f->prompt, at, f->subject);
        if (!er_map_note(m, er_notes_add(m->notes, detail,
                                "the subject is spelled otherwise in its prompt, whose "
                                "spelling is edited")))
            return false;
    }
    if (at->count > 1 &&
        !er_map_note(m, er_notes_add(m->notes, NULL,
                            "the subject occurs more than once in the prompt; its first place "
                            "is taken")))
        return false;
    if (at->kind == ER_MATCH_WORD) return true;
    whole_word(word, f->prompt, at);
    (void)snprintf(detail, sizeof detail, "%s in %s", er_facts_quote(q, f->subject), word);
    return er_map_note(
        m, er_notes_add(m->notes, detail,
               at->kind == ER_MATCH_BEGINS ? "the subject is the beginning of a longer word of its prompt"
                                           : "the subject stands only inside a longer word of its prompt"));
}

bool er_map_mark_subject(er_map *m, const char *name) {
    er_fact *f = &m->fact;
    er_found at;
    const char *hole = strstr(f->prompt, "{}");
    if (hole && !strstr(hole + 2, "{}")) return true;  // it has its place
    if (!er_facts_find(&at, f->prompt, f->subject)) return er_map_no_memory(m);
    if (!at.count) return refuse_subject(m, name);
    if (!note_place(m, &at)) return false;
    size_t n = strlen(f->prompt);
    char *prompt = malloc(n + 3), *subject = strndup(f->prompt + at.begin, at.end - at.begin);
    if (!prompt || !subject) {
        free(prompt);
        free(subject);
        return er_map_no_memory(m);
    }
    (void)sprintf(prompt, "%.*s{}%s", (int)at.begin, f->prompt, f->prompt + at.end);
    free(f->prompt);
    free(f->subject);
    f->prompt = prompt;
    f->subject = subject;
    return true;
}
