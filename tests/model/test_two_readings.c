// config.json where transformers 4 and 5 read two models, or where it says nothing: what is refused with both
// values named, what is read because all readers agree, and what a family's own class takes for a key that is
// not there. Checked against transformers 4.57 and 5.24.
#include "tests/model/configs.h"

#define ROPE(more) "{" LLAMA "," more "}"

static void two_rotations(void **state) {
    (void)state;
    static const struct {
        const char *json, *words;
    } cases[] = {
        {ROPE("\"rope_theta\":10000,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000}"),
            "rope_theta is 10000 but rope_parameters.rope_theta is 500000"},
        {ROPE("\"rope_theta\":10000,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2,\"rope_theta\":"
              "7}"),
            "rope_theta is 10000 but rope_scaling.rope_theta is 7"},
        // Nothing at the top: transformers 4 takes its default and never looks inside.
        {ROPE("\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2,\"rope_theta\":700}"),
            "rope_scaling.rope_theta is 700 and no rope_theta stands beside it: transformers 4 takes 10000"},
        {ROPE("\"rope_scaling\":{\"type\":\"linear\",\"rope_type\":\"dynamic\",\"factor\":2}"),
            "rope_scaling.type is 'linear' but rope_scaling.rope_type is 'dynamic'"},
        {ROPE("\"rope_parameters\":{\"type\":\"yarn\",\"rope_type\":\"default\",\"factor\":2}"),
            "rope_parameters.type is 'yarn' but rope_parameters.rope_type is 'default'"},
        {ROPE("\"original_max_position_embeddings\":16,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":"
              "8,"
              "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":8}"),
            "original_max_position_embeddings is 16 but 8 in rope_scaling"},
        {"{" NEOX ",\"rotary_emb_base\":20,\"rope_parameters\":{\"rope_theta\":30}}",
            "rotary_emb_base is 20 but rope_parameters.rope_theta is 30"},
        {"{" NEOX ",\"rotary_pct\":1.0,\"rope_parameters\":{\"partial_rotary_factor\":0.75}}",
            "rotary_pct is 1 but rope_parameters.partial_rotary_factor is 0.75"},
        {"{\"model_type\":\"phi\"," BODY ",\"partial_rotary_factor\":0.25,\"rope_parameters\":{\"rope_type\":"
         "\"default\",\"rope_theta\":9,\"partial_rotary_factor\":0.5}}",
            "partial_rotary_factor is 0.25 but rope_parameters.partial_rotary_factor is 0.5"},
        // A family's default is no value that the file gives, but rope_scaling is read by both versions.
        {"{\"model_type\":\"stablelm\"," BODY
         ",\"num_key_value_heads\":4,\"rope_scaling\":{\"type\":\"linear\","
         "\"factor\":2,\"partial_rotary_factor\":0.5}}",
            "rope_scaling.partial_rotary_factor is 0.5 and no partial_rotary_factor stands beside it"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_arch a;
        FAILS(parse(&a, cases[i].json), ER_EFORMAT, cases[i].words);
    }
}

// Said twice with one meaning.
static void one_rotation(void **state) {
    (void)state;
    er_arch a;
    OK(parse(&a,
        ROPE("\"rope_theta\":5e5,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000.0}")));
    NEAR(a.rope.base, 500000, 0);
    // A file of transformers 5 alone: 4 does not know the key, which is no second value.
    OK(parse(&a, ROPE("\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000}")));
    NEAR(a.rope.base, 500000, 0);
    OK(parse(&a, ROPE("\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,\"rope_theta\":10000}")));
    NEAR(a.rope.base, 10000, 0);
    OK(parse(&a, ROPE("\"rope_theta\":77,\"rope_parameters\":null")));
    NEAR(a.rope.base, 77, 0);
    OK(parse(&a, ROPE("\"rope_theta\":77,\"rope_scaling\":{\"type\":\"linear\",\"rope_type\":\"linear\","
                      "\"factor\":2}")));
    assert_int_equal(a.rope.scaling, ER_ROPE_LINEAR);
    OK(parse(&a,
        "{" PHI3 ",\"partial_rotary_factor\":0.25,\"original_max_position_embeddings\":8,\"rope_scaling\":"
        "{\"type\":\"su\",\"rope_type\":\"longrope\",\"short_factor\":[1,2],\"long_factor\":[4,8],"
        "\"original_max_position_embeddings\":16}}"));  // Phi-3 never looks at the d_ff one
    NEAR(a.rope.original_positions, 8, 0);
    // Both versions go by the family's own word for it alone.
    OK(parse(&a,
        "{" NEOX
        ",\"rotary_emb_base\":20,\"rope_theta\":30,\"rotary_pct\":0.5,\"partial_rotary_factor\":1}"));
    NEAR(a.rope.base, 20, 0);
    assert_int_equal(a.rope.dims, 8);
}

static void other_contradictions(void **state) {
    (void)state;
    static const struct {
        const char *json, *words;
    } cases[] = {
        {"{" GPT2 ",\"hidden_size\":32}", "n_embd is 64 but hidden_size is 32"},
        {"{" GPT2 ",\"max_position_embeddings\":64}", "n_positions is 32 but max_position_embeddings is 64"},
        {"{\"model_type\":\"gpt_neo\",\"num_layers\":24,\"num_hidden_layers\":3}",
            "num_layers is 24 but num_hidden_layers is 3"},
        {"{\"model_type\":\"falcon\"," BODY ",\"n_embed\":32}", "hidden_size is 64 but n_embed is 32"},
        {"{\"model_type\":\"gemma\"," BODY
         ",\"num_key_value_heads\":1,\"head_dim\":16,\"hidden_act\":\"gelu\","
         "\"hidden_activation\":\"gelu\"}",
            "hidden_act is 'gelu' but hidden_activation is 'gelu'"},
        {"{\"model_type\":\"gemma\"," BODY
         ",\"num_key_value_heads\":1,\"head_dim\":16,\"hidden_act\":\"relu\","
         "\"hidden_activation\":\"gelu_pytorch_tanh\"}",
            "hidden_act is 'relu' but hidden_activation is 'gelu_pytorch_tanh'"},
        {"{" LLAMA ",\"text_config\":{\"vocab_size\":100,\"hidden_size\":32}}",
            "hidden_size is one thing at the top and another in text_config"},
        {"{" LLAMA ",\"hidden_size\":64}", "key \"hidden_size\" stands twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_arch a;
        FAILS(parse(&a, cases[i].json), ER_EFORMAT, cases[i].words);
    }
    er_arch a;
    // What no version reads is no second value.
    OK(parse(&a,
        "{" GPT2 ",\"n_ctx\":16,\"intermediate_size\":7,\"dtype\":\"float16\",\"torch_dtype\":\"float32\"}"));
    assert_int_equal(a.max_position_embeddings, 32);
    assert_int_equal(a.d_ff, 256);
    OK(parse(&a, "{" LLAMA ",\"text_config\":{\"hidden_size\":64,\"foo\":1},\"num_kv_heads\":3}"));
    assert_int_equal(a.kv_heads, 4);
    OK(parse(&a, "{\"model_type\":\"gemma\"," BODY
                 ",\"num_key_value_heads\":1,\"head_dim\":16,\"hidden_act\":\"gelu\","
                 "\"hidden_activation\":\"gelu_pytorch_tanh\"}"));
    assert_int_equal(a.act, ER_GELU_NEW);
    // attention_layers wins in either version.
    OK(parse(&a,
        "{\"model_type\":\"gpt_neo\",\"num_layers\":2,\"window_size\":5,\"attention_types\":[[[\"global\","
        "\"local\"],1]],\"attention_layers\":[\"local\",\"global\"]}"));
    assert_true(er_layer_in(&a.windowed, 0) && !er_layer_in(&a.windowed, 1));
}

// An empty file but for model_type is the configuration that the class starts from.
static void absent_keys(void **state) {
    (void)state;
    static const struct {
        const char *type;
        size_t layers, hidden, heads, kv_heads, head_dim, d_ff, vocab, positions;
        double eps, base, act;
        bool tied;
    } cases[] = {
        {"gpt2", 12, 768, 12, 12, 64, 3072, 50257, 1024, 1e-5, 0, ER_GELU_NEW, true},
        {"gptj", 28, 4096, 16, 16, 256, 16384, 50400, 2048, 1e-5, 10000, ER_GELU_NEW, false},
        {"gpt_neox", 44, 6144, 64, 64, 96, 24576, 50432, 2048, 1e-5, 10000, ER_GELU_ERF, false},
        {"opt", 12, 768, 12, 12, 64, 3072, 50272, 2048, 1e-5, 0, ER_RELU, true},
        {"llama", 32, 4096, 32, 32, 128, 11008, 32000, 2048, 1e-6, 10000, ER_SILU, false},
        {"mistral", 32, 4096, 32, 8, 128, 14336, 32000, 131072, 1e-6, 10000, ER_SILU, false},
        {"qwen2", 32, 4096, 32, 32, 128, 22016, 151936, 32768, 1e-6, 10000, ER_SILU, false},
        {"qwen3", 32, 4096, 32, 32, 128, 22016, 151936, 32768, 1e-6, 10000, ER_SILU, false},
        {"phi3", 32, 3072, 32, 32, 96, 8192, 32064, 4096, 1e-5, 10000, ER_SILU, false},
        {"smollm3", 36, 2048, 16, 4, 128, 11008, 128256, 32768, 1e-6, 2e6, ER_SILU, true},
        {"stablelm", 32, 2560, 32, 32, 80, 6912, 50304, 4096, 1e-5, 10000, ER_SILU, false},
        {"granite", 32, 4096, 32, 32, 128, 11008, 32000, 2048, 1e-6, 10000, ER_SILU, false},
        {"gpt_neo", 24, 2048, 16, 16, 128, 8192, 50257, 2048, 1e-5, 0, ER_GELU_NEW, true},
        {"phi", 24, 2048, 32, 32, 64, 8192, 51200, 2048, 1e-5, 10000, ER_GELU_NEW, false},
        {"falcon", 32, 4544, 71, 1, 64, 18176, 65024, 2048, 1e-5, 10000, ER_GELU_ERF, true},
        {"starcoder2", 30, 3072, 24, 2, 128, 12288, 49152, 4096, 1e-5, 10000, ER_GELU_NEW, true},
        {"olmo", 32, 4096, 32, 32, 128, 11008, 50304, 2048, 1e-5, 10000, ER_SILU, false},
        {"cohere", 40, 8192, 64, 64, 128, 22528, 256000, 8192, 1e-5, 10000, ER_SILU, true},
        {"gemma", 28, 3072, 16, 16, 256, 24576, 256000, 8192, 1e-6, 10000, ER_GELU_NEW, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char json[64];
        er_arch a;
        (void)snprintf(json, sizeof json, "{\"model_type\":\"%s\"}", cases[i].type);
        OK(parse(&a, json));
        assert_int_equal(a.layers, cases[i].layers);
        assert_int_equal(a.hidden, cases[i].hidden);
        assert_int_equal(a.heads, cases[i].heads);
        assert_int_equal(a.kv_heads, cases[i].kv_heads);
        assert_int_equal(a.head_dim, cases[i].head_dim);
        assert_int_equal(a.d_ff, cases[i].d_ff);
        assert_int_equal(a.vocab, cases[i].vocab);
        assert_int_equal(a.max_position_embeddings, cases[i].positions);
        NEAR(a.norm_eps, cases[i].eps, 1e-6 * cases[i].eps);
        NEAR(a.rope.base, cases[i].base, 0);
        NEAR(a.act, cases[i].act, 0);
        assert_int_equal(a.tied_head, cases[i].tied);
    }
    er_arch a;
    // Absent is the class's 32 key-value heads, null is as many as heads.
    FAILS(parse(&a, "{\"model_type\":\"qwen2\",\"intermediate_size\":96," BODY "}"), ER_EFORMAT,
        "4 attention heads cannot share 32 key-value heads");
    OK(parse(
        &a, "{\"model_type\":\"qwen2\",\"intermediate_size\":96,\"num_key_value_heads\":null," BODY "}"));
    assert_int_equal(a.kv_heads, 4);
    OK(parse(&a, "{" GPT2 ",\"tie_word_embeddings\":null}"));
    assert_false(a.tied_head);
    FAILS(parse(&a, "{\"model_type\":\"llama\",\"vocab_size\":null}"), ER_EFORMAT, "vocab_size is missing");
}

static void python_numbers(void **state) {
    (void)state;
    er_arch a;
    OK(parse(&a, "{" LLAMA ",\"foo\":Infinity,\"bar\":[NaN,-Infinity,1e999],\"a \\\" "
                 "NaN\":\"Infinity\\\\\",\"rope_theta\":77}"));
    NEAR(a.rope.base, 77, 0);
    assert_int_equal(a.hidden, 64);
    FAILS(parse(&a, "{" LLAMA ",\"rms_norm_eps\":Infinity}"), ER_EFORMAT,
        "'rms_norm_eps' is not a finite number");
    FAILS(parse(&a, "{" LLAMA ",\"rope_theta\":NaN}"), ER_EFORMAT, "'rope_theta' is not a finite number");
    FAILS(parse(&a, "{" LLAMA ",\"rope_theta\":1e999}"), ER_EFORMAT, "'rope_theta' is not a finite number");
    FAILS(parse(&a, "{" MISTRAL ",\"sliding_window\":Infinity}"), ER_EFORMAT,
        "'sliding_window' is not an integer");
    FAILS(parse(&a, "{\"model_type\":\"llama\",\"vocab_size\":-Infinity}"), ER_EFORMAT,
        "'vocab_size' is not an integer");
    FAILS(parse(&a, "{" LLAMA ",\"tie_word_embeddings\":NaN}"), ER_EFORMAT, "'tie_word_embeddings'");
    FAILS(parse(&a, "{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":Infinity}}"), ER_EFORMAT,
        "'factor' is not a finite number");
    FAILS(parse(&a, "{" LLAMA ",\"foo\":Inf}"), ER_EFORMAT, "not a JSON value");
    FAILS(parse(&a, "{" LLAMA ",\"foo\":-NaN}"), ER_EFORMAT, "not a JSON value");
    FAILS(parse(&a, "{" LLAMA ",\"foo\":NaN1}"), ER_EFORMAT, "expected ','");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_rotations),
        cmocka_unit_test(one_rotation),
        cmocka_unit_test(other_contradictions),
        cmocka_unit_test(absent_keys),
        cmocka_unit_test(python_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
