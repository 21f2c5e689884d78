// config.json of SmolLM3, StableLM, Granite, GPT-Neo, Phi-2, Falcon, StarCoder2, OLMo-1 and Gemma-1:
// switches, and what is refused with which words.
#include "engine/model/family_internal.h"
#include "tests/model/configs.h"

#define OF(type) "\"model_type\":\"" type "\",\"intermediate_size\":96,\"num_key_value_heads\":2," BODY
#define SMOLLM3 OF("smollm3")
#define GRANITE OF("granite")
#define GEMMA OF("gemma") ",\"head_dim\":16"
#define FALCON "\"model_type\":\"falcon\"," BODY
#define NEO                                                                                                  \
    "\"model_type\":\"gpt_neo\",\"num_layers\":3,\"num_heads\":4,\"hidden_size\":64,\"vocab_size\":100"

static unsigned in(const er_layer_set *s, size_t layers) {
    unsigned bits = 0;
    for (size_t l = 0; l < layers; l++) bits |= (unsigned)er_layer_in(s, l) << l;
    return bits;
}

static void layers_that_differ(void **state) {
    (void)state;
    er_arch a;
    OK(parse(&a, "{\"model_type\":\"smollm3\",\"num_hidden_layers\":9}"));
    assert_int_equal(in(&a.unrotated, 9), 1 << 3 | 1 << 7);
    assert_int_equal(a.window, 0);
    OK(parse(&a, "{" SMOLLM3 ",\"no_rope_layer_interval\":2}"));
    assert_int_equal(in(&a.unrotated, 2), 2);
    // Windows go with the layers that do not rotate, unless a list says otherwise.
    OK(parse(&a, "{" SMOLLM3 ",\"no_rope_layers\":[0,1],\"use_sliding_window\":true,\"sliding_window\":9}"));
    assert_int_equal(in(&a.unrotated, 2), 1);
    assert_int_equal(in(&a.windowed, 2), 1);
    assert_int_equal(a.window, 9);
    OK(parse(&a,
        "{" SMOLLM3 ",\"no_rope_layers\":[true,false],\"use_sliding_window\":true,\"sliding_window\":9,"
        "\"layer_types\":[\"sliding_attention\",\"full_attention\"]}"));
    assert_int_equal(in(&a.unrotated, 2), 2);
    assert_int_equal(in(&a.windowed, 2), 1);
    OK(parse(&a, "{" NEO ",\"window_size\":5,\"attention_types\":[[[\"local\"],2],[[\"global\"],1]]}"));
    assert_int_equal(in(&a.windowed, 3), 3);
    assert_int_equal(a.window, 5);
    NEAR(a.attention_scale, 1, 0);
    OK(parse(&a, "{\"model_type\":\"gpt_neo\"}"));
    assert_int_equal(in(&a.windowed, 24), 0xaaaaaa);
    assert_int_equal(a.window, 256);
    OK(parse(&a, "{\"model_type\":\"gpt_neo\",\"window_size\":2048}"));  // no row is longer
    assert_int_equal(a.window, 0);
    OK(parse(&a, "{" OF("starcoder2") ",\"sliding_window\":7}"));
    assert_int_equal(in(&a.windowed, 2), 3);
    OK(parse(&a, "{" OF("starcoder2") "}"));
    assert_int_equal(a.window, 0);
}

static void multipliers(void **state) {
    (void)state;
    er_arch a;
    OK(parse(&a,
        "{" GRANITE ",\"embedding_multiplier\":12,\"residual_multiplier\":0.25,\"attention_multiplier\":0.5,"
        "\"logits_scaling\":8,\"rms_norm_eps\":1e-5}"));
    NEAR(a.residual_scale, 0.25, 0);
    NEAR(a.embed_scale, 48, 0);
    NEAR(a.attention_scale, 0.5, 0);
    NEAR(a.logit_scale, 0.125, 0);
    NEAR(a.norm_eps, 1.6e-4, 1e-9);
    OK(parse(&a, "{" GRANITE "}"));
    assert_true(a.residual_scale == 1 && a.embed_scale == 1 && a.logit_scale == 1);
    NEAR(a.attention_scale, 1, 0);  // not 1/sqrt(head_dim)
    OK(parse(&a, "{" GEMMA "}"));
    NEAR(a.embed_scale, 8, 0);
    NEAR(a.attention_scale, 0.25, 0);
    OK(parse(&a, "{" OF("olmo") ",\"clip_qkv\":8.0,\"rms_norm_eps\":1}"));
    NEAR(a.clip_qkv, 8, 0);
    NEAR(a.norm_eps, 1e-5, 1e-12);  // whatever the file says
    OK(parse(&a, "{" OF("olmo") ",\"clip_qkv\":null}"));
    NEAR(a.clip_qkv, 0, 0);
    OK(parse(&a, "{" OF("cohere") ",\"logit_scale\":0.5}"));
    NEAR(a.logit_scale, 0.5, 0);
    OK(parse(&a, "{" OF("cohere") "}"));
    NEAR(a.logit_scale, 0.0625, 0);
    assert_int_equal(a.rope.style, ER_ROPE_PAIRS);
}

static void parts(void **state) {
    (void)state;
    er_arch a;
    OK(parse(&a, "{" OF("stablelm") "}"));
    assert_true(!a.parallel_residual && !a.qk_norms && !a.attention_bias && a.module[ROLE_NORM2]);
    assert_int_equal(a.rope.dims, 4);
    OK(parse(&a,
        "{" OF("stablelm") ",\"use_parallel_residual\":true,\"qk_layernorm\":true,\"use_qkv_bias\":true}"));
    assert_true(a.parallel_residual && a.qk_norms && a.qk_norm_per_head && a.attention_bias);
    assert_null(a.module[ROLE_NORM2]);
    assert_int_equal(a.qk_norm, ER_LAYER_NORM);
    OK(parse(&a, "{" OF("stablelm") ",\"attention_bias\":true}"));  // not its word
    assert_false(a.attention_bias);
    OK(parse(&a, "{" OF("phi") ",\"qk_layernorm\":true}"));
    assert_true(a.qk_norms && !a.qk_norm_per_head && a.parallel_residual);
    assert_int_equal(a.rope.dims, 8);
    OK(parse(&a, "{" OF("starcoder2") ",\"use_bias\":false}"));
    assert_true(!a.attention_bias && !a.mlp_bias);
    OK(parse(&a, "{" FALCON ",\"num_kv_heads\":4}"));
    assert_true(a.parallel_residual && !a.attention_bias && a.kv_heads == 1 && !a.module[ROLE_NORM2]);
    OK(parse(&a, "{" FALCON ",\"num_kv_heads\":2,\"new_decoder_architecture\":true}"));
    assert_int_equal(a.kv_heads, 2);
    assert_string_equal(a.module[ROLE_NORM1], "ln_attn");
    assert_string_equal(a.module[ROLE_NORM2], "ln_mlp");
    OK(parse(&a,
        "{" FALCON ",\"num_kv_heads\":2,\"new_decoder_architecture\":true,\"num_ln_in_parallel_attn\":1}"));
    assert_string_equal(a.module[ROLE_NORM1], "input_layernorm");
    assert_null(a.module[ROLE_NORM2]);
    OK(parse(&a, "{" FALCON ",\"multi_query\":false,\"parallel_attn\":false,\"bias\":true}"));
    assert_true(!a.parallel_residual && a.attention_bias && a.mlp_bias && a.kv_heads == 4);
    assert_string_equal(a.module[ROLE_NORM2], "post_attention_layernorm");
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *json;
        er_status code;
        const char *words;
    } cases[] = {
        {"{" FALCON ",\"alibi\":true}", ER_EUNSUPPORTED,
            "alibi is true (as in falcon-rw): scores get a penalty that grows with distance"},
        {"{" FALCON ",\"new_decoder_architecture\":true,\"num_kv_heads\":3}", ER_EFORMAT,
            "4 attention heads cannot share num_kv_heads 3"},
        {"{" FALCON ",\"new_decoder_architecture\":true,\"num_kv_heads\":0}", ER_EFORMAT, "num_kv_heads 0"},
        {"{" FALCON ",\"multi_query\":false,\"num_kv_heads\":2}", ER_EFORMAT, "num_kv_heads 2"},
        {"{" FALCON ",\"num_ln_in_parallel_attn\":2}", ER_EUNSUPPORTED, "no such Falcon block"},
        {"{" FALCON ",\"new_decoder_architecture\":true,\"parallel_attn\":false}", ER_EUNSUPPORTED,
            "new_decoder_architecture true and parallel_attn false"},
        {"{" SMOLLM3 ",\"no_rope_layers\":[1]}", ER_EFORMAT, "no_rope_layers lists 1 layers of 2"},
        {"{" SMOLLM3 ",\"no_rope_layers\":[1,\"x\"]}", ER_EFORMAT, "no_rope_layers: entry 1"},
        {"{" SMOLLM3 ",\"no_rope_layer_interval\":0}", ER_EFORMAT, "no_rope_layer_interval is 0"},
        {"{" SMOLLM3 ",\"layer_types\":[\"sliding_attention\",\"full_attention\"]}", ER_EUNSUPPORTED,
            "layer_types says 'sliding_attention' of layer 0"},
        {"{" NEO "}", ER_EFORMAT, "attention_types is not for 3 layers"},
        {"{" NEO ",\"attention_types\":[[[\"global\"],2]]}", ER_EFORMAT,
            "attention_types is not for 3 layers"},
        {"{" NEO ",\"attention_types\":[[[\"global\"],1e300]]}", ER_EFORMAT,
            "not a list of kinds and a number"},
        {"{" NEO ",\"attention_types\":[[[\"global\",\"linear\"],2]]}", ER_EUNSUPPORTED,
            "attention 'linear' of layer 1 is not global or local"},
        {"{" NEO ",\"attention_layers\":[\"local\"]}", ER_EFORMAT, "attention_layers is not for 3 layers"},
        {"{" NEO ",\"window_size\":0}", ER_EFORMAT, "window_size is 0"},
        {"{" GRANITE ",\"residual_multiplier\":0}", ER_EFORMAT, "residual_multiplier is 0"},
        {"{" GRANITE ",\"logits_scaling\":-1}", ER_EFORMAT, "logits_scaling is -1"},
        {"{" GRANITE ",\"embedding_multiplier\":1e9}", ER_EFORMAT, "embedding_multiplier is 1e+09"},
        {"{" OF("olmo") ",\"clip_qkv\":0}", ER_EFORMAT, "clip_qkv is 0"},
        {"{" GEMMA ",\"use_bidirectional_attention\":true}", ER_EUNSUPPORTED,
            "tokens would see those behind them"},
        {"{" OF("phi") ",\"head_dim\":8,\"qk_layernorm\":true}", ER_EUNSUPPORTED,
            "qk_layernorm with head_dim 8"},
        {"{" GPTJ ",\"rotary_dim\":null}", ER_EUNSUPPORTED, "rotary_dim is null"},
        {"{" OF("cohere") ",\"use_qk_norm\":true}", ER_EUNSUPPORTED, "use_qk_norm (as in Command R+)"},
        {"{\"model_type\":\"bloom\"}", ER_EUNSUPPORTED, "penalty that grows with distance (alibi)"},
        {"{\"model_type\":\"mpt\"}", ER_EUNSUPPORTED, "alibi"},
        {"{\"model_type\":\"cohere2\"}", ER_EUNSUPPORTED, "a pattern of its own"},
        {"{\"model_type\":\"RefinedWebModel\",\"auto_map\":{\"AutoModel\":\"x.Y\"}}", ER_EUNSUPPORTED,
            "Falcon's first format"},
        {"{\"model_type\":\"nemotron\"}", ER_EUNSUPPORTED, "squared ReLU"},
        {"{\"model_type\":\"glm4\"}", ER_EUNSUPPORTED, "normalised before it joins"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_arch a;
        FAILS(parse(&a, cases[i].json), cases[i].code, cases[i].words);
        assert_int_equal(a.layers, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_that_differ),
        cmocka_unit_test(multipliers),
        cmocka_unit_test(parts),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
