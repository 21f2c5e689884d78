// config.json, family by family: switches of the block, windows, and contexts stretched by rotary scaling.
#include "tests/model/configs.h"

static void switches(void **state) {
    (void)state;
    er_arch a;
    OK(parse(&a, "{" GPTJ ",\"rotary_dim\":8}"));
    assert_true(a.parallel_residual && !a.tied_head && !a.learned_positions && !a.attention_bias);
    assert_int_equal(a.rope.style, ER_ROPE_PAIRS);
    assert_int_equal(a.rope.dims, 8);
    assert_int_equal(a.d_ff, 256);
    NEAR(a.rope.base, 10000, 0);
    OK(parse(&a, "{" NEOX "}"));
    assert_true(a.parallel_residual && a.attention_bias);
    assert_int_equal(a.rope.style, ER_ROPE_HALF);
    assert_int_equal(a.rope.dims, 4);
    assert_int_equal(a.act, ER_GELU_ERF);
    OK(parse(&a, "{" NEOX ",\"rotary_pct\":0.5,\"rotary_emb_base\":77,\"use_parallel_residual\":false,"
                 "\"attention_bias\":false}"));
    assert_true(!a.parallel_residual && !a.attention_bias);
    assert_int_equal(a.rope.dims, 8);
    NEAR(a.rope.base, 77, 0);
    OK(parse(&a,
        "{" NEOX ",\"rotary_pct\":0.75,\"rope_parameters\":{\"rope_theta\":9,\"partial_rotary_factor\":"
        "0.75,\"rope_type\":\"default\"}}"));
    assert_int_equal(a.rope.dims, 12);
    NEAR(a.rope.base, 9, 0);
    OK(parse(&a, "{\"model_type\":\"opt\"," BODY ",\"ffn_dim\":96}"));
    assert_true(a.learned_positions && a.tied_head && a.attention_bias && a.mlp_bias);
    assert_int_equal(a.position_offset, 2);
    assert_int_equal(a.act, ER_RELU);
    OK(parse(&a, "{\"model_type\":\"opt\"," BODY ",\"ffn_dim\":96,\"enable_bias\":false}"));
    assert_true(!a.attention_bias && !a.mlp_bias);
    OK(parse(&a, "{\"model_type\":\"qwen3\",\"intermediate_size\":96,\"num_key_value_heads\":2," BODY "}"));
    assert_true(a.qk_norms);
    assert_int_equal(a.head_dim, 128);
    OK(parse(&a,
        "{\"model_type\":\"qwen3\",\"intermediate_size\":96,\"num_key_value_heads\":2,\"head_dim\":null," BODY
        "}"));
    assert_int_equal(a.head_dim, 16);
    // Code of the checkpoint's own is ignored where its class is the built-in one.
    OK(parse(&a, "{" PHI3 ",\"auto_map\":{\"AutoModelForCausalLM\":\"modeling_phi3.Phi3ForCausalLM\"}}"));
    assert_int_equal(a.rope.dims, 16);
    assert_int_equal(a.window, 0);
}

#define LONG(type, positions)                                                                                \
    "\"model_type\":\"" type "\",\"intermediate_size\":96,\"hidden_size\":64,\"num_hidden_layers\":2,"       \
    "\"num_key_value_heads\":2,\"num_attention_heads\":4,\"vocab_size\":100,\"max_position_"                 \
    "embeddings\":" positions
#define ALTERNATING "\"layer_types\":[\"sliding_attention\",\"full_attention\"]"

// A window as long as the longest row is none.
static void windows(void **state) {
    (void)state;
    static const struct {
        const char *json;
        size_t window;
        unsigned layers;  // bit by bit
    } cases[] = {
        {"{" LLAMA ",\"sliding_window\":4}", 0, 0},
        {"{" MISTRAL "}", 0, 0},  // 4096, of 32 positions
        {"{" MISTRAL ",\"sliding_window\":32}", 0, 0},
        {"{" MISTRAL ",\"sliding_window\":31}", 31, 3},
        {"{" MISTRAL ",\"sliding_window\":32,\"layer_types\":[\"full_attention\",\"sliding_attention\"]}", 0,
            0},
        {"{" MISTRAL ",\"sliding_window\":32,\"layer_types\":[\"sliding_attention\",\"full_attention\"]}", 0,
            0},
        {"{" PHI3
         ",\"sliding_window\":8,\"partial_rotary_factor\":0.25,\"original_max_position_embeddings\":8,"
         "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,2],\"long_factor\":[4,8]}}",
            0, 0},
        {"{" MISTRAL ",\"sliding_window\":null}", 0, 0},
        {"{" MISTRAL ",\"sliding_window\":7}", 7, 3},
        {"{" PHI3 ",\"sliding_window\":9}", 9, 3},
        {"{" QWEN2 ",\"sliding_window\":9}", 0, 0},
        {"{" QWEN2 ",\"sliding_window\":9,\"use_sliding_window\":true}", 0, 0},  // from layer 28 on
        {"{" QWEN2 ",\"sliding_window\":9,\"use_sliding_window\":true,\"max_window_layers\":1}", 9, 2},
        {"{" LONG("mistral", "40000") "}", 4096, 3},
        {"{" LONG("mistral", "40000") ",\"sliding_window\":32767}", 32767, 3},
        {"{" LONG("mistral", "40000") ",\"sliding_window\":32768," ALTERNATING "}", 0, 0},
        {"{" LONG("qwen2", "40000") ",\"use_sliding_window\":true,\"max_window_layers\":0}", 4096, 3},
        {"{" QWEN2 ",\"use_sliding_window\":true,\"max_window_layers\":0}", 0, 0},
        {"{" QWEN2 ",\"use_sliding_window\":true,\"max_window_layers\":0,\"sliding_window\":9,"
         "\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
            9, 2},
        {"{" QWEN2 ",\"use_sliding_window\":true,\"sliding_window\":9," ALTERNATING "}", 9, 1},
        {"{" QWEN2 ",\"use_sliding_window\":true,\"sliding_window\":null,\"max_window_layers\":0}", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_arch a;
        OK(parse(&a, cases[i].json));
        assert_int_equal(a.window, cases[i].window);
        for (size_t l = 0; l < a.layers; l++)
            assert_int_equal(er_layer_in(&a.windowed, l), cases[i].layers >> l & 1);
    }
}

static void long_contexts(void **state) {
    (void)state;
    er_arch a;
    OK(parse(&a, "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2}}"));
    assert_int_equal(a.rope.scaling, ER_ROPE_PLAIN);
    OK(parse(&a, "{" LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,"
                 "\"original_max_position_embeddings\":8}}"));
    assert_int_equal(a.rope.scaling, ER_ROPE_YARN);
    NEAR(a.rope.attention, 0.1 * log(4) + 1, 1e-12);
    NEAR(a.rope.original_positions, 8, 0);
    NEAR(a.rope.beta_fast, 32, 0);
    assert_true(a.rope.whole_pairs);
    OK(parse(&a, "{" LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"original_max_position_embeddings\":8,"
                 "\"mscale\":0.5,\"mscale_all_dim\":2,\"truncate\":false}}"));
    NEAR(a.rope.factor, 4, 0);  // of the contexts
    NEAR(a.rope.attention, (0.05 * log(4) + 1) / (0.2 * log(4) + 1), 1e-12);
    assert_false(a.rope.whole_pairs);
    // Phi-3 has called it three names.
    static const char *const names[] = {"longrope", "su", "yarn"};
    for (size_t i = 0; i < 3; i++) {
        char json[512];
        (void)snprintf(json, sizeof json,
            "{%s,\"partial_rotary_factor\":0.25,\"original_max_position_embeddings\":8,\"rope_scaling\":"
            "{\"type\":\"%s\",\"short_factor\":[1,2.5],\"long_factor\":[4,8]}}",
            PHI3, names[i]);
        OK(parse(&a, json));
        assert_int_equal(a.rope.scaling, ER_ROPE_LONG);
        assert_int_equal(a.rope.dims, 4);
        NEAR(a.rope.short_factor[1], 2.5, 0);
        NEAR(a.rope.attention, sqrt(1 + log(4) / log(8)), 1e-12);
    }
    // Without the key beside the scaling Phi-3's original context is 4096, whatever the scaling says of it.
    static const char *const within[] = {"", ",\"original_max_position_embeddings\":8"};
    for (size_t i = 0; i < 2; i++) {
        char json[512];
        (void)snprintf(json, sizeof json,
            "{%s,\"partial_rotary_factor\":0.25,\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,"
            "2.5],"
            "\"long_factor\":[4,8]%s}}",
            LONG("phi3", "131072"), within[i]);
        OK(parse(&a, json));
        NEAR(a.rope.original_positions, 4096, 0);
        NEAR(a.rope.factor, 32, 0);
        NEAR(a.rope.attention, sqrt(1 + log(131072.0 / 4096) / log(4096)), 1e-12);
        assert_int_equal(er_arch_max_seq_len(&a), 4096);
    }
    OK(parse(&a, "{" PHI3 ",\"partial_rotary_factor\":0.25,\"rope_scaling\":{\"type\":\"longrope\","
                 "\"short_factor\":[1,2.5],\"long_factor\":[4,8]}}"));
    NEAR(a.rope.attention, 1, 0);  // 32 positions are no stretch of 4096
    assert_int_equal(er_arch_max_seq_len(&a), 32);
}

// The published ramp: pairs below `low` keep their frequency, those above `high` are divided by the factor.
static void yarn_table(void **state) {
    (void)state;
    enum { D = 64 };
    er_rope_config r = {.style = ER_ROPE_HALF,
        .dims = D,
        .base = 10000,
        .scaling = ER_ROPE_YARN,
        .factor = 4,
        .original_positions = 2048,
        .beta_fast = 32,
        .beta_slow = 1,
        .whole_pairs = true,
        .attention = 1.25};
    float table[2 * D];
    er_rope_table(table, &r, 2);
    double log_base = 2 * log(10000), pi = acos(-1.0);
    double low = floor(D * log(2048 / (32 * 2 * pi)) / log_base),
           high = ceil(D * log(2048 / (2 * pi)) / log_base);
    assert_true(low > 2 && high < D / 2 - 2);
    for (size_t j = 0; j < D / 2; j++) {
        double f = pow(10000, -(double)j / (D / 2)), ramp = ((double)j - low) / (high - low);
        double want = ramp <= 0 ? f : ramp >= 1 ? f / 4 : f * (1 - ramp) + f / 4 * ramp;
        NEAR(table[j], 1.25, 0);
        NEAR(table[D + j], 1.25 * cos(want), 3e-7);
        NEAR(table[D + D / 2 + j], 1.25 * sin(want), 3e-7);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(switches),
        cmocka_unit_test(windows),
        cmocka_unit_test(long_contexts),
        cmocka_unit_test(yarn_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
