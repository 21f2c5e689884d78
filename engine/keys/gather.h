// Keys and residuals of a layer, from the hidden states of all prompts into the layer's normal equations.
// Either every prompt is a column of its own, with the target h_orig + (z - h_orig of the base prompt), or
// the prompts of a request are averaged into one column (the authors' code). Everything is taken once; a
// gathering waits for nothing but what er_hidden_pass says.
#ifndef ER_GATHER_H
#define ER_GATHER_H
#include "engine/keys/hidden_pass.h"
#include "engine/solve/normal.h"

typedef struct er_gather {  // [dev] but for what says host
    er_model *m;
    const er_microbatches *l;
    bool averaged;       // one column per request
    float *key, *h;      // what a micro-batch gave: [most_rows, d_key], [most_rows, d_out]
    int32_t *request;    // [rows]
    float *scale;        // [rows] key weights; where prompts are columns their roots
    float *z, *h_cur;    // [requests, d_out]: targets, and what the base prompts gave last
    float *spread;       // averaged: [requests]
    float *host_spread;  // host [requests]
    float *h_orig;       // [kept, d_out]: what the first prompts, base prompts at least, gave before any edit
    size_t kept;
    float *host_h_orig;   // the others', in memory of alloc_host
    float *batch_h_orig;  // [most_rows, d_out]
    er_arena memory;
} er_gather;

// All but h_orig, for which there is room or not once the hidden states are where they are:
// er_gather_keep_states, then.
er_status er_gather_create(
    er_gather *g, er_model *m, const er_microbatches *l, const float *z, bool averaged);
er_status er_gather_keep_states(er_gather *g);
void er_gather_free(er_gather *g);
// Adds what both take, all of it on the device, to an arena without one.
er_status er_gather_measure(er_arena *counted, const er_arch *a, const er_microbatches *l, bool averaged);

// From the states at the input of `layer`: all columns of the layer, spread times the residual, and h_cur.
// With `first` (no layer is edited yet) the prompts' outputs are kept as h_orig.
er_status er_gather_layer(
    er_gather *g, er_normal *out, er_hidden_pass *pass, size_t layer, double spread, bool first);
// h_cur alone
er_status er_gather_current(er_gather *g, er_hidden_pass *pass, size_t layer);
#endif
