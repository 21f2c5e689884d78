// Results made by hand: what a summary, a table, metrics.json and a report are checked on without any model.
#ifndef ER_TEST_SYNTHETIC_H
#define ER_TEST_SYNTHETIC_H
#include "engine/evaluate.h"
#include "tests/test.h"

static inline er_facts *synthetic_facts(const char *text) {
    er_facts *f = NULL;
    OK(er_facts_parse(&f, text, strlen(text), "facts.jsonl", NULL));
    return f;
}

typedef struct synthetic_item {
    er_eval_kind kind;
    uint32_t fact, index;
    float right, wrong;  // NAN: not scored, not compared
    bool strict;
} synthetic_item;

static inline er_eval *synthetic_eval(
    const er_facts *facts, const char *model, const synthetic_item *item, size_t n) {
    er_eval *e = calloc(1, sizeof *e);
    e->facts = facts;
    e->model = strdup(model);
    e->item = calloc(n, sizeof *e->item);
    e->answer = calloc(facts->count + 1, sizeof *e->answer);
    e->count = n;
    for (size_t i = 0; i < n; i++) {
        const synthetic_item *s = &item[i];
        e->item[i] = (er_eval_item){.kind = s->kind,
            .fact = s->fact,
            .index = s->index,
            .scored = !isnan(s->right),
            .compared = !isnan(s->right) && !isnan(s->wrong),
            .strict = s->strict,
            .right = s->right,
            .wrong = s->wrong};
    }
    OK(er_eval_summarize(e));
    return e;
}
#endif
