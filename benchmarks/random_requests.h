// Facts as token rows with the statistics of CounterFact, without a text or a tokenizer: six prompts that say
// the fact (one bare, five behind a context template each) and one row for the KL term.
#ifndef ER_RANDOM_UNITS_H
#define ER_RANDOM_UNITS_H
#include "engine/prompts.h"
#include "engine/sequences.h"

// Deterministic in `seed`; the first facts of a larger set are those of a smaller one. Weights as the
// reference profile sets them.
er_status er_random_requests(er_requests **out, size_t facts, size_t vocab, uint64_t seed);
// Rows of `row_tokens` uniformly random tokens, `tokens` in all.
er_status er_random_rows(er_sequences **out, size_t tokens, size_t row_tokens, size_t vocab, uint64_t seed);

typedef struct er_unit_means {  // per fact
    double tokens;              // of all rows
    double prompt;              // of the bare row
    double subject_last;        // its index in the bare row
    double suffix;              // tokens from the subject's last on, all rows: what each step runs
    double labels;              // loss rows, the KL row's among them
    double before;              // tokens before the subject's last, the shared template tokens not counted
    double carried;             // tokens up to the subject's last of the rows with a label, likewise
    double bare_carried;        // of those the bare row's
    size_t suffix_p90;          // of the bare row
} er_unit_means;
er_unit_means er_requests_measure(const er_requests *requests);
#endif
