// One batch through the decoder, layer by layer, forward and (for activations only) backward. Nothing here allocates on the
// device after er_run_create; the caller owns every buffer named in a signature.
//
//     er_run_begin(run, tokens, rows, ...)   upload the ragged batch
//     er_run_embed(run, x)                   x [tokens, hidden]
//     for l: er_run_layer(run, l, x, tape)   x becomes the block's output
//     er_run_head(run, logits, x, index, n)  logits of chosen rows
#ifndef ER_FORWARD_H
#define ER_FORWARD_H
#include "engine/model.h"
#include "kernels/arena.h"

// Cached keys and values of earlier positions, for layers first .. first+layers-1. [dev]
typedef struct er_kv {
    size_t first, layers, capacity;  // positions
    float *k, *v;                    // [layers, capacity, kv_heads * head_dim]
    er_arena memory;
} er_kv;
er_status er_kv_create(er_kv **out, const er_model *m, size_t first, size_t layers, size_t capacity);
void er_kv_free(er_kv *kv);
size_t er_kv_bytes(
    const er_arch *a, size_t layers, size_t capacity);  // of the device, that er_kv_create takes

// What backward needs of one layer's forward; [dev], sized for max_tokens.
// Where heads are normed or clipped, `qkv` is what the projection gave: that and rotation are done again on the way back.
typedef struct er_tape {
    float *x_in, *stats1, *qkv, *attn, *lse, *x_mid, *stats2, *u;
} er_tape;
// The buffers of one layer's tape. Parallel blocks have no x_mid.
er_status er_tape_take(er_tape *t, er_arena *memory, const er_arch *a, size_t max_tokens);

// A packed batch; host arrays, borrowed during er_run_begin only.
typedef struct er_batch {
    size_t rows, tokens;
    const int32_t *token;       // [tokens]
    const int32_t *pos;         // [tokens] absolute positions
    const int32_t *row_start;   // [rows + 1]
    const int32_t *prefix_at;   // [rows] position in the cache, or NULL: no row has a prefix
    const int32_t *prefix_len;  // [rows]
    const int32_t
        *store_at;  // [tokens] cache position that this token's key and value go to (< 0: none), or NULL
} er_batch;

typedef struct er_run {
    er_model *model;
    size_t max_tokens, max_rows;
    size_t tokens, rows;             // of the batch in hand
    size_t longest, longest_prefix;  // of any row: own tokens, cached ones
    bool has_prefix, has_store;
    int32_t *token, *pos, *row_start, *prefix_at, *prefix_len, *store_at;  // [dev]
    er_kv *kv;  // borrowed; read for prefixes, written for store_at. May be NULL
    float *h, *qkv, *attn, *u, *act, *lse,
        *stats;             // [dev] work; `act` [tokens, d_ff] holds the keys after er_run_layer
    float *dh, *dqkv, *du;  // [dev] gradient work; NULL unless created for backward
    double flops;           // GEMM FLOPs done so far, counted
    er_arena memory;
} er_run;

er_status er_run_create(er_run **out, er_model *m, size_t max_tokens, size_t max_rows, bool backward);
size_t er_run_bytes(const er_arch *a, size_t max_tokens, size_t max_rows,
    bool backward);  // of the device, that er_run_create takes
void er_run_free(er_run *r);
// EARG when the batch does not fit the run, or a token, position, row or cache range is out of bounds. Layers outside kv's range
// store nothing; running one of them with prefixes is EARG.
er_status er_run_begin(er_run *r, const er_batch *rows, er_kv *kv);
er_status er_run_embed(er_run *r, float *x);
// x [tokens, hidden] in: block input, out: block output. tape may be NULL.
er_status er_run_layer(er_run *r, size_t layer, float *x, er_tape *tape);
// The layer up to its key: attention, x_mid and `act`; x becomes x_mid (the residual stream the MLP output is added to; for parallel
// residual: x + attention). er_run_layer_finish adds W_down act + b: the two together are er_run_layer.
er_status er_run_layer_to_key(er_run *r, size_t layer, float *x, er_tape *tape);
er_status er_run_layer_finish(er_run *r, size_t layer, float *x);
// dx [tokens, hidden] in: gradient of the block's output, out: of its input. Overwrites `act` and `attn`. No gradient flows to a
// prefix. Needs a run created for backward.
er_status er_run_layer_backward(er_run *r, size_t layer, float *dx, const er_tape *tape);
// logits [n, vocab] of rows index[0..n-1] [dev] of x; picked [n, hidden] keeps the rows, picked_stats [n, 2]; h_scratch [n, hidden].
er_status er_run_head(er_run *r, float *logits, const float *x, const int32_t *index, size_t n, float *picked,
    float *picked_stats, float *h_scratch);
// dpicked [n, hidden] = gradient with respect to the picked rows, from dlogits.
er_status er_run_head_backward(er_run *r, float *dpicked, const float *dlogits, size_t n, const float *picked,
    const float *picked_stats, float *h_scratch);
#endif
