// What the values stage takes of GPT-J 6B, from its shape alone: the tapes are what backward reads and
// nothing else, 2.5 GB less than with an x_mid that parallel blocks never touch.
#include "engine/targets.h"
#include "tests/test.h"

static const char gpt_j[] =
    "{\"model_type\":\"gptj\",\"n_embd\":4096,\"n_layer\":28,\"n_head\":16,\"rotary_dim\":64,"
    "\"vocab_size\":50400,\"n_positions\":2048}";

enum { REQUESTS = 500, TEMPLATES = 20, BATCH = 8192 };

// Each with its base prompt, one behind every template, and the KL row; all of ordinary length.
static void ordinary_requests(er_requests *out, er_request *at, er_prompt *row) {
    const size_t n = TEMPLATES + 2;
    *out = (er_requests){.at = at, .count = REQUESTS, .max_rows = n};
    for (size_t i = 0; i < REQUESTS; i++) {
        at[i] = (er_request){.row = row + i * n, .n_rows = n};
        for (size_t r = 0; r < n; r++)
            at[i].row[r] = (er_prompt){.subject_last = r && r + 1 < n ? 14 : 3,
                .length = r && r + 1 < n ? 20 : 9,
                .n_labels = r + 1 < n ? 2 : 0};
    }
    at[0].row[0].length += 10;  // so that not all are of one length
    out->max_suffix_tokens = n * 6 + 10;
    out->max_prefix_tokens = TEMPLATES * 14 + 2 * 3;
    out->max_prompt_tokens = TEMPLATES * 20 + 2 * 9 + 10;
    out->max_labels = (n - 1) * 2 + 1;
}

static void gpt_j_has_no_x_mid(void **state) {
    (void)state;
    er_arch a;
    er_requests requests;
    er_hparams h = {.layers = {3, 4, 5, 6, 7, 8}, .n_layers = 6};
    er_request *at = calloc(REQUESTS, sizeof *at);
    er_prompt *row = calloc(REQUESTS * (TEMPLATES + 2), sizeof *row);
    assert_true(at && row);
    ordinary_requests(&requests, at, row);
    OK(er_arch_parse(&a, gpt_j, sizeof gpt_j - 1, "config.json"));
    assert_true(a.layers == 28 && a.hidden == 4096 && a.d_ff == 16384 && a.parallel_residual);
    size_t above = 28 - 1 - 8, plan = er_targets_bytes(&a, &requests, &h, BATCH);
    // The tape as it was allocated by hand: x_in, x_mid; q, k, v; attention's output and its lse; two norms'
    // statistics; u.
    size_t by_hand = above * BATCH * (2 * 4096 + 3 * 4096 + 4096 + 16 + 2 * 2 + 16384) * sizeof(float);
    er_arena tape = {0};
    er_tape t;
    for (size_t l = 0; l < above; l++) OK(er_tape_take(&t, &tape, &a, BATCH));
    size_t before = plan - tape.bytes + by_hand;
    print_message(
        "GPT-J 6B, layers 3-8, %d tokens a step: values %.2f GB, tapes %.2f of them; with x_mid %.2f GB\n",
        BATCH, (double)plan * 1e-9, (double)tape.bytes * 1e-9, (double)before * 1e-9);
    assert_int_equal(before - plan, above * BATCH * 4096 * sizeof(float));
    assert_true(before - plan >= 2000000000);
    // And the plan counts those very tapes: a sequential block has its x_mid.
    a.parallel_residual = false;
    assert_int_equal(er_targets_bytes(&a, &requests, &h, BATCH), before);
    free(at);
    free(row);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gpt_j_has_no_x_mid)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
