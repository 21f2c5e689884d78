// Slots of the value optimisation: the device state of the units in flight and the packed batch they form.
#ifndef ER_SLOTS_H
#define ER_SLOTS_H
#include "engine/values.h"
#include "engine/values/pool.h"

#define ER_NO_UNIT SIZE_MAX

typedef struct er_load {  // what units take of a batch
    size_t tokens, rows, labels;
    size_t prefix;  // cached positions above z, for as long as the unit is in flight
} er_load;

typedef struct er_slots_size {  // what `batch_tokens` comes to for these units
    size_t count;
    size_t cap_tokens, cap_rows, cap_labels;  // of a step's batch
    size_t run_tokens;                        // of an admission's: whole rows of the longest unit at least
    size_t state_room, prefix_room;
} er_slots_size;
void er_slots_measure(er_slots_size *out, const er_units *units, size_t batch_tokens);

typedef struct er_slots {
    er_model *m;
    const er_units *units;
    const er_hparams *h;
    size_t z_layer, above;                    // layers above z
    size_t count;                             // slots
    size_t cap_tokens, cap_rows, cap_labels;  // of a step's batch
    er_pool states, prefixes;                 // places in `state` and in the cache
    er_run *run;
    er_kv *kv;      // [above layers, prefix_room]
    er_tape *tape;  // [above]
    // [dev] per slot
    float *state;  // [state_room, hidden] output of the z layer at suffix positions, delta not added
    float *z0, *delta, *adam_m, *adam_v, *grad;  // [count, hidden]
    float *z0_norm, *total;                      // [count]
    int32_t *step, *done;                        // [count]; step -1: empty
    float *reference;  // [count, vocab] log-probabilities at the KL position of the unedited model
    // [dev] per batch
    float *x, *dx;   // [tokens, hidden]
    float *row_tmp;  // [cap_rows, hidden]
    float *logits;   // [cap_labels, vocab]
    float *picked, *picked_stats, *head_tmp, *dpicked, *loss, *weight;
    int32_t *state_index, *slot_of_row, *first_of_row, *label_token, *label, *kl_ref, *loss_start, *index_tmp;
    void **owned;  // every device allocation, for er_slots_free
    size_t n_owned;
    // host
    size_t *unit;                  // [count] unit in the slot, or ER_NO_UNIT
    size_t *state_at, *prefix_at;  // [count] the slot's first place
    int32_t *kl_logit;             // [count] its row of logits
    bool *fresh;                   // [count] admitted since the last step
    float *trace;                  // [count, steps] losses so far
    size_t *n_trace;
    size_t active;                // units in flight
    size_t failed;                // the unit that an ENUMERIC is about
    er_load load;                 // of them
    size_t tokens, rows, labels;  // of the batch as planned
} er_slots;

er_status er_slots_create(
    er_slots **out, er_model *m, const er_units *units, const er_hparams *h, size_t batch_tokens);
void er_slots_free(er_slots *s);
size_t er_unit_tokens(const er_unit *u);  // of whole rows
er_load er_unit_load(const er_unit *u);   // of a step's batch: suffix tokens only
// Gives the unit a slot and its places; false when the batch has no room left for it. An empty batch takes
// any unit.
bool er_slots_take(er_slots *s, size_t *slot, size_t unit);
// The one-time passes of n slots just taken: layers 0..z in full; prefix keys and values above z.
er_status er_slots_admit(er_slots *s, const size_t *slots, size_t n);
er_status er_slots_release(er_slots *s, size_t slot);
// Lays out the batch of all active slots and uploads its index arrays. Call after any change of membership.
er_status er_slots_plan(er_slots *s);
// One optimisation step of the planned batch. host_done, host_total [count].
er_status er_slots_step(er_slots *s, int32_t *host_done, float *host_total);
#endif
