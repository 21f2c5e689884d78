// Inside engine/generate/: slots of one packed batch over one key/value cache.
#ifndef ER_GENERATE_BATCH_H
#define ER_GENERATE_BATCH_H
#include "engine/forward.h"
#include "engine/generate.h"

typedef struct er_slot {
    bool busy;
    size_t row;       // which prompt
    size_t cached;    // positions in the cache
    size_t n_new;     // ids chosen so far
    size_t counted;   // those that are no end
    int32_t *chosen;  // [n_new]
} er_slot;

typedef struct er_decode_batch {
    er_model *model;
    er_batch batch;  // of the step in hand
    er_run run;
    er_kv kv;
    size_t slots, slot_positions;
    er_slot *slot;                                  // [slots]
    size_t *active;                                 // [slots] the slot of each row of the step
    float *x, *logits, *picked, *picked_stats, *h;  // [dev]
    float *host_logits;                             // [slots, vocab]
    er_arena memory;
} er_decode_batch;

void er_end_ids(int32_t ends[2], const er_model *m);  // eos and "<|endoftext|>", -1 where there is none
// Slots for `rows` prompts of at most `longest` tokens and max_new more, as many as fit `memory`
// (er_generate_options).
er_status er_decode_batch_create(
    er_decode_batch **out, er_model *m, size_t rows, size_t longest, size_t max_new, size_t memory);
void er_decode_batch_free(er_decode_batch *b);
// n more tokens of a slot join the step, begun with er_batch_clear; they continue what the slot has cached.
// EARG without room.
er_status er_decode_batch_push(er_decode_batch *b, size_t slot, const int32_t *token, size_t n);
// Then host_logits [rows, vocab] has what follows each row's last token. Waits.
er_status er_decode_batch_step(er_decode_batch *b);
#endif
