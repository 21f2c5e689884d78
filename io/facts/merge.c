// Passes over all facts once they are read: exact duplicates, contradictions, ids used twice, the digest.
// Sorting finds them, so that no input can make it quadratic.
#include "io/facts/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/file.h"

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

static int by_rewrite(const void *x, const void *y) {  // subject, prompt, then file order
    const er_fact *a = *(er_fact *const *)x, *b = *(er_fact *const *)y;
    int c = strcmp(a->subject, b->subject);
    if (c == 0) c = strcmp(a->prompt, b->prompt);
    return c ? c : (a > b) - (a < b);
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

static bool same_rewrite(const er_fact *a, const er_fact *b) {
    return strcmp(a->subject, b->subject) == 0 && strcmp(a->prompt, b->prompt) == 0;
}

static const char *place(const er_facts *f) { return f->is_lines ? "line" : "record"; }

// `group` [n] are the facts of one (subject, prompt), in file order. Each conflicting one names the first
// that contradicts it.
static er_status settle(er_facts *f, er_fact **group, size_t n) {
    char reason[ER_FACTS_REASON], mine[80], other[80];
    size_t differs = 1;  // the first whose target is not the first fact's
    while (differs < n && strcmp(group[differs]->target, group[0]->target) == 0) differs++;
    for (size_t i = 0; i < n; i++) {
        const er_fact *against =
            strcmp(group[i]->target, group[0]->target) == 0 ? group[differs < n ? differs : 0] : group[0];
        if (differs == n) {
            if (i == 0) continue;
            f->n_duplicates++;
        } else {
            (void)snprintf(reason, sizeof reason,
                "target %s conflicts with %s in %s %zu, for the same subject and prompt",
                er_facts_quote(mine, group[i]->target), er_facts_quote(other, against->target), place(f),
                against->line);
            er_status rc = er_facts_add_reject(f, group[i]->line, group[i]->id, reason);
            if (rc != ER_OK) return rc;
        }
    }
    for (size_t i = differs == n ? 1 : 0; i < n; i++) group[i]->line = 0;  // marks it for compact()
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
    }
    er_digest_hex(d, f->digest);
    er_digest_free(d);
    return ER_OK;
}

er_status er_facts_merge(er_facts *f) {
    er_status rc = ER_OK;
    er_fact **order = malloc((f->count + 1) * sizeof(er_fact *));
    if (!order) return er_fail(ER_ENOMEM, "%s: %zu facts", f->path, f->count);
    for (size_t i = 0; i < f->count; i++) order[i] = &f->at[i];
    qsort(order, f->count, sizeof(er_fact *), by_rewrite);
    for (size_t i = 0, n; i < f->count; i += n) {
        for (n = 1; i + n < f->count && same_rewrite(order[i], order[i + n]);) n++;
        if (n > 1) ER_TRY(settle(f, order + i, n));
    }
    compact(f);
    ER_TRY(settle_ids(f, order));
    if (f->n_rejects) qsort(f->rejects, f->n_rejects, sizeof *f->rejects, by_line);
    ER_TRY(digest(f));
out:
    free(order);
    return rc;
}
