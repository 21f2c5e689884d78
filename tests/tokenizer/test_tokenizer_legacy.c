// vocab.json and merges.txt that do not fit each other, their configuration, or the model: refused with the
// file named, or read as the reference reads them. No text yields an id that there is no token for.
#include "engine/model.h"
#include "io/base/log.h"
#include "tests/support/small_tokenizer.h"
#include "tests/support/tokenizer_folder.h"

static const char vocab[] = "{\"</s>\":0,\"\xc4\xa0\":1,\"a\":2,\"b\":3,\"ab\":4,\"t\":5,\"h\":6,\"th\":7}";

// The pair and a configuration (or none) in the folder, opened.
static er_status open_pair(er_tokenizer **t, const char *json, const char *merges, const char *config) {
    put_file("vocab.json", json);
    put_file("merges.txt", merges);
    put_file("tokenizer_config.json", config);
    return er_tokenizer_open(t, folder);
}

static void ids_of(const er_tokenizer *t, const char *text, const int32_t *want, size_t n) {
    er_tokens out = {0};
    OK(er_tokenizer_encode(t, &out, text, strlen(text), true));
    assert_int_equal(out.count, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(out.at[i].id, want[i]);
    er_tokens_free(&out);
}

static void test_empty_bos(void **state) {
    (void)state;
    er_tokenizer *t = NULL;
    FAILS(open_pair(&t, vocab, "a b\n",
              "{\"add_bos_token\":true,\"bos_token\":{\"content\":\"\",\"lstrip\":true},\"eos_token\":\"</"
              "s>\"}"),
        ER_EFORMAT, "tokenizer_config.json: add_bos_token with a bos_token '' that is not in the vocabulary");
    FAILS(open_pair(&t, vocab, "a b\n", "{\"add_bos_token\":true,\"bos_token\":\"\"}"), ER_EFORMAT, folder);
    // Nothing asks for it: then it is no token at all, and none is put.
    OK(open_pair(&t, vocab, "a b\n", "{\"bos_token\":\"\",\"eos_token\":\"\",\"unk_token\":\"\"}"));
    assert_int_equal(er_tokenizer_bos(t), -1);
    assert_int_equal(er_tokenizer_eos(t), -1);
    ids_of(t, "ab", (const int32_t[]){4}, 1);
    er_tokenizer_free(t);
    // A vocabulary may have an empty token of its own.
    OK(open_pair(&t, "{\"\":0,\"a\":1}", "\n", "{\"add_bos_token\":true,\"bos_token\":\"\"}"));
    ids_of(t, "a", (const int32_t[]){0, 1}, 2);
    er_tokenizer_free(t);
}

static void test_merges_beyond(void **state) {
    (void)state;
    er_tokenizer *t = NULL;
    FAILS(open_pair(&t, vocab, "#version: 0.2\na b\nb a\n", NULL), ER_EFORMAT,
        "merges.txt: merge 1 makes 'ba', which is not in the vocabulary");
    FAILS(
        open_pair(&t, vocab, "a c\n", NULL), ER_EFORMAT, "merges.txt: merge 0: 'c' is not in the vocabulary");
    FAILS(open_pair(&t, vocab, "a b\na\n", NULL), ER_EFORMAT, "merges.txt:2: not two tokens: 'a'");
    assert_non_null(strstr(er_last_error(), folder));
    FAILS(open_pair(&t, "{\"a\":-1}", "", NULL), ER_EFORMAT,
        "vocab.json: token 'a' has no whole number as its id");
    assert_non_null(strstr(er_last_error(), folder));
}

// Bytes without a symbol are left out, as the reference leaves them out.
static void test_missing_bytes(void **state) {
    (void)state;
    er_tokenizer *t = NULL;
    OK(open_pair(&t, vocab, "a b\nt h\n", NULL));
    ids_of(t, "ab z th", (const int32_t[]){4, 1, 1, 7}, 4);
    ids_of(t, "\xe4\xbd\xa0", NULL, 0);
    er_tokenizer_free(t);
}

static void test_marks(void **state) {
    (void)state;
    char marked[256];
    er_tokenizer *t = NULL;
    (void)snprintf(marked, sizeof marked, "\xef\xbb\xbf%s", vocab);
    OK(open_pair(
        &t, marked, "\xef\xbb\xbf#version: 0.2\r\na b\r\nt h\r\n", "\xef\xbb\xbf{\"eos_token\":\"</s>\"}"));
    ids_of(t, "ab", (const int32_t[]){4}, 1);
    assert_int_equal(er_tokenizer_eos(t), 0);
    er_tokenizer_free(t);
    OK(open_pair(&t, vocab,
        "\xef\xbb\xbf"
        "a b\nt h",
        NULL));
    ids_of(t, "abth", (const int32_t[]){4, 7}, 2);
    er_tokenizer_free(t);
}

static void test_not_the_files(void **state) {
    (void)state;
    er_tokenizer *t = NULL;
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n";
    FAILS(open_pair(&t, pointer, "a b\n", NULL), ER_EFORMAT, "vocab.json: is a Git LFS pointer");
    FAILS(open_pair(&t, vocab, pointer, NULL), ER_EFORMAT, "merges.txt: is a Git LFS pointer");
    FAILS(open_pair(&t, vocab, "a b\n", "<html>"), ER_EFORMAT, "tokenizer_config.json: is an HTML page");
    put_file("vocab.json", NULL);
    put_file("merges.txt", NULL);
    put_file("tokenizer_config.json", NULL);
    put_file("tokenizer.model", "\n\x0e\n\5<unk>");
    FAILS(er_tokenizer_open(&t, folder), ER_ENOENT, "has tokenizer.model but no tokenizer.json");
    put_file("tokenizer.model", NULL);
}

// Tokens that the embedding has no row for.
static void test_no_row(void **state) {
    (void)state;
    er_tokenizer *t = NULL;
    OK(open_pair(&t, vocab, "a b\nt h\n", NULL));
    er_model m = {.arch = {.vocab = 7}, .tokenizer = t};
    int32_t ids[] = {4, 6, 7};
    OK(er_model_check_tokens(&m, ids, 2));
    FAILS(er_model_check_tokens(&m, ids, 3), ER_EFORMAT,
        "makes token 7 ('th') of the text, the embedding has 7 rows");
    FAILS(er_model_check_tokens(&m, (const int32_t[]){-1}, 1), ER_EFORMAT, "token -1");
    er_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_empty_bos), cmocka_unit_test(test_merges_beyond),
        cmocka_unit_test(test_missing_bytes), cmocka_unit_test(test_marks),
        cmocka_unit_test(test_not_the_files), cmocka_unit_test(test_no_row)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
