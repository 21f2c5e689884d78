// Sizes and biases of the linear maps and norms of a block.
#include "engine/model/family_internal.h"

void er_slot_dims(const er_arch *a, er_slot slot, size_t *d_out, size_t *d_in) {
    size_t q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    *d_in = a->hidden;
    *d_out = a->hidden;
    switch (slot) {
    case SLOT_NORM1:
    case SLOT_NORM2:
        *d_in = 1;
        break;
    case SLOT_Q_NORM:
    case SLOT_K_NORM:
        *d_out = a->head_dim;
        *d_in = 1;
        break;
    case SLOT_QKV:
        *d_out = q + 2 * kv;
        break;
    case SLOT_Q:
        *d_out = q;
        break;
    case SLOT_K:
    case SLOT_V:
        *d_out = kv;
        break;
    case SLOT_OUT:
        *d_in = q;
        break;
    case SLOT_GATE:
    case SLOT_UP:
        *d_out = a->d_ff;
        break;
    case SLOT_GATE_UP:
        *d_out = 2 * a->d_ff;
        break;
    case SLOT_DOWN:
        *d_in = a->d_ff;
        break;
    case SLOT_COUNT:
        break;
    }
}

bool er_slot_is_vector(er_slot slot) {
    return slot == SLOT_NORM1 || slot == SLOT_NORM2 || slot == SLOT_Q_NORM || slot == SLOT_K_NORM;
}

bool er_slot_has_bias(const er_arch *a, er_slot slot) {
    if (!a->module[slot]) return false;
    switch (a->row->slot[slot].bias) {
    case BIAS_NEVER:
        return false;
    case BIAS_ALWAYS:
        return true;
    case BIAS_ATTENTION:
        return a->attention_bias;
    case BIAS_MLP:
        return a->mlp_bias;
    }
    return false;
}
