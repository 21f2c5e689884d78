// Sizes and costs that follow from an architecture.
#include "engine/model.h"

#define MAX_ROPE_POSITIONS 32768u

size_t er_arch_max_seq_len(const er_arch *a) {
    const er_rope_config *r = &a->rope;
    size_t n =
        a->max_position_embeddings < MAX_ROPE_POSITIONS ? a->max_position_embeddings : MAX_ROPE_POSITIONS;
    if (r->style == ER_ROPE_NONE) return a->max_position_embeddings;
    return r->scaling == ER_ROPE_LONG && r->original_positions < (double)n ? (size_t)r->original_positions
                                                                           : n;
}

size_t er_arch_qkv_rows(const er_arch *a) { return (a->heads + 2 * a->kv_heads) * a->head_dim; }
size_t er_arch_up_rows(const er_arch *a) { return a->gated ? 2 * a->d_ff : a->d_ff; }

double er_arch_layer_flops(const er_arch *a) {
    double h = (double)a->hidden, q = (double)(a->heads * a->head_dim);
    return 2.0 * h * ((double)er_arch_qkv_rows(a) + q + (double)er_arch_up_rows(a) + (double)a->d_ff);
}

double er_arch_head_flops(const er_arch *a) { return 2.0 * (double)a->hidden * (double)a->vocab; }
