// Slots of the value optimisation: the device state of the units in flight and the packed batch they form.
#ifndef ER_SLOTS_H
#define ER_SLOTS_H
#include "engine/values.h"

#define ER_NO_UNIT SIZE_MAX

typedef struct er_load {  // what units take of a batch
    size_t tokens, rows, labels;
} er_load;

typedef struct er_slots {
    er_model *m;
    const er_units *units;
    const er_hparams *h;
    size_t z_layer, above;                    // layers above z
    size_t count;                             // slots
    size_t cap_tokens, cap_rows, cap_labels;  // of a step's batch
    size_t suffix_cap, prefix_cap;            // of one slot
    er_run *run;
    er_kv *kv;      // [above layers, count * prefix_cap]: slot s owns prefix_cap positions
    er_tape *tape;  // [above]
    // [dev] per slot
    float *state;  // [count * suffix_cap, hidden] output of the z layer at suffix positions, delta not added
    float *z0, *delta, *adam_m, *adam_v, *grad;  // [count, hidden]
    float *z0_norm, *total;                      // [count]
    int32_t *step, *done;                        // [count]
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
    size_t *unit;       // [count] unit in the slot, or ER_NO_UNIT
    int32_t *kl_logit;  // [count] its row of logits
    bool *fresh;        // [count] admitted since the last step
    float *trace;       // [count, steps] losses so far
    size_t *n_trace;
    size_t active;                // units in flight
    er_load load;                 // of them
    size_t tokens, rows, labels;  // of the batch as planned
} er_slots;

er_status er_slots_create(
    er_slots **out, er_model *m, const er_units *units, const er_hparams *h, size_t batch_tokens);
void er_slots_free(er_slots *s);
size_t er_unit_tokens(const er_unit *u);  // of whole rows
er_load er_unit_load(const er_unit *u);   // of a step's batch: suffix tokens only
void er_load_add(er_load *sum, er_load x);
bool er_load_fits(const er_slots *s, er_load x);  // within the batch's capacity
// Puts units into free slots: the one-time passes (layers 0..z in full; prefix keys and values above z).
er_status er_slots_admit(er_slots *s, const size_t *units, size_t n);
void er_slots_release(er_slots *s, size_t slot);
// Lays out the batch of all active slots and uploads its index arrays. Call after any change of membership.
er_status er_slots_plan(er_slots *s);
// One optimisation step of the planned batch. host_done, host_total [count].
er_status er_slots_step(er_slots *s, int32_t *host_done, float *host_total);
#endif
