// What is done to all facts once they are read: duplicates, conflicts, ids used twice, the digest.
#include "io/facts/facts_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/digest.h"

static int by_id(const void *x, const void *y) {
    const er_fact *a = *(er_fact *const *)x, *b = *(er_fact *const *)y;
    int c = strcmp(a->id, b->id);
    return c ? c : (a > b) - (a < b);
}

static er_status merge_ids(er_facts *f, er_fact **order) {
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
            er_facts_quote(q, order[i]->id), er_facts_place(f), order[first]->line);
        ER_TRY(er_facts_add_reject(f, order[i]->line, order[i]->id, reason));
        order[i]->line = 0;
    }
    er_facts_compact(f);
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

er_status er_facts_merge(er_facts *f) {
    er_status rc = ER_OK;
    er_fact **order = malloc((f->count + 1) * sizeof(er_fact *));
    if (!order) return er_fail(ER_ENOMEM, "%s: %zu facts", f->path, f->count);
    ER_TRY(er_facts_merge_texts(f));
    ER_TRY(merge_ids(f, order));
    ER_TRY(er_facts_warn_contradictions(f));
    er_facts_sort_rejects(f);
    ER_TRY(digest(f));
out:
    free(order);
    return rc;
}
