#include "engine/prompts/siblings.h"

#include <stdlib.h>
#include <string.h>

typedef struct phrasing {
    const char *relation, *prompt;
} phrasing;

struct er_siblings {
    phrasing *at;  // distinct, sorted by relation, then prompt
    size_t count;
};

static int compare(const void *a, const void *b) {
    const phrasing *x = a, *y = b;
    int c = strcmp(x->relation, y->relation);
    return c ? c : strcmp(x->prompt, y->prompt);
}

er_status er_siblings_create(er_siblings **out, const er_facts *facts) {
    er_siblings *s = calloc(1, sizeof *s);
    if (!s || !(s->at = malloc((facts->count + 1) * sizeof *s->at))) {
        free(s);
        return er_fail(ER_ENOMEM, "%zu phrasings", facts->count);
    }
    for (size_t i = 0; i < facts->count; i++)
        if (facts->at[i].relation) s->at[s->count++] = (phrasing){facts->at[i].relation, facts->at[i].prompt};
    qsort(s->at, s->count, sizeof *s->at, compare);
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++)
        if (!n || compare(&s->at[i], &s->at[n - 1])) s->at[n++] = s->at[i];
    s->count = n;
    *out = s;
    return ER_OK;
}

void er_siblings_free(er_siblings *s) {
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
    const char *prompt;
} pick;
static int compare_picks(const void *a, const void *b) {
    const pick *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : strcmp(x->prompt, y->prompt);
}

er_status er_siblings_of(
    const char ***out, size_t *n, const er_siblings *s, const er_facts *facts, size_t i, size_t most) {
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
    size_t end = lo;
    while (end < s->count && !strcmp(s->at[end].relation, f->relation)) end++;
    pick *p = malloc((end - lo + 1) * sizeof *p);
    const char **list = malloc((most + 1) * sizeof *list);
    if (!p || !list) {
        free(p);
        free(list);
        return er_fail(ER_ENOMEM, "%zu phrasings", end - lo);
    }
    size_t k = 0;
    for (size_t j = lo; j < end; j++)
        if (strcmp(s->at[j].prompt, f->prompt))
            p[k++] = (pick){mix(mix(mix(0xcbf29ce484222325ull, f->subject), f->prompt), s->at[j].prompt),
                s->at[j].prompt};
    qsort(p, k, sizeof *p, compare_picks);
    for (size_t j = 0; j < k && j < most; j++) list[(*n)++] = p[j].prompt;
    free(p);
    *out = list;
    return ER_OK;
}
