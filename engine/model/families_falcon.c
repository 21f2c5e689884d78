// Rows of Phi and Falcon. Facts: the families' own configuration and modelling files in Hugging Face
// transformers, 4.57 and 5.
#include "engine/model/family_internal.h"

static er_status check_phi(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    a->qk_norms = false;
    ER_TRY(er_json_get_bool(&a->qk_norms, config, "qk_layernorm", name));
    if (!a->qk_norms) a->module[ROLE_Q_NORM] = a->module[ROLE_K_NORM] = NULL;
    else if (a->head_dim * a->heads != a->hidden)
        ER_FAIL(ER_EUNSUPPORTED,
            "%s: qk_layernorm with head_dim %zu: its norms are hidden / heads = %zu wide", name, a->head_dim,
            a->hidden / a->heads);
out:
    return rc;
}

// Three layouts of q, k and v: one key-value head for all (multi_query), one for each, or one for each group
// (new_decoder_architecture). And three blocks: sequential, parallel with one norm, parallel with two.
static er_status check_falcon(const cJSON *config, const char *name, er_arch *a) {
    er_status rc = ER_OK;
    bool alibi = false, grouped = false, multi = true, parallel = true, bias = false;
    uint64_t kv = a->heads, norms = 0;
    ER_TRY(er_json_get_bool(&alibi, config, "alibi", name));
    ER_TRY(er_json_get_bool(&grouped, config, "new_decoder_architecture", name));
    ER_TRY(er_json_get_bool(&multi, config, "multi_query", name));
    ER_TRY(er_json_get_bool(&parallel, config, "parallel_attn", name));
    ER_TRY(er_json_get_bool(&bias, config, "bias", name));
    ER_TRY(er_json_get_u64(&kv, config, "num_kv_heads", name));
    ER_TRY(er_json_get_u64(&norms, config, "num_ln_in_parallel_attn", name));
    if (alibi)
        ER_FAIL(ER_EUNSUPPORTED,
            "%s: alibi is true (as in falcon-rw): scores get a penalty that grows with distance, which the "
            "attention here does not add",
            name);
    if (!norms) norms = grouped ? 2 : 1;
    if (norms > 2 || (norms == 2 && !(grouped && parallel)) || (grouped && !parallel))
        ER_FAIL(ER_EUNSUPPORTED,
            "%s: num_ln_in_parallel_attn %llu with new_decoder_architecture %s and parallel_attn %s: there "
            "is "
            "no such Falcon block",
            name, (unsigned long long)norms, grouped ? "true" : "false", parallel ? "true" : "false");
    if (grouped ? !kv || a->heads % kv : !multi && kv != a->heads)
        ER_FAIL(ER_EFORMAT, "%s: %zu attention heads cannot share num_kv_heads %llu", name, a->heads,
            (unsigned long long)kv);
    a->kv_heads = grouped ? (size_t)kv : multi ? 1 : a->heads;
    a->attention_bias = a->mlp_bias = bias;
    a->parallel_residual = parallel;
    if (norms == 2) a->module[ROLE_NORM1] = "ln_attn", a->module[ROLE_NORM2] = "ln_mlp";
    else if (parallel) a->module[ROLE_NORM2] = NULL;
out:
    return rc;
}

const er_family er_falcon_families[] = {
    {
        .type = "phi",
        .classes = {"PhiForCausalLM", "PhiModel"},
        .prefix = {"model.", ""},
        .layers = {{"num_hidden_layers"}},
        .hidden = {{"hidden_size"}},
        .heads = {{"num_attention_heads"}},
        .kv_heads = {{"num_key_value_heads"}},
        .head_dim = {{"head_dim"}},
        .d_ff = {{"intermediate_size"}},
        .max_position_embeddings = {{"max_position_embeddings"}},
        .act = {{"hidden_act"}},
        .eps = {{"layer_norm_eps"}},
        SIZES(24, 2048, 32, 51200, 2048, 8192),
        .default_act = "gelu_new",
        .default_eps = 1e-5,
        .norm = ER_LAYER_NORM,
        .norm_bias = true,
        .parallel_residual = true,
        .rope = ER_ROPE_HALF,
        .default_rope_base = 10000,
        .rope_part = "partial_rotary_factor",
        .default_rope_part = 0.5,
        .embed = "embed_tokens",
        .final_norm = "final_layernorm",
        .head = {"lm_head"},
        .head_bias = true,
        .layer = "layers",
        .param = {[ROLE_NORM1] = {"input_layernorm", BIAS_ALWAYS},
            [ROLE_Q] = {"self_attn.q_proj", BIAS_ALWAYS},
            [ROLE_K] = {"self_attn.k_proj", BIAS_ALWAYS},
            [ROLE_V] = {"self_attn.v_proj", BIAS_ALWAYS},
            [ROLE_Q_NORM] = {"self_attn.q_layernorm", BIAS_ALWAYS},
            [ROLE_K_NORM] = {"self_attn.k_layernorm", BIAS_ALWAYS},
            [ROLE_OUT] = {"self_attn.dense", BIAS_ALWAYS},
            [ROLE_UP] = {"mlp.fc1", BIAS_ALWAYS},
            [ROLE_DOWN] = {"mlp.fc2", BIAS_ALWAYS}},
        .check = check_phi,
    },
    {
        .type = "falcon",
        .classes = {"FalconForCausalLM", "FalconModel"},
        .prefix = {"transformer.", ""},
        .layers = {{"num_hidden_layers"}},
        .hidden = {{"hidden_size", "n_embed"}},
        .heads = {{"num_attention_heads"}},
        .d_ff = {{"ffn_hidden_size"}},
        .max_position_embeddings = {{"max_position_embeddings"}},
        .act = {{"activation"}},
        .eps = {{"layer_norm_epsilon"}},
        SIZES(32, 4544, 71, 65024, 2048, 0),
        .default_act = "gelu",
        .default_eps = 1e-5,
        .norm = ER_LAYER_NORM,
        .norm_bias = true,
        .default_tied = true,
        .d_ff_is_4h = true,
        .fused_by_head = true,
        .rope = ER_ROPE_HALF,
        .default_rope_base = 10000,
        .embed = "word_embeddings",
        .final_norm = "ln_f",
        .head = {"lm_head"},
        .layer = "h",
        .param = {[ROLE_NORM1] = {"input_layernorm", BIAS_ALWAYS},
            [ROLE_NORM2] = {"post_attention_layernorm", BIAS_ALWAYS},
            [ROLE_QKV] = {"self_attention.query_key_value", BIAS_ATTENTION},
            [ROLE_OUT] = {"self_attention.dense", BIAS_ATTENTION},
            [ROLE_UP] = {"mlp.dense_h_to_4h", BIAS_MLP},
            [ROLE_DOWN] = {"mlp.dense_4h_to_h", BIAS_MLP}},
        .check = check_falcon,
    },
};
const size_t er_falcon_family_rows = sizeof er_falcon_families / sizeof er_falcon_families[0];
