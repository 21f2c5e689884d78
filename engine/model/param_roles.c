// Sizes and biases of the linear maps and norms of a block.
#include "engine/model/family_internal.h"

void er_param_dims(const er_arch *a, er_param_role role, size_t *d_out, size_t *d_in) {
    size_t q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    *d_in = a->hidden;
    *d_out = a->hidden;
    switch (role) {
    case ROLE_NORM1:
    case ROLE_NORM2:
        *d_in = 1;
        break;
    case ROLE_Q_NORM:
    case ROLE_K_NORM:
        *d_out = a->head_dim;
        *d_in = 1;
        break;
    case ROLE_QKV:
        *d_out = q + 2 * kv;
        break;
    case ROLE_Q:
        *d_out = q;
        break;
    case ROLE_K:
    case ROLE_V:
        *d_out = kv;
        break;
    case ROLE_OUT:
        *d_in = q;
        break;
    case ROLE_GATE:
    case ROLE_UP:
        *d_out = a->d_ff;
        break;
    case ROLE_GATE_UP:
        *d_out = 2 * a->d_ff;
        break;
    case ROLE_DOWN:
        *d_in = a->d_ff;
        break;
    case ROLE_COUNT:
        break;
    }
}

bool er_param_is_vector(er_param_role role) {
    return role == ROLE_NORM1 || role == ROLE_NORM2 || role == ROLE_Q_NORM || role == ROLE_K_NORM;
}

bool er_param_has_bias(const er_arch *a, er_param_role role) {
    if (!a->module[role]) return false;
    switch (a->row->param[role].bias) {
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
