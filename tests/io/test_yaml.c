// What the reader of settings takes for what, and what it refuses, with the line.
#include "io/base/json.h"
#include "io/base/yaml.h"
#include "tests/io/scratch.h"

static er_status parse(cJSON **out, const char *text) {
    return er_yaml_parse(out, text, strlen(text), "s.yaml");
}

// The text reads as this JSON.
static void reads(const char *text, const char *json) {
    cJSON *got = NULL, *want = NULL;
    OK(parse(&got, text));
    OK(er_json_parse(&want, json, strlen(json), "want"));
    if (!cJSON_Compare(got, want, true)) {
        char *is = cJSON_PrintUnformatted(got);
        fail_msg("'%s' reads as %s, not %s", text, is, json);
    }
    cJSON_Delete(got);
    cJSON_Delete(want);
}
static void refused(const char *text, const char *why) {
    cJSON *got = NULL;
    FAILS(parse(&got, text), ER_EFORMAT, why);
    assert_null(got);
}

static void test_shapes(void **state) {
    (void)state;
    reads("a: 1\nb: [2, 'x', \"y\"]\nc:\n  - 3\n  - four\n",
        "{\"a\":1,\"b\":[2,\"x\",\"y\"],\"c\":[3,\"four\"]}");
    reads("# a remark\n---\na: 1 # another\n...\n", "{\"a\":1}");
    reads("{a: 1, \"b c\": [], d: }", "{\"a\":1,\"b c\":[],\"d\":null}");
    reads("\xef\xbb\xbf"
          "a: \xc3\xa9\n",
        "{\"a\":\"\xc3\xa9\"}");
    reads("\xef\xbb\xbf"
          "a: 1\r\nb: 2\r\n",
        "{\"a\":1,\"b\":2}");
    reads("%YAML 1.2\n---\na: 1\n", "{\"a\":1}");
    reads("a: >\n  two\n  lines\nb: |\n  kept\n", "{\"a\":\"two lines\\n\",\"b\":\"kept\\n\"}");
    reads("a: \"tab\\t\\u00e9\"\nb: 'it''s'\n", "{\"a\":\"tab\\t\xc3\xa9\",\"b\":\"it's\"}");
    reads("a: \"./model:x\"\r\nb: h.{}.mlp\r\n", "{\"a\":\"./model:x\",\"b\":\"h.{}.mlp\"}");
    reads("? a\n: 1\n", "{\"a\":1}");
}

// What is nested deeper is there, but empty.
static void test_nested(void **state) {
    (void)state;
    reads("a: {b: 1, c: [{d: 2}]}\ne: 5\n", "{\"a\":{},\"e\":5}");
    reads("a: [[5, 10], 7, {b: 1}]\ne: 5\n", "{\"a\":[[],7,{}],\"e\":5}");
    reads("a:\n  b:\n    c: 1\n  d: 2\ne: 5\n", "{\"a\":{},\"e\":5}");
    char deep[2 * ER_YAML_DEPTH + 64];
    for (int extra = 0; extra < 2; extra++) {
        size_t n = ER_YAML_DEPTH + (size_t)extra;
        (void)snprintf(deep, sizeof deep, "\na: ");
        memset(deep + 4, '[', 1 + n);
        memset(deep + 5 + n, ']', 1 + n);
        deep[6 + 2 * n] = '\0';
        if (extra) refused(deep, "s.yaml: line 2: nested too deeply");
        else reads(deep, "{\"a\":[[]]}");
    }
}

static void test_scalars(void **state) {
    (void)state;
    static const struct {
        const char *yaml, *json;
    } cases[] = {{"0", "0"}, {"-17", "-17"}, {"+4", "4"}, {"010", "10"}, {"0o17", "15"}, {"0x1F", "31"},
        {"0.5", "0.5"}, {".5", "0.5"}, {"-.5", "-0.5"}, {"5.", "5"}, {"5e-1", "0.5"}, {"1e-3", "1e-3"},
        {"1E3", "1000"}, {"1.5e+2", "150"}, {"+.25e1", "2.5"}, {"20000", "20000"}, {"true", "true"},
        {"True", "true"}, {"TRUE", "true"}, {"false", "false"}, {"False", "false"}, {"FALSE", "false"},
        {"null", "null"}, {"~", "null"}, {"", "null"}, {"Null", "null"},
        // strings, here as in YAML 1.2
        {"yes", "\"yes\""}, {"No", "\"No\""}, {"on", "\"on\""}, {"tRue", "\"tRue\""}, {"1_000", "\"1_000\""},
        {"0b11", "\"0b11\""}, {"0o8", "\"0o8\""}, {"0x", "\"0x\""}, {"-0x1", "\"-0x1\""}, {"1e", "\"1e\""},
        {"1e+", "\"1e+\""}, {".", "\".\""}, {"+", "\"+\""}, {".e1", "\".e1\""}, {"1.2.3", "\"1.2.3\""},
        {"12:30", "\"12:30\""}, {"inf", "\"inf\""}, {"nan", "\"nan\""}, {"0x1p3", "\"0x1p3\""},
        {"1 2", "\"1 2\""}, {"MEMIT", "\"MEMIT\""}, {"2001-12-14", "\"2001-12-14\""},
        // quoted ones always
        {"'1'", "\"1\""}, {"\"true\"", "\"true\""}, {"''", "\"\""}, {"'.nan'", "\".nan\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char yaml[64], json[64];
        (void)snprintf(yaml, sizeof yaml, "a: %s\n", cases[i].yaml);
        (void)snprintf(json, sizeof json, "{\"a\":%s}", cases[i].json);
        reads(yaml, json);
        (void)snprintf(yaml, sizeof yaml, "a: [%s]\n", *cases[i].yaml ? cases[i].yaml : "~");
        (void)snprintf(json, sizeof json, "{\"a\":[%s]}", cases[i].json);
        reads(yaml, json);
    }
    static const char *const infinite[] = {
        ".inf", "-.inf", "+.Inf", ".INF", ".nan", ".NaN", ".NAN", "1e999", "-1e400"};
    for (size_t i = 0; i < sizeof infinite / sizeof *infinite; i++) {
        char yaml[64];
        (void)snprintf(yaml, sizeof yaml, "b: 1\na: %s\n", infinite[i]);
        refused(yaml, "s.yaml: line 2: not a finite number");
    }
}

static void test_refusals(void **state) {
    (void)state;
    refused("a: &x 1\nb: 2\n", "s.yaml: line 1: an anchor");
    refused("a: 1\nb: &x [1]\n", "s.yaml: line 2: an anchor");
    refused("a: &x\n  b: 1\n", "line 1: an anchor");
    refused("&x a: 1\n", "line 1: an anchor");
    refused("\xc3\xa9: &x 1\n", "line 1: an anchor");  // bytes are not characters
    refused("a: 1\nb: *x\n", "line 2: an alias");
    refused("a: [{b: *x}]\n", "line 1: an alias");
    refused("a: {b: &x 1}\n", "line 1: an anchor");
    refused("a: !!int 1\n", "line 1: a tag");
    refused("a: ! 1\n", "line 1: a tag");
    refused("a: 1\nb: !x [1]\n", "line 2: a tag");
    refused("!!map\na: 1\n", "line 1: a tag");
    refused("!!python/object:os.system {a: 1}\n", "line 1: a tag");
    refused("%TAG ! tag:x,2000:\n---\na: 1\n", "a tag directive");
    refused("a: 1\nb: 2\na: 3\n", "s.yaml: line 3: 'a' occurs twice");
    refused("{a: 1, \"a\": 2}", "line 1: 'a' occurs twice");
    refused("a: 1\n---\nb: 2\n", "a second document");
    refused("a: 1\n...\n---\n", "a second document");
    refused("", "is empty");
    refused("# nothing\n", "not a mapping");
    refused("---\n", "not a mapping");
    refused("- 1\n- 2\n", "line 1: not a mapping");
    refused("only words\n", "line 1: not a mapping");
    refused("? [a, b]\n: 1\n", "line 1: a key that is not a scalar");
    refused("a: 1\n'': 2\n", "line 2: a value without a key");
    refused("? \n: 2\n", "a value without a key");
    refused("a: \"x\\0y\"\n", "line 1: a NUL character");
    refused("\"x\\0y\": 1\n", "line 1: a NUL character");
    refused("a: [1, 2\n", "line 2: ");
    refused("a: 1\n\tb: 2\n", "line 2: ");
    refused("a: 'open\n", "line 2: ");
    refused("a: 1\n  b: 2\n", "line 2: ");
    refused("a: 1\nb: \x01\n", "line 2: control characters");
    refused("a: 1\nb: \xff\n", "s.yaml: line 2: not UTF-8");
    refused("a: 1\nb: \xc0\xaf\n", "line 2: not UTF-8");
    refused("\xff\xfe"
            "a",
        "UTF-16");
}

static void test_sizes(void **state) {
    (void)state;
    size_t n = 0, room = ER_YAML_BYTES + 2;
    char *text = malloc(room);
    cJSON *got = NULL;
    assert_non_null(text);
    for (size_t i = 0; i < ER_YAML_KEYS; i++) n += (size_t)snprintf(text + n, room - n, "k%zu: 1\n", i);
    OK(parse(&got, text));
    assert_int_equal(cJSON_GetArraySize(got), ER_YAML_KEYS);
    cJSON_Delete(got);
    got = NULL;
    (void)snprintf(text + n, room - n, "more: 1\n");
    refused(text, "line 1001: too many keys");
    memset(text, '#', room);
    text[room - 1] = '\0';
    refused(text, "limit 1048576");
    const char *path = put_text("large.yaml", text);
    FAILS(er_yaml_read(&got, path), ER_EFORMAT, "large.yaml: 1048577 bytes, limit 1048576");
    FAILS(er_yaml_read(&got, in_scratch("none.yaml")), ER_ENOENT, "none.yaml");
    OK(er_yaml_read(&got, put_text("fine.yaml", "a: 1\n")));
    cJSON_Delete(got);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_nested),
        cmocka_unit_test(test_scalars), cmocka_unit_test(test_refusals), cmocka_unit_test(test_sizes)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
