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
    er_run *run;
    er_kv *kv;
    size_t slots, slot_positions, max_tokens;
    er_slot *slot;   // [slots]
    size_t *active;  // [slots] the slot of each row of the step
    int32_t *ints;   // host storage behind `rows`
    int32_t *token, *pos, *row_start, *prefix_at, *prefix_len, *store_at, *last;
    size_t rows, tokens;                            // of the step in hand
    float *x, *logits, *picked, *picked_stats, *h;  // [dev]
    int32_t *index;                                 // [dev]
    float *host_logits;                             // [slots, vocab]
} er_decode_batch;

size_t er_model_positions(const er_model *m);         // what a row may hold
void er_end_ids(int32_t ends[2], const er_model *m);  // eos and "<|endoftext|>", -1 where there is none
er_status er_decode_batch_create(
    er_decode_batch **out, er_model *m, size_t rows, size_t longest, size_t max_new, size_t memory);
void er_decode_batch_free(er_decode_batch *b);
void er_decode_batch_clear(er_decode_batch *b);  // starts the next step
// n more tokens of a slot, which continue what it has cached. The step must have room: see er_decode_batch_fits.
void er_decode_batch_push(er_decode_batch *b, size_t slot, const int32_t *token, size_t n);
bool er_decode_batch_fits(const er_decode_batch *b, size_t n);
er_status er_decode_batch_step(
    er_decode_batch *b);  // host_logits [rows, vocab]: what follows each row's last token
#endif
