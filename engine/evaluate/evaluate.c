// From facts to questions and from answers to items.
#include "engine/evaluate/evaluate_internal.h"

#include <stdlib.h>
#include <string.h>
#include "engine/generate.h"
#include "io/base/clock.h"
#include "io/base/log.h"

#define ANSWER_TOKENS 8

// What should win at this item, and what should not (NULL: nothing to compare with).
static void objects(const er_fact *f, const er_eval_item *i, const char **right, const char **wrong) {
    *right = f->target;
    *wrong = f->old;
    if (i->kind == ER_PORTABILITY) {
        *right = f->portability[i->index].target;
        *wrong = NULL;
    } else if (i->kind == ER_NEIGHBOR) {
        *right = f->neighbors[i->index].target ? f->neighbors[i->index].target : f->old;
        *wrong = f->target;
        if (*right && strcmp(*right, *wrong) == 0) *wrong = NULL;
    }
}

static er_space space_of(const er_fact *f, const er_eval_item *i) {
    return i->kind == ER_NEIGHBOR      ? f->neighbors[i->index].space
           : i->kind == ER_PORTABILITY ? f->portability[i->index].space
                                       : f->space;
}

// How many prompts of each kind a fact is asked.
static void how_many(
    size_t many[ER_EVAL_KINDS], const er_fact *f, bool paraphrases, const er_eval_options *o) {
    many[ER_EFFICACY] = 1;
    many[ER_PARAPHRASE] = paraphrases ? f->n_paraphrases : 0;
    many[ER_NEIGHBOR] = o->neighbors && o->neighbors < f->n_neighbors ? o->neighbors : f->n_neighbors;
    many[ER_PORTABILITY] = f->n_portability;
}

static size_t count_items(const er_facts *facts, bool paraphrases, const er_eval_options *o) {
    size_t n = 0;
    for (size_t i = 0; i < facts->count; i++) {
        size_t many[ER_EVAL_KINDS];
        how_many(many, &facts->at[i], paraphrases, o);
        for (int kind = 0; kind < ER_EVAL_KINDS; kind++) n += many[kind];
    }
    return n;
}

static void fill_items(er_eval *e, bool paraphrases, const er_eval_options *o) {
    for (size_t i = 0; i < e->facts->count; i++) {
        size_t many[ER_EVAL_KINDS];
        how_many(many, &e->facts->at[i], paraphrases, o);
        for (int kind = 0; kind < ER_EVAL_KINDS; kind++)
            for (size_t j = 0; j < many[kind]; j++)
                e->item[e->count++] =
                    (er_eval_item){.kind = (er_eval_kind)kind, .fact = (uint32_t)i, .index = (uint32_t)j};
    }
}

typedef struct asked {  // the questions of one item: right, then perhaps wrong
    char *prompt;
    size_t right, wrong;  // index of the query, or SIZE_MAX
} asked;

static er_status ask_items(er_eval *e, er_model *m, const er_eval_options *o) {
    er_status rc = ER_OK;
    er_query_stats stats = {0};
    asked *a = calloc(e->count + 1, sizeof *a);
    er_query *q = calloc(2 * e->count + 1, sizeof *q);
    size_t n = 0;
    if (!a || !q) ER_FAIL(ER_ENOMEM, "%zu prompts to score", e->count);
    for (size_t i = 0; i < e->count; i++) {
        const char *right = NULL, *wrong = NULL;
        objects(&e->facts->at[e->item[i].fact], &e->item[i], &right, &wrong);
        a[i].right = a[i].wrong = SIZE_MAX;
        if (!right) continue;
        if (!(a[i].prompt = er_eval_prompt(e->facts, &e->item[i]))) ER_FAIL(ER_ENOMEM, "a prompt");
        a[i].right = n;
        er_space space = space_of(&e->facts->at[e->item[i].fact], &e->item[i]);
        q[n++] = (er_query){.prompt = a[i].prompt, .target = right, .space = space};
        if (!wrong) continue;
        a[i].wrong = n;
        q[n++] = (er_query){.prompt = a[i].prompt, .target = wrong, .space = space};
    }
    ER_TRY(er_queries_run(q, n, m, o->space, o->batch_tokens, &stats));
    for (size_t i = 0; i < e->count; i++) {
        er_eval_item *item = &e->item[i];
        item->scored = a[i].right != SIZE_MAX && q[a[i].right].fits;
        if (!item->scored) {
            e->unscored++;
            continue;
        }
        item->right = q[a[i].right].logprob;
        item->strict = q[a[i].right].strict;
        item->compared = a[i].wrong != SIZE_MAX && q[a[i].wrong].fits;
        if (item->compared) item->wrong = q[a[i].wrong].logprob;
    }
    e->prompts = stats.prompts;
    e->tokens = stats.tokens;
    e->flops = stats.flops;
out:
    for (size_t i = 0; a && i < e->count; i++) free(a[i].prompt);
    free(a);
    free(q);
    return rc;
}

// The first facts, and the first of those that did not take, in the model's own words.
static er_status ask_answers(er_eval *e, er_model *m, const er_eval_options *o) {
    er_status rc = ER_OK;
    size_t n = 0, failed = 0, room = er_model_positions(m);
    er_generate_options g = ER_GENERATE_OPTIONS_DEFAULT;
    char **prompt = calloc(e->facts->count + 1, sizeof *prompt),
         **answer = calloc(e->facts->count + 1, sizeof *answer);
    size_t *fact = calloc(e->facts->count + 1, sizeof *fact);
    if (!prompt || !answer || !fact) ER_FAIL(ER_ENOMEM, "%zu answers", e->facts->count);
    g.max_new_tokens = o->answer_tokens ? o->answer_tokens : ANSWER_TOKENS;
    g.stage = "answers";
    for (size_t i = 0; i < e->count; i++) {
        const er_eval_item *item = &e->item[i];
        if (item->kind != ER_EFFICACY || !item->scored || room < 2) continue;
        if (item->fact >= o->answers && (item->strict || failed == o->answers)) continue;
        failed += item->fact >= o->answers;
        if (!(prompt[n] = er_eval_prompt(e->facts, item))) ER_FAIL(ER_ENOMEM, "a prompt");
        fact[n++] = item->fact;
    }
    if (n == 0) goto out;
    ER_TRY(er_ask_all(answer, m, (const char *const *)prompt, n, &g));
    for (size_t i = 0; i < n; i++) e->answer[fact[i]] = answer[i];
out:
    for (size_t i = 0; prompt && i < n; i++) free(prompt[i]);
    free(prompt);
    free(answer);
    free(fact);
    return rc;
}

er_status er_evaluate(er_eval **out, er_model *m, const er_facts *facts, const er_eval_options *options) {
    er_status rc = ER_OK;
    double begin = er_clock();
    const er_eval_options none = {0}, *o = options ? options : &none;
    bool paraphrases = o->all_paraphrases || strcmp(facts->format, "easyedit") != 0;
    er_eval *e = calloc(1, sizeof *e);
    if (!e) return er_fail(ER_ENOMEM, "an evaluation");
    e->facts = facts;
    e->item = calloc(count_items(facts, paraphrases, o) + 1, sizeof *e->item);
    e->answer = calloc(facts->count + 1, sizeof *e->answer);
    e->model = strdup(er_checkpoint_dir(m->checkpoint));
    if (!e->item || !e->answer || !e->model) ER_FAIL(ER_ENOMEM, "the evaluation of %zu facts", facts->count);
    if (facts->count > UINT32_MAX)
        ER_FAIL(ER_EARG, "%zu facts are too many to evaluate at once", facts->count);
    fill_items(e, paraphrases, o);
    ER_TRY(ask_items(e, m, o));
    if (o->answers) ER_TRY(ask_answers(e, m, o));
    if (o->drift_text && o->drift_bytes) ER_TRY(er_perplexity_measure(&e->drift, m, o));
    ER_TRY(er_eval_summarize(e));
    e->seconds = er_clock() - begin;
    *out = e;
    e = NULL;
out:
    er_eval_free(e);
    return rc;
}
