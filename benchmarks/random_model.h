// Models of real shapes with random weights, made on the device in seconds and never stored: what a stage
// costs does not depend on what the weights say.
#ifndef ER_RANDOM_MODEL_H
#define ER_RANDOM_MODEL_H
#include "engine/hparams.h"

typedef struct er_shape {
    const char *name;
    er_arch arch;
    bool conv1d;  // stored as [d_in, d_out]
    bool norm2, qkv_bias, out_bias, mlp_bias, head_bias, norm_bias;
    size_t first_edited, last_edited;  // as published
    size_t steps;
    double lr, clamp, decay, lambda;
} er_shape;

const er_shape *er_shape_find(const char *name);  // NULL when there is none
void er_shape_list(char *out, size_t size);

// Sees every tensor as it is made: values in fp32, [rows, cols] as computed ([d_out, d_in]); cols 0: a
// vector.
typedef er_status (*er_tensor_sink)(
    void *ctx, const char *name, const float *values, size_t rows, size_t cols);

typedef struct er_random_options {
    size_t layers;  // 0: the shape's own
    const size_t *editable;
    size_t n_editable;
    uint64_t seed;
    er_tensor_sink sink;  // or NULL
    void *ctx;
} er_random_options;

// Weights in BF16; norms 1; biases small. Its checkpoint, tokenizer and down_tensor are NULL: it can be
// computed on, not written.
er_status er_random_model(er_model **out, er_device *dev, const er_shape *shape, const er_random_options *o);

// xorshift64*: `state` must not be 0.
static inline uint64_t er_random_next(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dULL;
}
// Uniform in [0, n), n < 2^32.
static inline size_t er_random_below(uint64_t *state, size_t n) {
    return (size_t)(((er_random_next(state) >> 32) * (uint64_t)n) >> 32);
}
// Uniform in [-1, 1).
static inline float er_random_request(uint64_t *state) {
    return (float)((double)(er_random_next(state) >> 11) * (2.0 / 9007199254740992.0) - 1.0);
}
#endif
