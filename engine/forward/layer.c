// One decoder block, forward and backward. With n = norm, A = attention, M = the MLP up to its key:
//
//     sequential   x_mid = x + A(n1 x)         y = x_mid + W_down M(n2 x_mid)
//     parallel     x_mid = x + A(n1 x)         y = x_mid + W_down M(n2 x)        (n2 may be n1)
#include "engine/forward.h"
#include "io/base/signals.h"

#define OPS(r) ((r)->model->dev->op)
#define AT(r) (r)->model->dev

static er_status linear(er_run *r, float *y, const float *x, const er_weight *w, const float *b, size_t m,
    size_t d_out, size_t d_in, float beta) {
    r->flops += 2.0 * (double)m * (double)d_out * (double)d_in;
    return OPS(r)->linear(AT(r), y, x, w, b, m, beta);
}

static er_status linear_back(er_run *r, float *dx, const float *dy, const er_weight *w, size_t m,
    size_t d_out, size_t d_in, float beta) {
    r->flops += 2.0 * (double)m * (double)d_out * (double)d_in;
    return OPS(r)->linear_backward(AT(r), dx, dy, w, m, beta);
}

static er_status norm(er_run *r, float *y, float *stats, const float *x, const float *w, const float *b) {
    const er_arch *a = &r->model->arch;
    return OPS(r)->norm(
        AT(r), &(er_norm_args){a->norm, r->batch->tokens, a->hidden, x, w, b, a->norm_eps}, y, stats);
}

static er_status norm_back(
    er_run *r, float *dx, const float *dy, const float *x, const float *w, const float *stats) {
    const er_arch *a = &r->model->arch;
    return OPS(r)->norm_backward(
        AT(r), &(er_norm_args){a->norm, r->batch->tokens, a->hidden, x, w, NULL, a->norm_eps}, dx, dy, stats);
}

static er_status rotate(er_run *r, size_t layer, float *qkv, bool inverse) {
    const er_model *m = r->model;
    const er_arch *a = &m->arch;
    if (a->rope.style == ER_ROPE_NONE || er_layer_in(&a->unrotated, layer)) return ER_OK;
    // q heads and k heads stand side by side: one call turns both.
    return OPS(r)->rope(AT(r),
        &(er_rope_args){.style = a->rope.style,
            .tokens = r->batch->tokens,
            .heads = a->heads + a->kv_heads,
            .head_dim = a->head_dim,
            .rot = a->rope.dims,
            .ld = er_arch_qkv_rows(a),
            .pos = er_batch_dev(r->batch, r->batch->pos),
            .table = m->rope_table},
        qkv, inverse);
}

// Whether more than a rotation, which is undone without them, happens to heads: then a tape keeps them raw.
static bool keeps_raw(const er_arch *a) { return a->qk_norms || a->clip_qkv > 0; }

// The norms of the q heads and of the k heads, which stand behind them in the same rows.
static void head_norms(er_qk_norm_args *q, er_qk_norm_args *k, const er_run *r, const er_block *b) {
    const er_arch *a = &r->model->arch;
    *q = (er_qk_norm_args){a->qk_norm, r->batch->tokens, a->heads, a->head_dim, er_arch_qkv_rows(a),
        b->q_norm_w, b->q_norm_b, a->norm_eps};
    *k = (er_qk_norm_args){a->qk_norm, r->batch->tokens, a->kv_heads, a->head_dim, er_arch_qkv_rows(a),
        b->k_norm_w, b->k_norm_b, a->norm_eps};
}

// Clipping or head norms (no family has both), then rotation: what attention reads, from what the projection
// gave.
static er_status prepare_heads(er_run *r, size_t layer, float *qkv) {
    er_status rc = ER_OK;
    const er_arch *a = &r->model->arch;
    const er_block *b = &r->model->block[layer];
    size_t ld = er_arch_qkv_rows(a), hd = a->head_dim;
    er_qk_norm_args q, k;
    if (a->clip_qkv > 0) ER_TRY(OPS(r)->clip(AT(r), qkv, a->clip_qkv, r->batch->tokens * ld));
    if (a->qk_norms) {
        head_norms(&q, &k, r, b);
        ER_TRY(OPS(r)->qk_norm(AT(r), &q, qkv));
        ER_TRY(OPS(r)->qk_norm(AT(r), &k, qkv + a->heads * hd));
    }
    ER_TRY(rotate(r, layer, qkv, false));
out:
    return rc;
}

// The way back, in place on d, from `raw`, what the projection gave.
static er_status prepare_heads_backward(er_run *r, size_t layer, float *d, const float *raw) {
    er_status rc = ER_OK;
    const er_arch *a = &r->model->arch;
    const er_block *b = &r->model->block[layer];
    size_t ld = er_arch_qkv_rows(a), k_at = a->heads * a->head_dim;
    er_qk_norm_args q, k;
    ER_TRY(rotate(r, layer, d, true));
    if (a->clip_qkv > 0) ER_TRY(OPS(r)->clip_backward(AT(r), d, raw, a->clip_qkv, r->batch->tokens * ld));
    if (!a->qk_norms) goto out;
    head_norms(&q, &k, r, b);
    ER_TRY(OPS(r)->qk_norm_backward(AT(r), &q, d, raw));
    ER_TRY(OPS(r)->qk_norm_backward(AT(r), &k, d + k_at, raw + k_at));
out:
    return rc;
}

// The cached keys and values of `layer`, or NULL when the cache does not cover it.
static void cached(const er_run *r, size_t layer, float **k, float **v) {
    const er_kv *kv = r->kv;
    const er_arch *a = &r->model->arch;
    *k = *v = NULL;
    if (!kv || layer < kv->first || layer >= kv->first + kv->layers) return;
    size_t at = (layer - kv->first) * kv->capacity * a->kv_heads * a->head_dim;
    *k = kv->k + at, *v = kv->v + at;
}

static er_status attention_of(er_attention *out, const er_run *r, size_t layer, const float *qkv) {
    const er_arch *a = &r->model->arch;
    const er_batch *b = r->batch;
    float *k, *v;
    cached(r, layer, &k, &v);
    if (b->longest_prefix && !k)
        return er_fail(ER_EARG, "layer %zu: rows continue a prefix that is not cached for it", layer);
    *out = (er_attention){.tokens = b->tokens,
        .rows = b->rows,
        .heads = a->heads,
        .kv_heads = a->kv_heads,
        .head_dim = a->head_dim,
        .ld_qkv = er_arch_qkv_rows(a),
        .qkv = qkv,
        .row_start = er_batch_dev(b, b->row_start),
        .scale = a->scale_by_layer ? a->attention_scale / (float)(layer + 1) : a->attention_scale,
        .window = er_layer_in(&a->windowed, layer) ? a->window : 0,
        .longest = b->longest,
        .longest_prefix = b->longest_prefix};
    if (!b->longest_prefix) return ER_OK;
    out->prefix_k = k, out->prefix_v = v;
    out->prefix_at = er_batch_dev(b, b->prefix_at), out->prefix_len = er_batch_dev(b, b->prefix_len);
    return ER_OK;
}

// qkv from h, rotated and stored to the cache; then attn [tokens, heads * head_dim]. Storing comes first, so
// that a row may continue a prefix that this very batch computes. `keep` is where the tape wants qkv, NULL
// without one.
static er_status attend(er_run *r, size_t layer, float *keep, float *attn, float *lse) {
    er_status rc = ER_OK;
    const er_arch *a = &r->model->arch;
    const er_block *b = &r->model->block[layer];
    size_t ld = er_arch_qkv_rows(a), kv_dim = a->kv_heads * a->head_dim;
    float *k, *v, *qkv = keep && !keeps_raw(a) ? keep : r->qkv;
    er_attention at;
    ER_TRY(attention_of(&at, r, layer, qkv));
    ER_TRY(linear(r, qkv, r->h, b->qkv, b->qkv_b, r->batch->tokens, ld, a->hidden, 0));
    if (keep && qkv != keep) ER_TRY(OPS(r)->copy(AT(r), keep, qkv, r->batch->tokens * ld * sizeof(float)));
    ER_TRY(prepare_heads(r, layer, qkv));
    cached(r, layer, &k, &v);
    if (r->batch->has_store && k)
        ER_TRY(
            OPS(r)->kv_store(AT(r), &(er_kv_store_args){r->batch->tokens, kv_dim, ld, a->heads * a->head_dim,
                                        qkv, er_batch_dev(r->batch, r->batch->store_at), k, v}));
    ER_TRY(OPS(r)->attention(AT(r), &at, attn, lse));
out:
    return rc;
}

static er_status check_layer(const er_run *r, size_t layer) {
    if (layer < r->model->arch.layers) return ER_OK;
    return er_fail(ER_EARG, "layer %zu of %zu", layer, r->model->arch.layers);
}

er_status er_run_embed(er_run *r, float *x) {
    const er_model *m = r->model;
    return OPS(r)->embed(AT(r),
        &(er_embed_args){r->batch->tokens, m->embed, m->position, m->arch.embed_scale,
            er_batch_dev(r->batch, r->batch->token), er_batch_dev(r->batch, r->batch->pos),
            m->arch.position_offset},
        x);
}

er_status er_run_layer_to_key(er_run *r, size_t layer, float *x, er_tape *tape) {
    er_status rc = ER_OK;
    ER_TRY(er_stop_check("stopped between two layers"));  // a batch of a large model takes a CPU a minute
    ER_TRY(check_layer(r, layer));
    const er_arch *a = &r->model->arch;
    const er_block *b = &r->model->block[layer];
    size_t T = r->batch->tokens, q = a->heads * a->head_dim, stream = T * a->hidden * sizeof(float);
    float *attn = tape ? tape->attn : r->attn, *u = tape ? tape->u : r->u;
    float *stats1 = tape ? tape->stats1 : r->stats, *stats2 = tape ? tape->stats2 : r->stats;
    if (tape) ER_TRY(OPS(r)->copy(AT(r), tape->x_in, x, stream));
    ER_TRY(norm(r, r->h, stats1, x, b->norm1_w, b->norm1_b));
    ER_TRY(attend(r, layer, tape ? tape->qkv : NULL, attn, tape ? tape->lse : r->lse));
    if (a->parallel_residual) {
        if (b->norm2_w) ER_TRY(norm(r, r->h, stats2, x, b->norm2_w, b->norm2_b));
        ER_TRY(linear(r, x, attn, b->out, b->out_b, T, a->hidden, q, 1));
    } else {
        ER_TRY(linear(r, x, attn, b->out, b->out_b, T, a->hidden, q, 1));
        if (tape) ER_TRY(OPS(r)->copy(AT(r), tape->x_mid, x, stream));
        ER_TRY(norm(r, r->h, stats2, x, b->norm2_w, b->norm2_b));
    }
    ER_TRY(linear(r, u, r->h, b->up, b->up_b, T, er_arch_up_rows(a), a->hidden, 0));
    ER_TRY(OPS(r)->activation(AT(r), a->act, a->gated, r->act, u, T, a->d_ff));
out:
    return rc;
}

er_status er_run_layer_finish(er_run *r, size_t layer, float *x) {
    er_status rc = check_layer(r, layer);
    if (rc != ER_OK) return rc;
    const er_arch *a = &r->model->arch;
    const er_block *b = &r->model->block[layer];
    return linear(r, x, r->act, b->down, b->down_b, r->batch->tokens, a->hidden, a->d_ff, 1);
}

er_status er_run_layer(er_run *r, size_t layer, float *x, er_tape *tape) {
    er_status rc = er_run_layer_to_key(r, layer, x, tape);
    return rc == ER_OK ? er_run_layer_finish(r, layer, x) : rc;
}

// dh [tokens, hidden] = gradient at the MLP's input, from dx at the block's output.
static er_status mlp_backward(er_run *r, const er_block *b, const float *dx, const er_tape *tape) {
    er_status rc = ER_OK;
    const er_arch *a = &r->model->arch;
    ER_TRY(linear_back(r, r->act, dx, b->down, r->batch->tokens, a->hidden, a->d_ff, 0));
    ER_TRY(OPS(r)->activation_backward(
        AT(r), a->act, a->gated, r->du, r->act, tape->u, r->batch->tokens, a->d_ff));
    ER_TRY(linear_back(r, r->dh, r->du, b->up, r->batch->tokens, er_arch_up_rows(a), a->hidden, 0));
out:
    return rc;
}

// dh (+)= gradient at the attention's input, from dout [tokens, heads * head_dim] at its output.
static er_status attention_backward(
    er_run *r, size_t layer, const float *dout, const er_tape *tape, float beta) {
    er_status rc = ER_OK;
    const er_arch *a = &r->model->arch;
    er_attention at;
    size_t ld = er_arch_qkv_rows(a);
    const float *qkv = keeps_raw(a) ? r->qkv : tape->qkv;
    if (keeps_raw(a)) {
        ER_TRY(OPS(r)->copy(AT(r), r->qkv, tape->qkv, r->batch->tokens * ld * sizeof(float)));
        ER_TRY(prepare_heads(r, layer, r->qkv));
    }
    ER_TRY(attention_of(&at, r, layer, qkv));
    ER_TRY(OPS(r)->attention_backward(AT(r), &at, r->dqkv, dout, tape->attn, tape->lse));
    ER_TRY(prepare_heads_backward(r, layer, r->dqkv, tape->qkv));
    ER_TRY(linear_back(r, r->dh, r->dqkv, r->model->block[layer].qkv, r->batch->tokens, ld, a->hidden, beta));
out:
    return rc;
}

static er_status parallel_backward(er_run *r, size_t layer, float *dx, const er_tape *tape) {
    er_status rc = ER_OK;
    const er_arch *a = &r->model->arch;
    const er_block *b = &r->model->block[layer];
    // Both branches see the gradient of the block's output, so take both products before dx changes.
    ER_TRY(linear_back(r, r->attn, dx, b->out, r->batch->tokens, a->hidden, a->heads * a->head_dim, 0));
    ER_TRY(mlp_backward(r, b, dx, tape));
    if (b->norm2_w) ER_TRY(norm_back(r, dx, r->dh, tape->x_in, b->norm2_w, tape->stats2));
    ER_TRY(attention_backward(r, layer, r->attn, tape, b->norm2_w ? 0 : 1));
    ER_TRY(norm_back(r, dx, r->dh, tape->x_in, b->norm1_w, tape->stats1));
out:
    return rc;
}

er_status er_run_layer_backward(er_run *r, size_t layer, float *dx, const er_tape *tape) {
    er_status rc = ER_OK;
    ER_TRY(er_stop_check("stopped between two layers"));
    ER_TRY(check_layer(r, layer));
    const er_arch *a = &r->model->arch;
    const er_block *b = &r->model->block[layer];
    if (!r->dh) ER_FAIL(ER_EARG, "layer %zu: backward in a run taken without it", layer);
    if (a->parallel_residual) return parallel_backward(r, layer, dx, tape);
    ER_TRY(mlp_backward(r, b, dx, tape));
    ER_TRY(norm_back(r, dx, r->dh, tape->x_mid, b->norm2_w, tape->stats2));
    ER_TRY(linear_back(r, r->attn, dx, b->out, r->batch->tokens, a->hidden, a->heads * a->head_dim, 0));
    ER_TRY(attention_backward(r, layer, r->attn, tape, 0));
    ER_TRY(norm_back(r, dx, r->dh, tape->x_in, b->norm1_w, tape->stats1));
out:
    return rc;
}

er_status er_run_head(er_run *r, float *logits, const float *x, const int32_t *index, size_t n, float *picked,
    float *picked_stats, float *h_scratch) {
    er_status rc = ER_OK;
    const er_model *m = r->model;
    const er_arch *a = &m->arch;
    ER_TRY(OPS(r)->gather_rows(AT(r), picked, x, index, n, a->hidden));
    ER_TRY(OPS(r)->norm(AT(r),
        &(er_norm_args){a->norm, n, a->hidden, picked, m->final_w, m->final_b, a->norm_eps}, h_scratch,
        picked_stats));
    ER_TRY(linear(r, logits, h_scratch, m->head, m->head_b, n, a->vocab, a->hidden, 0));
out:
    return rc;
}

er_status er_run_head_backward(er_run *r, float *dpicked, const float *dlogits, size_t n, const float *picked,
    const float *picked_stats, float *h_scratch) {
    er_status rc = ER_OK;
    const er_model *m = r->model;
    const er_arch *a = &m->arch;
    ER_TRY(linear_back(r, h_scratch, dlogits, m->head, n, a->vocab, a->hidden, 0));
    ER_TRY(OPS(r)->zero(AT(r), dpicked, n * a->hidden * sizeof(float)));
    ER_TRY(OPS(r)->norm_backward(AT(r),
        &(er_norm_args){a->norm, n, a->hidden, picked, m->final_w, NULL, a->norm_eps}, dpicked, h_scratch,
        picked_stats));
out:
    return rc;
}
