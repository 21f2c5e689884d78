// The least that config.json must say, by family, and its parser.
#ifndef ER_TEST_CONFIGS_H
#define ER_TEST_CONFIGS_H
#include "engine/model.h"
#include "tests/test.h"

#define LLAMA                                                                                                \
    "\"model_type\":\"llama\",\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"vocab_" \
    "size\":100,"                                                                                            \
    "\"max_position_embeddings\":32,\"intermediate_size\":96"
#define GPT2                                                                                                 \
    "\"model_type\":\"gpt2\",\"n_embd\":64,\"n_layer\":2,\"n_head\":4,\"vocab_size\":100,\"n_positions\":32"

#define BODY                                                                                                 \
    "\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"vocab_size\":100,"               \
    "\"max_position_embeddings\":32"
#define GPTJ                                                                                                 \
    "\"model_type\":\"gptj\",\"n_embd\":64,\"n_layer\":2,\"n_head\":4,\"vocab_size\":100,\"n_positions\":32"
#define NEOX "\"model_type\":\"gpt_neox\",\"intermediate_size\":96," BODY
#define MISTRAL "\"model_type\":\"mistral\",\"intermediate_size\":96,\"num_key_value_heads\":2," BODY
#define QWEN2 "\"model_type\":\"qwen2\",\"intermediate_size\":96,\"num_key_value_heads\":2," BODY
#define PHI3 "\"model_type\":\"phi3\",\"intermediate_size\":96," BODY

static inline er_status parse(er_arch *a, const char *json) {
    memset(a, 0, sizeof *a);
    return er_arch_parse(a, json, strlen(json), "config.json");
}
#endif
