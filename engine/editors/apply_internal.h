// What the files of the walk share: its state, and what its plan and its run must agree on.
#ifndef ER_APPLY_INTERNAL_H
#define ER_APPLY_INTERNAL_H
#include "engine/editors/editor.h"
#include "engine/keys/gather.h"

// The walk over the sites of one rank. n requests of its own, o = hidden, d_in = d_ff.
typedef struct er_walk {
    const er_apply *a;
    const er_editor *editor;
    const er_comm *comm;
    er_requests share;  // of the requests, this rank's
    const float *z;     // [n, o] of them
    er_model *m;
    er_site site[ER_MAX_EDIT_LAYERS];
    er_microbatches *microbatches;
    er_hidden_pass *pass;
    er_gather gather;
    er_normal normal;
    double *diagonals;            // [dev] er_traces_workspace
    double *traces;               // host [2 d_in]
    float *h_cur;                 // host [n, o]: the bare prompts' outputs at the z layer
    float *h_orig;                // host [n, o]: the same before any edit
    double *keys, *current, *dw;  // host [n, d_in], [n, o], [o, d_in]: only with an observer
    er_arena memory;
} er_walk;

// ---- apply_plan.c ----
extern const char er_walk_interrupted[];  // what all ranks say of a stop that one of them was asked for
const er_editor *er_walk_editor(const er_apply *a);  // the one asked for, or MEMIT
const er_comm *er_walk_comm(const er_apply *a);
// This rank's requests, borrowed; *first is the index of the first.
er_requests er_walk_share(const er_apply *a, size_t *first);
// Of the normal equations of one site, for the packed prompts of a rank's share.
er_normal_shape er_walk_shape(const er_apply *a, const er_arch *m, const er_microbatches *l);
// The device buffers of the solves; an arena without a device counts their bytes.
er_status er_walk_take(er_walk *s, er_arena *a, const er_normal_shape *shape);

// ---- edit_site.c ----
// The bare prompts' outputs to h_cur. Waits for all that was queued.
er_status er_walk_fetch_states(er_walk *s);
// Edits the site `index`, whose keys the pass has reached: gathers, solves, writes the weight, fills in `r`.
er_status er_walk_edit_site(er_walk *s, er_layer_report *r, size_t index);
#endif
