// The phrasings that the facts of one relation lend each other.
#include "engine/prompts/relation_prompts_internal.h"

#include <stdlib.h>
#include <string.h>

struct er_relation_prompts {
    er_phrasing *at;  // distinct, sorted by relation, then prompt
    size_t count;
};

static int compare(const void *a, const void *b) {
    const er_phrasing *x = a, *y = b;
    int c = strcmp(x->relation, y->relation);
    if (!c) c = strcmp(x->text, y->text);
    return c ? c : (x->space > y->space) - (x->space < y->space);
}

er_status er_relation_prompts_create(er_relation_prompts **out, const er_facts *facts) {
    er_relation_prompts *s = calloc(1, sizeof *s);
    if (!s || !(s->at = malloc((facts->count + 1) * sizeof *s->at))) {
        free(s);
        return er_fail(ER_ENOMEM, "%zu phrasings", facts->count);
    }
    for (size_t i = 0; i < facts->count; i++)
        if (facts->at[i].relation)
            s->at[s->count++] = (er_phrasing){facts->at[i].relation, facts->at[i].prompt, facts->at[i].space};
    qsort(s->at, s->count, sizeof *s->at, compare);
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++)
        if (!n || compare(&s->at[i], &s->at[n - 1])) s->at[n++] = s->at[i];
    s->count = n;
    *out = s;
    return ER_OK;
}

void er_relation_prompts_free(er_relation_prompts *s) {
    if (!s) return;
    free(s->at);
    free(s);
}

static uint64_t mix(uint64_t h, const char *s) {  // FNV-1a
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3ull;
    return (h ^ 0xffu) * 0x100000001b3ull;
}

typedef struct pick {
    uint64_t key;
    const er_phrasing *prompt;
} pick;
static bool before(const pick *x, const pick *y) {
    return x->key != y->key ? x->key < y->key : compare(x->prompt, y->prompt) < 0;
}

// Keeps the `most` first of all picks seen, in order.
static void keep_first(pick *p, size_t *n, size_t most, pick x) {
    if (*n == most && !before(&x, &p[most - 1])) return;
    size_t at = *n < most ? (*n)++ : most - 1;
    for (; at && before(&x, &p[at - 1]); at--) p[at] = p[at - 1];
    p[at] = x;
}

er_status er_relation_prompts_of(er_phrasing **out, size_t *n, const er_relation_prompts *s,
    const er_facts *facts, size_t i, size_t most) {
    const er_fact *f = &facts->at[i];
    *out = NULL;
    *n = 0;
    if (!f->relation || !most) return ER_OK;
    size_t lo = 0, hi = s->count;
    while (lo < hi) {  // first phrasing of the relation
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(s->at[mid].relation, f->relation) < 0) lo = mid + 1;
        else hi = mid;
    }
    size_t end = lo, k = 0;
    while (end < s->count && !strcmp(s->at[end].relation, f->relation)) end++;
    if (most > end - lo) most = end - lo;
    if (!most) return ER_OK;
    pick *p = malloc(most * sizeof *p);
    er_phrasing *list = malloc(most * sizeof *list);
    if (!p || !list) {
        free(p);
        free(list);
        return er_fail(ER_ENOMEM, "%zu phrasings", most);
    }
    uint64_t own = mix(mix(0xcbf29ce484222325ull, f->subject), f->prompt);
    for (size_t j = lo; j < end; j++)
        if (strcmp(s->at[j].text, f->prompt))
            keep_first(p, &k, most, (pick){mix(own, s->at[j].text), &s->at[j]});
    for (size_t j = 0; j < k; j++) list[(*n)++] = *p[j].prompt;
    free(p);
    *out = list;
    return ER_OK;
}
