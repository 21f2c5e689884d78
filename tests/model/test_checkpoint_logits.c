// Logits of a whole checkpoint, one row at a time, against what Hugging Face computed on it
// (scripts/golden_logits.py). ERRATA_GOLDEN names the folder, with expected/model.safetensors in it; without
// it a small one is taken.
#include "tests/model/golden.h"

#define BOUND 2e-5

static size_t top(const float *row, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) best = row[i] > row[best] ? i : best;
    return best;
}

static double compare(const float *got, const float *want, size_t tokens, size_t vocab) {
    size_t same = 0;
    double worst = 0, e = rel(got, want, tokens * vocab);
    for (size_t i = 0; i < tokens * vocab; i++) worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    for (size_t t = 0; t < tokens; t++) same += top(got + t * vocab, vocab) == top(want + t * vocab, vocab);
    print_message(
        "%3zu tokens: off by %.2e, at most %.2e; the same token on top %zu times\n", tokens, e, worst, same);
    return e;
}

static void rows_alone(void **state) {
    (void)state;
    const char *folder = getenv("ERRATA_GOLDEN");
    golden g;
    golden_open_folder(&g, folder ? folder : GOLDEN_DIR "qwen2_gqa");
    for (size_t row = 0; row < g.rows; row++) {
        size_t first = (size_t)g.start[row], n = (size_t)g.start[row + 1] - first;
        int32_t start[2] = {0, (int32_t)n};
        er_batch b = pack_rows(g.token + first, start, 1, NULL, NULL, NULL);
        er_run *r = golden_run(&g, n, false);
        float *x = keep_dev(n * g.hidden * sizeof(float));
        OK(er_run_begin(r, &b, NULL));
        OK(er_run_embed(r, x));
        for (size_t l = 0; l < g.m->arch.layers; l++) OK(er_run_layer(r, l, x, NULL));
        const float *want = golden_f32(&g, "logits", g.tokens * g.vocab) + first * g.vocab;
        BELOW(compare(logits_at(r, x, all_tokens(n), n), want, n, g.vocab), BOUND);
    }
    golden_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_alone)};
    return cmocka_run_group_tests(tests, golden_setup, golden_teardown);
}
