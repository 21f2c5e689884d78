// The sites of a model: which matrices can be edited.
#include "engine/model/site.h"

er_status er_model_sites(er_site *out, const er_model *m, const size_t *layers, size_t n_layers) {
    for (size_t i = 0; i < n_layers; i++) {
        if (layers[i] >= m->arch.layers)
            return er_fail(ER_EARG, "layer %zu of %zu", layers[i], m->arch.layers);
        const er_block *b = &m->block[layers[i]];
        out[i] = (er_site){.layer = layers[i],
            .stack = ER_DECODER,
            .expert = -1,
            .weight = b->down,
            .tensor = b->down_tensor,
            .name = b->down_name,
            .d_key = m->arch.d_ff,
            .d_out = m->arch.hidden};
    }
    return ER_OK;
}
