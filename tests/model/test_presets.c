// Which settings a model of a given family and size gets, and from whom.
#include "engine/hparams.h"
#include "tests/test.h"

static er_hparams settings(const char *family, size_t layers, size_t hidden, size_t vocab) {
    er_arch a = {.layers = layers, .hidden = hidden, .vocab = vocab};
    er_hparams h;
    (void)snprintf(a.family, sizeof a.family, "%s", family);
    OK(er_hparams_resolve(&h, &a, "reference"));
    OK(er_hparams_check(&h, &a));
    return h;
}

static void published(void **state) {
    (void)state;
    static const struct {
        const char *family, *preset;
        size_t layers, hidden, vocab, first, last, steps;
        double lr, clamp, decay, lambda;
    } cases[] = {
        {"gpt2", "GPT-2 XL", 48, 1600, 50257, 13, 17, 20, 0.5, 0.75, 0.5, 20000},
        {"gptj", "GPT-J-6B", 28, 4096, 50400, 3, 8, 25, 0.5, 0.75, 0.5, 15000},
        {"gpt_neox", "GPT-NeoX-20B", 44, 6144, 50432, 6, 10, 20, 0.5, 0.8, 0.5, 6000},
        {"llama", "Llama-2-7B", 32, 4096, 32000, 4, 8, 25, 0.5, 4, 1e-3, 15000},
        {"llama", "Llama-3-8B", 32, 4096, 128256, 4, 8, 25, 0.1, 0.75, 0.5, 15000},
        {"llama", "Llama-3.2-3B", 28, 3072, 128256, 4, 8, 25, 0.5, 4, 1e-3, 15000},
        {"mistral", "Mistral-7B", 32, 4096, 32768, 4, 8, 25, 0.5, 4, 1e-3, 15000},
        {"qwen2", "Qwen2.5-7B", 28, 3584, 152064, 4, 8, 25, 0.5, 4, 1e-3, 15000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_hparams h = settings(cases[i].family, cases[i].layers, cases[i].hidden, cases[i].vocab);
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

// Five layers that end a quarter of the way up, or as many as there are.
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published), cmocka_unit_test(guessed), cmocka_unit_test(told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
