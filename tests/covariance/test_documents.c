// Text files as documents: paragraphs, records, order.
#include "engine/statistics/documents_internal.h"
#include "io/base/file.h"
#include "tests/test.h"
#include <unistd.h>

static char dir[64];

static int set_up(void **state) {
    (void)state;
    strcpy(dir, "documents.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}
static int tear_down(void **state) {
    (void)state;
    return er_remove_tree(dir) == ER_OK ? 0 : -1;
}

static char *write_text(const char *name, const char *text) {
    char *path = er_path_join(dir, name);
    OK(er_file_write_atomic(path, text, strlen(text)));
    return path;
}

static void test_paragraphs(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t length;
    } cases[] = {{"", 0}, {"one line", 8}, {"a\nb\nc\n", 6}, {"a\n\nb\n", 3}, {"a\r\n \t\r\n\r\nb", 9},
        {"a\n\n\n\n", 5}, {"\n\na\n\nb", 5}, {"\n\n", 2}, {" \n", 2}, {"a\n   b\n\nc", 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = er_paragraph_length(cases[i].text, strlen(cases[i].text));
        if (n != cases[i].length) fail_msg("case %zu: %zu bytes, expected %zu", i, n, cases[i].length);
    }
}

// Whatever the run length and the order, the documents are the text: each byte once.
static void test_plain_text_is_kept_whole(void **state) {
    (void)state;
    char text[4000] = "";
    for (int i = 0; i < 60; i++)
        sprintf(text + strlen(text), "Paragraph %d\nhas a tail.%s", i, i % 5 ? "\n\n" : "\n \n\n");
    char *path = write_text("plain.txt", text);
    for (size_t run = 1; run < 6000; run = run * 3 + 1) {
        er_documents *d = NULL;
        const char *paths[] = {path};
        char seen[60] = {0};
        size_t total = 0;
        OK(er_documents_read(&d, paths, 1, run, 7));
        for (size_t i = 0; i < er_documents_count(d); i++) {
            char *t = NULL, *p;
            size_t len = 0;
            OK(er_documents_text(&t, &len, d, i));
            total += len;
            assert_int_equal(strncmp(t, "Paragraph ", 10), 0);
            for (p = t; (p = strstr(p, "Paragraph ")); p++) {
                int n = atoi(p + 10);
                assert_int_equal(seen[n]++, 0);
            }
            free(t);
        }
        assert_int_equal(total, strlen(text));
        for (int i = 0; i < 60; i++) assert_int_equal(seen[i], 1);
        if (run == 1) assert_int_equal(er_documents_count(d), 60);
        er_documents_free(d);
    }
    free(path);
}

static void order_of(char *out, const char *const *paths, size_t n, uint64_t seed) {
    er_documents *d = NULL;
    OK(er_documents_read(&d, paths, n, 1, seed));
    *out = 0;
    for (size_t i = 0; i < er_documents_count(d); i++) {
        char *t = NULL;
        size_t len = 0;
        OK(er_documents_text(&t, &len, d, i));
        assert_int_equal(len, 1);
        strcat(out, t);
        free(t);
    }
    er_documents_free(d);
}

static void test_records_and_order(void **state) {
    (void)state;
    char lines[2000] = "\n";
    for (int i = 0; i < 20; i++)
        sprintf(lines + strlen(lines), "{\"id\": %d, \"text\": \"%c\"}\n", i, 'a' + i);
    char *a = write_text("a.jsonl", lines),
         *b = write_text("b.jsonl", "{\"text\":\"X\"}\n\n{\"text\":\"Y\"}");
    const char *paths[] = {a, b};
    char one[64], again[64], two[64];
    order_of(one, paths, 2, 1);
    order_of(again, paths, 2, 1);
    order_of(two, paths, 2, 2);
    assert_string_equal(one, again);
    assert_string_not_equal(one, two);
    assert_int_equal(strlen(one), 22);
    for (const char *c = "abcdefghijklmnopqrstXY"; *c; c++) assert_non_null(strchr(one, *c));
    free(a), free(b);
}

static void test_bad_records(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {{"{\"text\": 3}", ".jsonl:1: "}, {"{\"text\": \"a\"", ".jsonl:1: "},
        {"{\"title\": \"a\"}", "no \"text\""}};
    char *path = er_path_join(dir, "bad.jsonl");
    const char *paths[] = {path};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        er_documents *d = NULL;
        char *t = NULL;
        size_t len = 0;
        OK(er_file_write_atomic(path, bad[i].text, strlen(bad[i].text)));
        OK(er_documents_read(&d, paths, 1, 1, 1));
        FAILS(er_documents_text(&t, &len, d, 0), ER_EFORMAT, bad[i].message);
        er_documents_free(d);
    }
    er_documents *d = NULL;
    const char *absent[] = {"nowhere.txt"};
    FAILS(er_documents_read(&d, absent, 1, 1, 1), ER_ENOENT, "nowhere.txt");
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paragraphs),
        cmocka_unit_test(test_plain_text_is_kept_whole),
        cmocka_unit_test(test_records_and_order),
        cmocka_unit_test(test_bad_records),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
