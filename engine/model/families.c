// The rows. Facts: the families' own configuration and modelling files in Hugging Face transformers.
#include "engine/model/family.h"
#include <stdio.h>
#include <string.h>

// GPT-2 alone can turn off or vary the 1/sqrt(head_dim) of its scores. Its reorder_and_upcast_attn is about
// half precision.
static er_status check_gpt2(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    bool scaled = true, cross = false;
    ER_TRY(er_json_get_bool(&scaled, config, "scale_attn_weights", name));
    ER_TRY(er_json_get_bool(&a->scale_by_layer, config, "scale_attn_by_inverse_layer_idx", name));
    ER_TRY(er_json_get_bool(&cross, config, "add_cross_attention", name));
    if (cross)
        ER_FAIL(
            ER_EUNSUPPORTED, "%s: add_cross_attention: only decoders that stand alone are supported", name);
    if (!scaled) a->attention_scale = 1.0f;
out:
    return rc;
}

static er_status check_gpt_neox(const cJSON *config, const char *name, er_arch *a) {
    return er_json_get_bool(&a->parallel_residual, config, "use_parallel_residual", name);
}

// OPT-350m is the one model of its family that normalises behind its sums and projects its embedding.
static er_status check_opt(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    bool before = true, biases = true, affine = true, no_final = false;
    uint64_t embedded = a->hidden;
    ER_TRY(er_json_get_bool(&before, config, "do_layer_norm_before", name));
    ER_TRY(er_json_get_bool(&biases, config, "enable_bias", name));
    ER_TRY(er_json_get_bool(&affine, config, "layer_norm_elementwise_affine", name));
    ER_TRY(er_json_get_bool(&no_final, config, "_remove_final_layer_norm", name));
    ER_TRY(er_json_get_u64(&embedded, config, "word_embed_proj_dim", name));
    if (!before)
        ER_FAIL(ER_EUNSUPPORTED,
            "%s: do_layer_norm_before is false (as in OPT-350m): its sums are normalised before they go on, "
            "where an added weight does not act linearly",
            name);
    if (embedded != a->hidden)
        ER_FAIL(ER_EUNSUPPORTED,
            "%s: word_embed_proj_dim is %llu, hidden_size %zu: projected embeddings are not supported", name,
            (unsigned long long)embedded, a->hidden);
    if (!affine || no_final)
        ER_FAIL(ER_EUNSUPPORTED, "%s: %s is not supported", name,
            affine ? "_remove_final_layer_norm" : "layer_norm_elementwise_affine: norms without weights");
    a->attention_bias = a->mlp_bias = biases;
out:
    return rc;
}

// What Llama's descendants have in common.
#define LLAMA_LIKE(name, ...)                                                                                \
    .type = name, .classes = {__VA_ARGS__}, .prefix = {"model.", ""}, .layers = {{"num_hidden_layers"}},     \
    .hidden = {{"hidden_size"}}, .heads = {{"num_attention_heads"}}, .kv_heads = {{"num_key_value_heads"}},  \
    .head_dim = {{"head_dim"}}, .inner = {{"intermediate_size"}},                                            \
    .positions = {{"max_position_embeddings"}}, .act = {{"hidden_act"}}, .eps = {{"rms_norm_eps"}},          \
    .default_act = "silu", .norm = ER_RMS_NORM, .gated = true, .rope = ER_ROPE_HALF,                         \
    .default_rope_base = 10000, .embed = "embed_tokens", .final_norm = "norm", .head = {"lm_head"},          \
    .layer = "layers", .ignored = {".rotary_emb.inv_freq"}
#define LLAMA_NORMS                                                                                          \
    [SLOT_NORM1] = {"input_layernorm", BIAS_NEVER}, [SLOT_NORM2] = {"post_attention_layernorm", BIAS_NEVER}
#define LLAMA_MLP(bias)                                                                                      \
    LLAMA_NORMS, [SLOT_GATE] = {"mlp.gate_proj", bias}, [SLOT_UP] = {"mlp.up_proj", bias},                   \
                 [SLOT_DOWN] = {"mlp.down_proj", bias}
#define LLAMA_QKV(bias)                                                                                      \
    [SLOT_Q] = {"self_attn.q_proj", bias}, [SLOT_K] = {"self_attn.k_proj", bias},                            \
    [SLOT_V] = {"self_attn.v_proj", bias}

// What GPT-2 and GPT-J call alike.
#define GPT2_KEYS                                                                                            \
    .prefix = {"transformer.", ""}, .layers = {{"n_layer", "num_hidden_layers"}},                            \
    .hidden = {{"n_embd", "hidden_size"}}, .heads = {{"n_head", "num_attention_heads"}},                     \
    .inner = {{"n_inner"}}, .positions = {{"n_positions", "max_position_embeddings"}},                       \
    .act = {{"activation_function"}}, .eps = {{"layer_norm_epsilon"}}, .default_act = "gelu_new",            \
    .default_eps = 1e-5, .norm = ER_LAYER_NORM, .norm_bias = true

static const er_family table[] = {
    {
        .type = "gpt2",
        .classes = {"GPT2LMHeadModel", "GPT2Model"},
        GPT2_KEYS,
        .conv1d = true,
        .default_tied = true,
        .inner_is_4h = true,
        .rope = ER_ROPE_NONE,
        .embed = "wte",
        .position = "wpe",
        .final_norm = "ln_f",
        .head = {"lm_head"},
        .layer = "h",
        .slot = {[SLOT_NORM1] = {"ln_1", BIAS_ALWAYS},
            [SLOT_NORM2] = {"ln_2", BIAS_ALWAYS},
            [SLOT_QKV] = {"attn.c_attn", BIAS_ALWAYS},
            [SLOT_OUT] = {"attn.c_proj", BIAS_ALWAYS},
            [SLOT_UP] = {"mlp.c_fc", BIAS_ALWAYS},
            [SLOT_DOWN] = {"mlp.c_proj", BIAS_ALWAYS}},
        .ignored = {".attn.bias", ".attn.masked_bias"},
        .check = check_gpt2,
    },
    {
        .type = "gptj",
        .classes = {"GPTJForCausalLM", "GPTJModel"},
        GPT2_KEYS,
        .parallel_residual = true,
        .inner_is_4h = true,
        .rope = ER_ROPE_PAIRS,
        .default_rope_base = 10000,
        .rope_dims = "rotary_dim",
        .default_rope_dims = 64,
        .embed = "wte",
        .final_norm = "ln_f",
        .head = {"lm_head"},
        .head_bias = true,
        .layer = "h",
        .slot = {[SLOT_NORM1] = {"ln_1", BIAS_ALWAYS},
            [SLOT_Q] = {"attn.q_proj", BIAS_NEVER},
            [SLOT_K] = {"attn.k_proj", BIAS_NEVER},
            [SLOT_V] = {"attn.v_proj", BIAS_NEVER},
            [SLOT_OUT] = {"attn.out_proj", BIAS_NEVER},
            [SLOT_UP] = {"mlp.fc_in", BIAS_ALWAYS},
            [SLOT_DOWN] = {"mlp.fc_out", BIAS_ALWAYS}},
        .ignored = {".attn.bias", ".attn.masked_bias"},
    },
    {
        .type = "gpt_neox",
        .classes = {"GPTNeoXForCausalLM", "GPTNeoXModel"},
        .prefix = {"gpt_neox.", ""},
        .layers = {{"num_hidden_layers"}},
        .hidden = {{"hidden_size"}},
        .heads = {{"num_attention_heads"}},
        .inner = {{"intermediate_size"}},
        .positions = {{"max_position_embeddings"}},
        .act = {{"hidden_act"}},
        .eps = {{"layer_norm_eps"}},
        .default_act = "gelu",
        .default_eps = 1e-5,
        .norm = ER_LAYER_NORM,
        .norm_bias = true,
        .parallel_residual = true,
        .default_attention_bias = true,
        .fused_by_head = true,
        .rope = ER_ROPE_HALF,
        .default_rope_base = 10000,
        .rope_base = "rotary_emb_base",
        .rope_part = "rotary_pct",
        .default_rope_part = 0.25,
        .embed = "embed_in",
        .final_norm = "final_layer_norm",
        .head = {"embed_out", "lm_head"},
        .layer = "layers",
        .slot = {[SLOT_NORM1] = {"input_layernorm", BIAS_ALWAYS},
            [SLOT_NORM2] = {"post_attention_layernorm", BIAS_ALWAYS},
            [SLOT_QKV] = {"attention.query_key_value", BIAS_ATTENTION},
            [SLOT_OUT] = {"attention.dense", BIAS_ATTENTION},
            [SLOT_UP] = {"mlp.dense_h_to_4h", BIAS_ALWAYS},
            [SLOT_DOWN] = {"mlp.dense_4h_to_h", BIAS_ALWAYS}},
        .ignored = {".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"},
        .check = check_gpt_neox,
    },
    {
        .type = "opt",
        .classes = {"OPTForCausalLM", "OPTModel"},
        .prefix = {"model.decoder.", "decoder."},
        .layers = {{"num_hidden_layers"}},
        .hidden = {{"hidden_size"}},
        .heads = {{"num_attention_heads"}},
        .inner = {{"ffn_dim"}},
        .positions = {{"max_position_embeddings"}},
        .act = {{"activation_function"}},
        .default_act = "relu",
        .default_eps = 1e-5,
        .norm = ER_LAYER_NORM,
        .norm_bias = true,
        .default_tied = true,
        .rope = ER_ROPE_NONE,
        .position_offset = 2,
        .embed = "embed_tokens",
        .position = "embed_positions",
        .final_norm = "final_layer_norm",
        .head = {"lm_head"},
        .layer = "layers",
        .slot = {[SLOT_NORM1] = {"self_attn_layer_norm", BIAS_ALWAYS},
            [SLOT_NORM2] = {"final_layer_norm", BIAS_ALWAYS},
            [SLOT_Q] = {"self_attn.q_proj", BIAS_ATTENTION},
            [SLOT_K] = {"self_attn.k_proj", BIAS_ATTENTION},
            [SLOT_V] = {"self_attn.v_proj", BIAS_ATTENTION},
            [SLOT_OUT] = {"self_attn.out_proj", BIAS_ATTENTION},
            [SLOT_UP] = {"fc1", BIAS_MLP},
            [SLOT_DOWN] = {"fc2", BIAS_MLP}},
        .check = check_opt,
    },
    {
        LLAMA_LIKE("llama", "LlamaForCausalLM", "LlamaModel"),
        .default_eps = 1e-6,
        .slot = {LLAMA_MLP(BIAS_MLP),
            LLAMA_QKV(BIAS_ATTENTION), [SLOT_OUT] = {"self_attn.o_proj", BIAS_ATTENTION}},
    },
    {
        LLAMA_LIKE("mistral", "MistralForCausalLM", "MistralModel"),
        .default_eps = 1e-6,
        .window = WINDOW_ALL,
        .default_window = 4096,
        .default_kv_heads = 8,
        .slot = {LLAMA_MLP(BIAS_NEVER), LLAMA_QKV(BIAS_NEVER), [SLOT_OUT] = {"self_attn.o_proj", BIAS_NEVER}},
    },
    {
        LLAMA_LIKE("qwen2", "Qwen2ForCausalLM", "Qwen2Model"),
        .default_eps = 1e-6,
        .window = WINDOW_UPPER,
        .default_window = 4096,
        .slot = {LLAMA_MLP(BIAS_NEVER),
            LLAMA_QKV(BIAS_ALWAYS), [SLOT_OUT] = {"self_attn.o_proj", BIAS_NEVER}},
    },
    {
        LLAMA_LIKE("qwen3", "Qwen3ForCausalLM", "Qwen3Model"),
        .default_eps = 1e-6,
        .window = WINDOW_UPPER,
        .default_window = 4096,
        .default_head_dim = 128,
        .slot = {LLAMA_MLP(BIAS_NEVER),
            LLAMA_QKV(BIAS_ATTENTION), [SLOT_Q_NORM] = {"self_attn.q_norm", BIAS_NEVER},
            [SLOT_K_NORM] = {"self_attn.k_norm", BIAS_NEVER},
            [SLOT_OUT] = {"self_attn.o_proj", BIAS_ATTENTION}},
    },
    {
        LLAMA_LIKE("phi3", "Phi3ForCausalLM", "Phi3Model"),
        .default_eps = 1e-5,
        .window = WINDOW_ALL,
        .rope_part = "partial_rotary_factor",
        .default_rope_part = 1,
        .original_positions = 4096,
        .slot = {LLAMA_NORMS, [SLOT_QKV] = {"self_attn.qkv_proj", BIAS_NEVER},
            [SLOT_OUT] = {"self_attn.o_proj", BIAS_NEVER}, [SLOT_GATE_UP] = {"mlp.gate_up_proj", BIAS_NEVER},
            [SLOT_DOWN] = {"mlp.down_proj", BIAS_NEVER}},
    },
};
enum { ROWS = sizeof table / sizeof table[0] };

const er_family *er_family_find(const char *type) {
    for (size_t i = 0; i < ROWS; i++)
        if (!strcmp(table[i].type, type)) return &table[i];
    return NULL;
}

void er_family_list(char *out, size_t size) {
    size_t at = 0;
    if (size) out[0] = 0;
    for (size_t i = 0; i < ROWS && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", table[i].type);
}
