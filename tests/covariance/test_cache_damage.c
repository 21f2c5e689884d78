// Every bit of a cache file, turned over: the file is refused, or says exactly what it said.
#include <unistd.h>
#include "covariance/covariance.h"
#include "engine/statistics/corpus_internal.h"
#include "engine/statistics/documents_internal.h"
#include "engine/statistics/sequences_cache_internal.h"
#include "io/base/log.h"
#include "tests/io/scratch.h"

#define KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define OTHER_KEY "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static er_device *dev;

static void same_rows(const er_sequences *a, const er_sequences *b) {
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->tokens, b->tokens);
    assert_memory_equal(a->token, b->token, a->tokens * sizeof *a->token);
    for (size_t r = 0; r < a->rows; r++)
        assert_int_equal(er_sequences_length(a, r), er_sequences_length(b, r));
}

static void sequences(void **state) {
    (void)state;
    er_sequences *t = NULL, *back = NULL;
    static const int32_t ids[] = {1, 2, 3, 50, 60, 7};
    char *bytes = NULL;
    size_t n = 0, refused = 0;
    OK(er_sequences_new(&t));
    OK(er_sequences_add(t, ids, 4));
    OK(er_sequences_add(t, ids + 2, 4));
    OK(er_sequences_cache_put(t, in_scratch("c"), KEY));
    OK(er_sequences_cache_get(&back, in_scratch("c"), KEY, 100, 10));
    same_rows(t, back);
    er_sequences_free(back);
    OK(er_file_read(&bytes, &n, in_scratch("c/" KEY ".tokens.npz"), 1 << 20));
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        put_bytes("c/" KEY ".tokens.npz", bytes, n);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        er_status rc = er_sequences_cache_get(&back, in_scratch("c"), KEY, 100, 10);
        if (rc != ER_OK) {
            assert_int_equal(rc, ER_EFORMAT);
            refused++;
            continue;
        }
        same_rows(t, back);
        er_sequences_free(back);
    }
    assert_true(refused > 4 * n);  // what is left are dates and the like
    for (size_t len = 0; len < n; len++) {
        put_bytes("c/" KEY ".tokens.npz", bytes, len);
        FAILS(er_sequences_cache_get(&back, in_scratch("c"), KEY, 100, 10), ER_EFORMAT, KEY);
    }
    put_bytes("c/" OTHER_KEY ".tokens.npz", bytes, n);  // a whole file under another text's name
    FAILS(er_sequences_cache_get(&back, in_scratch("c"), OTHER_KEY, 100, 10), ER_EFORMAT, "of another text");
    er_sequences_free(t);
    free(bytes);
}

static void moments(void **state) {
    (void)state;
    enum { DIM = 3 };
    er_second_moment *m = NULL, *back = NULL;
    char *bytes = NULL;
    size_t n = 0;
    const double sum[DIM * DIM] = {4, 1, 0, 1, 5, 2, 0, 2, 6};
    double got[DIM * DIM];
    OK(er_second_moment_create(&m, dev, DIM));
    OK(dev->op->upload(dev, m->sum, sum, sizeof sum));
    m->count = 60;
    OK(er_second_moment_cache_put(m, dev, in_scratch("m"), KEY));
    OK(er_file_read(&bytes, &n, in_scratch("m/" KEY ".npz"), 1 << 20));
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        put_bytes("m/" KEY ".npz", bytes, n);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        er_status rc = er_second_moment_cache_get(&back, dev, in_scratch("m"), KEY, DIM);
        if (rc != ER_OK) {
            assert_int_equal(rc, ER_EFORMAT);
            continue;
        }
        OK(dev->op->download(dev, got, back->sum, sizeof got));
        assert_memory_equal(got, sum, sizeof got);
        assert_int_equal(back->count, 60);
        er_second_moment_free(dev, back);
    }
    er_second_moment_free(dev, m);
    free(bytes);
}

// The text is digested for the key and read for its tokens: a change in between is told.
static void a_text_that_changed(void **state) {
    (void)state;
    er_documents *d = NULL;
    char was[65];
    const char *const paths[] = {put_text("text.txt", "one two three\n")};
    OK(er_file_digest(was, paths[0]));
    OK(er_documents_read(&d, paths, 1, 100, 1));
    OK(er_documents_check(d, 0, was));
    er_documents_free(d);
    put_text("text.txt", "one two 3hree\n");
    OK(er_documents_read(&d, paths, 1, 100, 1));
    FAILS(er_documents_check(d, 0, was), ER_EIO, "text.txt: is not what it was");
    er_documents_free(d);
}

static void texts_must_be_files(void **state) {
    (void)state;
    const char *path = in_scratch("pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    FAILS(er_corpus_check(&path, 1), ER_EFORMAT, "pipe: is a pipe, not a regular file");
    path = "/dev/null";
    FAILS(er_corpus_check(&path, 1), ER_EFORMAT, "/dev/null: is a device");
    path = scratch_dir;
    FAILS(er_corpus_check(&path, 1), ER_EFORMAT, "is a folder");
    path = in_scratch("none");
    FAILS(er_corpus_check(&path, 1), ER_ENOENT, "none: no such file");
    path = put_text("empty", "");
    FAILS(er_corpus_check(&path, 1), ER_EFORMAT, "empty: is empty");
    path = put_text("huge", "x");
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);  // a terabyte, not a byte of it read
    FAILS(er_corpus_check(&path, 1), ER_EFORMAT, "1099511627776 bytes of text, limit");
}

static int set_up(void **state) {
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    return scratch_make(state) == 0 && er_device_open(&dev, &o) == ER_OK ? 0 : -1;
}
static int tear_down(void **state) {
    er_device_close(dev);
    return scratch_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sequences), cmocka_unit_test(moments),
        cmocka_unit_test(a_text_that_changed), cmocka_unit_test(texts_must_be_files)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
