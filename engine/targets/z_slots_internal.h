// Slots of the value optimisation: the device state of the requests in flight and the packed batch they form.
#ifndef ER_Z_SLOTS_H
#define ER_Z_SLOTS_H
#include "engine/targets.h"
#include "engine/targets/pool_internal.h"

#define ER_NO_REQUEST SIZE_MAX

typedef struct er_footprint {  // what requests take of a batch
    size_t tokens, rows, labels;
    size_t prefix;  // cached positions above z, for as long as the request is in flight
} er_footprint;

typedef struct er_z_slots_size {  // what `batch_tokens` comes to for these requests
    size_t count;
    size_t cap_tokens, cap_rows, cap_labels;  // of a step's batch
    size_t run_tokens;                        // of an admission's: whole rows of the longest request at least
    size_t state_room, prefix_room;
} er_z_slots_size;
void er_z_slots_measure(er_z_slots_size *out, const er_requests *requests, size_t batch_tokens);

typedef struct
    er_z_indices {         // what tells the ops of a step who is where; once on the host, once on the device
    int32_t *state_index;  // [cap_tokens] rows of `state`
    int32_t *slot_of_row;  // [cap_rows]
    int32_t *label_token, *label,
        *kl_ref;          // [cap_labels] as er_label_loss has them; label_token: of the batch
    float *weight;        // [cap_labels]
    int32_t *loss_start;  // [count + 1]
    int32_t *gather;      // [run_tokens] of a prefill
} er_z_indices;

typedef struct er_z_slots {
    er_model *m;
    const er_requests *requests;
    const er_hparams *h;
    size_t z_layer, above;                    // layers above z
    size_t count;                             // slots
    size_t cap_tokens, cap_rows, cap_labels;  // of a step's batch
    er_pool states, prefixes;                 // places in `state` and in the cache
    er_batch batch;
    er_run run;
    er_kv kv;       // [above layers, prefix_room]
    er_tape *tape;  // [above]
    er_z_indices host, dev;
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
    float *picked, *picked_stats, *head_tmp, *dpicked, *loss;
    // pinned: what a step left, for the last two steps; see er_z_slots_result
    int32_t *host_done[2];  // [count]
    float *host_total[2];   // [count]
    float *host_delta[2];   // [count, hidden]
    float *host_z0;         // [count, hidden]
    er_arena memory;
    // host
    size_t *request;               // [count] request in the slot, or ER_NO_REQUEST
    size_t *state_at, *prefix_at;  // [count] the slot's first place
    int32_t *kl_logit;             // [count] its row of logits
    bool *fresh;                   // [count] admitted since the last step
    size_t *first_step;            // [count] the first step that the slot's request takes part in
    size_t *queued;                // [count] steps queued for it so far
    float *trace;                  // [count, steps] losses so far
    size_t *n_trace;
    size_t steps;       // queued since the start
    size_t active;      // requests in flight
    size_t failed;      // the request that an ENUMERIC is about
    er_footprint load;  // of them
    size_t labels;      // of the batch as planned
} er_z_slots;
static inline const er_request *er_z_slots_request(const er_z_slots *s, size_t slot) {
    return &s->requests->at[s->request[slot]];
}

// All that the slots take, from the arena; s->above and, unless the arena only counts, s->tape are set
// before.
er_status er_z_slots_take_memory(er_z_slots *s, er_arena *a, const er_arch *m, const er_z_slots_size *z);

er_status er_z_slots_create(
    er_z_slots **out, er_model *m, const er_requests *requests, const er_hparams *h, size_t batch_tokens);
void er_z_slots_free(er_z_slots *s);
size_t er_request_tokens(const er_request *u);           // of whole rows
er_footprint er_request_footprint(const er_request *u);  // of a step's batch: suffix tokens only
// Gives the request a slot and its places; false when the batch has no room left for it. An empty batch takes
// any request.
bool er_z_slots_take(er_z_slots *s, size_t *slot, size_t request);
// The one-time passes of n slots just taken: layers 0..z in full; prefix keys and values above z.
er_status er_z_slots_prefill(er_z_slots *s, const size_t *slots, size_t n);
er_status er_z_slots_release(er_z_slots *s, size_t slot);
// Is the request in `slot` part of the next step? Not once all its steps are queued, though it stays until it
// is released.
bool er_z_slots_runs(const er_z_slots *s, size_t slot);
// Lays out the batch of all slots that run and uploads its index arrays. Call after any change of membership.
er_status er_z_slots_plan(er_z_slots *s);
// Queues one optimisation step of the planned batch, and behind it the copies of what it leaves. Does not
// wait.
er_status er_z_slots_queue(er_z_slots *s);
// Waits for step number `step`, one of the last two queued: done, total and delta then stand in host_*[step %
// 2].
er_status er_z_slots_result(er_z_slots *s, size_t step);
#endif
