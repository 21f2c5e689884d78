// The rows. Facts: the families' own configuration and modelling files in Hugging Face transformers.
#include "engine/model/family.h"
#include <stdio.h>
#include <string.h>

// GPT-2 alone can turn off or vary the 1/sqrt(head_dim) of its scores.
static er_status check_gpt2(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    bool scaled = true, by_layer = false, cross = false;
    ER_TRY(er_json_get_bool(&scaled, config, "scale_attn_weights", name));
    ER_TRY(er_json_get_bool(&by_layer, config, "scale_attn_by_inverse_layer_idx", name));
    ER_TRY(er_json_get_bool(&cross, config, "add_cross_attention", name));
    if (by_layer)
        ER_FAIL(ER_EUNSUPPORTED,
            "%s: scale_attn_by_inverse_layer_idx: a score scale of its own per layer is not supported", name);
    if (cross)
        ER_FAIL(
            ER_EUNSUPPORTED, "%s: add_cross_attention: only decoders that stand alone are supported", name);
    if (!scaled) a->attention_scale = 1.0f;
out:
    return rc;
}

static const er_family table[] = {
    {
        .type = "gpt2",
        .classes = {"GPT2LMHeadModel", "GPT2Model"},
        .prefix = {"transformer.", ""},
        .layers = {{"n_layer", "num_hidden_layers"}},
        .hidden = {{"n_embd", "hidden_size"}},
        .heads = {{"n_head", "num_attention_heads"}},
        .inner = {{"n_inner"}},
        .positions = {{"n_positions", "max_position_embeddings"}},
        .act = {{"activation_function"}},
        .eps = {{"layer_norm_epsilon"}},
        .default_act = "gelu_new",
        .default_eps = 1e-5,
        .norm = ER_LAYER_NORM,
        .norm_bias = true,
        .conv1d = true,
        .default_tied = true,
        .inner_is_4h = true,
        .rope = ER_ROPE_NONE,
        .embed = "wte",
        .position = "wpe",
        .final_norm = "ln_f",
        .head = "lm_head",
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
        .type = "llama",
        .classes = {"LlamaForCausalLM", "LlamaModel"},
        .prefix = {"model.", ""},
        .layers = {{"num_hidden_layers"}},
        .hidden = {{"hidden_size"}},
        .heads = {{"num_attention_heads"}},
        .kv_heads = {{"num_key_value_heads"}},
        .head_dim = {{"head_dim"}},
        .inner = {{"intermediate_size"}},
        .positions = {{"max_position_embeddings"}},
        .act = {{"hidden_act"}},
        .eps = {{"rms_norm_eps"}},
        .default_act = "silu",
        .default_eps = 1e-6,
        .default_rope_base = 10000,
        .norm = ER_RMS_NORM,
        .gated = true,
        .rope = ER_ROPE_HALF,
        .embed = "embed_tokens",
        .final_norm = "norm",
        .head = "lm_head",
        .layer = "layers",
        .slot = {[SLOT_NORM1] = {"input_layernorm", BIAS_NEVER},
            [SLOT_NORM2] = {"post_attention_layernorm", BIAS_NEVER},
            [SLOT_Q] = {"self_attn.q_proj", BIAS_ATTENTION},
            [SLOT_K] = {"self_attn.k_proj", BIAS_ATTENTION},
            [SLOT_V] = {"self_attn.v_proj", BIAS_ATTENTION},
            [SLOT_OUT] = {"self_attn.o_proj", BIAS_ATTENTION},
            [SLOT_GATE] = {"mlp.gate_proj", BIAS_MLP},
            [SLOT_UP] = {"mlp.up_proj", BIAS_MLP},
            [SLOT_DOWN] = {"mlp.down_proj", BIAS_MLP}},
        .ignored = {".rotary_emb.inv_freq"},
    },
};
enum { ROWS = sizeof table / sizeof table[0] };

static const char after_mlp[] =
    "its MLP output is normalised before it joins the residual stream, where an added weight does not "
    "act linearly";
static const char experts[] = "mixture of experts: each token sees its own choice of weights";
static const char hybrid[] = "not a plain attention decoder";
static const struct {
    const char *type, *reason;
} refused[] = {
    {"gemma2", after_mlp},
    {"gemma3", after_mlp},
    {"gemma3_text", after_mlp},
    {"gemma3n", after_mlp},
    {"olmo2", after_mlp},
    {"olmo3", after_mlp},
    {"mixtral", experts},
    {"qwen2_moe", experts},
    {"qwen3_moe", experts},
    {"gpt_oss", experts},
    {"deepseek_v2", experts},
    {"deepseek_v3", experts},
    {"olmoe", experts},
    {"phimoe", experts},
    {"granitemoe", experts},
    {"llama4", experts},
    {"llama4_text", experts},
    {"dbrx", experts},
    {"mamba", hybrid},
    {"mamba2", hybrid},
    {"rwkv", hybrid},
    {"jamba", hybrid},
    {"qwen3_next", hybrid},
    {"recurrent_gemma", hybrid},
    {"bert", hybrid},
    {"t5", hybrid},
};

const er_family *er_family_find(const char *type) {
    for (size_t i = 0; i < ROWS; i++)
        if (!strcmp(table[i].type, type)) return &table[i];
    return NULL;
}

const char *er_family_refusal(const char *type) {
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (!strcmp(refused[i].type, type)) return refused[i].reason;
    return NULL;
}

void er_family_list(char *out, size_t size) {
    size_t at = 0;
    if (size) out[0] = 0;
    for (size_t i = 0; i < ROWS && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", table[i].type);
}

void er_slot_dims(const er_arch *a, er_slot slot, size_t *d_out, size_t *d_in) {
    size_t q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    *d_in = a->hidden;
    *d_out = a->hidden;
    switch (slot) {
    case SLOT_NORM1:
    case SLOT_NORM2:
        *d_in = 1;
        break;
    case SLOT_QKV:
        *d_out = q + 2 * kv;
        break;
    case SLOT_Q:
        *d_out = q;
        break;
    case SLOT_K:
    case SLOT_V:
        *d_out = kv;
        break;
    case SLOT_OUT:
        *d_in = q;
        break;
    case SLOT_GATE:
    case SLOT_UP:
        *d_out = a->inner;
        break;
    case SLOT_GATE_UP:
        *d_out = 2 * a->inner;
        break;
    case SLOT_DOWN:
        *d_in = a->inner;
        break;
    case SLOT_COUNT:
        break;
    }
}

bool er_slot_has_bias(const er_arch *a, er_slot slot) {
    switch (a->row->slot[slot].bias) {
    case BIAS_NEVER:
        return false;
    case BIAS_ALWAYS:
        return true;
    case BIAS_ATTENTION:
        return a->attention_bias;
    case BIAS_MLP:
        return a->mlp_bias;
    }
    return false;
}
