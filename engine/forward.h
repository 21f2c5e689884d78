// One batch through the decoder, layer by layer, forward and (for activations only) backward. Nothing here
// allocates: buffers are taken from the caller's arena before, and whoever passes a buffer owns it.
//
//     er_run_begin(run, &batch, kv)          the batch in hand (engine/forward/batch.h)
//     er_run_embed(run, x)                   x [tokens, hidden]
//     for l: er_run_layer(run, l, x, tape)   x becomes the block's output
//     er_run_head(run, logits, x, index, n)  logits of chosen rows of x
#ifndef ER_FORWARD_H
#define ER_FORWARD_H
#include "engine/forward/batch.h"
#include "engine/model.h"

// Cached keys and values of earlier positions, for layers first .. first+layers-1. [dev]
typedef struct er_kv {
    size_t first, layers, capacity;  // positions
    float *k, *v;                    // [layers, capacity, kv_heads * head_dim]
} er_kv;
// EARG for layers that the model does not have.
er_status er_kv_take(
    er_kv *kv, er_arena *memory, const er_arch *a, size_t first, size_t layers, size_t capacity);

// What backward needs of one layer's forward; [dev], sized for max_tokens. Where heads are normed or clipped,
// `qkv` is what the projection gave: that and rotation are done again on the way back.
typedef struct er_tape {
    float *x_in, *stats1, *qkv, *attn, *lse, *x_mid, *stats2, *u;
} er_tape;
// The buffers of one layer's tape. Parallel blocks have no x_mid.
er_status er_tape_take(er_tape *t, er_arena *memory, const er_arch *a, size_t max_tokens);

typedef struct er_run {
    er_model *model;
    size_t max_tokens;
    const er_batch *batch;  // in hand; borrowed until the next one
    er_kv *kv;              // borrowed; read for prefixes, written where rows store. May be NULL
    float *h, *qkv, *attn, *u, *lse, *stats;  // [dev] work
    float *act;                               // [dev] [tokens, d_ff]: the keys after er_run_layer
    float *dh, *dqkv, *du;                    // [dev] gradient work; NULL unless taken for backward
    double flops;                             // of GEMMs, done so far, counted
} er_run;

// The work memory of a run; run->model is the caller's to set, and not looked at here.
er_status er_run_take(er_run *r, er_arena *memory, const er_arch *a, size_t max_tokens, bool backward);
size_t er_model_positions(const er_model *m);  // what a row may hold, its prefix included
// Makes b the batch in hand, and uploads it unless that has been done. EARG when it has more tokens than the
// run, or when a token, a position or a place in the cache is out of bounds. Layers outside kv's range store
// nothing; running one of them with prefixes is EARG.
er_status er_run_begin(er_run *r, er_batch *b, er_kv *kv);
// x [tokens, hidden] of the batch in hand.
er_status er_run_embed(er_run *r, float *x);
// x [tokens, hidden] in: block input, out: block output. tape may be NULL. EINTERRUPTED, here and on the way
// back, once a stop was requested.
er_status er_run_layer(er_run *r, size_t layer, float *x, er_tape *tape);
// The layer up to its key: attention, x_mid and `act`; x becomes x_mid (the residual stream the MLP output is
// added to; for parallel residual: x + attention). er_run_layer_finish adds W_down act + b: the two together
// are er_run_layer.
er_status er_run_layer_to_key(er_run *r, size_t layer, float *x, er_tape *tape);
er_status er_run_layer_finish(er_run *r, size_t layer, float *x);
// dx [tokens, hidden] in: gradient of the block's output, out: of its input. Overwrites `act` and `attn`. No
// gradient flows to a prefix. Needs a run taken for backward, and the tape of the same batch.
er_status er_run_layer_backward(er_run *r, size_t layer, float *dx, const er_tape *tape);
// logits [n, vocab] of rows index[0..n-1] [dev] of x; picked [n, hidden] keeps the rows, picked_stats [n, 2];
// h_scratch [n, hidden].
er_status er_run_head(er_run *r, float *logits, const float *x, const int32_t *index, size_t n, float *picked,
    float *picked_stats, float *h_scratch);
// dpicked [n, hidden] = gradient with respect to the picked rows, from dlogits.
er_status er_run_head_backward(er_run *r, float *dpicked, const float *dlogits, size_t n, const float *picked,
    const float *picked_stats, float *h_scratch);
#endif
