// Passes over all facts once they are read: duplicates, contradictions, ids used twice, the digest.
// Sorting finds them, so that no input can make it quadratic.
#include "io/facts/facts_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "io/facts/chars.h"
#include "io/base/file.h"
#include "io/base/log.h"

const char *er_facts_quote(char dst[80], const char *s) {
    size_t n = strlen(s), cut = n > 60 ? 60 : n;
    while (cut < n && ((unsigned char)s[cut] & 0xc0) == 0x80) cut--;
    (void)snprintf(dst, 80, "'%.*s%s'", (int)cut, s, cut < n ? "..." : "");
    for (char *p = dst; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';  // a message is one line
    return dst;
}

er_status er_facts_add_reject(er_facts *f, size_t line, const char *id, const char *reason) {
    er_status rc = ER_OK;
    er_reject r = {.line = line};
    if ((f->n_rejects & (f->n_rejects + 1)) == 0) {  // capacity is the next power of two
        er_reject *grown = realloc(f->rejects, (2 * f->n_rejects + 1) * sizeof *grown);
        if (!grown) return er_fail(ER_ENOMEM, "%s: %zu rejected records", f->path, f->n_rejects);
        f->rejects = grown;
    }
    if (!(r.reason = strdup(reason)) || (id && !(r.id = strdup(id))))
        ER_FAIL(ER_ENOMEM, "%s: a rejected record", f->path);
    f->rejects[f->n_rejects++] = r;
    return ER_OK;
out:
    free(r.reason);
    return rc;
}

static int by_id(const void *x, const void *y) {
    const er_fact *a = *(er_fact *const *)x, *b = *(er_fact *const *)y;
    int c = strcmp(a->id, b->id);
    return c ? c : (a > b) - (a < b);
}

static int by_line(const void *x, const void *y) {
    const er_reject *a = x, *b = y;
    return (a->line > b->line) - (a->line < b->line);
}

static const char *place(const er_facts *f) { return f->is_lines ? "line" : "record"; }

// Where two texts that count as one begin to differ, by their code points; "" when they are the same bytes.
static const char *difference(char dst[160], const char *a, const char *b) {
    size_t i = 0, n = strlen(a), m = strlen(b);
    char mine[64], other[64];
    while (i < n && i < m && a[i] == b[i]) i++;
    dst[0] = '\0';
    if (i == n && i == m) return dst;
    while (i && ((unsigned char)a[i] & 0xc0) == 0x80) i--;
    size_t x = i, y = i;
    uint32_t c = er_char_next(a, n, &x), d = er_char_next(b, m, &y);
    (void)snprintf(dst, 160, " (%s here, %s there)", c ? er_char_name(mine, c) : "nothing",
        d ? er_char_name(other, d) : "nothing");
    return dst;
}

static er_status reject_conflict(er_facts *f, const er_fact *mine, const er_fact *against) {
    er_status rc = ER_OK;
    char reason[ER_FACTS_REASON], q[80], r[80], differs[160] = "";
    char *a = er_fact_filled(mine), *b = er_fact_filled(against);
    if (!a || !b) ER_FAIL(ER_ENOMEM, "%s: a prompt", f->path);
    bool same = !strcmp(mine->subject, against->subject) && !strcmp(mine->prompt, against->prompt);
    (void)snprintf(reason, sizeof reason, "target %s conflicts with %s in %s %zu, for the same %s%s",
        er_facts_quote(q, mine->target), er_facts_quote(r, against->target), place(f), against->line,
        same ? "subject and prompt" : "text", difference(differs, a, b));
    rc = er_facts_add_reject(f, mine->line, mine->id, reason);
out:
    free(a);
    free(b);
    return rc;
}

typedef struct classed {
    er_fact *fact;
    er_fact_class class;
} classed;

static int by_class(const void *x, const void *y) {  // then file order
    const classed *a = x, *b = y;
    if (a->class.prompt != b->class.prompt) return a->class.prompt > b->class.prompt ? 1 : -1;
    return (a->fact > b->fact) - (a->fact < b->fact);
}

// `group` [n] are the facts of one prompt, in file order. Each conflicting one names the first that
// contradicts it.
static er_status settle(er_facts *f, classed *group, size_t n) {
    size_t differs = 1;  // the first whose target is not the first fact's
    while (differs < n && group[differs].class.target == group[0].class.target) differs++;
    for (size_t i = 0; i < n; i++) {
        if (differs == n) {
            f->n_duplicates += i > 0;
            continue;
        }
        const classed *against = group[i].class.target == group[0].class.target ? &group[differs] : &group[0];
        er_status rc = reject_conflict(f, group[i].fact, against->fact);
        if (rc != ER_OK) return rc;
    }
    for (size_t i = differs == n ? 1 : 0; i < n; i++) group[i].fact->line = 0;  // marks it for compact()
    return ER_OK;
}

static void compact(er_facts *f) {
    size_t kept = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (f->at[i].line) f->at[kept++] = f->at[i];
        else er_fact_clear(&f->at[i]);
    }
    f->count = kept;
}

static er_status settle_ids(er_facts *f, er_fact **order) {
    er_status rc = ER_OK;
    char reason[ER_FACTS_REASON], q[80];
    size_t first = 0;
    for (size_t i = 0; i < f->count; i++) order[i] = &f->at[i];
    qsort(order, f->count, sizeof(er_fact *), by_id);
    for (size_t i = 1; i < f->count; i++) {
        if (strcmp(order[i]->id, order[first]->id) != 0) {
            first = i;
            continue;
        }
        (void)snprintf(reason, sizeof reason, "id %s is already that of %s %zu",
            er_facts_quote(q, order[i]->id), place(f), order[first]->line);
        ER_TRY(er_facts_add_reject(f, order[i]->line, order[i]->id, reason));
        order[i]->line = 0;
    }
    compact(f);
out:
    return rc;
}

static void digest_probes(er_digest *d, const er_probe *at, size_t n) {
    er_digest_add(d, &(uint64_t){n}, sizeof(uint64_t));
    for (size_t i = 0; i < n; i++) er_digest_add_str(d, at[i].prompt), er_digest_add_str(d, at[i].target);
}

static er_status digest(er_facts *f) {
    er_digest *d = NULL;
    er_status rc = er_digest_new(&d);
    if (rc != ER_OK) return rc;
    for (size_t i = 0; i < f->count; i++) {
        const er_fact *a = &f->at[i];
        const char *const strings[] = {a->id, a->subject, a->prompt, a->target, a->old, a->relation};
        for (size_t j = 0; j < sizeof strings / sizeof strings[0]; j++) er_digest_add_str(d, strings[j]);
        er_digest_add(d, &(uint64_t){a->n_paraphrases}, sizeof(uint64_t));
        for (size_t j = 0; j < a->n_paraphrases; j++) er_digest_add_str(d, a->paraphrases[j]);
        digest_probes(d, a->neighbors, a->n_neighbors);
        digest_probes(d, a->portability, a->n_portability);
        if (a->space) er_digest_add(d, &(uint64_t){a->space}, sizeof(uint64_t));
    }
    er_digest_hex(d, f->digest);
    er_digest_free(d);
    return ER_OK;
}

static void sort_rejects(er_facts *f) {
    if (f->n_rejects) qsort(f->rejects, f->n_rejects, sizeof *f->rejects, by_line);
}

er_status er_facts_settle(er_facts *f, const er_fact_class *at) {
    er_status rc = ER_OK;
    size_t count = 0, before = f->n_rejects;
    classed *order = malloc((f->count + 1) * sizeof *order);
    if (!order) return er_fail(ER_ENOMEM, "%s: %zu facts", f->path, f->count);
    for (size_t i = 0; i < f->count; i++)
        if (at[i].prompt != SIZE_MAX) order[count++] = (classed){&f->at[i], at[i]};
    qsort(order, count, sizeof *order, by_class);
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && order[i].class.prompt == order[i + n].class.prompt;) n++;
        if (n > 1) ER_TRY(settle(f, order + i, n));
    }
    compact(f);
    if (f->n_rejects > before) sort_rejects(f);
out:
    free(order);
    return rc;
}

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
static er_status settle_texts(er_facts *f) {
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
    ER_TRY(er_facts_settle(f, class));
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
static er_status warn_of_contradictions(er_facts *f) {
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
                (void)snprintf(first_kept, sizeof first_kept, "%s %zu wants %s where %s %zu edits", place(f),
                    a->line, er_facts_quote(q, wanted), place(f), b->line);
        }
        for (size_t j = 0; j < a->n_paraphrases; j++) {
            if (!(b = contradicted(f, at, a->paraphrases[j], a->target))) continue;
            if (!same++)
                (void)snprintf(first_same, sizeof first_same, "%s %zu wants %s where %s %zu edits", place(f),
                    a->line, er_facts_quote(q, a->target), place(f), b->line);
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

er_status er_facts_merge(er_facts *f) {
    er_status rc = ER_OK;
    er_fact **order = malloc((f->count + 1) * sizeof(er_fact *));
    if (!order) return er_fail(ER_ENOMEM, "%s: %zu facts", f->path, f->count);
    ER_TRY(settle_texts(f));
    ER_TRY(settle_ids(f, order));
    ER_TRY(warn_of_contradictions(f));
    sort_rejects(f);
    ER_TRY(digest(f));
out:
    free(order);
    return rc;
}
