// Facts and rejected records as lists: adding, dropping, freeing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/log.h"
#include "io/facts/facts_internal.h"

void er_fact_clear(er_fact *f) {
    for (size_t i = 0; i < f->n_paraphrases; i++) free(f->paraphrases[i]);
    for (size_t i = 0; i < f->n_neighbors; i++) free(f->neighbors[i].prompt), free(f->neighbors[i].target);
    for (size_t i = 0; i < f->n_portability; i++)
        free(f->portability[i].prompt), free(f->portability[i].target);
    free(f->paraphrases);
    free(f->neighbors);
    free(f->portability);
    free(f->id);
    free(f->subject);
    free(f->prompt);
    free(f->target);
    free(f->old);
    free(f->relation);
    *f = (er_fact){0};
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

static int by_line(const void *x, const void *y) {
    const er_reject *a = x, *b = y;
    return (a->line > b->line) - (a->line < b->line);
}

void er_facts_sort_rejects(er_facts *f) {
    if (f->n_rejects) qsort(f->rejects, f->n_rejects, sizeof *f->rejects, by_line);
}

void er_facts_compact(er_facts *f) {
    size_t kept = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (f->at[i].line) f->at[kept++] = f->at[i];
        else er_fact_clear(&f->at[i]);
    }
    f->count = kept;
}

void er_facts_free(er_facts *f) {
    if (!f) return;
    for (size_t i = 0; i < f->count; i++) er_fact_clear(&f->at[i]);
    for (size_t i = 0; i < f->n_rejects; i++) free(f->rejects[i].id), free(f->rejects[i].reason);
    free(f->at);
    free(f->rejects);
    free(f->path);
    free(f);
}

void er_facts_warn_rejects(const er_facts *f, size_t most) {
    for (size_t i = 0; i < f->n_rejects && i < most; i++)
        er_warn("%s: %s %zu skipped: %s", f->path, f->is_lines ? "line" : "record", f->rejects[i].line,
            f->rejects[i].reason);
    if (f->n_rejects > most)
        er_warn("%s: %zu more records skipped; the manifest or metrics.json lists them", f->path,
            f->n_rejects - most);
}

er_status er_facts_reject(er_facts *f, size_t i, const char *reason) {
    if (i >= f->count) return er_fail(ER_EARG, "fact %zu of %zu", i, f->count);
    er_status rc = er_facts_add_reject(f, f->at[i].line, f->at[i].id, reason);
    if (rc != ER_OK) return rc;
    er_fact_clear(&f->at[i]);
    memmove(&f->at[i], &f->at[i + 1], (f->count - i - 1) * sizeof f->at[0]);
    f->count--;
    return ER_OK;
}

char *er_fact_filled(const er_fact *f) {
    const char *at = strstr(f->prompt, "{}");
    char *filled = NULL;
    if (!at) return strdup(f->prompt);
    return asprintf(&filled, "%.*s%s%s", (int)(at - f->prompt), f->prompt, f->subject, at + 2) < 0 ? NULL
                                                                                                   : filled;
}
