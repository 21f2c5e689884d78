// The columns of a layer's least squares, gathered and kept on the device: keys and residuals in fp64, either
// one per unit (its weighted mean key), or one per row of a unit, added up as they come. Everything is taken
// once; a gathering waits for nothing but what er_carry says.
#ifndef ER_SOLVE_COLUMNS_H
#define ER_SOLVE_COLUMNS_H
#include "engine/solve.h"
#include "engine/solve/carry.h"
#include "engine/solve/traces.h"

typedef struct er_columns {  // [dev] but for what says host
    er_model *m;
    const er_layout *l;
    bool per_row;
    float *key, *state;  // what a chunk's rows gave: [most_rows, d_in], [most_rows, o]
    int32_t *unit;       // [rows]
    float *scale;        // [rows] key weights; with per_row their roots
    float *z, *now;      // [units, o]: targets, and what the bare rows gave last
    double *keys, *r;  // [units, d_in], [units, o]; with per_row the columns not yet in the sums: [room, ..]
    size_t room, filled;
    double *square;     // per_row: K K^T [d_in, d_in], on and below the diagonal; else er_solve_room
    double *dw;         // [o, d_in]; per_row: R K^T
    double *traces;     // er_traces_room
    float *share;       // [units]; not with per_row
    float *host_share;  // host [units]
    float *then;        // per_row: [kept, o] what the first rows, bare ones at least, gave before any edit
    size_t kept;
    float *host_then;   // the others', in memory of alloc_host
    float *chunk_then;  // [most_rows, o]
} er_columns;

// All but `then`, for which there is room or not once the carried states are where they are.
er_status er_columns_create(
    er_columns *c, er_model *m, const er_layout *l, const float *z, bool per_row, double lambda);
er_status er_columns_remember(er_columns *c);
void er_columns_free(er_columns *c);
// What both take with all of it on the device.
size_t er_columns_bytes(const er_arch *a, const er_layout *l, bool per_row, double lambda);

// From the states at the input of `layer`: keys, r = share (z - now), and now.
er_status er_columns_means(er_columns *c, er_carry *carry, size_t layer, double share);
// square = K K^T and dw = R K^T over columns sqrt(w) k and sqrt(w) share r, and now; with `first` (no layer
// is edited yet) the rows' outputs are kept as `then`.
er_status er_columns_sums(er_columns *c, er_carry *carry, size_t layer, double share, bool first);
// now alone
er_status er_columns_now(er_columns *c, er_carry *carry, size_t layer);
#endif
