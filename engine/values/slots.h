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
size_t er_slots_bytes(const er_slots_size *z, const er_arch *a, size_t z_layer);  // of the device

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
    // pinned: what a step left, for the last two steps; see er_slots_result
    int32_t *host_done[2];  // [count]
    float *host_total[2];   // [count]
    float *host_delta[2];   // [count, hidden]
    float *host_z0;         // [count, hidden]
    er_arena memory;
    // host
    size_t *unit;                  // [count] unit in the slot, or ER_NO_UNIT
    size_t *state_at, *prefix_at;  // [count] the slot's first place
    int32_t *kl_logit;             // [count] its row of logits
    bool *fresh;                   // [count] admitted since the last step
    size_t *first_step;            // [count] the first step that the slot's unit takes part in
    size_t *queued;                // [count] steps queued for it so far
    float *trace;                  // [count, steps] losses so far
    size_t *n_trace;
    size_t steps;                 // queued since the start
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
// Is the unit in `slot` part of the next step? Not once all its steps are queued, though it stays until it is released.
bool er_slots_runs(const er_slots *s, size_t slot);
// Lays out the batch of all slots that run and uploads its index arrays. Call after any change of membership.
er_status er_slots_plan(er_slots *s);
// Queues one optimisation step of the planned batch, and behind it the copies of what it leaves. Does not wait.
er_status er_slots_queue(er_slots *s);
// Waits for step number `step`, one of the last two queued: done, total and delta then stand in host_*[step % 2].
er_status er_slots_result(er_slots *s, size_t step);
#endif
