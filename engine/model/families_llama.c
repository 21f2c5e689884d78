// Rows of Llama's relatives. Facts: the families' own configuration and modelling files in Hugging Face
// transformers, 4.57 and 5.
#include "engine/model/family_internal.h"
#include "io/base/log.h"
#include <math.h>
#include <string.h>

// no_rope_layers has a 1 for every layer that does rotate.
static er_status check_smollm3(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "no_rope_layers");
    uint64_t every = 4;
    size_t n = 0;
    ER_TRY(er_json_get_u64(&every, config, "no_rope_layer_interval", name));
    if (!list || cJSON_IsNull(list)) {
        if (!every) ER_FAIL(ER_EFORMAT, "%s: no_rope_layer_interval is 0", name);
        for (size_t l = 0; l < a->layers; l++)
            if ((l + 1) % every == 0) er_layer_put(&a->unrotated, l);
        goto out;
    }
    for (const cJSON *e = list->child; e; e = e->next, n++) {
        if (!cJSON_IsNumber(e) && !cJSON_IsBool(e))
            ER_FAIL(ER_EFORMAT, "%s: no_rope_layers: entry %zu is not a number", name, n);
        bool rotates = cJSON_IsTrue(e) || (cJSON_IsNumber(e) && e->valuedouble != 0);
        if (!rotates && n < a->layers) er_layer_put(&a->unrotated, n);
    }
    if (n != a->layers) ER_FAIL(ER_EFORMAT, "%s: no_rope_layers lists %zu layers of %zu", name, n, a->layers);
out:
    return rc;
}

// The parallel block has no second norm, and the norms of its heads are there only where qk_layernorm is.
static er_status check_stablelm(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    a->attention_bias = false;
    ER_TRY(er_json_get_bool(&a->attention_bias, config, "use_qkv_bias", name));
    ER_TRY(er_json_get_bool(&a->parallel_residual, config, "use_parallel_residual", name));
    a->qk_norms = false;
    ER_TRY(er_json_get_bool(&a->qk_norms, config, "qk_layernorm", name));
    a->qk_norm_per_head = a->qk_norms;
    if (!a->qk_norms) a->module[ROLE_Q_NORM] = a->module[ROLE_K_NORM] = NULL;
    if (a->parallel_residual) a->module[ROLE_NORM2] = NULL;
out:
    return rc;
}

static er_status read_multiplier(double *out, const cJSON *config, const char *key, const char *name) {
    er_status rc = er_json_get_f64(out, config, key, name);
    if (rc == ER_OK && !(*out >= 1e-6 && *out <= 1e6))
        rc = er_fail(ER_EFORMAT, "%s: %s is %g", name, key, *out);
    return rc;
}

// The stream is held divided by residual_multiplier r: what joins it then joins as it is, the embedding is
// divided instead, and RMS norms do not see a common factor but through their eps: norm(r x; eps) =
// norm(x; eps / r^2).
static er_status check_granite(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    double embedding = 1, residual = 1, scores = 1, logits = 1;
    ER_TRY(read_multiplier(&embedding, config, "embedding_multiplier", name));
    ER_TRY(read_multiplier(&residual, config, "residual_multiplier", name));
    ER_TRY(read_multiplier(&scores, config, "attention_multiplier", name));
    ER_TRY(read_multiplier(&logits, config, "logits_scaling", name));
    a->attention_scale = (float)scores;
    a->residual_scale = (float)residual;
    a->embed_scale = (float)(embedding / residual);
    a->norm_eps = (float)((double)a->norm_eps / (residual * residual));
    a->logit_scale = (float)(1 / logits);
out:
    return rc;
}

static er_status check_starcoder2(const cJSON *config, const char *name, er_arch *a) {
    bool bias = true;
    er_status rc = er_json_get_bool(&bias, config, "use_bias", name);
    a->attention_bias = a->mlp_bias = bias;
    return rc;
}

static er_status check_olmo(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    double clip = 0;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, "clip_qkv");
    ER_TRY(er_json_get_f64(&clip, config, "clip_qkv", name));
    if (item && !cJSON_IsNull(item) && !(clip >= 1e-6 && clip <= 1e30))
        ER_FAIL(ER_EFORMAT, "%s: clip_qkv is %g", name, clip);
    a->clip_qkv = (float)clip;
out:
    return rc;
}

// "gelu" in the published files means the tanh form: so transformers 5 and the authors. Some versions of 4
// knew hidden_activation alone, so it may but agree.
static er_status check_gemma(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    const char *act = "gelu_pytorch_tanh", *older = NULL;
    bool both_ways = false;
    ER_TRY(er_json_get_str(&act, config, "hidden_act", name));
    ER_TRY(er_json_get_str(&older, config, "hidden_activation", name));
    ER_TRY(er_json_get_bool(&both_ways, config, "use_bidirectional_attention", name));
    if (both_ways)
        ER_FAIL(ER_EUNSUPPORTED, "%s: use_bidirectional_attention: tokens would see those behind them", name);
    const char *meant = !strcmp(act, "gelu") ? "gelu_pytorch_tanh" : act;
    if (older && strcmp(older, meant) != 0)
        ER_FAIL(ER_EFORMAT, "%s: hidden_act is '%.40s' but hidden_activation is '%.40s'", name, act, older);
    if (a->act == ER_GELU_ERF) {
        a->act = ER_GELU_NEW;
        er_warn("%s: hidden_act 'gelu' is read as gelu_pytorch_tanh, as Gemma's authors mean it", name);
    }
    a->embed_scale = (float)sqrt((double)a->hidden);
out:
    return rc;
}

static er_status check_cohere(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    bool normed = false;
    double logits = 0.0625;
    ER_TRY(er_json_get_bool(&normed, config, "use_qk_norm", name));
    if (normed)
        ER_FAIL(ER_EUNSUPPORTED,
            "%s: use_qk_norm (as in Command R+): the norms of all heads are stored as one matrix, which is "
            "not "
            "read here",
            name);
    ER_TRY(read_multiplier(&logits, config, "logit_scale", name));
    a->logit_scale = (float)logits;
out:
    return rc;
}

// What the relatives call alike.
#define LLAMA_NAMES(name, ...)                                                                               \
    .type = name, .classes = {__VA_ARGS__}, .prefix = {"model.", ""}, .layers = {{"num_hidden_layers"}},     \
    .hidden = {{"hidden_size"}}, .heads = {{"num_attention_heads"}}, .kv_heads = {{"num_key_value_heads"}},  \
    .d_ff = {{"intermediate_size"}}, .max_position_embeddings = {{"max_position_embeddings"}},               \
    .act = {{"hidden_act"}}, .embed = "embed_tokens", .final_norm = "norm", .head = {"lm_head"},             \
    .layer = "layers"
#define LLAMA_LIKE(name, ...)                                                                                \
    LLAMA_NAMES(name, __VA_ARGS__), .head_dim = {{"head_dim"}}, .eps = {{"rms_norm_eps"}},                   \
                                    .norm = ER_RMS_NORM, .gated = true, .rope = ER_ROPE_HALF
#define LLAMA_NORMS                                                                                          \
    [ROLE_NORM1] = {"input_layernorm", BIAS_NEVER}, [ROLE_NORM2] = {"post_attention_layernorm", BIAS_NEVER}
#define LLAMA_GATED(bias)                                                                                    \
    [ROLE_GATE] = {"mlp.gate_proj", bias}, [ROLE_UP] = {"mlp.up_proj", bias},                                \
    [ROLE_DOWN] = {"mlp.down_proj", bias}
#define LLAMA_MLP(bias) LLAMA_NORMS, LLAMA_GATED(bias)
#define LLAMA_QKV(bias)                                                                                      \
    [ROLE_Q] = {"self_attn.q_proj", bias}, [ROLE_K] = {"self_attn.k_proj", bias},                            \
    [ROLE_V] = {"self_attn.v_proj", bias}

const er_family er_llama_families[] = {
    {
        LLAMA_LIKE("llama", "LlamaForCausalLM", "LlamaModel"),
        SIZES(32, 4096, 32, 32000, 2048, 11008),
        .default_rope_base = 10000,
        .default_act = "silu",
        .default_eps = 1e-6,
        .param = {LLAMA_MLP(BIAS_MLP),
            LLAMA_QKV(BIAS_ATTENTION), [ROLE_OUT] = {"self_attn.o_proj", BIAS_ATTENTION}},
    },
    {
        LLAMA_LIKE("mistral", "MistralForCausalLM", "MistralModel"),
        SIZES(32, 4096, 32, 32000, 131072, 14336),
        .default_rope_base = 10000,
        .default_act = "silu",
        .default_eps = 1e-6,
        .window = WINDOW_ALL,
        .default_window = 4096,
        .default_kv_heads = 8,
        .param = {LLAMA_MLP(BIAS_NEVER),
            LLAMA_QKV(BIAS_NEVER), [ROLE_OUT] = {"self_attn.o_proj", BIAS_NEVER}},
    },
    {
        LLAMA_LIKE("qwen2", "Qwen2ForCausalLM", "Qwen2Model"),
        SIZES(32, 4096, 32, 151936, 32768, 22016),
        .default_kv_heads = 32,
        .default_rope_base = 10000,
        .default_act = "silu",
        .default_eps = 1e-6,
        .window = WINDOW_UPPER,
        .default_window = 4096,
        .param = {LLAMA_MLP(BIAS_NEVER),
            LLAMA_QKV(BIAS_ALWAYS), [ROLE_OUT] = {"self_attn.o_proj", BIAS_NEVER}},
    },
    {
        LLAMA_LIKE("qwen3", "Qwen3ForCausalLM", "Qwen3Model"),
        SIZES(32, 4096, 32, 151936, 32768, 22016),
        .default_kv_heads = 32,
        .default_rope_base = 10000,
        .default_act = "silu",
        .default_eps = 1e-6,
        .window = WINDOW_UPPER,
        .default_window = 4096,
        .default_head_dim = 128,
        .param = {LLAMA_MLP(BIAS_NEVER),
            LLAMA_QKV(BIAS_ATTENTION), [ROLE_Q_NORM] = {"self_attn.q_norm", BIAS_NEVER},
            [ROLE_K_NORM] = {"self_attn.k_norm", BIAS_NEVER},
            [ROLE_OUT] = {"self_attn.o_proj", BIAS_ATTENTION}},
    },
    {
        LLAMA_LIKE("phi3", "Phi3ForCausalLM", "Phi3Model"),
        SIZES(32, 3072, 32, 32064, 4096, 8192),
        .default_rope_base = 10000,
        .default_act = "silu",
        .default_eps = 1e-5,
        .window = WINDOW_ALL,
        .rope_part = "partial_rotary_factor",
        .default_rope_part = 1,
        .original_positions = 4096,
        .param = {LLAMA_NORMS, [ROLE_QKV] = {"self_attn.qkv_proj", BIAS_NEVER},
            [ROLE_OUT] = {"self_attn.o_proj", BIAS_NEVER}, [ROLE_GATE_UP] = {"mlp.gate_up_proj", BIAS_NEVER},
            [ROLE_DOWN] = {"mlp.down_proj", BIAS_NEVER}},
    },
    {
        LLAMA_LIKE("smollm3", "SmolLM3ForCausalLM", "SmolLM3Model"),
        SIZES(36, 2048, 16, 128256, 32768, 11008),
        .default_kv_heads = 4,
        .default_act = "silu",
        .default_eps = 1e-6,
        .default_rope_base = 2e6,
        .default_tied = true,
        .window = WINDOW_UNROTATED,
        .param = {LLAMA_MLP(BIAS_MLP),
            LLAMA_QKV(BIAS_ATTENTION), [ROLE_OUT] = {"self_attn.o_proj", BIAS_ATTENTION}},
        .check = check_smollm3,
    },
    {
        LLAMA_LIKE("granite", "GraniteForCausalLM", "GraniteModel"),
        SIZES(32, 4096, 32, 32000, 2048, 11008),
        .default_act = "silu",
        .default_eps = 1e-6,
        .default_rope_base = 10000,
        .param = {LLAMA_MLP(BIAS_MLP),
            LLAMA_QKV(BIAS_ATTENTION), [ROLE_OUT] = {"self_attn.o_proj", BIAS_ATTENTION}},
        .check = check_granite,
    },
    {
        LLAMA_LIKE("gemma", "GemmaForCausalLM", "GemmaModel"),
        SIZES(28, 3072, 16, 256000, 8192, 24576),
        .default_kv_heads = 16,
        .default_head_dim = 256,
        .default_act = "gelu_pytorch_tanh",
        .default_eps = 1e-6,
        .default_rope_base = 10000,
        .default_tied = true,
        .norm_plus_one = true,
        .param = {LLAMA_MLP(BIAS_NEVER),
            LLAMA_QKV(BIAS_ATTENTION), [ROLE_OUT] = {"self_attn.o_proj", BIAS_ATTENTION}},
        .check = check_gemma,
    },
    {
        LLAMA_NAMES("olmo", "OlmoForCausalLM", "OlmoModel"),
        .rope = ER_ROPE_HALF,
        .head_dim = {{"head_dim"}},
        SIZES(32, 4096, 32, 50304, 2048, 11008),
        .default_act = "silu",
        .default_eps = 1e-5,
        .default_rope_base = 10000,
        .norm = ER_LAYER_NORM,
        .norm_bare = true,
        .gated = true,
        .param = {LLAMA_GATED(BIAS_NEVER),
            LLAMA_QKV(BIAS_ATTENTION), [ROLE_OUT] = {"self_attn.o_proj", BIAS_ATTENTION}},
        .check = check_olmo,
    },
    {
        LLAMA_NAMES("stablelm", "StableLmForCausalLM", "StableLmModel"),
        .rope = ER_ROPE_HALF,
        SIZES(32, 2560, 32, 50304, 4096, 6912),
        .eps = {{"layer_norm_eps"}},
        .default_kv_heads = 32,
        .default_act = "silu",
        .default_eps = 1e-5,
        .norm = ER_LAYER_NORM,
        .norm_bias = true,
        .gated = true,
        .default_rope_base = 10000,
        .rope_part = "partial_rotary_factor",
        .default_rope_part = 0.25,
        .param = {LLAMA_GATED(BIAS_NEVER), [ROLE_NORM1] = {"input_layernorm", BIAS_ALWAYS},
            [ROLE_NORM2] = {"post_attention_layernorm", BIAS_ALWAYS},
            LLAMA_QKV(BIAS_ATTENTION), [ROLE_Q_NORM] = {"self_attn.q_layernorm", BIAS_NEVER},
            [ROLE_K_NORM] = {"self_attn.k_layernorm", BIAS_NEVER},
            [ROLE_OUT] = {"self_attn.o_proj", BIAS_NEVER}},
        .check = check_stablelm,
    },
    {
        LLAMA_NAMES("starcoder2", "Starcoder2ForCausalLM", "Starcoder2Model"),
        .rope = ER_ROPE_HALF,
        .head_dim = {{"head_dim"}},
        SIZES(30, 3072, 24, 49152, 4096, 12288),
        .eps = {{"norm_epsilon"}},
        .default_kv_heads = 2,
        .default_act = "gelu_pytorch_tanh",
        .default_eps = 1e-5,
        .norm = ER_LAYER_NORM,
        .norm_bias = true,
        .default_rope_base = 10000,
        .default_tied = true,
        .window = WINDOW_ALL,
        .param = {[ROLE_NORM1] = {"input_layernorm", BIAS_ALWAYS},
            [ROLE_NORM2] = {"post_attention_layernorm", BIAS_ALWAYS},
            LLAMA_QKV(BIAS_ATTENTION),
            [ROLE_OUT] = {"self_attn.o_proj", BIAS_ATTENTION},
            [ROLE_UP] = {"mlp.c_fc", BIAS_MLP},
            [ROLE_DOWN] = {"mlp.c_proj", BIAS_MLP}},
        .check = check_starcoder2,
    },
    {
        LLAMA_NAMES("cohere", "CohereForCausalLM", "CohereModel"),
        .rope = ER_ROPE_PAIRS,
        .head_dim = {{"head_dim"}},
        SIZES(40, 8192, 64, 256000, 8192, 22528),
        .eps = {{"layer_norm_eps"}},
        .default_act = "silu",
        .default_eps = 1e-5,
        .norm = ER_LAYER_NORM,
        .gated = true,
        .parallel_residual = true,
        .default_rope_base = 10000,
        .default_tied = true,
        .param = {[ROLE_NORM1] = {"input_layernorm", BIAS_NEVER},
            LLAMA_GATED(BIAS_NEVER),
            LLAMA_QKV(BIAS_ATTENTION),
            [ROLE_OUT] = {"self_attn.o_proj", BIAS_ATTENTION}},
        .check = check_cohere,
    },
};
const size_t er_llama_family_rows = sizeof er_llama_families / sizeof er_llama_families[0];
