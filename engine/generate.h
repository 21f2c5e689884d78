// Text out of a model. Rows live in slots of one packed batch: a step runs one new token of every row in
// flight together with the whole prompts of rows that have just been let in; a finished row leaves and the
// next takes its slot. Keys and values of a slot stay in the cache, so no token is ever run twice.
#ifndef ER_GENERATE_H
#define ER_GENERATE_H
#include <stdbool.h>
#include <stdint.h>
#include "engine/model.h"
#include "engine/sequences.h"

typedef struct er_generate_options {
    size_t max_new_tokens;
    double temperature;  // 0: greedy (the lowest id wins a tie)
    size_t top_k;        // keep the k most probable; 0: all
    double top_p;        // then the fewest whose probabilities sum to top_p; 1: all
    uint64_t seed;       // row r draws from a stream of its own, (seed, first_row + r)
    uint64_t first_row;
    bool stop_at_eos;       // eos or "<|endoftext|>" ends a row and is no part of it
    bool restart_at_eos;    // it stays in the row, uncounted, and the row goes on from its prompt alone
    size_t min_new_tokens;  // no eos before (nor right behind a prompt that is begun anew)
    size_t memory;          // for the key/value cache, at most 128 rows at once; 0: 512 MiB
    // [rows] NULL, or which of the model's [vocab] ids may come first in that row; NULL: any, everywhere.
    const uint8_t *const *first;
    const char *stage;  // name of the progress line; NULL: silent
} er_generate_options;
#define ER_GENERATE_OPTIONS_DEFAULT                                                                          \
    ((er_generate_options){.max_new_tokens = 32, .top_p = 1.0, .stop_at_eos = true})

// One continuation per prompt, in order, without the prompt. EARG for an empty prompt or one that fills the
// model's positions; a row ends early where the positions do. EINTERRUPTED once a stop was requested.
er_status er_generate(
    er_sequences **out, er_model *m, const er_sequences *prompts, const er_generate_options *o);
// Text in, text out: the continuation alone, special tokens dropped; the caller frees each. A blank at a
// prompt's end goes into the first token that follows, as it does in any text and as the editor has it: what
// may follow is then what begins with it. On failure all are NULL.
er_status er_ask_all(
    char **out, er_model *m, const char *const *prompts, size_t n, const er_generate_options *o);
er_status er_ask_one(char **out, er_model *m, const char *prompt, const er_generate_options *o);

typedef struct er_sample_options {
    size_t tokens;       // in all; 0: 10 * d_ff
    size_t row_tokens;   // 0: 128, or the model's positions when there are fewer
    double temperature;  // 0: 1
    double top_p;        // 0: 0.95
    uint64_t seed;
    size_t memory;  // as above
} er_sample_options;
void er_sample_defaults(er_sample_options *o, const er_model *m);  // fills in the zeros

// Text of the model's own making, for statistics without a corpus. Each row starts from BOS; else from
// "<|endoftext|>" or eos (which end documents, so one starts behind them); else from a seeded draw among the
// most frequent whole words of the vocabulary. A start that no template asks for is dropped from the row.
// Exactly o->tokens tokens, the last row cut; rows end where documents do.
er_status er_sample_text(er_sequences **out, er_model *m, const er_sample_options *o);
#endif
