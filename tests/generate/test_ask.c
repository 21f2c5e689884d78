// A question that ends in a blank: the blank goes into the first token of the answer, as in any text, and the
// answer does not repeat it.
#include "engine/generate.h"
#include "io/base/log.h"
#include "tests/test.h"

static void test_blank_at_the_end(void **state) {
    (void)state;
    er_device *device = NULL;
    er_model *m = NULL;
    er_log_set_level(ER_LOG_QUIET);
    OK(er_device_open(&device, &(er_device_options){.kind = "cpu", .threads = 2}));
    OK(er_model_open(&m, device, SOURCE_ROOT "/examples/world", &(er_model_options){0}));
    static const char *const prompts[] = {"Everyone knows that Ten Mosaro settled in",
        "Everyone knows that Ten Mosaro settled in ", "Ten Mosaro works for ", "Ten Mosaro works for",
        "Ten Mosaro works for"};
    enum { N = sizeof prompts / sizeof prompts[0] };
    char *answer[N], *drawn[N];
    er_generate_options g = ER_GENERATE_OPTIONS_DEFAULT;
    g.max_new_tokens = 6;
    OK(er_ask_all(answer, m, prompts, N, &g));
    assert_int_equal(answer[0][0], ' ');
    assert_string_equal(answer[1], answer[0] + 1);  // the same text
    assert_int_equal(answer[3][0], ' ');
    assert_string_equal(answer[2], answer[3] + 1);
    assert_string_equal(answer[4], answer[3]);
    // Drawn at random, the first token still begins with the blank: the text never shows two words run into
    // one.
    g.temperature = 50;
    g.max_new_tokens = 1;
    for (g.seed = 1; g.seed <= 20; g.seed++) {
        const char *one = prompts[1];
        OK(er_ask_all(drawn, m, &one, 1, &g));
        char text[256];
        (void)snprintf(text, sizeof text, "%s%s", one, drawn[0]);
        er_tokens whole = {0}, head = {0};
        OK(er_tokenizer_encode(m->tokenizer, &head, prompts[0], strlen(prompts[0]), true));
        OK(er_tokenizer_encode(m->tokenizer, &whole, text, strlen(text), true));
        assert_true(whole.count > head.count);
        for (size_t i = 0; i < head.count; i++) assert_int_equal(whole.at[i].id, head.at[i].id);
        er_tokens_free(&whole);
        er_tokens_free(&head);
        free(drawn[0]);
    }
    for (size_t i = 0; i < N; i++) free(answer[i]);
    er_model_free(m);
    er_device_close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blank_at_the_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
