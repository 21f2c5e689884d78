// config.json: what is read in either spelling, what is refused and with which words; rotary tables against
// the formulas.
#include "tests/model/configs.h"

static void gpt2_keys(void **state) {
    (void)state;
    er_arch a, b;
    OK(parse(&a, "{" GPT2 ",\"n_inner\":null,\"eos_token_id\":99}"));
    assert_string_equal(a.family, "gpt2");
    assert_int_equal(a.layers, 2);
    assert_int_equal(a.hidden, 64);
    assert_int_equal(a.heads, 4);
    assert_int_equal(a.kv_heads, 4);
    assert_int_equal(a.head_dim, 16);
    assert_int_equal(a.d_ff, 256);
    assert_int_equal(a.max_position_embeddings, 32);
    assert_int_equal(a.norm, ER_LAYER_NORM);
    assert_int_equal(a.act, ER_GELU_NEW);
    assert_int_equal(a.eos, 99);
    assert_true(a.tied_head && a.learned_positions && !a.gated && !a.parallel_residual);
    assert_int_equal(a.rope.style, ER_ROPE_NONE);
    NEAR(a.attention_scale, 0.25, 0);
    NEAR(a.norm_eps, 1e-5, 1e-12);
    OK(parse(&a,
        "{\"model_type\":\"gpt2\",\"hidden_size\":60,\"n_embd\":60,\"num_hidden_layers\":3,\"num_attention_"
        "heads\":5,"
        "\"vocab_size\":7,\"max_position_embeddings\":9,\"n_inner\":77,\"activation_function\":\"relu\","
        "\"scale_attn_weights\":false,\"tie_word_embeddings\":false,\"eos_token_id\":50256}"));
    assert_int_equal(a.hidden, 60);
    assert_int_equal(a.d_ff, 77);
    assert_int_equal(a.max_position_embeddings, 9);
    assert_int_equal(a.act, ER_RELU);
    assert_int_equal(a.eos, -1);
    assert_false(a.tied_head);
    NEAR(a.attention_scale, 1, 0);
    assert_false(a.scale_by_layer);
    OK(parse(&b, "{" GPT2 ",\"scale_attn_by_inverse_layer_idx\":true,\"reorder_and_upcast_attn\":true}"));
    assert_true(b.scale_by_layer);
    NEAR(b.attention_scale, 0.25, 0);
    // 2 * (qkv 60*180 + out 60*60 + up 60*77 + down 77*60); head 2 * 60 * 7
    NEAR(er_arch_layer_flops(&a), 2.0 * (10800 + 3600 + 4620 + 4620), 0);
    NEAR(er_arch_head_flops(&a), 840, 0);
}

static void llama_keys(void **state) {
    (void)state;
    er_arch a;
    OK(parse(&a,
        "{" LLAMA ",\"num_key_value_heads\":2,\"head_dim\":20,\"rms_norm_eps\":1e-6,\"attention_bias\":true,"
        "\"eos_token_id\":[5,6],\"rope_theta\":5000.0,\"torch_dtype\":\"bfloat16\"}"));
    assert_int_equal(a.kv_heads, 2);
    assert_int_equal(a.head_dim, 20);
    assert_int_equal(a.d_ff, 96);
    assert_int_equal(a.norm, ER_RMS_NORM);
    assert_int_equal(a.act, ER_SILU);
    assert_int_equal(a.eos, 5);
    assert_true(a.gated && a.attention_bias && !a.mlp_bias && !a.tied_head && !a.learned_positions);
    assert_int_equal(a.rope.style, ER_ROPE_HALF);
    assert_int_equal(a.rope.dims, 20);
    assert_int_equal(a.rope.scaling, ER_ROPE_PLAIN);
    NEAR(a.rope.base, 5000, 0);
    assert_int_equal(er_arch_qkv_rows(&a), 160);
    assert_int_equal(er_arch_up_rows(&a), 192);
    NEAR(er_arch_layer_flops(&a), 2.0 * 64 * (160 + 80 + 192 + 96), 0);
}

static void rope_spellings(void **state) {
    (void)state;
    er_arch a;
    OK(parse(&a, "{" LLAMA "}"));
    NEAR(a.rope.base, 10000, 0);
    // Both spellings: the same in other words, or nothing in one of them.
    OK(parse(&a, "{" LLAMA ",\"rope_theta\":700,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},"
                 "\"rope_parameters\":{\"rope_type\":\"linear\",\"rope_theta\":700,\"factor\":2.0}}"));
    NEAR(a.rope.base, 700, 0);
    NEAR(a.rope.factor, 2, 0);
    assert_int_equal(a.rope.scaling, ER_ROPE_LINEAR);
    static const char *const nothing[] = {"null", "{}"};
    for (size_t i = 0; i < 2; i++) {
        char json[512];
        (void)snprintf(json, sizeof json,
            "{%s,\"rope_scaling\":%s,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":700}}",
            LLAMA, nothing[i]);
        OK(parse(&a, json));
        NEAR(a.rope.base, 700, 0);
    }
    OK(parse(&a, "{" LLAMA ",\"rope_theta\":300,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}"));
    NEAR(a.rope.base, 300, 0);
    NEAR(a.rope.factor, 2.5, 0);
    assert_int_equal(a.rope.scaling, ER_ROPE_LINEAR);
    OK(parse(&a, "{" LLAMA ",\"rope_theta\":300,\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,"
                 "\"low_freq_factor\":1,"
                 "\"high_freq_factor\":4,\"original_max_position_embeddings\":16}}"));
    NEAR(a.rope.base, 300, 0);
    NEAR(a.rope.original_positions, 16, 0);
    assert_int_equal(a.rope.scaling, ER_ROPE_LLAMA3);
    OK(parse(&a, "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
                 "\"high_freq_factor\":4}}"));
    NEAR(a.rope.original_positions, 32, 0);  // max_position_embeddings
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *json;
        er_status code;
        const char *words;
    } cases[] = {
        {"{\"model_type\":\"abacus\"}", ER_EUNSUPPORTED,
            "model_type 'abacus' is not known; supported: gpt2, gptj, gpt_neox, opt, gpt_neo, phi, falcon, "
            "llama, "
            "mistral, qwen2, qwen3, phi3, smollm3, granite, gemma, olmo, stablelm, starcoder2, cohere"},
        {"{\"model_type\":\"qwen\",\"auto_map\":{\"AutoModelForCausalLM\":\"modeling_qwen.QWenLMHeadModel\"}"
         "}",
            ER_EUNSUPPORTED,
            "model_type 'qwen' brings code of its own (auto_map: modeling_qwen.QWenLMHeadModel), which is "
            "never run"},
        {"{" LLAMA ",\"auto_map\":{\"AutoModel\":[\"who/what--modeling_x.MyModel\",null]}}", ER_EUNSUPPORTED,
            "auto_map: who/what--modeling_x.MyModel"},
        {"{\"model_type\":\"opt\"," BODY ",\"ffn_dim\":96,\"do_layer_norm_before\":false}", ER_EUNSUPPORTED,
            "do_layer_norm_before is false (as in OPT-350m)"},
        {"{\"model_type\":\"opt\"," BODY ",\"ffn_dim\":96,\"word_embed_proj_dim\":32}", ER_EUNSUPPORTED,
            "word_embed_proj_dim is 32, hidden_size 64"},
        {"{\"model_type\":\"opt\"," BODY ",\"ffn_dim\":96,\"_remove_final_layer_norm\":true}",
            ER_EUNSUPPORTED, "_remove_final_layer_norm is not supported"},
        {"{\"model_type\":\"opt\"," BODY ",\"ffn_dim\":96,\"layer_norm_elementwise_affine\":false}",
            ER_EUNSUPPORTED, "layer_norm_elementwise_affine"},
        {"{\"model_type\":\"gemma2\"}", ER_EUNSUPPORTED, "normalised before it joins the residual stream"},
        {"{\"model_type\":\"gemma3_text\"}", ER_EUNSUPPORTED, "normalised before"},
        {"{\"model_type\":\"olmo2\"}", ER_EUNSUPPORTED, "model_type 'olmo2': its MLP output is normalised"},
        {"{\"model_type\":\"mixtral\"}", ER_EUNSUPPORTED, "mixture of experts"},
        {"{\"model_type\":\"qwen3_moe\"}", ER_EUNSUPPORTED, "mixture of experts"},
        {"{\"model_type\":\"qwen2_vl\"}", ER_EUNSUPPORTED, "wrapper around several models"},
        {"{" QWEN2 ",\"hidden_act\":\"relu2\"}", ER_EUNSUPPORTED, "activation 'relu2'"},
        {"{\"model_type\":\"mamba\"}", ER_EUNSUPPORTED, "not a plain attention decoder"},
        {"{" LLAMA ",\"num_local_experts\":8}", ER_EUNSUPPORTED,
            "num_local_experts is 8: mixture of experts"},
        {"{" LLAMA ",\"quantization_config\":{\"quant_method\":\"gptq\"}}", ER_EUNSUPPORTED,
            "quantization_config (gptq)"},
        {"{" LLAMA ",\"quantization_config\":{}}", ER_EUNSUPPORTED, "quantization_config (unnamed method)"},
        {"{" LLAMA ",\"architectures\":[\"LlamaForSequenceClassification\"]}", ER_EUNSUPPORTED,
            "'LlamaForSequenceClassification' is not supported; for llama it is LlamaForCausalLM"},
        {"{" LLAMA ",\"hidden_act\":\"quick_gelu\"}", ER_EUNSUPPORTED, "activation 'quick_gelu'"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"mrope\",\"factor\":2}}", ER_EUNSUPPORTED,
            "rope type 'mrope' is not supported"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"su\",\"factor\":2}}", ER_EUNSUPPORTED, "rope type 'su'"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"beta_fast\":0.5}}", ER_EFORMAT,
            "beta_fast 0.5 and beta_slow 1"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"attention_factor\":-1}}", ER_EFORMAT,
            "rope attention factor -1"},
        {"{" PHI3 ",\"rope_scaling\":{\"type\":\"longrope\",\"factor\":2}}", ER_EFORMAT,
            "'longrope' without a list short_factor"},
        {"{" PHI3 ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[1]}}",
            ER_EFORMAT, "short_factor has 1 entries for 8 rotated pairs"},
        {"{" PHI3
         ",\"partial_rotary_factor\":0.5,\"rope_scaling\":{\"type\":\"su\",\"short_factor\":[1,1,1,0],"
         "\"long_factor\":[1,1,1,1]}}",
            ER_EFORMAT, "short_factor: entry 3 is not a factor"},
        {"{" PHI3 ",\"partial_rotary_factor\":1.5}", ER_EFORMAT, "partial_rotary_factor is 1.5"},
        {"{" PHI3 ",\"partial_rotary_factor\":0.01}", ER_EFORMAT, "0 rotary dimensions"},
        {"{" GPTJ ",\"rotary_dim\":18}", ER_EFORMAT, "rotary_dim is 18, a head has 16 dimensions"},
        {"{" GPTJ "}", ER_EFORMAT, "rotary_dim is 64"},
        {"{" MISTRAL ",\"sliding_window\":0}", ER_EFORMAT, "sliding_window is 0"},
        {"{" MISTRAL ",\"sliding_window\":32,\"layer_types\":[\"full_attention\",\"chunked_attention\"]}",
            ER_EUNSUPPORTED, "'chunked_attention' in layer 1"},
        {"{" MISTRAL ",\"sliding_window\":32,\"layer_types\":[\"full_attention\"]}", ER_EFORMAT,
            "layer_types lists 1 layers of 2"},
        {"{" MISTRAL ",\"sliding_window\":9,\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
            ER_EUNSUPPORTED,
            "layer_types says 'full_attention' of layer 0, sliding_window and what goes with it in a mistral "
            "say "
            "'sliding_attention'"},
        {"{" LLAMA ",\"layer_types\":[\"full_attention\",\"chunked_attention\"]}", ER_EUNSUPPORTED,
            "'chunked_attention' in layer 1"},
        {"{" LLAMA ",\"layer_types\":[\"full_attention\"]}", ER_EFORMAT, "layer_types lists 1 layers of 2"},
        {"{" LLAMA ",\"layer_types\":7}", ER_EFORMAT, "layer_types is not an array"},
        {"{" QWEN2 ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]}", ER_EUNSUPPORTED,
            "layer_types says 'sliding_attention' of layer 1"},
        {"{" LLAMA ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":2}}}", ER_EUNSUPPORTED,
            "rope_parameters.full_attention"},
        {"{" LLAMA ",\"rope_parameters\":{\"partial_rotary_factor\":0.5}}", ER_EUNSUPPORTED,
            "partial_rotary_factor 0.5: a llama rotates whole heads"},
        {"{" GPT2 ",\"scale_attn_by_inverse_layer_idx\":1}", ER_EFORMAT, "scale_attn_by_inverse_layer_idx"},
        {"{" GPT2 ",\"add_cross_attention\":true}", ER_EUNSUPPORTED, "add_cross_attention"},
        {"[]", ER_EFORMAT, "not an object"},
        {"{}", ER_EFORMAT, "model_type is missing"},
        {"{\"model_type\":7}", ER_EFORMAT, "model_type"},
        {"{\"model_type\":\"gpt2\",\"n_layer\":null}", ER_EFORMAT, "n_layer is missing"},
        {"{" GPT2 ",\"hidden_size\":65}", ER_EFORMAT, "n_embd is 64 but hidden_size is 65"},
        {"{" GPT2 ",\"n_inner\":0}", ER_EFORMAT, "n_inner is 0"},
        {"{" GPT2 ",\"n_inner\":1e15}", ER_EFORMAT, "n_inner is 1000000000000000"},
        {"{" GPT2 ",\"n_inner\":-4}", ER_EFORMAT, "n_inner"},
        {"{" GPT2 ",\"n_inner\":1.5}", ER_EFORMAT, "n_inner"},
        {"{" LLAMA ",\"num_key_value_heads\":3}", ER_EFORMAT,
            "4 attention heads cannot share 3 key-value heads"},
        {"{" LLAMA ",\"head_dim\":1000000}", ER_EFORMAT, "too wide"},
        {"{" LLAMA ",\"head_dim\":15}", ER_EFORMAT, "15 rotary dimensions"},
        {"{" LLAMA ",\"rms_norm_eps\":-1}", ER_EFORMAT, "rms_norm_eps is -1"},
        {"{" LLAMA ",\"rope_theta\":0}", ER_EFORMAT, "rope_theta is 0"},
        {"{" LLAMA ",\"rope_scaling\":[1]}", ER_EFORMAT, "rope_scaling is not an object"},
        {"{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000},\"rope_scaling\":{"
         "\"type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":8}}",
            ER_EFORMAT, "rope_parameters and rope_scaling disagree"},
        {"{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"linear\",\"rope_theta\":700,\"factor\":2},"
         "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}",  // which has the base 10,000
            ER_EFORMAT, "rope_parameters and rope_scaling disagree"},
        {"{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4,\"beta_fast\":32},"
         "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":16}}",
            ER_EFORMAT, "rope_parameters and rope_scaling disagree"},
        {"{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"default\"},\"rope_scaling\":[1]}", ER_EFORMAT,
            "rope_scaling is not an object"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}}", ER_EFORMAT,
            "rope factor 0.5 is below 1"},
        {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2,\"low_freq_factor\":4,\"high_"
         "freq_factor\":4}}",
            ER_EFORMAT, "low_freq_factor 4 and high_freq_factor 4"},
        {"{" LLAMA ",\"tie_word_embeddings\":1}", ER_EFORMAT, "tie_word_embeddings"},
        {"{" LLAMA ",\"eos_token_id\":\"x\"}", ER_EFORMAT, "eos_token_id"},
        {"{\"model_type\":\"llama\",\"hidden_size\":65,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
         "\"vocab_size\":100,"
         "\"max_position_embeddings\":32,\"intermediate_size\":96}",
            ER_EFORMAT, "hidden size 65 is not a multiple of 4 heads"},
        {"{\"model_type\":\"llama\",\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
         "\"vocab_size\":100,"
         "\"max_position_embeddings\":32,\"intermediate_size\":null}",
            ER_EFORMAT, "intermediate_size is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_arch a;
        FAILS(parse(&a, cases[i].json), cases[i].code, cases[i].words);
        assert_int_equal(a.layers, 0);  // nothing is written on failure
    }
    er_arch a;
    FAILS(er_arch_read(&a, TEST_DATA "/golden/models/none/config.json"), ER_ENOENT, "config.json");
}

// Against the published piecewise rule in its wavelength form, in double.
static void rotary_tables(void **state) {
    (void)state;
    er_rope_config r = {.style = ER_ROPE_HALF,
        .dims = 64,
        .base = 500000,
        .attention = 1,
        .factor = 8,
        .low_freq_factor = 1,
        .high_freq_factor = 4,
        .original_positions = 8192};
    enum { POSITIONS = 300 };
    float *table = malloc(POSITIONS * 64 * sizeof *table);
    assert_non_null(table);
    int branch[3] = {0, 0, 0};
    for (int kind = 0; kind < 3; kind++) {
        r.scaling = kind == 0 ? ER_ROPE_PLAIN : kind == 1 ? ER_ROPE_LINEAR : ER_ROPE_LLAMA3;
        er_rope_table(table, &r, POSITIONS);
        for (size_t j = 0; j < 32; j++) {
            double f = 1.0 / pow(500000.0, (double)j / 32.0), wave = 2.0 * acos(-1.0) / f, want = f;
            if (kind == 1) want = f / 8;
            if (kind == 2) {
                double smooth = (8192.0 / wave - 1.0) / 3.0;
                want = wave > 8192.0 ? f / 8 : wave < 2048.0 ? f : (1 - smooth) * f / 8 + smooth * f;
                branch[wave > 8192.0 ? 0 : wave < 2048.0 ? 1 : 2]++;
            }
            for (size_t p = 0; p < POSITIONS; p += 13) {
                // The angle is rounded to fp32 twice: the frequency and the product.
                double tol = 1.3e-7 * (double)p * want + 1e-7;
                NEAR(table[p * 64 + j], cos((double)p * want), tol);
                NEAR(table[p * 64 + 32 + j], sin((double)p * want), tol);
            }
        }
    }
    assert_true(branch[0] > 3 && branch[1] > 3 && branch[2] > 1);
    free(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_keys),
        cmocka_unit_test(llama_keys),
        cmocka_unit_test(rope_spellings),
        cmocka_unit_test(refusals),
        cmocka_unit_test(rotary_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
