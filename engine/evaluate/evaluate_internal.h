// Private to engine/evaluate: questions, and the scorer that answers them.
#ifndef ER_EVALUATE_INTERNAL_H
#define ER_EVALUATE_INTERNAL_H
#include "engine/evaluate.h"
#include "engine/forward.h"

// How likely is `target` behind `prompt`? Strings are borrowed.
typedef struct er_query {
    const char *prompt, *target;
    er_space space;  // between them, if the record says so
    float logprob;   // out: mean per token
    bool strict;     // out: every token is the argmax
    // out: false when it has no tokens or more than the model's positions; then nothing else is set
    bool fits;
} er_query;
typedef struct er_query_stats {
    size_t prompts, tokens;
    double flops;
} er_query_stats;
// Equal prompts are run once, whatever they are asked, and equal questions answered once. `space`: the job's
// rule.
er_status er_queries_run(
    er_query *q, size_t n, er_model *m, er_space space, size_t batch_tokens, er_query_stats *stats);

// ---- scorer.c: packed batches through all layers, then losses at chosen positions ----
typedef struct er_scored {  // how likely is `label` behind token `at` of the batch?
    int32_t at, label;
    size_t owner;  // the caller's
    float nll;     // out: -log p
    bool hit;      // out: it is the argmax
} er_scored;
typedef struct er_scorer {
    er_model *model;
    er_batch batch;  // the caller packs it
    er_run run;
    er_kv kv;           // max_tokens positions, or none
    size_t max_labels;  // of one head call; more are done in turns
    er_scored *label;   // [labels] of the batch, in the order of er_scorer_label
    size_t labels, capacity;
    float *x, *logits, *picked, *stats, *scratch;  // [dev]
    float *loss, *weight;                          // [dev] [max_labels]
    int32_t *index, *hit;                          // [dev] [2, max_labels] tokens and labels; [max_labels]
    float *host_loss;                              // [max_labels]
    int32_t *host_index, *host_hit;                // [2, max_labels], [max_labels]
    er_arena memory;
} er_scorer;
// Batches of max_tokens tokens, with a cache of as many positions if wanted. It begins with an empty one.
er_status er_scorer_create(er_scorer **out, er_model *m, size_t max_tokens, bool cache);
void er_scorer_free(er_scorer *s);
er_status er_scorer_label(er_scorer *s, size_t at, int32_t label, size_t owner);  // one more label to score
// Runs the batch and fills in label[0..labels-1]. Waits. An empty one does nothing.
er_status er_scorer_run(er_scorer *s);
void er_scorer_clear(er_scorer *s);                             // no rows, no labels
size_t er_eval_batch_tokens(const er_model *m, size_t wanted);  // what `batch_tokens` means
#endif
