// The shapes that tests give to the cases of ops: seams of vectors, tiles and threads (0, 1, 2, 31..33,
// 127..129, primes), heads in groups, windows, prefixes, and shapes of real models. Benchmarks give the same
// cases the shapes of jobs (benchmarks/bench_ops.c).
#ifndef ER_OP_SHAPES_H
#define ER_OP_SHAPES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "kernels/device.h"

typedef struct case_rows {  // token-wise ops
    size_t tokens, width;
} case_rows;
static const case_rows cases_rows[] = {
    {0, 8},
    {3, 0},
    {1, 1},
    {2, 2},
    {5, 3},
    {1, 31},
    {3, 32},
    {2, 33},
    {7, 64},
    {4, 127},
    {4, 128},
    {4, 129},
    {3, 576},
    {61, 768},
    {33, 997},
    {2, 4096},
    {129, 1536},
};

typedef struct case_linear {
    size_t m, d_out, d_in;
} case_linear;
static const case_linear cases_linear[] = {
    {0, 4, 4},
    {1, 1, 1},
    {2, 3, 1},
    {1, 5, 2},
    {3, 2, 7},
    {2, 31, 33},
    {31, 32, 33},
    {32, 33, 31},
    {33, 31, 32},
    {127, 16, 128},
    {128, 129, 127},
    {129, 127, 17},
    {17, 97, 101},
    {1, 576, 192},
    {5, 960, 576},
    {64, 576, 576},
    {70, 576, 1536},
    {13, 3072, 576},
    {101, 200, 64},
    {16, 16, 32},
    {48, 64, 96},
    {15, 15, 15},
    {257, 47, 65},
};

// Rows of a ragged batch: own lengths and prefix lengths; -1 ends the list.
typedef struct case_attention {
    const char *what;
    size_t heads, kv_heads, head_dim, pad, window;  // pad: ld_qkv exceeds what q, k and v need
    int own[12], prefix[12];
} case_attention;
static const case_attention cases_attention[] = {
    {"one token", 1, 1, 1, 0, 0, {1, -1}, {0}},
    {"one row", 2, 2, 4, 0, 0, {3, -1}, {0}},
    {"ragged", 3, 3, 8, 0, 0, {1, 2, 5, 1, 7, -1}, {0}},
    {"grouped", 6, 2, 16, 0, 0, {4, 9, 2, -1}, {0}},
    {"one key head", 5, 1, 7, 3, 0, {6, 1, -1}, {0}},
    {"prefix", 4, 4, 8, 0, 0, {3, 1, 4, -1}, {5, 0, 11, -1}},
    {"shared prefix, grouped", 9, 3, 64, 0, 0, {4, 4, 6, 3, 1, 8, -1}, {3, 7, 7, 0, 2, 33, -1}},
    {"window", 2, 1, 8, 0, 3, {9, 2, 5, -1}, {0}},
    {"window over prefix", 4, 2, 16, 5, 4, {7, 2, 3, 1, -1}, {6, 9, 2, 31, -1}},
    {"window of one", 2, 2, 4, 0, 1, {5, 3, -1}, {2, 0, -1}},
    {"empty row", 2, 2, 8, 0, 0, {3, 0, 2, -1}, {0, 4, 1, -1}},
    {"seams of keys", 2, 1, 32, 0, 0, {31, 32, 33, 1, -1}, {0, 1, 0, 32, -1}},
    {"eight heads on one", 8, 1, 16, 0, 0, {15, 20, -1}, {5, 13, -1}},
    {"long row", 2, 1, 64, 0, 0, {129, 127, -1}, {0}},
    {"long prefix", 3, 1, 48, 0, 0, {17, 2, -1}, {128, 257, -1}},
    {"wide head", 2, 2, 80, 0, 0, {19, 5, -1}, {0}},
    {"widest head", 2, 1, 256, 0, 0, {13, 5, -1}, {4, 0, -1}},
    {"seams of tiles", 2, 1, 96, 0, 0, {63, 64, 65, 1, -1}, {1, 0, 33, 64, -1}},
    {"group of seven", 14, 2, 128, 0, 0, {3, 12, 13, 40, -1}, {20, 0, 1, 5, -1}},
    {"window over tiles", 2, 2, 100, 4, 40, {70, 35, 2, -1}, {50, 3, 90, -1}},
    {"widest head, long row", 2, 1, 256, 0, 0, {66, 33, -1}, {2, 0, -1}},
    {"odd head, long row", 3, 3, 33, 1, 0, {40, 65, 5, -1}, {3, 0, 40, -1}},
    {"odd group, narrow window", 5, 1, 131, 0, 7, {34, 14, 15, -1}, {9, 40, 0, -1}},
};

typedef struct case_vocab {
    size_t rows, vocab;
} case_vocab;
static const case_vocab cases_vocab[] = {
    {0, 5},
    {1, 1},
    {2, 2},
    {3, 31},
    {3, 33},
    {2, 1023},
    {2, 1025},
    {5, 4099},
    {3, 49152},
};

#define N_CASES(table) (sizeof(table) / sizeof *(table))
#endif
