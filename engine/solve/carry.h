// The rows of all units, cut behind the subject's last token, carried forward through the layers once. Their
// hidden states below the first edited layer never change, so each layer is run when its turn comes and never
// again from the start. Rows behind the same context template share its first tokens: those are run once and
// read from the key/value cache.
#ifndef ER_CARRY_H
#define ER_CARRY_H
#include "engine/solve.h"

typedef struct er_carry er_carry;
er_status er_carry_create(
    er_carry **out, er_model *m, const er_units *units, size_t last_layer, size_t max_tokens);
void er_carry_free(er_carry *c);
// Runs `layer` over all rows: their states become that layer's output.
er_status er_carry_advance(er_carry *c, size_t layer);
// keys [units, inner] (host): each unit's weighted mean of its rows' MLP inner states at the subject's last
// token, at `layer`, whose input the carried states are. The states stay as they are.
er_status er_carry_keys(er_carry *c, size_t layer, double *keys);
// current [units, hidden] (host): output of the last layer at the subject's last token of each unit's bare
// row, from the carried states at the input of `layer`. The states stay as they are.
er_status er_carry_current(er_carry *c, size_t layer, double *current);
// Every row by itself, chunk by chunk: its key at `layer` and the last layer's output, both at the subject's
// last token. Host arrays, borrowed. The states stay as they are.
typedef struct er_carry_chunk {
    size_t first, n;       // rows first .. first + n - 1 of er_carry_n_rows
    const float *keys;     // [n, inner]
    const float *current;  // [n, hidden]
    const size_t *unit;    // [n]
    const float *weight;   // [n] key weights
    const bool *bare;      // [n] is it its unit's bare row
} er_carry_chunk;
typedef er_status (*er_carry_sink)(void *ctx, const er_carry_chunk *rows);
er_status er_carry_rows(er_carry *c, size_t layer, er_carry_sink sink, void *ctx);
size_t er_carry_n_rows(const er_carry *c);    // of all units, KL rows not counted
size_t er_carry_max_rows(const er_carry *c);  // of one chunk
double er_carry_flops(const er_carry *c);
#endif
