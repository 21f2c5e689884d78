// Which tokens the solve runs through the layers, and how they are cut into micro-batches: the same for every
// layer, so all of it is worked out once. Rows are cut behind the subject's last token. Rows behind the same
// context template share its first tokens: those are one row of their own, which the others continue from the
// cache of keys and values.
#ifndef ER_MICROBATCHES_H
#define ER_MICROBATCHES_H
#include "engine/forward/batch.h"
#include "engine/prompts.h"

#define ER_MICROBATCH_PROMPTS ((size_t)2048)

typedef struct er_microbatch {
    size_t first, rows;  // of the layout's rows, shared ones counted
    size_t at, tokens;   // their tokens
} er_microbatch;

typedef struct er_microbatch_row {  // as er_batch_row takes it
    const int32_t *token;           // [n] of a prompt, borrowed
    size_t n;
    er_kv_range prefix, store;
} er_microbatch_row;

// Rows, and with them tokens and micro-batches, in this order: shared ones, every request's base prompt in
// the order of the requests, all others. So request u's base prompt is the u-th behind the shared ones.
typedef struct er_microbatches {
    size_t requests, shared, rows;  // rows: of requests, shared ones not counted; KL rows are left out
    size_t tokens, cached;          // cached: positions that the shared ones take in the cache
    er_microbatch_row *row;         // [shared + rows]
    int32_t *request;               // [rows]
    float *weight;                  // [rows] key weights
    er_microbatch *microbatch;
    size_t n_microbatches, n_prefix_groups, n_base;  // in all; of shared rows; of base prompts behind those
    size_t most_tokens, most_rows;                   // of any micro-batch
} er_microbatches;

// Micro-batches hold at most max_tokens tokens and ER_MICROBATCH_PROMPTS rows, but at least one row. The
// requests' prompts must outlive it.
er_status er_microbatches_create(er_microbatches **out, const er_requests *requests, size_t max_tokens);
void er_microbatches_free(er_microbatches *l);
#endif
