// Merging against a double loop, texts of a megabyte, and threads.
#include <pthread.h>
#include "tests/support/small_tokenizer.h"

#define PAIRS 60
typedef struct random_bpe {
    char left[PAIRS][24], right[PAIRS][24];
    size_t count;
} random_bpe;

// Random merges over a, b, c: each joins two tokens that exist. Writes vocabulary and merges as JSON.
static void random_merges(random_bpe *r, uint64_t *seed, char *vocab, char *merges, size_t room) {
    char tokens[PAIRS + 4][24] = {"a", "b", "c"};
    size_t n = 3, v = (size_t)snprintf(vocab, room, "\"a\":0,\"b\":1,\"c\":2"), m = 0;
    r->count = 0;
    while (r->count < PAIRS) {
        const char *x = tokens[test_next(seed) % n], *y = tokens[test_next(seed) % n];
        char both[48];
        bool known = false, twice = false;
        if (strlen(x) + strlen(y) > 12) continue;
        snprintf(both, sizeof both, "%s%s", x, y);
        for (size_t i = 0; i < n; i++) known = known || !strcmp(tokens[i], both);
        for (size_t i = 0; i < r->count; i++)
            twice = twice || (!strcmp(r->left[i], x) && !strcmp(r->right[i], y));
        if (twice) continue;
        m += (size_t)snprintf(merges + m, room - m, "%s\"%s %s\"", m ? "," : "", x, y);
        strcpy(r->left[r->count], x);
        strcpy(r->right[r->count++], y);
        if (known) continue;
        v += (size_t)snprintf(vocab + v, room - v, ",\"%s\":%zu", both, n);
        memcpy(tokens[n++], both, 24);
    }
}

// Lengths of the tokens of `word`: again and again the first pair of the lowest rank, found by comparing
// strings.
static size_t merge_slowly(const random_bpe *r, const char *word, size_t len, size_t *lens) {
    size_t n = len;
    for (size_t i = 0; i < len; i++) lens[i] = 1;
    for (;;) {
        size_t best = SIZE_MAX, rank = r->count, at = 0;
        for (size_t i = 0; i + 1 < n; at += lens[i++])
            for (size_t k = 0; k < rank; k++)
                if (strlen(r->left[k]) == lens[i] && strlen(r->right[k]) == lens[i + 1] &&
                    !memcmp(r->left[k], word + at, lens[i]) &&
                    !memcmp(r->right[k], word + at + lens[i], lens[i + 1]))
                    rank = k, best = i;
        if (best == SIZE_MAX) return n;
        lens[best] += lens[best + 1];
        memmove(lens + best + 1, lens + best + 2, (--n - best - 1) * sizeof *lens);
    }
}

static void test_merging_against_double_loop(void **state) {
    (void)state;
    static char vocab[8192], merges[8192], word[3000];
    static size_t lens[3000];
    uint64_t seed = 20240601;
    for (int round = 0; round < 10; round++) {
        random_bpe r;
        er_tokens out = {0};
        random_merges(&r, &seed, vocab, merges, sizeof vocab);
        er_tokenizer *t = make((parts){.vocab = vocab, .merges = merges});
        // Both sides of where the search changes from a rescan to a heap, and of where a word is no longer
        // cached.
        for (size_t len = 1; len < 3000; len += len < 100 ? 1 : 700) {
            for (size_t i = 0; i < len; i++) word[i] = (char)('a' + test_next(&seed) % 3);
            size_t n = merge_slowly(&r, word, len, lens), at = 0;
            for (int again = 0; again < 2; again++, at = 0) {  // the second time out of the cache
                OK(er_tokenizer_encode(t, &out, word, len, false));
                assert_int_equal(out.count, n);
                for (size_t i = 0; i < n; at += lens[i++]) {
                    assert_int_equal(out.at[i].begin, at);
                    assert_int_equal(out.at[i].end, at + lens[i]);
                    char token[32] = "";
                    memcpy(token, word + at, lens[i]);
                    assert_int_equal(out.at[i].id, er_tokenizer_id(t, token));
                }
            }
        }
        er_tokens_free(&out);
        er_tokenizer_free(t);
    }
}

// More different words than the cache holds: it starts anew, and nothing it says is stale.
static void test_more_words_than_fit(void **state) {
    (void)state;
    uint64_t seed = 77;
    er_tokens out = {0};
    er_tokenizer *t = make((parts){.merges = "\"a b\""});
    for (int i = 0; i < 100000; i++) {
        char word[40];
        size_t len = 12 + test_next(&seed) % 28, want = len;
        for (size_t k = 0; k < len; k++) {
            word[k] = (char)('a' + test_next(&seed) % 3);
            want -= k > 0 && word[k - 1] == 'a' && word[k] == 'b';
        }
        OK(er_tokenizer_encode(t, &out, word, len, false));
        assert_int_equal(out.count, want);
        assert_int_equal(out.at[want - 1].end, len);
    }
    er_tokens_free(&out);
    er_tokenizer_free(t);
}

static void test_a_megabyte_without_a_space(void **state) {
    (void)state;
    size_t len = (size_t)1 << 20;
    char *word = malloc(len);
    er_tokens out = {0};
    assert_non_null(word);
    memset(word, 'a', len);
    er_tokenizer *t = make((parts){.vocab = "\"a\":0,\"aa\":1,\"aaaa\":2", .merges = "\"a a\",\"aa aa\""});
    OK(er_tokenizer_encode(t, &out, word, len - 1, false));
    assert_int_equal(out.count, len / 4 + 1);  // ... aaaa aa a
    assert_int_equal(out.at[len / 4 - 2].id, 2);
    assert_int_equal(out.at[len / 4 - 1].id, 1);
    assert_int_equal(out.at[len / 4].id, 0);
    er_tokens_free(&out);
    er_tokenizer_free(t);
    free(word);
}

// A megabyte of spaces that are tokens, each of which asks for the white space around it: looking at all of
// it for each would take a day.
static void test_a_megabyte_of_spaces(void **state) {
    (void)state;
    static const char *const flags[] = {"\"lstrip\":true,\"rstrip\":false",
        "\"lstrip\":false,\"rstrip\":true", "\"lstrip\":true,\"rstrip\":true"};
    size_t n = (size_t)1 << 20;
    char *text = malloc(n + 2), added[256];
    assert_non_null(text);
    memset(text, ' ', n + 2);
    text[0] = text[n + 1] = 'a';
    for (int i = 0; i < 6; i++) {
        bool trims = i >= 3;
        er_tokens out = {0};
        snprintf(added, sizeof added,
            "{\"id\":7,\"content\":\" \",\"single_word\":false,%s,\"normalized\":false,\"special\":false}",
            flags[i % 3]);
        er_tokenizer *t = make((parts){.added = added, .post = trims ? BYTE_LEVEL : NULL});
        OK(er_tokenizer_encode(t, &out, text, n + 2, true));
        size_t count = i % 3 == 2 ? 1 : n;  // both sides: the first takes them all
        assert_int_equal(out.count, count + 2);
        for (size_t k = 0; k < count; k++) {
            size_t begin = 1 + k, end = i % 3 ? n + 1 : begin + 1;
            assert_int_equal(out.at[1 + k].id, 7);
            assert_int_equal(out.at[1 + k].begin, trims ? end : begin);
            assert_int_equal(out.at[1 + k].end, end);
        }
        er_tokens_free(&out);
        er_tokenizer_free(t);
    }
    free(text);
}

// ---- threads: two tokenizers in turn, so that every thread's cache changes hands all the time ----

typedef struct job {
    const er_tokenizer *t[2];
    const er_tokens *want;
    const char *text;
    size_t len;
    int wrong;
} job;

static void *encode_in_turn(void *arg) {
    job *j = arg;
    er_tokens out = {0};
    for (int i = 0; i < 40; i++) {
        const er_tokens *want = &j->want[i % 2];
        if (er_tokenizer_encode(j->t[i % 2], &out, j->text, j->len, false) != ER_OK ||
            out.count != want->count || memcmp(out.at, want->at, out.count * sizeof *out.at) != 0)
            j->wrong++;
    }
    er_tokens_free(&out);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    er_tokenizer *t[2] = {make((parts){.merges = "\"a b\""}), make((parts){.merges = "\"b c\""})};
    er_tokens want[2] = {{0}, {0}};
    char text[4000];
    uint64_t seed = 5;
    for (size_t i = 0; i < sizeof text; i++) text[i] = "abc "[test_next(&seed) % 4];
    for (int i = 0; i < 2; i++) OK(er_tokenizer_encode(t[i], &want[i], text, sizeof text, false));
    assert_true(want[0].count != want[1].count ||
                memcmp(want[0].at, want[1].at, want[0].count * sizeof(er_token)) != 0);
    pthread_t threads[4];
    job jobs[4];
    for (int i = 0; i < 4; i++) {
        jobs[i] = (job){{t[0], t[1]}, want, text, sizeof text, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_in_turn, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(jobs[i].wrong, 0);
    }
    for (int i = 0; i < 2; i++) er_tokens_free(&want[i]), er_tokenizer_free(t[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merging_against_double_loop),
        cmocka_unit_test(test_more_words_than_fit),
        cmocka_unit_test(test_a_megabyte_without_a_space),
        cmocka_unit_test(test_a_megabyte_of_spaces),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
