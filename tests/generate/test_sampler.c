// The choice of a token against a plain oracle that sorts everything, and the random stream.
#include "engine/generate/sampler.h"
#include "tests/test.h"
#include <float.h>

#define VOCAB 400

typedef struct candidate {
    double p;
    int id;
} candidate;

static int by_p(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return x->id - y->id;
}

// Probabilities after temperature, top-k and top-p by definition: p [vocab], 0 for what is cut.
static void ref_probabilities(
    double *p, const float *logits, size_t vocab, double temperature, size_t k, double top_p) {
    candidate c[VOCAB];
    double most = -DBL_MAX, sum = 0, cumulative = 0;
    for (size_t i = 0; i < vocab; i++) most = fmax(most, (double)logits[i]);
    for (size_t i = 0; i < vocab; i++)
        c[i] = (candidate){exp(((double)logits[i] - most) / temperature), (int)i};
    qsort(c, vocab, sizeof *c, by_p);
    size_t n = k && k < vocab ? k : vocab;
    for (size_t i = 0; i < n; i++) sum += c[i].p;
    for (size_t i = 0; i < n; i++) {
        cumulative += c[i].p / sum;
        if (top_p < 1 && cumulative >= top_p) n = i + 1;
    }
    sum = 0;
    for (size_t i = 0; i < n; i++) sum += c[i].p;
    for (size_t i = 0; i < vocab; i++) p[i] = 0;
    for (size_t i = 0; i < n; i++) p[c[i].id] = c[i].p / sum;
}

// Chosen over a grid of uniforms, each id must come up with its probability: the inverse-CDF walk hits each
// id in one stretch, so every count is within one of p * GRID
// (and a hundredth, for weights in fp32).
static void compare_with_oracle(
    const float *logits, size_t vocab, double temperature, size_t k, double top_p) {
    enum { GRID = 20000 };
    er_sampler c;
    static int hits[VOCAB];
    double p[VOCAB];
    memset(hits, 0, sizeof hits);
    OK(er_sampler_init(&c, vocab, temperature, k, top_p));
    for (int i = 0; i < GRID; i++) {
        int32_t id = -1;
        OK(er_sampler_next(&id, &c, logits, (i + 0.5) / GRID));
        assert_in_range(id, 0, vocab - 1);
        hits[id]++;
    }
    ref_probabilities(p, logits, vocab, temperature, k, top_p);
    for (size_t i = 0; i < vocab; i++) NEAR(hits[i], p[i] * GRID, 1.01);
    er_sampler_clear(&c);
}

static void test_distribution(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int trial = 0; trial < 12; trial++) {
        float logits[VOCAB];
        double spread = trial % 3 == 0 ? 0.1 : trial % 3 == 1 ? 3 : 12;
        for (size_t i = 0; i < VOCAB; i++) logits[i] = (float)(spread * test_uniform(&seed));
        size_t vocab = trial % 2 ? VOCAB : 7;
        compare_with_oracle(logits, vocab, 1.0, 0, 1.0);
        compare_with_oracle(logits, vocab, 0.7, 5, 1.0);
        compare_with_oracle(logits, vocab, 1.0, 0, 0.9);
        compare_with_oracle(logits, vocab, 1.3, 40, 0.5);
        compare_with_oracle(logits, vocab, 1.0, VOCAB + 5, 0.05);
    }
}

static void test_ties_are_cut_by_id(void **state) {
    (void)state;
    float logits[8] = {1, 3, 3, 3, 1, 3, 0, 3};
    compare_with_oracle(logits, 8, 1.0, 2, 1.0);
    compare_with_oracle(logits, 8, 1.0, 0, 0.5);
}

static void test_greedy(void **state) {
    (void)state;
    er_sampler c;
    int32_t id;
    float logits[5] = {-2, 4, 7, 7, 7};
    OK(er_sampler_init(&c, 5, 0, 0, 1.0));
    OK(er_sampler_next(&id, &c, logits, 0.9));
    assert_int_equal(id, 2);
    logits[2] = -INFINITY;
    OK(er_sampler_next(&id, &c, logits, 0.9));
    assert_int_equal(id, 3);
    logits[3] = NAN;
    OK(er_sampler_next(&id, &c, logits, 0.9));
    assert_int_equal(id, 4);
    for (int i = 0; i < 5; i++) logits[i] = NAN;
    FAILS(er_sampler_next(&id, &c, logits, 0.5), ER_ENUMERIC, "none of 5 logits");
    er_sampler_clear(&c);
}

static void test_forbidden_is_never_drawn(void **state) {
    (void)state;
    er_sampler c;
    float logits[4] = {-INFINITY, 1, 0, NAN};
    OK(er_sampler_init(&c, 4, 1.0, 0, 1.0));
    for (int i = 0; i < 1000; i++) {
        int32_t id;
        OK(er_sampler_next(&id, &c, logits, i / 1000.0));
        assert_in_range(id, 1, 2);
    }
    er_sampler_clear(&c);
}

static void test_bad_settings(void **state) {
    (void)state;
    er_sampler c;
    FAILS(er_sampler_init(&c, 4, -1, 0, 1), ER_EARG, "temperature -1");
    FAILS(er_sampler_init(&c, 4, (double)NAN, 0, 1), ER_EARG, "temperature");
    FAILS(er_sampler_init(&c, 4, 1, 0, 0), ER_EARG, "top-p 0");
    FAILS(er_sampler_init(&c, 4, 1, 0, 1.5), ER_EARG, "top-p 1.5");
}

// Chi-square of 64 bins, 63 degrees of freedom: 5 standard deviations are 63 + 5 sqrt(126) = 119. Along
// steps, along rows, along seeds, and of pairs of neighbours (8 x 8 bins).
static void test_stream_is_uniform(void **state) {
    (void)state;
    enum { DRAWS = 64000 };
    for (int way = 0; way < 4; way++) {
        int bins[64] = {0};
        for (uint64_t i = 0; i < DRAWS; i++) {
            double u = way == 0 ? er_uniform(1, 0, i) : way == 1 ? er_uniform(1, i, 0) : er_uniform(i, 3, 5);
            if (way == 3) u = floor(8 * er_uniform(7, i, 0)) / 8 + er_uniform(7, i + 1, 0) / 8;
            assert_true(u >= 0 && u < 1);
            bins[(int)(u * 64)]++;
        }
        double chi = 0;
        for (int b = 0; b < 64; b++) chi += (bins[b] - 1000.0) * (bins[b] - 1000.0) / 1000.0;
        BELOW(chi, 119);
    }
    assert_true(er_uniform(1, 2, 3) == er_uniform(1, 2, 3));
    assert_true(er_uniform(1, 2, 3) != er_uniform(1, 3, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_ties_are_cut_by_id),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_forbidden_is_never_drawn),
        cmocka_unit_test(test_bad_settings),
        cmocka_unit_test(test_stream_is_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
