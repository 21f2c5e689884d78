// What each stage cannot do without: FLOPs counted from shapes and token counts (GEMMs only; attention scores
// of prompts this short are about one in a hundred).
#ifndef ER_FLOORS_H
#define ER_FLOORS_H
#include "benchmarks/random_requests.h"

typedef struct er_floors {
    double statistics_layers, statistics_products;  // the pass; half of k k^T, which is symmetric
    double values_once, values_step;                // per fact: below z and its prefix; one forward pass
    double values;        // all facts: once + (2 steps - 1) passes, the last without its gradient
    double values_bytes;  // weights above z and the head, once a pass over a batch
    double gather;        // all facts, all layers
    double solve;         // fp64: all layers, the cheaper form
} er_floors;

// `slots`: facts that share a pass.
void er_floors_count(er_floors *out, const er_arch *a, const er_hparams *h, const er_unit_means *m,
    size_t facts, size_t cov_tokens, size_t slots, size_t weight_element);
#endif
