// The rows' hidden states, carried forward through the layers once. Below the first edited layer they never
// change, so each layer is run when its turn comes and never again from the start. They stay on the device
// where they fit into half of what it has left, else in host memory; nothing here waits for the device but
// what says so.
#ifndef ER_CARRY_H
#define ER_CARRY_H
#include "engine/forward.h"
#include "engine/solve/layout.h"

typedef struct er_carry er_carry;
// Rows of `l` (borrowed) at the input of layer 0; layers behind last_layer are never run.
er_status er_carry_create(er_carry **out, er_model *m, const er_layout *l, size_t last_layer);
void er_carry_free(er_carry *c);
// What it takes on the device with its states there.
size_t er_carry_bytes(const er_arch *a, const er_layout *l, size_t last_layer);
// Runs `layer` over all rows: their states become that layer's output. Waits when they are host memory.
er_status er_carry_advance(er_carry *c, size_t layer);

// A look ahead, from the states at the input of `layer`, that leaves them as they are: er_carry_look once,
// then for any chunk of units' rows er_carry_open and either er_carry_key, perhaps with er_carry_rest behind
// it, or er_carry_state. Unless `far`, rows that continue shared ones get as far as the key of `layer` only.
er_status er_carry_look(er_carry *c, size_t layer, bool far);
er_status er_carry_open(er_carry *c, size_t chunk);
// keys [rows, inner] [dev]: of the chunk's rows, at the subject's last token.
er_status er_carry_key(er_carry *c, size_t layer, float *keys);
// out [rows, hidden] [dev]: the last layer's output there.
er_status er_carry_rest(er_carry *c, size_t layer, float *out);   // from behind the key of `layer`
er_status er_carry_state(er_carry *c, size_t layer, float *out);  // from the input of `layer`

double er_carry_flops(const er_carry *c);
// Does a buffer of this size leave at least as much of the memory, and room for a second moment of `inner` rows and its solve?
er_status er_carry_fits(bool *fits, er_device *d, size_t bytes, size_t inner);
#endif
