// The rows' hidden states, carried forward through the layers once. Below the first edited layer they never
// change, so each layer is run when its turn comes and never again from the start. They stay on the device
// where they fit into half of what it has left, else in host memory. The packed micro-batches are on the
// device from the beginning. Nothing here waits for the device but what says so.
#ifndef ER_HIDDEN_PASS_H
#define ER_HIDDEN_PASS_H
#include "engine/forward.h"
#include "engine/keys/microbatches.h"

typedef struct er_hidden_pass er_hidden_pass;
// Rows of `l` (borrowed) at the input of layer 0; layers behind last_layer are never run. Waits when the
// states are host memory.
er_status er_hidden_pass_create(
    er_hidden_pass **out, er_model *m, const er_microbatches *l, size_t last_layer);
void er_hidden_pass_free(er_hidden_pass *c);
// Adds what it takes, its states on the device, to an arena without one.
er_status er_hidden_pass_measure(
    er_arena *counted, const er_arch *a, const er_microbatches *l, size_t last_layer);
// Runs `layer` over all rows: their states become that layer's output. Waits when they are host memory.
er_status er_hidden_pass_step_layer(er_hidden_pass *c, size_t layer);

// A look ahead, from the states at the input of `layer`, that leaves them as they are:
// er_hidden_pass_prefill_shared once, then for any micro-batch of requests' rows er_hidden_pass_load and
// either er_hidden_pass_run_to_key, perhaps with er_hidden_pass_finish_layer behind it, or
// er_hidden_pass_run_to_end. Unless `far`, rows that continue shared ones get as far as the key of `layer`
// only.
er_status er_hidden_pass_prefill_shared(er_hidden_pass *c, size_t layer, bool far);
er_status er_hidden_pass_load(er_hidden_pass *c, size_t i);
// keys [rows, d_ff] [dev]: of the micro-batch's rows, at the subject's last token.
er_status er_hidden_pass_run_to_key(er_hidden_pass *c, size_t layer, float *keys);
// out [rows, hidden] [dev]: the last layer's output there, from behind the key of `layer`, or from its input.
er_status er_hidden_pass_finish_layer(er_hidden_pass *c, size_t layer, float *out);
er_status er_hidden_pass_run_to_end(er_hidden_pass *c, size_t layer, float *out);

double er_hidden_pass_flops(const er_hidden_pass *c);
// Does a buffer of this size leave at least as much of the memory that is left, and room for a second moment
// of `d_ff` rows and its solve?
er_status er_hidden_pass_fits(bool *fits, er_device *d, size_t bytes, size_t d_ff);
#endif
