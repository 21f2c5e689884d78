// Private to engine/evaluate: questions, and the runner that answers them.
#ifndef ER_EVALUATE_PARTS_H
#define ER_EVALUATE_PARTS_H
#include "engine/evaluate.h"
#include "engine/forward.h"

// How likely is `target` behind `prompt`? Strings are borrowed.
typedef struct er_query {
    const char *prompt, *target;
    er_space space;  // between them, if the record says so
    float logprob;   // out: mean per token
    bool strict;     // out: every token is the argmax
    bool fits;  // out: false when it has no tokens or more than the model's positions, then nothing else is
                // set
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
typedef struct er_scorer {
    er_model *model;
    er_run *run;
    er_kv *kv;                                     // NULL unless made with a cache
    size_t max_tokens, max_labels;                 // labels per head call; more are done in turns
    float *x, *logits, *picked, *stats, *scratch;  // [dev]
    float *loss, *weight;                          // [dev] [max_labels]
    int32_t *index, *label, *hit;                  // [dev] [max_labels]
} er_scorer;
er_status er_scorer_create(er_scorer **out, er_model *m, size_t max_tokens, bool cache);
void er_scorer_free(er_scorer *s);
er_status er_scorer_forward(er_scorer *s, const er_batch *rows);
// nll [n] and hit [n] of label[i] at row index[i] of the batch; all host.
er_status er_scorer_labels(
    er_scorer *s, float *nll, int32_t *hit, const int32_t *index, const int32_t *label, size_t n);
size_t er_eval_batch_tokens(const er_model *m, size_t wanted);  // what `batch_tokens` means
size_t er_eval_positions(const er_model *m);                    // how long a row may be
#endif
