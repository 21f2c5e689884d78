// How well an edit took and what it cost: every prompt of every fact scored on one model, summed up, put
// beside the same on another.
//
//     er_eval *before = NULL, *after = NULL;
//     er_evaluate(&before, base, facts, &options);
//     er_evaluate(&after, edited, facts, &options);
//     er_eval_print_table(stdout, before, after);
//
// Success is a comparison of mean log-probabilities per token, as CounterFact is scored: efficacy (the fact's
// own prompt) and paraphrases succeed when the new object is likelier than the old one, a neighbour when its
// own object is likelier than the fact's new one. Strict is harder: every token of the right object is the
// argmax. Where a file gives no old object there is nothing to compare and only strict counts.
#ifndef ER_EVALUATE_H
#define ER_EVALUATE_H
#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdio.h>
#include "engine/model.h"
#include "io/facts.h"

typedef enum er_eval_kind {
    ER_EFFICACY,
    ER_PARAPHRASE,
    ER_NEIGHBOR,
    ER_PORTABILITY,
    ER_EVAL_KINDS
} er_eval_kind;
const char *er_eval_kind_name(er_eval_kind kind);  // "efficacy", "paraphrase", "neighborhood", "portability"

typedef struct er_eval_item {  // one prompt of one fact
    er_eval_kind kind;
    uint32_t fact, index;  // facts->at[fact], its index-th prompt of this kind
    bool scored;           // false: no object to ask for, or longer than the model's positions
    bool compared;         // both objects were scored
    bool strict;           // every token of `right` is the argmax
    // Mean log-probability per token of the object that should win, and of the one that should not.
    float right, wrong;
} er_eval_item;
static inline bool er_eval_success(const er_eval_item *i) { return i->compared && i->right > i->wrong; }

typedef struct er_rate {  // of one kind
    size_t scored, strict, compared, success;
    double margin;  // mean of right - wrong over the compared
} er_rate;
typedef struct er_rates {
    er_rate kind[ER_EVAL_KINDS];
    size_t facts;
} er_rates;
static inline double er_percent(size_t part, size_t all) {
    return all ? 100.0 * (double)part / (double)all : 0.0;
}
// Harmonic mean of the success percentages of efficacy, paraphrase and neighbourhood, as far as there are
// any; 0 when one is 0.
double er_eval_score(const er_rates *r);

typedef struct er_relation {
    const char *name;  // borrowed from the facts; NULL: facts without one
    er_rates rates;
} er_relation;

typedef struct er_perplexity {  // of a held-out text
    size_t tokens;              // scored ones; 0: not measured
    double nll;                 // mean, natural log; perplexity = exp(nll)
} er_perplexity;

typedef struct er_eval {
    const er_facts *facts;  // borrowed; must outlive this
    er_eval_item *item;     // in file order; per fact: own prompt, paraphrases, neighbours, portability
    size_t count;
    char **answer;  // [facts->count] greedy continuation of the own prompt, or NULL where not asked for
    er_rates total;
    er_relation *relation;  // by number of facts, most first
    size_t n_relations;
    er_perplexity drift;
    char *model;                       // folder
    size_t unscored, prompts, tokens;  // prompts: different ones that were run
    double seconds, flops;
} er_eval;

typedef struct er_eval_options {
    size_t batch_tokens;     // 0: 2048, less where the key/value cache would pass 1 GiB
    size_t answers;          // how many facts to ask in words: the first ones, and as many that did not take
    size_t answer_tokens;    // of each; 0: 8
    size_t neighbors;        // of each fact, at most; 0: all
    er_space space;          // between prompts and objects: as the edit has it
    bool all_paraphrases;    // score EasyEdit's rephrase_prompt too, although most are no paraphrases
    const char *drift_text;  // held-out, UTF-8 (bad bytes are read as U+FFFD), drift_bytes of it; NULL: none
    size_t drift_bytes;
    size_t drift_tokens;  // at most; 0: 8192
    size_t drift_window;  // tokens per row; 0: 512, or the model's positions if fewer
} er_eval_options;

er_status er_evaluate(er_eval **out, er_model *m, const er_facts *facts, const er_eval_options *options);
void er_eval_free(er_eval *e);
// The text in rows of `window` tokens (each behind BOS if the tokenizer's template has one), every token but
// a row's first scored.
er_status er_perplexity_measure(er_perplexity *out, er_model *m, const er_eval_options *options);
// Fills total and relation from the items. er_evaluate has done it; for results that come from elsewhere.
er_status er_eval_summarize(er_eval *e);

// Neighbours the base model got strictly right, and how many of those the edited one still does.
typedef struct er_retained {
    size_t known, still;
} er_retained;
// EARG unless both scored the same facts. `before` may be NULL in the three below: then only `after` is
// shown.
er_status er_eval_retained(er_retained *out, const er_eval *before, const er_eval *after);
void er_eval_print_table(FILE *to, const er_eval *before, const er_eval *after);
// metrics.json. Rates are in percent, and null where nothing was asked. R is
//     {"prompts", "strict", "compared", "success", "margin"}
// and S, where "portability" is left out when nothing of it was scored,
//     {"score", "efficacy": R, "paraphrase": R, "neighborhood": R, "portability": R}
//
//     {"format": 1, "model", "base": folder or null,
//      "facts": {"path", "format", "digest", "accepted", "rejected", "duplicates"},
//      "before": null without a base model, else as "after",
//      "after": S and "perplexity", "perplexity_tokens", "seconds", "tokens", "unscored",
//      "neighbors_kept": {"known_before", "still_right", "percent"} or null,
//      "perplexity_change_percent": number or null,
//      "relations": [{"relation", "facts", "before": S, "after": S}],
//      "failures": those not strict after the edit
//          [{"id", "line", "subject", "prompt", "target", "old", "says", "right", "wrong"}],
//      "rejected": [{"line", "id", "reason"}],
//      "items": with `details` only
//          [{"id", "kind", "index", "prompt", "before"/"after": {"right", "wrong", "success", "strict"}}]}
er_status er_eval_json(cJSON **out, const er_eval *before, const er_eval *after, bool details);
// The prompt an item asks, malloc'd; NULL when memory is out.
char *er_eval_prompt(const er_facts *facts, const er_eval_item *i);
#endif
