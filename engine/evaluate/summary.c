// Items summed up: overall, by relation, and what was kept of what the base model knew.
#include "engine/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *er_eval_kind_name(er_eval_kind kind) {
    static const char *const names[ER_EVAL_KINDS] = {"efficacy", "paraphrase", "neighborhood", "portability"};
    return names[kind];
}

char *er_eval_prompt(const er_facts *facts, const er_eval_item *i) {
    const er_fact *f = &facts->at[i->fact];
    switch (i->kind) {
    case ER_PARAPHRASE:
        return strdup(f->paraphrases[i->index]);
    case ER_NEIGHBOR:
        return strdup(f->neighbors[i->index].prompt);
    case ER_PORTABILITY:
        return strdup(f->portability[i->index].prompt);
    case ER_EFFICACY:
    case ER_EVAL_KINDS:
        break;
    }
    return er_fact_filled(f);
}

void er_eval_free(er_eval *e) {
    if (!e) return;
    for (size_t i = 0; e->answer && i < e->facts->count; i++) free(e->answer[i]);
    free(e->answer);
    free(e->item);
    free(e->relation);
    free(e->model);
    free(e);
}

static void add_item(er_rates *r, const er_eval_item *i) {
    er_rate *k = &r->kind[i->kind];
    r->facts += i->kind == ER_EFFICACY;
    if (!i->scored) return;
    k->scored++;
    k->strict += i->strict;
    if (!i->compared) return;
    k->compared++;
    k->success += er_eval_success(i);
    k->margin += (double)i->right - (double)i->wrong;  // a sum until finish()
}

static void finish(er_rates *r) {
    for (int k = 0; k < ER_EVAL_KINDS; k++)
        if (r->kind[k].compared) r->kind[k].margin /= (double)r->kind[k].compared;
}

double er_eval_score(const er_rates *r) {
    double inverse = 0;
    size_t n = 0;
    for (int k = ER_EFFICACY; k <= ER_NEIGHBOR; k++) {
        const er_rate *x = &r->kind[k];
        if (x->compared == 0) continue;
        if (x->success == 0) return 0;
        inverse += 1 / er_percent(x->success, x->compared);
        n++;
    }
    return n ? (double)n / inverse : 0;
}

static int by_relation(const void *x, const void *y) {  // facts without one last
    const er_fact *a = *(er_fact *const *)x, *b = *(er_fact *const *)y;
    if (!a->relation || !b->relation) return (a->relation == NULL) - (b->relation == NULL);
    return strcmp(a->relation, b->relation);
}

static int by_size(const void *x, const void *y) {
    const er_relation *a = x, *b = y;
    if (a->rates.facts != b->rates.facts) return a->rates.facts < b->rates.facts ? 1 : -1;
    if (!a->name || !b->name) return (a->name == NULL) - (b->name == NULL);
    return strcmp(a->name, b->name);
}

// group[i]: which relation fact i belongs to. Returns how many there are, their names in name[].
static size_t group_facts(const er_facts *f, const er_fact **order, uint32_t *group, const char **name) {
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++) order[i] = &f->at[i];
    qsort(order, f->count, sizeof(er_fact *), by_relation);
    for (size_t i = 0; i < f->count; i++) {
        if (i == 0 || by_relation(&order[i - 1], &order[i]) != 0) name[n++] = order[i]->relation;
        group[order[i] - f->at] = (uint32_t)(n - 1);
    }
    return n;
}

er_status er_eval_summarize(er_eval *e) {
    er_status rc = ER_OK;
    size_t facts = e->facts->count, n = 0;
    const er_fact **order = malloc((facts + 1) * sizeof(er_fact *));
    uint32_t *group = malloc((facts + 1) * sizeof *group);
    const char **name = malloc((facts + 1) * sizeof *name);
    er_relation *relation = NULL;
    if (!order || !group || !name) ER_FAIL(ER_ENOMEM, "a summary of %zu facts", facts);
    n = group_facts(e->facts, order, group, name);
    if (!(relation = calloc(n + 1, sizeof *relation))) ER_FAIL(ER_ENOMEM, "%zu relations", n);
    for (size_t i = 0; i < n; i++) relation[i].name = name[i];
    e->total = (er_rates){0};
    for (size_t i = 0; i < e->count; i++) {
        add_item(&e->total, &e->item[i]);
        add_item(&relation[group[e->item[i].fact]].rates, &e->item[i]);
    }
    finish(&e->total);
    for (size_t i = 0; i < n; i++) finish(&relation[i].rates);
    qsort(relation, n, sizeof *relation, by_size);
    free(e->relation);
    e->relation = relation;
    e->n_relations = n;
out:
    free(order);
    free(group);
    free(name);
    return rc;
}

er_status er_eval_retained(er_retained *out, const er_eval *before, const er_eval *after) {
    er_retained k = {0};
    if (before->count != after->count || before->facts != after->facts)
        return er_fail(
            ER_EARG, "%zu and %zu prompts: not an evaluation of the same facts", before->count, after->count);
    for (size_t i = 0; i < after->count; i++) {
        const er_eval_item *b = &before->item[i], *a = &after->item[i];
        if (a->kind != ER_NEIGHBOR || !b->scored || !a->scored || !b->strict) continue;
        k.known++;
        k.still += a->strict;
    }
    *out = k;
    return ER_OK;
}
