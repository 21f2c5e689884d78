// Covariances of whole models: against keys taken row by row and summed in double; budgets, cache, exchange.
#include <dirent.h>
#include <unistd.h>
#include "engine/statistics.h"
#include "engine/forward.h"
#include "io/base/file.h"
#include "io/base/log.h"
#include "tests/support/letter_model.h"
#include "tests/test.h"

// The second with a BOS.
static const char *const models[] = {TEST_DATA "/golden/models/gpt2_prefixed",
    TEST_DATA "/golden/models/llama_gqa", TEST_DATA "/golden/models/llama_tied_bf16"};
#define N_MODELS (sizeof models / sizeof *models)
static er_device *dev;
static er_model *model[N_MODELS];
static char dir[64];
static char *corpus;

// 60 paragraphs of made-up words, enough for a few thousand tokens of any tokenizer.
static char *write_corpus(void) {
    static char text[40000];
    uint64_t seed = 17;
    char *to = text;
    for (int p = 0; p < 60; p++) {
        for (uint64_t w = 20 + test_next(&seed) % 60; w > 0; w--) {
            for (uint64_t c = 1 + test_next(&seed) % 7; c > 0; c--)
                *to++ = (char)('a' + test_next(&seed) % 26);
            *to++ = ' ';
        }
        strcpy(to - 1, ".\n\n");
        to += 2;
    }
    char *path = er_path_join(dir, "corpus.txt");
    OK(er_file_write_atomic(path, text, strlen(text)));
    return path;
}

static int set_up(void **state) {
    (void)state;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    er_log_set_level(ER_LOG_QUIET);
    strcpy(dir, "covary.XXXXXX");
    if (er_device_open(&dev, &o) != ER_OK || !mkdtemp(dir)) return -1;
    for (size_t i = 0; i < N_MODELS; i++)
        if (letter_model_open(&model[i], dev, models[i], i == 1) != ER_OK) {
            fprintf(stderr, "%s\n", er_last_error());
            return -1;
        }
    corpus = write_corpus();
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) er_model_free(model[i]);
    er_device_close(dev);
    free(corpus);
    return er_remove_tree(dir) == ER_OK ? 0 : -1;
}

static er_statistics_options options(size_t tokens, size_t row_tokens, const char *cache) {
    return (er_statistics_options){.corpus = (const char *const *)&corpus,
        .n_corpus = 1,
        .tokens = tokens,
        .row_tokens = row_tokens,
        .seed = 1,
        .cache_dir = cache};
}

// want [d, d] = sum of k k^T of one layer, each row run by itself and every layer below it whole.
static void ref_sum(double *want, er_model *m, const er_sequences *t, size_t layer) {
    size_t d = m->arch.d_ff;
    memset(want, 0, d * d * sizeof *want);
    for (size_t r = 0; r < t->rows; r++) {
        size_t n = er_sequences_length(t, r);
        er_batch batch;
        er_run run = {.model = m};
        er_arena memory = {.dev = dev};
        float *x = NULL;
        float *key = malloc(n * d * sizeof *key);
        OK(er_arena_take(&memory, &x, n * m->arch.hidden, sizeof *x));
        OK(er_run_take(&run, &memory, &m->arch, n, false));
        OK(er_batch_take(&batch, &memory, n, 1));
        OK(er_batch_row(&batch, er_sequences_at(t, r), n, ER_NO_KV, ER_NO_KV));
        OK(er_run_begin(&run, &batch, NULL));
        OK(er_run_embed(&run, x));
        for (size_t l = 0; l <= layer; l++) OK(er_run_layer(&run, l, x, NULL));
        OK(dev->op->download(dev, key, run.act, n * d * sizeof *key));
        for (size_t i = 0; i < n; i++)
            for (size_t a = 0; a < d; a++)
                for (size_t b = 0; b < d; b++)
                    want[a * d + b] += (double)key[i * d + a] * (double)key[i * d + b];
        er_arena_release(&memory);
        free(key);
    }
}

static double *sum_of(const er_second_moment *m) {
    double *s = malloc(m->dim * m->dim * sizeof *s);
    OK(dev->op->download(dev, s, m->sum, m->dim * m->dim * sizeof *s));
    return s;
}

static double relative(const double *a, const double *b, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) d += (a[i] - b[i]) * (a[i] - b[i]), s += b[i] * b[i];
    return sqrt(d / s);
}

static void test_against_row_by_row(void **state) {
    (void)state;
    for (size_t k = 0; k < N_MODELS; k++) {
        er_model *m = model[k];
        size_t d = m->arch.d_ff, last = m->arch.layers - 1;
        const size_t layers[2] = {last, 0};
        er_statistics_options o = options(600, 24, NULL);
        er_statistics_report report;
        er_second_moment *c[2];
        er_sequences *rows = NULL;
        double *want = malloc(d * d * sizeof *want);
        OK(er_corpus_rows(&rows, m, o.corpus, 1, 600, 24, 1));
        o.batch_tokens = 100;
        OK(er_statistics(c, m, layers, 2, &o, &report));
        assert_int_equal(report.tokens, 600);
        assert_int_equal(report.rows, rows->rows);
        assert_int_equal(report.computed, 2);
        for (size_t i = 0; i < 2; i++) {
            double *got = sum_of(c[i]);
            assert_int_equal(c[i]->count, 600);
            ref_sum(want, m, rows, layers[i]);
            BELOW(relative(got, want, d * d), 5e-6);
            free(got);
        }
        er_statistics_free(c, 2, dev);
        er_sequences_free(rows);
        free(want);
    }
}

static void test_corpus_rows(void **state) {
    (void)state;
    for (size_t k = 0; k < N_MODELS; k++) {
        int32_t bos = er_tokenizer_bos(model[k]->tokenizer);
        for (size_t budget = 1; budget < 2000; budget = budget * 3 + 1) {
            er_sequences *t = NULL;
            OK(er_corpus_rows(&t, model[k], options(0, 0, NULL).corpus, 1, budget, 16, 1));
            assert_int_equal(t->tokens, budget);
            for (size_t r = 0; r < t->rows; r++) {
                assert_in_range(er_sequences_length(t, r), 1, 16);
                if (bos >= 0) assert_int_equal(er_sequences_at(t, r)[0], bos);
            }
            er_sequences_free(t);
        }
    }
    er_sequences *t = NULL;
    FAILS(er_corpus_rows(&t, model[0], options(0, 0, NULL).corpus, 1, 10, 1, 1), ER_EARG, "rows of 1 tokens");
    char *empty = er_path_join(dir, "empty.txt");
    const char *paths[] = {empty};
    OK(er_file_write_atomic(empty, "", 0));
    FAILS(er_corpus_rows(&t, model[0], paths, 1, 10, 16, 1), ER_EFORMAT, "empty.txt: is empty");
    free(empty);
}

static void expect_report(
    er_model *m, const er_statistics_options *o, const size_t *layers, size_t n, size_t cached) {
    er_second_moment *c[4];
    er_statistics_report report;
    OK(er_statistics(c, m, layers, n, o, &report));
    assert_int_equal(report.cached, cached);
    assert_int_equal(report.computed, n - cached);
    assert_true((report.tokens > 0) == (cached < n));
    er_statistics_free(c, n, dev);
}

static void test_cache(void **state) {
    (void)state;
    er_model *m = model[1];
    char *cache = er_path_join(dir, "cache");
    const size_t first[1] = {1}, both[2] = {0, 1};
    er_statistics_options o = options(300, 32, cache);
    er_second_moment *c[2], *again[2];
    size_t found = 9;
    OK(er_statistics_lookup(c, &found, m, both, 2, &o));
    assert_int_equal(found, 0);
    expect_report(m, &o, first, 1, 0);
    expect_report(m, &o, both, 2, 1);  // another job with another layer reuses what fits
    expect_report(m, &o, both, 2, 2);
    er_statistics_options other = o;
    other.seed = 2;
    expect_report(m, &other, first, 1, 0);
    other = o, other.tokens = 299;
    expect_report(m, &other, first, 1, 0);
    other = o, other.row_tokens = 31;
    expect_report(m, &other, first, 1, 0);
    other = o, other.n_corpus = 0;
    expect_report(m, &other, first, 1, 0);
    expect_report(m, &other, both, 2, 1);
    // What the model writes ends with its end of text, which may be named outside of the tokenizer's own
    // file.
    int32_t eos = m->eos;
    m->eos = eos == 7 ? 8 : 7;
    expect_report(m, &o, both, 2, 2);
    expect_report(m, &other, first, 1, 0);
    m->eos = eos;
    expect_report(m, &other, first, 1, 1);
    // A model without weights finds them as well, and the numbers are those of the pass.
    er_model *bare = NULL;
    OK(er_model_load(&bare, dev, models[1], &(er_model_options){.check_only = true}));
    bare->tokenizer = m->tokenizer;
    OK(er_statistics_lookup(c, &found, bare, both, 2, &o));
    bare->tokenizer = NULL;
    assert_int_equal(found, 2);
    o.cache_dir = NULL;
    OK(er_statistics(again, m, both, 2, &o, NULL));
    for (size_t i = 0; i < 2; i++) {
        double *x = sum_of(c[i]), *y = sum_of(again[i]);
        BELOW(relative(x, y, m->arch.d_ff * m->arch.d_ff), 1e-12);
        free(x), free(y);
    }
    er_statistics_free(c, 2, dev);
    er_statistics_free(again, 2, dev);
    er_model_free(bare);
    free(cache);
}

static void test_exchange(void **state) {
    (void)state;
    er_model *m = model[0];
    size_t d = m->arch.d_ff;
    const size_t layers[2] = {0, 1}, bad[1] = {99};
    er_statistics_options o = options(10 * d, 32, NULL);
    er_second_moment *c[2], *back[2], *extra[1];
    char *out = er_path_join(dir, "stats"), pattern[256];
    OK(er_statistics(c, m, layers, 2, &o, NULL));
    OK(er_statistics_export(c, m, layers, 2, out, "prose", 777, false));
    snprintf(pattern, sizeof pattern,
        "%s/gpt2_prefixed/prose_stats/transformer.h.1.mlp.c_proj_float32_mom2_777.npz", out);
    assert_true(er_file_exists(pattern));
    snprintf(pattern, sizeof pattern, "%s/gpt2_prefixed/prose_stats/{}_float32_mom2_777.npz", out);
    const char *const from[] = {out, pattern};
    for (size_t f = 0; f < 2; f++) {
        OK(er_statistics_import(back, m, layers, 2, from[f]));
        for (size_t i = 0; i < 2; i++) {
            double *x = sum_of(back[i]), *y = sum_of(c[i]);
            assert_int_equal(back[i]->count, c[i]->count);
            BELOW(relative(x, y, d * d), 1e-7);
            free(x), free(y);
        }
        er_statistics_free(back, 2, dev);
    }
    OK(er_statistics_export(c, m, layers, 2, out, "prose", 778, true));
    FAILS(er_statistics_import(back, m, layers, 2, out), ER_EARG, "both");
    FAILS(er_statistics_import(back, m, layers, 2, dir), ER_ENOENT,
        "no transformer.h.0.mlp.c_proj_float*_mom2*.npz");
    FAILS(er_statistics_import(back, m, layers, 2, "some.npz"), ER_EARG, "neither a folder nor a pattern");
    FAILS(er_statistics_import(back, m, layers, 1, "some.npz"), ER_ENOENT, "some.npz: no such file");
    FAILS(er_statistics_import(extra, m, bad, 1, out), ER_EARG, "layer 99");
    FAILS(er_statistics_export(c, m, layers, 2, out, "a/b", 1, false), ER_EARG, "'a/b'");
    assert_null(back[0]);
    er_statistics_free(c, 2, dev);
    free(out);
}

static void test_bad_layers(void **state) {
    (void)state;
    er_statistics_options o = options(50, 16, NULL);
    er_second_moment *c[2];
    const size_t beyond[1] = {99}, twice[2] = {1, 1};
    FAILS(er_statistics(c, model[0], beyond, 1, &o, NULL), ER_EARG, "layer 99");
    FAILS(er_statistics(c, model[0], twice, 2, &o, NULL), ER_EARG, "layer 1 is named twice");
    assert_null(c[0]);
}

static void test_stopped(void **state) {
    (void)state;
    char *cache = er_path_join(dir, "stopped");
    er_statistics_options o = options(200, 16, cache);
    er_second_moment *c[1];
    const size_t layers[1] = {0};
    OK(er_mkdirs(cache));
    er_stop_request();
    for (int sampled = 0; sampled < 2; sampled++) {
        if (sampled) o.n_corpus = 0;
        FAILS(er_statistics(c, model[0], layers, 1, &o, NULL), ER_EINTERRUPTED, "stopped while it was read");
        assert_null(c[0]);
    }
    DIR *d = opendir(cache);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) assert_int_equal(e->d_name[0], '.');
    closedir(d);
    free(cache);
    er_stop_clear();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_row_by_row),
        cmocka_unit_test(test_corpus_rows),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_bad_layers),
        cmocka_unit_test(test_stopped),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
