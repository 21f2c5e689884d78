// Facts to requests: bad facts are rejected, facts that share a subject are grouped, and sizes are noted.
#include <stdlib.h>
#include <string.h>

#include "engine/prompts/prompts_internal.h"
#include "engine/prompts/relation_prompts_internal.h"
#include "io/base/signals.h"

void er_requests_free(er_requests *u) {
    if (!u) return;
    for (size_t i = 0; i < u->count; i++) er_request_clear(&u->at[i]);
    free(u->at);
    free(u);
}

static void note_sizes(er_requests *all, const er_request *u) {
    size_t suffix = 0, prefix = 0, labels = 1;
    for (size_t i = 0; i < u->n_rows; i++) {
        const er_prompt *r = &u->row[i];
        suffix += r->length - r->subject_last;
        prefix += r->subject_last;
        labels += r->n_labels;
        all->n_rows++;
        all->n_target_alone += r->target_alone;
        all->n_prefix_differs += r->prefix_differs;
        if (r->length > all->max_prompt_tokens) all->max_prompt_tokens = r->length;
    }
    for (size_t i = 0; i < ER_SEAM_KINDS; i++) all->seam[i] += u->seam[i];
    if (suffix > all->max_suffix_tokens) all->max_suffix_tokens = suffix;
    if (prefix > all->max_prefix_tokens) all->max_prefix_tokens = prefix;
    if (labels > all->max_labels) all->max_labels = labels;
    if (u->n_rows > all->max_rows) all->max_rows = u->n_rows;
}

// Can this one fact be encoded, by itself? Bad ones are taken out before grouping, so that they do not take
// their group with them.
static er_status reject_bad(er_request_builder *b, er_facts *facts) {
    for (size_t i = 0; i < facts->count;) {
        er_request u = {0};
        er_status rc = er_stop_check("the facts are not encoded yet");
        if (rc == ER_OK) rc = er_request_build(b, &u, &i, 1);
        er_request_clear(&u);
        if (rc == ER_EFORMAT) {
            if ((rc = er_facts_reject(facts, i, er_last_error())) != ER_OK) return rc;
        } else if (rc != ER_OK) {
            return rc;
        } else {
            i++;
        }
    }
    return ER_OK;
}

// Subjects are one when the tokenizer reads them so.
typedef struct by_subject {
    int32_t *id;  // [n]
    size_t n, fact;
} by_subject;

static int compare_ids(const by_subject *x, const by_subject *y) {
    size_t n = x->n < y->n ? x->n : y->n;
    int c = n ? memcmp(x->id, y->id, n * sizeof *x->id) : 0;
    return c ? c : (x->n > y->n) - (x->n < y->n);
}
static int compare_subjects(const void *a, const void *b) {
    const by_subject *x = a, *y = b;
    int c = compare_ids(x, y);
    return c ? c : (x->fact > y->fact) - (x->fact < y->fact);
}

static er_status order_by_subject(er_request_builder *b, by_subject *order) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < b->facts->count; i++) {
        const char *subject = b->facts->at[i].subject;
        ER_TRY(er_tokenizer_encode(b->m->tokenizer, &b->scratch, subject, strlen(subject), false));
        order[i] = (by_subject){malloc((b->scratch.count + 1) * sizeof *order[i].id), b->scratch.count, i};
        if (!order[i].id) ER_FAIL(ER_ENOMEM, "%zu token ids", b->scratch.count);
        for (size_t k = 0; k < b->scratch.count; k++) order[i].id[k] = b->scratch.at[k].id;
    }
    if (b->h->merge_subjects) qsort(order, b->facts->count, sizeof *order, compare_subjects);
out:
    return rc;
}
static int compare_requests(const void *a, const void *b) {
    size_t x = ((const er_request *)a)->fact[0], y = ((const er_request *)b)->fact[0];
    return (x > y) - (x < y);
}

static er_status group(er_request_builder *b, er_requests *all) {
    er_status rc = ER_OK;
    size_t n = b->facts->count;
    by_subject *order = calloc(n + 1, sizeof *order);
    size_t *members = malloc((n + 1) * sizeof *members);
    if (!order || !members) ER_FAIL(ER_ENOMEM, "%zu facts", n);
    ER_TRY(order_by_subject(b, order));
    for (size_t i = 0; i < n;) {
        size_t k = 0;
        do members[k++] = order[i++].fact;
        while (b->h->merge_subjects && i < n && !compare_ids(&order[i], &order[i - 1]));
        ER_TRY(er_stop_check("the facts are not encoded yet"));
        ER_TRY(er_request_build(b, &all->at[all->count], members, k));
        note_sizes(all, &all->at[all->count++]);
    }
    qsort(all->at, all->count, sizeof *all->at, compare_requests);  // back to the order of the file
out:
    for (size_t i = 0; order && i < n; i++) free(order[i].id);
    free(order);
    free(members);
    return rc;
}

er_status er_requests_build(er_requests **out, er_facts *facts, const er_model *m, const er_hparams *h,
    const er_templates *templates) {
    er_status rc = ER_OK;
    er_requests *all = NULL;
    er_request_builder b = {.facts = facts, .m = m, .h = h, .templates = templates};
    if (templates->count < h->n_prefixes)
        ER_TRY(er_hparams_refuse(h, "n_prefixes", "n_prefixes: %zu context templates asked for, %zu at hand",
            h->n_prefixes, templates->count));
    ER_TRY(reject_bad(&b, facts));
    ER_TRY(er_prompts_agree(facts, m->tokenizer, h->space));
    ER_TRY(er_relation_prompts_create(
        &b.relation_prompts, facts));  // only now: rejecting frees a fact's strings
    if (!(all = calloc(1, sizeof *all)) || !(all->at = calloc(facts->count + 1, sizeof *all->at)))
        ER_FAIL(ER_ENOMEM, "%zu facts", facts->count);
    ER_TRY(group(&b, all));
    er_requests_report(&b, all);
    *out = all;
    all = NULL;
out:
    er_relation_prompts_free(b.relation_prompts);
    er_tokens_free(&b.scratch);
    er_requests_free(all);
    return rc;
}
