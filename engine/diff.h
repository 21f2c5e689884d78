// What changed between two checkpoints, tensor by tensor, read from the files alone: no device, one tensor in
// memory at a time.
#ifndef ER_DIFF_H
#define ER_DIFF_H
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "io/base/status.h"

typedef enum er_diff_kind {
    ER_DIFF_CHANGED,
    ER_DIFF_ONLY_BASE,
    ER_DIFF_ONLY_EDITED,
    ER_DIFF_RESHAPED
} er_diff_kind;

typedef struct er_diff_tensor {
    char *name;
    er_diff_kind kind;
    bool measured;                    // floating point, same shape: the numbers below are there
    long layer;                       // the number in "….17.…", or -1
    uint64_t rows, cols;              // product of all dimensions but the last, and the last
    double base_norm, norm, largest;  // |W|_F, |dW|_F, max |dW_ij|
    uint64_t changed;                 // elements whose bytes differ
    double rank;  // stable rank |dW|_F^2 / |dW|_2^2: about how many directions it uses; 0: not asked for
} er_diff_tensor;

typedef struct er_diff {
    er_diff_tensor *at;      // differing tensors only, by layer, then name
    size_t count, compared;  // compared: tensors of both
    char *base, *edited;
} er_diff;

typedef struct er_diff_options {
    bool rank;  // estimate the stable rank by power iteration: up to 60 products with dW per changed tensor
} er_diff_options;

// ENOENT, EFORMAT as the checkpoints say. A NaN in either makes the norms NaN, which is shown, not hidden.
er_status er_diff_run(
    er_diff **out, const char *base_dir, const char *edited_dir, const er_diff_options *options);
void er_diff_free(er_diff *d);
void er_diff_print_table(FILE *to, const er_diff *d);
//     {"base", "edited", "tensors_compared",
//      "changed": [{"name", "kind", "layer", "shape": [rows, cols], "base_norm", "norm", "relative",
//                   "largest", "changed_elements", "stable_rank"}]}
er_status er_diff_json(cJSON **out, const er_diff *d);
#endif
