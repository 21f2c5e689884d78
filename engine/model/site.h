// Where an edit lands: a matrix whose output is added to the residual stream. Today a decoder layer's down
// projection; an encoder-decoder has them in two stacks, a mixture of experts one per expert.
#ifndef ER_SITE_H
#define ER_SITE_H
#include "engine/model.h"

typedef enum er_stack { ER_DECODER, ER_ENCODER } er_stack;

typedef struct er_site {
    size_t layer;
    er_stack stack;
    int expert;               // -1: the layer has one matrix
    er_weight *weight;        // [d_out, d_key]; borrowed. NULL in a check_only model
    const er_tensor *tensor;  // where it is stored; borrowed from the checkpoint
    const char *name;         // module name, such as "model.layers.3.mlp.down_proj"; borrowed
    size_t d_key, d_out;
} er_site;

// The sites of these layers, in order; `out` has room for n_layers. EARG for a layer that the model does not
// have.
er_status er_model_sites(er_site *out, const er_model *m, const size_t *layers, size_t n_layers);
#endif
