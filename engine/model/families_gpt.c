// Rows of the families that call things as GPT-2 and its contemporaries did. Facts: the families' own
// configuration and modelling files in Hugging Face transformers, 4.57 and 5.
#include "engine/model/family_internal.h"
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

// Appends a kind of attention to `n` layers; those that are local go to a->windowed.
static er_status add_kind(er_arch *a, size_t *n, const cJSON *k, const char *name) {
    const char *kind = cJSON_IsString(k) ? k->valuestring : "";
    bool local = !strcmp(kind, "local");
    if (!local && strcmp(kind, "global") != 0)
        return er_fail(
            ER_EUNSUPPORTED, "%s: attention '%.40s' of layer %zu is not global or local", name, kind, *n);
    if (local && *n < a->layers) er_layer_put(&a->windowed, *n);
    ++*n;
    return ER_OK;
}

// [[["global", "local"], 12], ...]: kinds of attention, and how often their sequence repeats.
static er_status read_types(er_arch *a, size_t *n, const cJSON *types, const char *name) {
    er_status rc = ER_OK;
    if (!cJSON_IsArray(types)) ER_FAIL(ER_EFORMAT, "%s: attention_types is not a list", name);
    for (const cJSON *t = types->child; t; t = t->next) {
        const cJSON *kinds = cJSON_GetArrayItem(t, 0), *times = cJSON_GetArrayItem(t, 1);
        double count = cJSON_IsNumber(times) ? times->valuedouble : -1;
        if (!cJSON_IsArray(kinds) || !kinds->child || !(count >= 0 && count <= ER_MAX_LAYERS))
            ER_FAIL(ER_EFORMAT, "%s: attention_types: not a list of kinds and a number", name);
        for (size_t i = 0; i < (size_t)count && *n <= a->layers; i++)
            for (const cJSON *k = kinds->child; k; k = k->next) ER_TRY(add_kind(a, n, k, name));
    }
out:
    return rc;
}

// attention_layers is attention_types written out, and wins where both stand, in transformers 4 as in 5.
static er_status read_kinds(er_arch *a, const cJSON *config, const char *name) {
    er_status rc = ER_OK;
    const cJSON *types = cJSON_GetObjectItemCaseSensitive(config, "attention_types"),
                *list = cJSON_GetObjectItemCaseSensitive(config, "attention_layers");
    const char *from = "attention_types";
    size_t n = 0;
    if (list && !cJSON_IsNull(list)) {
        from = "attention_layers";
        for (const cJSON *k = list->child; k; k = k->next) ER_TRY(add_kind(a, &n, k, name));
    } else if (types && !cJSON_IsNull(types)) ER_TRY(read_types(a, &n, types, name));
    else
        for (; n < 24; n++)  // the class's own: 12 times global, local
            if (n % 2 && n < a->layers) er_layer_put(&a->windowed, n);
    if (n != a->layers) ER_FAIL(ER_EFORMAT, "%s: %s is not for %zu layers", name, from, a->layers);
out:
    return rc;
}

// Scores are not scaled, and local layers look back window_size tokens.
static er_status check_gpt_neo(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    uint64_t window = 256;
    bool some = false;
    a->attention_scale = 1;
    ER_TRY(er_json_get_u64(&window, config, "window_size", name));
    if (!window) ER_FAIL(ER_EFORMAT, "%s: window_size is 0", name);
    ER_TRY(read_kinds(a, config, name));
    if (window >= a->max_position_embeddings) a->windowed = (er_layer_set){{0}};  // as long as any row may be
    for (size_t l = 0; l < a->layers; l++) some |= er_layer_in(&a->windowed, l);
    a->window = some ? (size_t)window : 0;
out:
    return rc;
}

// What GPT-2 and GPT-J call alike.
#define GPT2_KEYS                                                                                            \
    .prefix = {"transformer.", ""}, .layers = {{"n_layer", "num_hidden_layers"}},                            \
    .hidden = {{"n_embd", "hidden_size"}}, .heads = {{"n_head", "num_attention_heads"}},                     \
    .d_ff = {{"n_inner"}}, .max_position_embeddings = {{"n_positions", "max_position_embeddings"}},          \
    .act = {{"activation_function"}}, .eps = {{"layer_norm_epsilon"}}, .default_act = "gelu_new",            \
    .default_eps = 1e-5, .norm = ER_LAYER_NORM, .norm_bias = true

const er_family er_gpt_families[] = {
    {
        .type = "gpt2",
        .classes = {"GPT2LMHeadModel", "GPT2Model"},
        GPT2_KEYS,
        SIZES(12, 768, 12, 50257, 1024, 0),
        .conv1d = true,
        .default_tied = true,
        .d_ff_is_4h = true,
        .rope = ER_ROPE_NONE,
        .embed = "wte",
        .position = "wpe",
        .final_norm = "ln_f",
        .head = {"lm_head"},
        .layer = "h",
        .param = {[ROLE_NORM1] = {"ln_1", BIAS_ALWAYS},
            [ROLE_NORM2] = {"ln_2", BIAS_ALWAYS},
            [ROLE_QKV] = {"attn.c_attn", BIAS_ALWAYS},
            [ROLE_OUT] = {"attn.c_proj", BIAS_ALWAYS},
            [ROLE_UP] = {"mlp.c_fc", BIAS_ALWAYS},
            [ROLE_DOWN] = {"mlp.c_proj", BIAS_ALWAYS}},
        .check = check_gpt2,
    },
    {
        .type = "gptj",
        .classes = {"GPTJForCausalLM", "GPTJModel"},
        GPT2_KEYS,
        SIZES(28, 4096, 16, 50400, 2048, 0),
        .parallel_residual = true,
        .d_ff_is_4h = true,
        .rope = ER_ROPE_PAIRS,
        .default_rope_base = 10000,
        .rope_dims = "rotary_dim",
        .default_rope_dims = 64,
        .embed = "wte",
        .final_norm = "ln_f",
        .head = {"lm_head"},
        .head_bias = true,
        .layer = "h",
        .param = {[ROLE_NORM1] = {"ln_1", BIAS_ALWAYS},
            [ROLE_Q] = {"attn.q_proj", BIAS_NEVER},
            [ROLE_K] = {"attn.k_proj", BIAS_NEVER},
            [ROLE_V] = {"attn.v_proj", BIAS_NEVER},
            [ROLE_OUT] = {"attn.out_proj", BIAS_NEVER},
            [ROLE_UP] = {"mlp.fc_in", BIAS_ALWAYS},
            [ROLE_DOWN] = {"mlp.fc_out", BIAS_ALWAYS}},
    },
    {
        .type = "gpt_neox",
        .classes = {"GPTNeoXForCausalLM", "GPTNeoXModel"},
        .prefix = {"gpt_neox.", ""},
        SIZES(44, 6144, 64, 50432, 2048, 24576),
        .layers = {{"num_hidden_layers"}},
        .hidden = {{"hidden_size"}},
        .heads = {{"num_attention_heads"}},
        .d_ff = {{"intermediate_size"}},
        .max_position_embeddings = {{"max_position_embeddings"}},
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
        .param = {[ROLE_NORM1] = {"input_layernorm", BIAS_ALWAYS},
            [ROLE_NORM2] = {"post_attention_layernorm", BIAS_ALWAYS},
            [ROLE_QKV] = {"attention.query_key_value", BIAS_ATTENTION},
            [ROLE_OUT] = {"attention.dense", BIAS_ATTENTION},
            [ROLE_UP] = {"mlp.dense_h_to_4h", BIAS_ALWAYS},
            [ROLE_DOWN] = {"mlp.dense_4h_to_h", BIAS_ALWAYS}},
        .check = check_gpt_neox,
    },
    {
        .type = "opt",
        .classes = {"OPTForCausalLM", "OPTModel"},
        .prefix = {"model.decoder.", "decoder."},
        SIZES(12, 768, 12, 50272, 2048, 3072),
        .layers = {{"num_hidden_layers"}},
        .hidden = {{"hidden_size"}},
        .heads = {{"num_attention_heads"}},
        .d_ff = {{"ffn_dim"}},
        .max_position_embeddings = {{"max_position_embeddings"}},
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
        .param = {[ROLE_NORM1] = {"self_attn_layer_norm", BIAS_ALWAYS},
            [ROLE_NORM2] = {"final_layer_norm", BIAS_ALWAYS},
            [ROLE_Q] = {"self_attn.q_proj", BIAS_ATTENTION},
            [ROLE_K] = {"self_attn.k_proj", BIAS_ATTENTION},
            [ROLE_V] = {"self_attn.v_proj", BIAS_ATTENTION},
            [ROLE_OUT] = {"self_attn.out_proj", BIAS_ATTENTION},
            [ROLE_UP] = {"fc1", BIAS_MLP},
            [ROLE_DOWN] = {"fc2", BIAS_MLP}},
        .check = check_opt,
    },
    {
        .type = "gpt_neo",
        .classes = {"GPTNeoForCausalLM", "GPTNeoModel"},
        .prefix = {"transformer.", ""},
        .layers = {{"num_layers", "num_hidden_layers"}},
        .hidden = {{"hidden_size"}},
        .heads = {{"num_heads", "num_attention_heads"}},
        .d_ff = {{"intermediate_size"}},
        .max_position_embeddings = {{"max_position_embeddings"}},
        .act = {{"activation_function"}},
        .eps = {{"layer_norm_epsilon"}},
        SIZES(24, 2048, 16, 50257, 2048, 0),
        .default_act = "gelu_new",
        .default_eps = 1e-5,
        .norm = ER_LAYER_NORM,
        .norm_bias = true,
        .default_tied = true,
        .d_ff_is_4h = true,
        .rope = ER_ROPE_NONE,
        .embed = "wte",
        .position = "wpe",
        .final_norm = "ln_f",
        .head = {"lm_head"},
        .layer = "h",
        .param = {[ROLE_NORM1] = {"ln_1", BIAS_ALWAYS},
            [ROLE_NORM2] = {"ln_2", BIAS_ALWAYS},
            [ROLE_Q] = {"attn.attention.q_proj", BIAS_NEVER},
            [ROLE_K] = {"attn.attention.k_proj", BIAS_NEVER},
            [ROLE_V] = {"attn.attention.v_proj", BIAS_NEVER},
            [ROLE_OUT] = {"attn.attention.out_proj", BIAS_ALWAYS},
            [ROLE_UP] = {"mlp.c_fc", BIAS_ALWAYS},
            [ROLE_DOWN] = {"mlp.c_proj", BIAS_ALWAYS}},
        .check = check_gpt_neo,
    },
};
const size_t er_gpt_family_rows = sizeof er_gpt_families / sizeof er_gpt_families[0];
