// Batched decoding against a full forward pass per token, on the committed small models.
#include "engine/forward.h"
#include "engine/generate.h"
#include "io/base/log.h"
#include "tests/support/letter_model.h"
#include "tests/test.h"

// The second with a BOS.
static const char *const models[] = {TEST_DATA "/golden/models/gpt2_prefixed",
    TEST_DATA "/golden/models/llama_gqa", TEST_DATA "/golden/models/llama_tied_bf16"};
#define N_MODELS (sizeof models / sizeof *models)
static er_device *dev;
static er_model *model[N_MODELS];

static int set_up(void **state) {
    (void)state;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    o.kind = "cpu";
    er_log_set_level(ER_LOG_QUIET);
    if (er_device_open(&dev, &o) != ER_OK) return -1;
    for (size_t i = 0; i < N_MODELS; i++)
        if (letter_model_open(&model[i], dev, models[i], i == 1) != ER_OK) {
            fprintf(stderr, "%s\n", er_last_error());
            return -1;
        }
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) er_model_free(model[i]);
    er_device_close(dev);
    return 0;
}

// `n` prompts of 1 to 11 tokens.
static er_sequences *random_prompts(const er_model *m, size_t n, uint64_t seed) {
    er_sequences *t = NULL;
    OK(er_sequences_new(&t));
    for (size_t r = 0; r < n; r++) {
        int32_t ids[11];
        size_t len = 1 + (size_t)(test_next(&seed) % 11);
        for (size_t i = 0; i < len; i++) ids[i] = (int32_t)(test_next(&seed) % m->arch.vocab);
        OK(er_sequences_add(t, ids, len));
    }
    return t;
}

// The most probable next token of one row by a forward pass over all of it, no cache.
static int32_t ref_next(er_model *m, const int32_t *ids, size_t n) {
    er_batch b;
    er_run run = {.model = m};
    er_arena memory = {.dev = dev};
    void *x, *logits, *picked, *stats, *h, *index;
    size_t hidden = m->arch.hidden, vocab = m->arch.vocab;
    int32_t last = (int32_t)n - 1, best = 0;
    float *out = malloc(vocab * sizeof *out);
    OK(dev->op->alloc(dev, &x, n * hidden * sizeof(float)));
    OK(dev->op->alloc(dev, &logits, vocab * sizeof(float)));
    OK(dev->op->alloc(dev, &picked, hidden * sizeof(float)));
    OK(dev->op->alloc(dev, &stats, 2 * sizeof(float)));
    OK(dev->op->alloc(dev, &h, hidden * sizeof(float)));
    OK(dev->op->alloc(dev, &index, sizeof last));
    OK(dev->op->upload(dev, index, &last, sizeof last));
    OK(er_run_take(&run, &memory, &m->arch, n, false));
    OK(er_batch_take(&b, &memory, n, 1));
    OK(er_batch_row(&b, ids, n, ER_NO_KV, ER_NO_KV));
    OK(er_run_begin(&run, &b, NULL));
    OK(er_run_embed(&run, x));
    for (size_t l = 0; l < m->arch.layers; l++) OK(er_run_layer(&run, l, x, NULL));
    OK(er_run_head(&run, logits, x, index, 1, picked, stats, h));
    OK(dev->op->download(dev, out, logits, vocab * sizeof *out));
    for (size_t i = 1; i < vocab; i++)
        if (out[i] > out[best]) best = (int32_t)i;
    void *all[] = {x, logits, picked, stats, h, index};
    for (size_t i = 0; i < 6; i++) dev->op->release(dev, all[i]);
    er_arena_release(&memory);
    free(out);
    return best;
}

static void test_greedy_is_the_argmax_of_a_full_pass(void **state) {
    (void)state;
    for (size_t k = 0; k < N_MODELS; k++) {
        er_sequences *prompts = random_prompts(model[k], 9, 3 + k), *out = NULL;
        er_generate_options o = ER_GENERATE_OPTIONS_DEFAULT;
        o.max_new_tokens = 12;
        o.stop_at_eos = false;
        OK(er_generate(&out, model[k], prompts, &o));
        assert_int_equal(out->rows, 9);
        for (size_t r = 0; r < 9; r++) {
            int32_t ids[64];
            size_t n = er_sequences_length(prompts, r);
            memcpy(ids, er_sequences_at(prompts, r), n * sizeof *ids);
            assert_int_equal(er_sequences_length(out, r), 12);
            for (size_t i = 0; i < 12; i++) {
                ids[n + i] = er_sequences_at(out, r)[i];
                assert_int_equal(ids[n + i], ref_next(model[k], ids, n + i));
            }
        }
        er_sequences_free(prompts);
        er_sequences_free(out);
    }
}

static void same_rows(const er_sequences *a, const er_sequences *b) {
    assert_int_equal(a->rows, b->rows);
    for (size_t r = 0; r <= a->rows; r++) assert_int_equal(a->start[r], b->start[r]);
    assert_memory_equal(a->token, b->token, a->tokens * sizeof *a->token);
}

// One slot, a few, or all rows at once: each row draws from its own stream, so the text is the same.
static void test_sampling_does_not_depend_on_the_batch(void **state) {
    (void)state;
    er_model *m = model[1];
    er_sequences *prompts = random_prompts(m, 10, 5), *all = NULL;
    er_generate_options o = {
        .max_new_tokens = 14, .temperature = 1, .top_p = 0.9, .top_k = 50, .seed = 11, .stop_at_eos = true};
    size_t row_bytes = 2 * sizeof(float) * m->arch.layers * m->arch.kv_heads * m->arch.head_dim * 25;
    OK(er_generate(&all, m, prompts, &o));
    for (size_t slots = 1; slots < 10; slots += 3) {
        er_sequences *few = NULL;
        o.memory = slots * row_bytes;
        OK(er_generate(&few, m, prompts, &o));
        same_rows(few, all);
        er_sequences_free(few);
    }
    // Row 4 on its own, told that it is row 4.
    er_sequences *one = NULL, *alone = NULL;
    OK(er_sequences_new(&one));
    OK(er_sequences_add(one, er_sequences_at(prompts, 4), er_sequences_length(prompts, 4)));
    o.first_row = 4;
    OK(er_generate(&alone, m, one, &o));
    assert_int_equal(alone->tokens, er_sequences_length(all, 4));
    assert_memory_equal(alone->token, er_sequences_at(all, 4), alone->tokens * sizeof *alone->token);
    er_sequences *other = NULL;
    o.seed = 12;
    OK(er_generate(&other, m, one, &o));
    assert_true(other->tokens != alone->tokens ||
                memcmp(other->token, alone->token, alone->tokens * sizeof *alone->token) != 0);
    er_sequences *gone[] = {prompts, all, one, alone, other};
    for (size_t i = 0; i < 5; i++) er_sequences_free(gone[i]);
}

// Whatever greedy decoding says third is called eos: rows then end before it, at different times, unless held
// back.
static void test_eos_ends_a_row(void **state) {
    (void)state;
    er_model *m = model[0];
    int32_t eos = m->eos;
    er_sequences *prompts = random_prompts(m, 8, 21), *free_run = NULL, *out = NULL, *held = NULL;
    er_generate_options o = {.max_new_tokens = 10, .top_p = 1};
    OK(er_generate(&free_run, m, prompts, &o));
    m->eos = er_sequences_at(free_run, 0)[2];
    o.stop_at_eos = true;
    OK(er_generate(&out, m, prompts, &o));
    for (size_t r = 0; r < 8; r++) {
        size_t want = 0;
        while (want < 10 && er_sequences_at(free_run, r)[want] != m->eos) want++;
        assert_int_equal(er_sequences_length(out, r), want);
        assert_memory_equal(er_sequences_at(out, r), er_sequences_at(free_run, r), want * sizeof(int32_t));
    }
    assert_in_range(er_sequences_length(out, 0), 0, 2);
    o.min_new_tokens = 5;
    OK(er_generate(&held, m, prompts, &o));
    for (size_t r = 0; r < 8; r++) {
        assert_in_range(er_sequences_length(held, r), 5, 10);
        for (size_t i = 0; i < er_sequences_length(held, r); i++)
            assert_int_not_equal(er_sequences_at(held, r)[i], m->eos);
    }
    m->eos = eos;
    er_sequences *gone[] = {prompts, free_run, out, held};
    for (size_t i = 0; i < 4; i++) er_sequences_free(gone[i]);
}

// Lanes begun anew: each document of a lane is what its prompt alone would have given with the same draws,
// and every lane has exactly max_new_tokens tokens besides the ends.
static void test_restart(void **state) {
    (void)state;
    er_model *m = model[0];
    int32_t eos = m->eos;
    m->eos = 7;
    er_sequences *prompts = random_prompts(m, 6, 33), *out = NULL, *first = NULL;
    er_generate_options o = {.max_new_tokens = 25,
        .temperature = 3,
        .top_p = 1,
        .seed = 4,
        .min_new_tokens = 1,
        .restart_at_eos = true};
    OK(er_generate(&out, m, prompts, &o));
    o.restart_at_eos = false, o.stop_at_eos = true;
    OK(er_generate(&first, m, prompts, &o));
    size_t ends = 0;
    for (size_t r = 0; r < 6; r++) {
        const int32_t *id = er_sequences_at(out, r);
        size_t n = er_sequences_length(out, r), counted = 0;
        for (size_t i = 0; i < n; i++) {
            counted += id[i] != 7;
            assert_false(id[i] == 7 && (i == 0 || id[i - 1] == 7));
        }
        assert_int_equal(counted, 25);
        ends += n - counted;
        size_t common = er_sequences_length(first, r);
        if (common) assert_memory_equal(id, er_sequences_at(first, r), common * sizeof *id);
    }
    assert_true(ends > 0);
    // Greedily, whatever follows an end is the first document over again. The end is the first new id of some
    // row.
    er_sequences *greedy = NULL, *twice = NULL;
    o = (er_generate_options){.max_new_tokens = 5, .top_p = 1};
    m->eos = -1;
    OK(er_generate(&greedy, m, prompts, &o));
    size_t row = 0, at = 1;
    while (row < 6 && er_sequences_at(greedy, row)[at] == er_sequences_at(greedy, row)[0])
        if (++at == 5) row++, at = 1;
    assert_in_range(row, 0, 5);
    const int32_t *document = er_sequences_at(greedy, row);
    m->eos = document[at];
    o = (er_generate_options){.max_new_tokens = 9, .top_p = 1, .restart_at_eos = true};
    OK(er_generate(&twice, m, prompts, &o));
    assert_int_equal(er_sequences_length(twice, row), 9 + 8 / at);
    for (size_t i = 0; i < 9 + 8 / at; i++)
        assert_int_equal(er_sequences_at(twice, row)[i], document[i % (at + 1)]);
    m->eos = eos;
    er_sequences *gone[] = {prompts, out, first, greedy, twice};
    for (size_t i = 0; i < 5; i++) er_sequences_free(gone[i]);
}

static void test_limits(void **state) {
    (void)state;
    er_model *m = model[0];
    size_t positions = m->arch.max_position_embeddings;
    er_sequences *t = NULL, *out = NULL;
    er_generate_options o = {.max_new_tokens = 2 * positions, .top_p = 1};
    int32_t *ids = calloc(positions + 1, sizeof *ids);
    OK(er_sequences_new(&t));
    OK(er_generate(&out, m, t, &o));
    assert_int_equal(out->rows, 0);
    er_sequences_free(out);
    OK(er_sequences_add(t, ids, positions - 3));
    OK(er_generate(&out, m, t, &o));
    assert_int_equal(out->tokens, 4);  // three fill the positions, the fourth follows the last
    er_sequences_free(out);
    OK(er_sequences_add(t, ids, positions));
    FAILS(er_generate(&out, m, t, &o), ER_EARG, "prompt 2 has");
    er_sequences_cut(t, 5);
    OK(er_sequences_add(t, ids, 0));
    FAILS(er_generate(&out, m, t, &o), ER_EARG, "prompt 2 has no tokens");
    er_sequences_cut(t, 4);
    t->token[1] = (int32_t)m->arch.vocab;
    FAILS(er_generate(&out, m, t, &o), ER_EARG, "outside the vocabulary");
    er_sequences_free(t);
    free(ids);
}

static void test_sampled_text(void **state) {
    (void)state;
    for (size_t k = 0; k < N_MODELS; k++) {
        er_model *m = model[k];
        int32_t eos = m->eos, bos = er_tokenizer_bos(m->tokenizer);
        for (int no_eos = 0; no_eos < 2; no_eos++) {
            er_sequences *a = NULL, *b = NULL, *c = NULL;
            er_sample_options o = {.tokens = 203, .row_tokens = 20, .seed = 5};
            if (no_eos) m->eos = -1;
            OK(er_sample_text(&a, m, &o));
            OK(er_sample_text(&b, m, &o));
            same_rows(a, b);
            assert_int_equal(a->tokens, 203);
            for (size_t r = 0; r < a->rows; r++) {
                assert_in_range(er_sequences_length(a, r), 1, 20);
                if (bos >= 0) assert_int_equal(er_sequences_at(a, r)[0], bos);
                for (size_t i = 1; m->eos >= 0 && i < er_sequences_length(a, r); i++)
                    assert_int_not_equal(er_sequences_at(a, r)[i], m->eos);
            }
            o.seed = 6;
            OK(er_sample_text(&c, m, &o));
            assert_true(c->rows != a->rows || memcmp(c->token, a->token, 203 * sizeof *a->token) != 0);
            er_sequences_free(a), er_sequences_free(b), er_sequences_free(c);
            m->eos = eos;
        }
    }
}

static void test_ask(void **state) {
    (void)state;
    er_generate_options o = ER_GENERATE_OPTIONS_DEFAULT;
    const char *prompts[] = {"The", "A longer prompt, with words"};
    char *both[2], *one = NULL;
    o.max_new_tokens = 6;
    OK(er_ask_all(both, model[0], prompts, 2, &o));
    OK(er_ask_one(&one, model[0], prompts[1], &o));
    assert_string_equal(one, both[1]);
    free(both[0]), free(both[1]), free(one);
    one = NULL;
    FAILS(er_ask_one(&one, model[0], "\xff", &o), ER_EFORMAT, "");
    assert_null(one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_is_the_argmax_of_a_full_pass),
        cmocka_unit_test(test_sampling_does_not_depend_on_the_batch),
        cmocka_unit_test(test_eos_ends_a_row),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_sampled_text),
        cmocka_unit_test(test_ask),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
