#include "benchmarks/floors.h"

#include <math.h>

// The d x d form and the n x n form, symmetric products counted once.
static double solve_floor(double n, double d, double o) {
    double primal = d * d * n + d * d * d / 3 + 2 * n * o * d + 2 * o * d * d,
           dual = d * d * d / 3 + 2 * n * d * d + n * n * d + n * n * n / 3 + 2 * o * n * n + 2 * n * o * d;
    return fmin(primal, dual);
}

void er_floors_count(er_floors *out, const er_arch *a, const er_hparams *h, const er_unit_means *m,
    size_t facts, size_t cov_tokens, size_t slots, size_t weight_element) {
    double layer = er_arch_layer_flops(a), head = er_arch_head_flops(a), n = (double)facts,
           edited = (double)h->n_layers, tokens = (double)cov_tokens, d_ff = (double)a->d_ff;
    size_t z = h->layers[h->n_layers - 1];
    double below = (double)(z + 1), above = (double)(a->layers - 1 - z);
    // the last wanted layer runs to its key only
    out->statistics_layers = tokens * (below * layer - 2 * d_ff * (double)a->hidden);
    out->statistics_products = edited * tokens * d_ff * d_ff;
    out->values_step = m->suffix * above * layer + m->labels * head;
    out->values_once = (m->suffix + m->before) * below * layer + m->before * above * layer;
    double passes = 2 * (double)h->steps - 1;
    out->values = n * (out->values_once + passes * out->values_step);
    out->values_bytes =
        ceil(n / (double)(slots ? slots : 1)) * passes * (above * layer + head) / 2 * (double)weight_element;
    // every row once through all layers; the bare rows' upper layers once more for each edited one
    double again = 0;
    for (size_t i = 0; i < h->n_layers; i++) again += (double)(z + 1 - h->layers[i]);
    out->gather = n * layer * (m->carried * below + m->bare_carried * again);
    out->solve = edited * solve_floor(n, d_ff, (double)a->hidden);
}
