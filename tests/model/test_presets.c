// Which settings a model of a given family and size gets, and from whom.
#include "engine/hparams.h"
#include "tests/test.h"

static er_hparams settings_of(const er_arch *a) {
    er_hparams h;
    OK(er_hparams_resolve(&h, a, "reference"));
    OK(er_hparams_check(&h, a));
    return h;
}

static er_hparams settings(const char *family, size_t layers, size_t hidden, size_t vocab) {
    er_arch a = {.layers = layers, .hidden = hidden, .d_ff = 4 * hidden, .vocab = vocab};
    (void)snprintf(a.family, sizeof a.family, "%s", family);
    return settings_of(&a);
}

static void published(void **state) {
    (void)state;
    static const struct {
        const char *preset;
        er_arch arch;
        size_t first, last, steps;
        double lr, clamp, decay, lambda;
    } cases[] = {
        {"GPT-2 XL", {"gpt2", 48, 1600, .d_ff = 6400, .vocab = 50257}, 13, 17, 20, 0.5, 0.75, 0.5, 20000},
        {"GPT-J-6B", {"gptj", 28, 4096, .d_ff = 16384, .vocab = 50400}, 3, 8, 25, 0.5, 0.75, 0.5, 15000},
        {"GPT-NeoX-20B", {"gpt_neox", 44, 6144, .d_ff = 24576, .vocab = 50432}, 6, 10, 20, 0.5, 0.8, 0.5,
            6000},
        {"Llama-2-7B",
            {"llama", 32, 4096, .d_ff = 11008, .vocab = 32000, .max_position_embeddings = 4096,
                .rope = {.base = 1e4}},
            4, 8, 25, 0.5, 4, 1e-3, 15000},
        {"Llama-3-8B", {"llama", 32, 4096, .d_ff = 14336, .vocab = 128256}, 4, 8, 25, 0.1, 0.75, 0.5, 15000},
        {"Llama-3.2-3B", {"llama", 28, 3072, .d_ff = 8192, .vocab = 128256}, 4, 8, 25, 0.5, 4, 1e-3, 15000},
        {"Mistral-7B", {"mistral", 32, 4096, .d_ff = 14336, .vocab = 32768}, 4, 8, 25, 0.5, 4, 1e-3, 15000},
        {"Qwen2.5-7B", {"qwen2", 28, 3584, .d_ff = 18944, .vocab = 152064, .rope = {.base = 1e6}}, 4, 8, 25,
            0.5, 4, 1e-3, 15000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_hparams h = settings_of(&cases[i].arch);
        assert_string_equal(h.preset, cases[i].preset);
        assert_int_equal(h.n_layers, cases[i].last - cases[i].first + 1);
        assert_int_equal(h.layers[0], cases[i].first);
        assert_int_equal(h.layers[h.n_layers - 1], cases[i].last);
        assert_int_equal(h.steps, cases[i].steps);
        NEAR(h.lr, cases[i].lr, 0);
        NEAR(h.clamp, cases[i].clamp, 0);
        NEAR(h.decay, cases[i].decay, 0);
        NEAR(h.lambda, cases[i].lambda, 0);
        NEAR(h.trace_ratio, 0, 0);
        assert_false(h.layers_guessed);
        NEAR(h.kl, 0.0625, 0);
    }
}

// Another model's training behind the same layers and width is another model; its fine-tuned copies are not.
static void told_apart(void **state) {
    (void)state;
    static const char guess[] = ER_RULE_OF_THUMB;
    static const struct {
        const char *family, *preset;
        size_t layers, hidden, d_ff, vocab, positions;
        double base;
    } cases[] = {
        {"llama", "Llama-2-7B", 32, 4096, 11008, 32001, 4096, 1e4},  // a token for padding
        {"llama", "Llama-2-7B", 32, 4096, 11008, 32064, 32768, 1e4},
        {"llama", guess, 32, 4096, 11008, 32065, 4096, 1e4},
        {"llama", guess, 32, 4096, 11008, 31999, 4096, 1e4},
        {"llama", guess, 32, 4096, 11008, 32000, 2048, 1e4},   // Llama-7B, OpenLLaMA-7B
        {"llama", guess, 32, 4096, 11008, 32016, 16384, 1e6},  // CodeLlama-7B
        {"llama", guess, 32, 4096, 11008, 32000, 16384, 1e6},  // CodeLlama-7B for Python
        {"llama", guess, 32, 4096, 11008, 64000, 4096, 5e6},   // Yi-6B
        {"llama", guess, 32, 4096, 11008, 32256, 16384, 1e5},  // DeepSeek-Coder-6.7B
        {"llama", "Llama-3-8B", 32, 4096, 14336, 128256, 8192, 5e5},
        {"llama", "Llama-3-8B", 32, 4096, 14336, 128257, 131072, 5e5},
        {"llama", guess, 32, 4096, 14336, 128321, 8192, 5e5},
        {"llama", guess, 32, 4096, 11008, 128256, 8192, 5e5},
        {"llama", guess, 32, 4096, 14336, 32000, 4096, 1e4},
        {"llama", guess, 28, 3072, 9216, 128256, 8192, 5e5},
        {"llama", "SmolLM2-135M", 30, 576, 1536, 49152, 8192, 1e5},
        {"llama", guess, 30, 576, 1536, 49152, 2048, 1e4},  // SmolLM-135M
        {"mistral", "Mistral-7B", 32, 4096, 14336, 32000, 32768, 1e4},
        {"mistral", "Mistral-7B", 32, 4096, 14336, 32002, 32768, 1e4},
        {"mistral", guess, 32, 4096, 14336, 48000, 32768, 1e4},
        {"mistral", guess, 32, 4096, 12288, 32000, 32768, 1e4},
        {"qwen2", guess, 28, 3584, 18944, 152064, 4096, 1e4},  // Qwen2.5-Math-7B
        {"qwen2", guess, 28, 3584, 9472, 152064, 32768, 1e6},
        {"gptj", guess, 28, 4096, 16384, 64512, 2048, 1e4},
        {"gpt2", guess, 48, 1600, 6400, 51200, 1024, 0},
        {"gpt2", "people (bundled)", 6, 192, 1536, 1500, 96, 0},
        {"gpt2", guess, 6, 192, 768, 1500, 96, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_arch a = {.layers = cases[i].layers,
            .hidden = cases[i].hidden,
            .d_ff = cases[i].d_ff,
            .vocab = cases[i].vocab,
            .max_position_embeddings = cases[i].positions,
            .rope = {.base = cases[i].base}};
        (void)snprintf(a.family, sizeof a.family, "%s", cases[i].family);
        assert_string_equal(settings_of(&a).preset, cases[i].preset);
    }
}

// Up to five layers that end a quarter of the way up, without layer 0 where there is another.
static void guessed(void **state) {
    (void)state;
    static const struct {
        const char *family;
        size_t layers, hidden, first, last;
    } cases[] = {
        {"qwen3", 36, 4096, 5, 9},
        {"phi3", 32, 3072, 4, 8},
        {"opt", 24, 2048, 2, 6},
        {"gpt_neox", 12, 768, 1, 3},
        {"gpt_neox", 6, 512, 1, 1},
        {"mistral", 4, 64, 1, 1},
        {"qwen2", 1, 64, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_hparams h = settings(cases[i].family, cases[i].layers, cases[i].hidden, 1000);
        assert_string_equal(h.preset, "rule of thumb");
        assert_int_equal(h.n_layers, cases[i].last - cases[i].first + 1);
        assert_int_equal(h.layers[0], cases[i].first);
        assert_int_equal(h.layers[h.n_layers - 1], cases[i].last);
        assert_true(h.layers_guessed);
        NEAR(h.trace_ratio, 1, 0);
        assert_true(h.lambda > 0);  // so that room for either form of the solve is kept
    }
}

// Whichever of the two is in force is told, under its key, and only that.
static void told(void **state) {
    (void)state;
    er_hparams guess = settings("opt", 24, 2048, 1000), preset = settings("gptj", 28, 4096, 50400);
    cJSON *a = er_hparams_json(&guess), *b = er_hparams_json(&preset);
    assert_true(a && b);
    assert_true(cJSON_HasObjectItem(a, "mom2_trace_ratio") && !cJSON_HasObjectItem(a, "mom2_update_weight"));
    assert_true(cJSON_HasObjectItem(b, "mom2_update_weight") && !cJSON_HasObjectItem(b, "mom2_trace_ratio"));
    cJSON_Delete(a);
    cJSON_Delete(b);
    OK(er_hparams_set_layers(&guess, "3-4"));
    assert_false(guess.layers_guessed);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(published), cmocka_unit_test(told_apart),
        cmocka_unit_test(guessed), cmocka_unit_test(told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
