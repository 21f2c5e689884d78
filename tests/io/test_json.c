// Strict JSON: what RFC 8259 allows is read, everything else is refused with the byte where it goes wrong.
#include "tests/io/scratch.h"

#include <time.h>
#include "io/base/json.h"
#include "io/base/json_scan.h"

static er_status parse(cJSON **out, const char *text) { return er_json_parse(out, text, strlen(text), "t"); }

static void refused(const char *text, size_t len, const char *message) {
    cJSON *tree = NULL;
    // An exact copy, so that a sanitizer sees a read behind the end.
    char *copy = malloc(len ? len : 1);
    memcpy(copy, text, len);
    FAILS(er_json_parse(&tree, copy, len, "t"), ER_EFORMAT, message);
    assert_null(tree);
    free(copy);
}
#define REFUSED(text, message) refused(text, sizeof(text) - 1, message)

static void accepts(void **state) {
    (void)state;
    static const char *const good[] = {"0", "-0", "-1.5e+3", "1E5", " null ", "true", "\"\"", "[]", "{}",
        "[1 , 2\t,\r\n3]", "{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":2}]}",
        "\"\\u00e9\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\x7f\"", "\"\xf0\x9f\x98\x80\"",
        "1.7976931348623157e308", "4.9e-324", "1e-999", "{\"\":1}"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cJSON *tree = NULL;
        OK(parse(&tree, good[i]));
        assert_non_null(tree);
        cJSON_Delete(tree);
    }
    cJSON *tree = NULL;
    OK(parse(&tree, "\"\\u00e9\\ud83d\\ude00\""));
    assert_string_equal(tree->valuestring, "\xc3\xa9\xf0\x9f\x98\x80");
    cJSON_Delete(tree);
}

static void grammar(void **state) {
    (void)state;
    REFUSED("", "is empty");
    REFUSED("  ", "byte 2: ends here");
    REFUSED("{", "byte 1: ends here");
    REFUSED("[1,", "byte 3: ends here");
    REFUSED("[1,]", "byte 3: a comma stands before");
    REFUSED("{\"a\":1,}", "byte 7: a comma stands before");
    REFUSED("{\"a\" 1}", "byte 5: expected ':'");
    REFUSED("{a:1}", "byte 1: expected a key");
    REFUSED("[1 2]", "byte 3: expected ','");
    REFUSED("{\"a\":1 \"b\":2}", "byte 7: expected ','");
    REFUSED("1 2", "byte 2: something follows");
    REFUSED("{} x", "byte 3: something follows");
    REFUSED("{}\0", "byte 2: something follows");
    REFUSED("tru", "byte 0: not a JSON value");
    REFUSED("nul", "byte 0: not a JSON value");
    REFUSED("// c\n1", "line 1, column 1 (byte 0): comments are not JSON");
    REFUSED("{\"a\":1, # c\n\"b\":2}", "line 1, column 9 (byte 8): comments are not JSON");
    REFUSED("{\"a\":1 /* c */}", "byte 7: comments are not JSON");
    REFUSED("[1\n// c\n]", "line 2, column 1 (byte 3): comments are not JSON");
    REFUSED("{\n \"a\": 1,\n}", "line 3, column 1 (byte 11): a comma stands before this '}'");
    REFUSED("[1,\n2,\n]", "line 3, column 1 (byte 7): a comma stands before this ']'");
    REFUSED("[\n\"\xc3\xa9\", x]", "line 2, column 6 (byte 8): not a JSON value");
    REFUSED("'a'", "byte 0: not a JSON value");
    REFUSED("]", "byte 0: not a JSON value");
    // A byte order mark in front is passed over, once, and only there.
    cJSON *marked = NULL;
    OK(parse(&marked, "\xef\xbb\xbf{\"a\": 1}"));
    assert_string_equal(marked->child->string, "a");
    cJSON_Delete(marked);
    OK(parse(&marked, "\xef\xbb\xbf"
                      "7"));
    assert_int_equal(marked->valueint, 7);
    cJSON_Delete(marked);
    REFUSED("\xef\xbb\xbf\xef\xbb\xbf{}", "byte 3: not a JSON value");
    REFUSED("\xef\xbb\xbf{\n]", "line 2, column 1 (byte 5): expected a key");
}

static void numbers(void **state) {
    (void)state;
    REFUSED("01", "leading zero");
    REFUSED("-01", "leading zero");
    REFUSED("1.", "digits after its point");
    REFUSED(".5", "not a JSON value");
    REFUSED("+1", "not a JSON value");
    REFUSED("-", "not a JSON value");
    REFUSED("1e", "digits in its exponent");
    REFUSED("1e+", "digits in its exponent");
    REFUSED("0x10", "byte 1: something follows");
    REFUSED("[1e999]", "byte 1: number too large");
    REFUSED("-1.8e308", "number too large");
    REFUSED("[NaN]", "byte 1: NaN");
    REFUSED("-Infinity", "not a JSON value");
    REFUSED("1000000000000000000000000000000000000000000000000000000000000000", "longer than 63");
}

static void strings(void **state) {
    (void)state;
    REFUSED("\"a", "byte 0: string is not closed");
    REFUSED("[\"a\\", "byte 4: ends here");
    REFUSED("[\"\\u12\"]", "\\u without four hex digits");
    REFUSED("\"\\x41\"", "byte 1: unknown escape");
    REFUSED("\"a\nb\"", "line 1, column 3 (byte 2): control character");
    REFUSED("\"a\0b\"", "byte 2: control character");
    REFUSED("\"a\\u0000b\"", "byte 2: \\u0000");
    REFUSED("\"\\ud800\"", "lone surrogate");
    REFUSED("\"\\ud800x\\udc00\"", "lone surrogate");
    REFUSED("\"\\ud800\\ud800\"", "lone surrogate");
    REFUSED("\"\\udc00\"", "lone surrogate");
    REFUSED("\"\xff\"", "byte 1: not valid UTF-8");
    REFUSED("\"\xc0\xaf\"", "byte 1: not valid UTF-8");
    REFUSED("\"\xe0\x80\xaf\"", "byte 1: not valid UTF-8");
    REFUSED("\"ab\xed\xa0\x80\"", "byte 3: not valid UTF-8");
    REFUSED("\"\xf4\x90\x80\x80\"", "byte 1: not valid UTF-8");
    REFUSED("\"\xe2\x82\"", "byte 1: not valid UTF-8");
    REFUSED("\"\xe2\x82", "byte 1: not valid UTF-8");
}

static void repeated_keys(void **state) {
    (void)state;
    REFUSED("{\"a\":1,\"b\":2,\"a\":3}", "byte 13: key \"a\" stands twice");
    REFUSED("[{\"x\":{\"k\":1,\"k\":2}}]", "byte 13: key \"k\"");
    REFUSED("{\"a\":1,\"\\u0061\":3}", "byte 7: key \"a\"");
    REFUSED("{\"\":1,\"\":3}", "stands twice");
    // Above eight keys the search sorts; every position of the repeat, with nested objects between.
    for (int n = 9; n < 40; n += 10) {
        for (int twin = 0; twin < n; twin++) {
            char text[2048] = "{";
            for (int i = 0; i < n; i++)
                (void)snprintf(
                    text + strlen(text), sizeof text - strlen(text), "\"key%d\":{\"key%d\":0},", i, i);
            (void)snprintf(text + strlen(text), sizeof text - strlen(text), "\"key%d\":0}", twin);
            cJSON *tree = NULL;
            char message[64];
            (void)snprintf(message, sizeof message, "key \"key%d\" stands twice", twin);
            FAILS(parse(&tree, text), ER_EFORMAT, message);
        }
    }
}

static void depth(void **state) {
    (void)state;
    char text[2 * ER_JSON_DEPTH + 3];
    cJSON *tree = NULL;
    memset(text, '[', ER_JSON_DEPTH);
    memset(text + ER_JSON_DEPTH, ']', ER_JSON_DEPTH);
    text[2 * ER_JSON_DEPTH] = '\0';
    OK(parse(&tree, text));
    cJSON_Delete(tree);
    memset(text, '[', ER_JSON_DEPTH + 1);
    memset(text + ER_JSON_DEPTH + 1, ']', ER_JSON_DEPTH + 1);
    text[2 * ER_JSON_DEPTH + 2] = '\0';
    FAILS(parse(&tree, text), ER_EFORMAT, "nested");
}

// Every prefix of a text with all kinds of values is refused, and none reads behind its end.
static void truncation(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\":[1,-2.5e3,true,false,null,\"x\\u00e9\\ud83d\\ude00\\n\xc3\xa9\"],\"b\":{\"c\":{}},\"d\":[]}";
    for (size_t n = 1; n + 1 < sizeof text; n++) refused(text, n, "t: byte");
}

static void getters(void **state) {
    (void)state;
    cJSON *o = NULL;
    uint64_t u = 7;
    double d = 7;
    bool b = true;
    const char *s = "unset";
    OK(parse(&o,
        "{\"u\":9007199254740991,\"big\":9007199254740993,\"neg\":-1,\"half\":0.5,\"int\":2.0,\"f\":-1.25,"
        "\"t\":true,\"n\":null,\"s\":\"word\",\"K\":1}"));
    OK(er_json_get_u64(&u, o, "u", "t"));
    assert_true(u == 9007199254740991ull);
    OK(er_json_get_u64(&u, o, "int", "t"));
    assert_int_equal(u, 2);
    OK(er_json_get_u64(&u, o, "n", "t"));
    OK(er_json_get_u64(&u, o, "absent", "t"));
    OK(er_json_get_u64(&u, o, "k", "t"));  // keys are case-sensitive
    assert_int_equal(u, 2);
    FAILS(er_json_get_u64(&u, o, "big", "t"), ER_EFORMAT, "t: 'big'");
    FAILS(er_json_get_u64(&u, o, "neg", "t"), ER_EFORMAT, "t: 'neg'");
    FAILS(er_json_get_u64(&u, o, "half", "t"), ER_EFORMAT, "t: 'half'");
    FAILS(er_json_get_u64(&u, o, "s", "t"), ER_EFORMAT, "t: 's'");
    assert_int_equal(u, 2);
    OK(er_json_get_f64(&d, o, "f", "t"));
    NEAR(d, -1.25, 0);
    FAILS(er_json_get_f64(&d, o, "t", "t"), ER_EFORMAT, "t: 't'");
    OK(er_json_get_bool(&b, o, "t", "t"));
    assert_true(b);
    FAILS(er_json_get_bool(&b, o, "u", "t"), ER_EFORMAT, "t: 'u'");
    OK(er_json_get_str(&s, o, "n", "t"));
    assert_string_equal(s, "unset");
    OK(er_json_get_str(&s, o, "s", "t"));
    assert_string_equal(s, "word");
    FAILS(er_json_get_str(&s, o, "f", "t"), ER_EFORMAT, "t: 'f'");
    cJSON_Delete(o);
    FAILS(er_json_read(&o, put_text("bad.json", "{]"), 100), ER_EFORMAT, "bad.json: byte 1");
}

static void cursor_keeps_spelling(void **state) {
    (void)state;
    static const char text[] = " { \"a\\n\" : [1, 18446744073709551615 ,{\"x\":[\"]}\"]}, 2.0, 1e0, -1, "
                               "18446744073709551616], \"b\":7 }";
    er_cursor c = {text, text + sizeof text - 1};
    uint64_t v = 0;
    char key[16];
    OK(er_json_check(text, sizeof text - 1, "t"));
    assert_true(er_cursor_enter(&c, '{') && er_cursor_next(&c, '}'));
    assert_true(er_cursor_string_room(&c) <= sizeof key);
    assert_int_equal(er_cursor_string(&c, key), 2);
    assert_string_equal(key, "a\n");
    assert_true(er_cursor_enter(&c, '[') && er_cursor_next(&c, ']') && er_cursor_u64(&c, &v) && v == 1);
    assert_true(er_cursor_next(&c, ']') && er_cursor_u64(&c, &v) && v == UINT64_MAX);
    assert_true(er_cursor_next(&c, ']') && er_cursor_peek(&c) == '{');
    er_cursor_skip(&c);
    for (int i = 0; i < 4; i++) {  // 2.0, 1e0, -1 and 2^64 are no unsigned integers
        assert_true(er_cursor_next(&c, ']') && !er_cursor_u64(&c, &v));
        er_cursor_skip(&c);
    }
    assert_false(er_cursor_next(&c, ']'));
    assert_true(er_cursor_next(&c, '}'));
    er_cursor_string(&c, key);
    assert_true(er_cursor_u64(&c, &v) && v == 7);
    assert_false(er_cursor_next(&c, '}'));
    assert_int_equal(er_cursor_peek(&c), 0);
}

// A vocabulary of a hundred thousand keys: linear work, where comparing all pairs would take minutes.
static void large_objects_are_fast(void **state) {
    (void)state;
    enum { N = 100000 };
    char *text = malloc((size_t)N * 32 + 64), *p = text;
    cJSON *tree = NULL;
    struct timespec a, b;
    *p++ = '{';
    for (int i = 0; i < N; i++) p += sprintf(p, "\"\\u0120token%d\":%d,", i, i);
    p += sprintf(p, "\"last\":0}");
    clock_gettime(CLOCK_MONOTONIC, &a);
    OK(er_json_parse(&tree, text, (size_t)(p - text), "t"));
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_int_equal(cJSON_GetArraySize(tree), N + 1);
    double s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    print_message("%.1f MB/s\n", (double)(p - text) / s / 1e6);
    BELOW(s, 5.0);
    cJSON_Delete(tree);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(grammar),
        cmocka_unit_test(numbers),
        cmocka_unit_test(strings),
        cmocka_unit_test(repeated_keys),
        cmocka_unit_test(depth),
        cmocka_unit_test(truncation),
        cmocka_unit_test(getters),
        cmocka_unit_test(cursor_keeps_spelling),
        cmocka_unit_test(large_objects_are_fast),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
