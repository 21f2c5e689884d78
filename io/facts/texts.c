// Facts as somebody reads them, subject in place: those of one text are merged, and a fact that asks for what
// another one edits is warned of.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "io/base/log.h"
#include "io/facts/facts_internal.h"

typedef struct text {  // a fact as somebody reads it
    char *prompt;      // subject in place
    char *target;      // in Unicode's form C: composed or not, it is one answer
    bool space;        // between them
    size_t fact;
} text;

static int by_prompt(const void *x, const void *y) {
    const text *a = x, *b = y;
    int c = strcmp(a->prompt, b->prompt);
    if (!c) c = strcmp(a->target, b->target);
    if (!c) c = (int)a->space - (int)b->space;
    return c ? c : (a->fact > b->fact) - (a->fact < b->fact);
}

static char *form_c(const char *s) {  // malloc'd; NULL when memory is out
    char *c = (char *)utf8proc_NFC((const utf8proc_uint8_t *)s);
    return c ? c : strdup(s);  // what cannot be normalised stands for itself
}

static er_status fill_texts(const er_facts *f, text *at) {
    for (size_t i = 0; i < f->count; i++) {
        const er_fact *a = &f->at[i];
        at[i] = (text){er_fact_filled(a), form_c(a->target), false, i};
        if (!at[i].prompt || !at[i].target) return er_fail(ER_ENOMEM, "%s: a prompt", f->path);
        at[i].space = er_seam_of(at[i].prompt, strlen(at[i].prompt), a->target, a->space, ER_SPACE_AUTO) ==
                      ER_SEAM_SPACE;
    }
    qsort(at, f->count, sizeof *at, by_prompt);
    return ER_OK;
}

static void free_texts(text *at, size_t n) {
    for (size_t i = 0; at && i < n; i++) free(at[i].prompt), free(at[i].target);
    free(at);
}

// The same characters; what more the tokenizer takes for one is asked again when there is one.
er_status er_facts_merge_texts(er_facts *f) {
    er_status rc = ER_OK;
    size_t n = f->count, prompts = 0, targets = 0;
    text *at = calloc(n + 1, sizeof *at);
    er_fact_class *class = calloc(n + 1, sizeof *class);
    if (!at || !class) ER_FAIL(ER_ENOMEM, "%s: %zu facts", f->path, n);
    ER_TRY(fill_texts(f, at));
    for (size_t i = 0; i < n; i++) {
        if (i && strcmp(at[i].prompt, at[i - 1].prompt)) prompts++;
        if (i && (strcmp(at[i].target, at[i - 1].target) || at[i].space != at[i - 1].space)) targets++;
        class[at[i].fact] = (er_fact_class){prompts, targets};
    }
    ER_TRY(er_facts_merge_classes(f, class));
out:
    free_texts(at, n);
    free(class);
    return rc;
}

static int find_prompt(const void *key, const void *x) { return strcmp(key, ((const text *)x)->prompt); }

// A prompt that is to keep `wanted` although some fact edits it to something else: that fact, or NULL.
static const er_fact *contradicted(
    const er_facts *f, const text *at, const char *prompt, const char *wanted) {
    const text *t = bsearch(prompt, at, f->count, sizeof *at, find_prompt);
    return t && strcmp(f->at[t->fact].target, wanted) ? &f->at[t->fact] : NULL;
}

// Neighbours and paraphrases that ask for what another fact of the job changes cannot both come true.
er_status er_facts_warn_contradictions(er_facts *f) {
    er_status rc = ER_OK;
    size_t kept = 0, same = 0;
    char first_kept[ER_FACTS_REASON] = "", first_same[ER_FACTS_REASON] = "", q[80];
    text *at = calloc(f->count + 1, sizeof *at);
    if (!at) return er_fail(ER_ENOMEM, "%s: %zu facts", f->path, f->count);
    ER_TRY(fill_texts(f, at));
    for (size_t i = 0; i < f->count; i++) {
        const er_fact *a = &f->at[i], *b = NULL;
        for (size_t j = 0; j < a->n_neighbors; j++) {
            const char *wanted = a->neighbors[j].target ? a->neighbors[j].target : a->old;
            if (!wanted || !(b = contradicted(f, at, a->neighbors[j].prompt, wanted))) continue;
            if (!kept++)
                (void)snprintf(first_kept, sizeof first_kept, "%s %zu wants %s where %s %zu edits",
                    er_facts_place(f), a->line, er_facts_quote(q, wanted), er_facts_place(f), b->line);
        }
        for (size_t j = 0; j < a->n_paraphrases; j++) {
            if (!(b = contradicted(f, at, a->paraphrases[j], a->target))) continue;
            if (!same++)
                (void)snprintf(first_same, sizeof first_same, "%s %zu wants %s where %s %zu edits",
                    er_facts_place(f), a->line, er_facts_quote(q, a->target), er_facts_place(f), b->line);
        }
    }
    if (kept)
        er_warn("%s: %zu neighbours are to keep an answer that another fact of the job changes (first: %s)",
            f->path, kept, first_kept);
    if (same)
        er_warn("%s: %zu paraphrases are prompts that another fact edits to another target (first: %s)",
            f->path, same, first_same);
out:
    free_texts(at, f->count);
    return rc;
}
