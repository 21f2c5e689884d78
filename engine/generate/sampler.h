// Inside engine/generate/: the next token from a row of logits, and the random stream it is drawn with.
#ifndef ER_GENERATE_CHOOSE_H
#define ER_GENERATE_CHOOSE_H
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

typedef struct er_choice {
    float weight;  // exp((logit - max) / temperature)
    int32_t id;
} er_choice;

typedef struct er_sampler {
    double temperature, top_p;  // temperature 0: greedy
    size_t top_k, vocab;
    float *weight;         // [vocab] work
    er_choice *candidate;  // [vocab] work: what is left of it
    er_choice *border;     // [vocab] work
} er_sampler;

er_status er_sampler_init(er_sampler *c, size_t vocab, double temperature, size_t top_k, double top_p);
void er_sampler_clear(er_sampler *c);
// `uniform` in [0, 1) decides. A logit of -INFINITY is never chosen. ENUMERIC when none is finite.
er_status er_sampler_next(int32_t *out, er_sampler *c, const float *logits, double uniform);

// Number `step` of stream (seed, row), in [0, 1): a function of its arguments alone.
double er_uniform(uint64_t seed, uint64_t row, uint64_t step);
#endif
