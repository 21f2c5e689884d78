// Which tokens the solve carries through the layers, and how they are cut into micro-batches: the same for every
// layer, so all of it is worked out once. Rows are cut behind the subject's last token. Rows behind the same
// context template share its first tokens: those are one row of their own, which the others continue from the
// key/value cache.
#ifndef ER_MICROBATCHES_H
#define ER_MICROBATCHES_H
#include "engine/prompts.h"

#define ER_MICROBATCH_PROMPTS ((size_t)2048)

typedef struct er_microbatch {
    size_t first, rows;  // of the layout's rows, shared ones counted
    size_t at, tokens;   // their tokens
    bool continues;      // some row of it continues a shared one
} er_microbatch;

// Rows, and with them tokens and micro-batches, in this order: shared ones, every request's bare row in the order of
// the requests, all others. So request u's bare row is the u-th behind the shared ones.
typedef struct er_microbatches {
    size_t requests, shared, rows;  // rows: of requests, shared ones not counted; KL rows are left out
    size_t tokens, cached;  // the shared ones' tokens, the first `cached`, have the same place in the cache
    int32_t *token, *pos;   // [tokens]
    int32_t *store_at;      // [cached]
    int32_t *prefix_at, *prefix_len;  // [shared + rows]
    int32_t *row_start;               // micro-batch i's [rows + 1] lie behind micro-batch[i].first + i others
    int32_t *last;                    // [rows] each one's last token, counted in its micro-batch
    int32_t *request;                 // [rows]
    float *weight;                    // [rows] key weights
    er_microbatch *microbatch;
    size_t n_microbatches, n_prefix_groups, n_base;  // in all; of shared rows; of bare rows behind those
    size_t most_tokens, most_rows;                   // of any micro-batch
} er_microbatches;

// Chunks hold at most max_tokens tokens and ER_MICROBATCH_PROMPTS rows, but at least one row.
er_status er_microbatches_create(er_microbatches **out, const er_requests *requests, size_t max_tokens);
void er_microbatches_free(er_microbatches *l);
#endif
