// The shapes: published sizes and published settings of MEMIT for them, and small ones with the same
// switches.
#include <stdio.h>
#include <string.h>

#include "benchmarks/random_model.h"

#define GPT2(L, H, HEADS, INNER, VOCAB, POS)                                                                 \
    .arch = {.family = "gpt2",                                                                               \
        .layers = L,                                                                                         \
        .hidden = H,                                                                                         \
        .heads = HEADS,                                                                                      \
        .kv_heads = HEADS,                                                                                   \
        .head_dim = H / HEADS,                                                                               \
        .d_ff = INNER,                                                                                       \
        .vocab = VOCAB,                                                                                      \
        .max_position_embeddings = POS,                                                                      \
        .norm = ER_LAYER_NORM,                                                                               \
        .norm_eps = 1e-5f,                                                                                   \
        .act = ER_GELU_NEW,                                                                                  \
        .learned_positions = true,                                                                           \
        .tied_head = true},                                                                                  \
    .conv1d = true, .norm2 = true, .qkv_bias = true, .out_bias = true, .mlp_bias = true, .norm_bias = true,  \
    .lr = 0.5, .clamp = 0.75, .decay = 0.5
#define GPTJ(L, H, HEADS, INNER, VOCAB, POS, ROT)                                                            \
    .arch = {.family = "gptj",                                                                               \
        .layers = L,                                                                                         \
        .hidden = H,                                                                                         \
        .heads = HEADS,                                                                                      \
        .kv_heads = HEADS,                                                                                   \
        .head_dim = H / HEADS,                                                                               \
        .d_ff = INNER,                                                                                       \
        .vocab = VOCAB,                                                                                      \
        .max_position_embeddings = POS,                                                                      \
        .norm = ER_LAYER_NORM,                                                                               \
        .norm_eps = 1e-5f,                                                                                   \
        .act = ER_GELU_NEW,                                                                                  \
        .parallel_residual = true,                                                                           \
        .rope = {.style = ER_ROPE_PAIRS, .dims = ROT, .base = 10000, .factor = 1}},                          \
    .mlp_bias = true, .head_bias = true, .norm_bias = true, .lr = 0.5, .clamp = 0.75, .decay = 0.5
#define LLAMA(FAMILY, L, H, HEADS, KV, INNER, VOCAB, POS, BASE, EPS)                                         \
    .arch = {.family = FAMILY,                                                                               \
        .layers = L,                                                                                         \
        .hidden = H,                                                                                         \
        .heads = HEADS,                                                                                      \
        .kv_heads = KV,                                                                                      \
        .head_dim = H / HEADS,                                                                               \
        .d_ff = INNER,                                                                                       \
        .vocab = VOCAB,                                                                                      \
        .max_position_embeddings = POS,                                                                      \
        .norm = ER_RMS_NORM,                                                                                 \
        .norm_eps = EPS,                                                                                     \
        .act = ER_SILU,                                                                                      \
        .gated = true,                                                                                       \
        .rope = {.style = ER_ROPE_HALF, .dims = H / HEADS, .base = BASE, .factor = 1}},                      \
    .norm2 = true

static const er_shape table[] = {
    {.name = "gpt2-xl",
        GPT2(48, 1600, 25, 6400, 50257, 1024),
        .first_edited = 13,
        .last_edited = 17,
        .steps = 20,
        .lambda = 20000},
    {.name = "gptj-6b",
        GPTJ(28, 4096, 16, 16384, 50400, 2048, 64),
        .first_edited = 3,
        .last_edited = 8,
        .steps = 25,
        .lambda = 15000},
    {.name = "llama3-8b",
        LLAMA("llama", 32, 4096, 32, 8, 14336, 128256, 8192, 500000, 1e-5f),
        .first_edited = 4,
        .last_edited = 8,
        .steps = 25,
        .lr = 0.1,
        .clamp = 0.75,
        .decay = 0.5,
        .lambda = 15000},
    {.name = "qwen2.5-7b",
        LLAMA("qwen2", 28, 3584, 28, 4, 18944, 152064, 32768, 1000000, 1e-6f),
        .qkv_bias = true,
        .first_edited = 4,
        .last_edited = 8,
        .steps = 25,
        .lr = 0.5,
        .clamp = 4,
        .decay = 1e-3,
        .lambda = 15000},
    {.name = "tiny-gpt2",
        GPT2(4, 64, 4, 256, 307, 64),
        .first_edited = 1,
        .last_edited = 2,
        .steps = 5,
        .lambda = 100},
    {.name = "tiny-gptj",
        GPTJ(4, 64, 2, 256, 307, 64, 16),
        .first_edited = 1,
        .last_edited = 2,
        .steps = 5,
        .lambda = 100},
    {.name = "tiny-llama",
        LLAMA("llama", 4, 64, 4, 2, 224, 307, 64, 500000, 1e-5f),
        .first_edited = 1,
        .last_edited = 2,
        .steps = 5,
        .lr = 0.1,
        .clamp = 0.75,
        .decay = 0.5,
        .lambda = 100},
    {.name = "tiny-qwen",
        LLAMA("qwen2", 4, 64, 4, 1, 288, 307, 64, 1000000, 1e-6f),
        .qkv_bias = true,
        .first_edited = 1,
        .last_edited = 2,
        .steps = 5,
        .lr = 0.5,
        .clamp = 4,
        .decay = 1e-3,
        .lambda = 100},
};
enum { SHAPES = sizeof table / sizeof *table };

const er_shape *er_shape_find(const char *name) {
    for (size_t i = 0; i < SHAPES; i++)
        if (!strcmp(table[i].name, name)) return &table[i];
    return NULL;
}

void er_shape_list(char *out, size_t size) {
    size_t at = 0;
    if (size) out[0] = 0;
    for (size_t i = 0; i < SHAPES && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", table[i].name);
}
