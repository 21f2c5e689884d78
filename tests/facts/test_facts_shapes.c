// How files of facts come: pretty-printed, joined, with byte order marks, from other programs; what is read
// of them, and how what is not read is called.
#include "io/facts.h"
#include "io/base/log.h"
#include "tests/test.h"

static er_facts *parse_bytes(const char *text, size_t n) {
    er_facts *f = NULL;
    OK(er_facts_parse(&f, text, n, "facts", NULL));
    return f;
}
static er_facts *parse(const char *text) { return parse_bytes(text, strlen(text)); }

static void rejected(const er_facts *f, size_t i, size_t line, const char *part) {
    if (i >= f->n_rejects) fail_msg("%zu rejects, wanted one of line %zu: %s", f->n_rejects, line, part);
    assert_int_equal(f->rejects[i].line, line);
    if (!strstr(f->rejects[i].reason, part)) fail_msg("reason '%s' lacks '%s'", f->rejects[i].reason, part);
}

#define REST "\"prompt\": \"{} is {\\\"[ in\", \"target\": \"b\""

static void test_forms(void **state) {
    (void)state;
    static const struct {
        const char *what, *text;
        size_t lines[2];
    } at[] = {
        {"lines", "{\"subject\": \"A\", " REST "}\n{\"subject\": \"B\", " REST "}\n", {1, 2}},
        {"windows", "\xef\xbb\xbf{\"subject\": \"A\", " REST "}\r\n\r\n{\"subject\": \"B\", " REST "}\r\n",
            {1, 3}},
        {"pretty",
            "{\n  \"subject\": \"A\",\n  " REST "\n}\n{\n  \"subject\": \"B\",\n  " REST
            ",\n  \"neighbors\": [\n    {\n"
            "      \"prompt\": \"x\"\n    }\n  ]\n}\n",
            {1, 5}},
        {"without indentation",
            "\n{\n\"subject\": \"A\",\n" REST ",\n\"neighbors\": [\n{\n\"prompt\": \"x\"\n}\n]\n}\n{\n"
            "\"subject\": \"B\",\n" REST "\n}\n",
            {2, 11}},
        {"windows, pretty",
            "\xef\xbb\xbf{\r\n\t\"subject\": \"A\",\r\n\t" REST
            "\r\n}\r\n{\r\n\t\"subject\": \"B\",\r\n\t" REST "\r\n}",
            {1, 5}},
        {"joined", "{\"subject\": \"A\", " REST "}{\"subject\": \"B\", " REST "}", {1, 1}},
        {"joined, pretty", "{\n\"subject\": \"A\",\n" REST "\n}{\n\"subject\": \"B\",\n" REST "\n}", {1, 4}},
        {"two files with marks",
            "\xef\xbb\xbf{\"subject\": \"A\", " REST "}\n\xef\xbb\xbf{\"subject\": \"B\", " REST "}\n",
            {1, 2}},
        {"mixed", "{\"subject\": \"A\", " REST "}\n{\n \"subject\": \"B\", " REST "}\n", {1, 2}},
        {"array",
            "\xef\xbb\xbf\r\n[{\r\n\"subject\": \"A\", " REST "},\r\n{\"subject\": \"B\", " REST "}]\r\n",
            {1, 2}},
    };
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        er_facts *f = parse(at[i].text);
        if (f->count != 2 || f->n_rejects)
            fail_msg("%s: %zu facts, %s", at[i].what, f->count, f->n_rejects ? f->rejects[0].reason : "");
        for (size_t k = 0; k < 2; k++) {
            assert_string_equal(f->at[k].subject, k ? "B" : "A");
            if (f->at[k].line != at[i].lines[k]) fail_msg("%s: line %zu", at[i].what, f->at[k].line);
        }
        er_facts_free(f);
    }
    er_facts *one = parse("{\n  \"subject\": \"A\",\n  " REST "\n}");
    assert_int_equal(one->count, 1);
    er_facts_free(one);
}

// What is damaged costs itself and not its neighbours.
static void test_damage(void **state) {
    (void)state;
    er_facts *f = parse(
        "{\"subject\": \"A\", " REST
        "}\n{\"subject\": \"B\",\n{\"subject\": \"C\", \"prompt\": \"{} \n{\"subject\": "
        "\"D\", " REST "}\n{\"subject\": \"E\", " REST
        "}}\n{\n \"subject\": \"F\",\n\n{\"subject\": \"G\", " REST "}\n{\"subject\": \"H\", \"prompt\":");
    assert_int_equal(f->count, 3);
    assert_string_equal(f->at[1].subject, "D");
    assert_string_equal(f->at[2].subject, "G");
    assert_int_equal(f->n_rejects, 5);
    static const size_t lines[] = {2, 3, 5, 6, 10};
    for (size_t i = 0; i < 5; i++) rejected(f, i, lines[i], "byte");
    er_facts_free(f);
}

static void test_utf16(void **state) {
    (void)state;
    er_facts *f = NULL;
    FAILS(er_facts_parse(&f, "\xff\xfe{\0\"\0", 6, "facts", NULL), ER_EFORMAT,
        "UTF-16 (it begins with the bytes FF FE): save it as UTF-8");
    FAILS(er_facts_parse(&f, "\xfe\xff\0{", 4, "facts", NULL), ER_EFORMAT, "bytes FE FF");
    FAILS(er_facts_parse(&f, "{\0\"\0", 4, "facts", NULL), ER_EFORMAT, "bytes 7B 00");
    FAILS(er_facts_parse(&f, "\0{\0\"", 4, "facts", NULL), ER_EFORMAT, "bytes 00 7B");
}

static void test_memit_requests(void **state) {
    (void)state;
    er_facts *f =
        parse("[{\"prompt\": \"{} lives in\", \"subject\": \"Ten Mosaro\", \"target_new\": {\"str\": "
              "\"Vibark\"}},\n"
              "{\"prompt\": \"{} plays\", \"subject\": \"Dudol\", \"target_new\": {\"str\": \" chess\", "
              "\"id\": \"Q1\"}, "
              "\"target_true\": {\"str\": \"golf\"}, \"relation_id\": \"P1\", \"case_id\": 4},\n"
              "{\"prompt\": \"Una works as\", \"subject\": \"Una\", \"target_new\": {\"str\": \"cook\"}},\n"
              "{\"prompt\": \"{} is\", \"subject\": \"Tam\", \"target_new\": {}}]");
    assert_string_equal(f->format, "memit");
    assert_int_equal(f->count, 3);
    assert_string_equal(f->at[0].prompt, "{} lives in");
    assert_string_equal(f->at[0].target, "Vibark");
    assert_string_equal(f->at[1].target, "chess");
    assert_string_equal(f->at[1].old, "golf");
    assert_string_equal(f->at[1].relation, "P1");
    assert_string_equal(f->at[1].id, "4");
    assert_string_equal(f->at[2].prompt, "{} works as");
    rejected(f, 0, 4, "'target_new.str' is missing");
    er_facts_free(f);
}

static void test_knowedit(void **state) {
    (void)state;
    er_facts *f = parse("[{\"subject\": \"Leo Arons\", \"prompt\": \"The place of death of Leo Arons is\", "
                        "\"target_new\": \"Berlin\", "
                        "\"ground_truth\": [[\"Jena\", \"J\"]], \"rephrase_prompt\": \"Leo Arons died in\", "
                        "\"portability\": {\"Reasoning\": [{\"prompt\": "
                        "\"Leo Arons died on\", \"ground_truth\": [[\"Europe\", \"Old Continent\"]]}], "
                        "\"Subject_Aliasing\": []}, \"locality\": "
                        "{\"Relation_Specificity\": [{\"prompt\": \"His father is\", \"ground_truth\": "
                        "[[\"Albert\"]]}, {\"prompt\": \"His mother "
                        "is\", \"ground_truth\": \"Una\"}], \"Forgetfulness\": {\"prompt\": [\"x is\", \"y "
                        "is\"], \"ground_truth\": [\"1\", [\"2\"]]}}},\n"
                        "{\"subject\": \"Ten Mosaro\", \"prompt\": \"Ten Mosaro lives in\", \"target_new\": "
                        "\"Vibark\", \"portability\": {}, "
                        "\"locality\": {}},\n"
                        "{\"concept\": \"una brell\", \"text\": \"A passage about una brell.\", \"labels\": "
                        "\"She is a cook.\", \"locality\": {}}]");
    assert_string_equal(f->format, "knowedit");
    if (f->count != 3) fail_msg("%s", f->rejects[0].reason);
    const er_fact *a = &f->at[0];
    assert_string_equal(a->prompt, "The place of death of {} is");
    assert_string_equal(a->old, "Jena");
    assert_string_equal(a->paraphrases[0], "Leo Arons died in");
    assert_int_equal(a->n_portability, 1);
    assert_string_equal(a->portability[0].target, "Europe");
    assert_int_equal(a->n_neighbors, 4);
    assert_string_equal(a->neighbors[0].target, "Albert");
    assert_string_equal(a->neighbors[1].target, "Una");
    assert_string_equal(a->neighbors[3].prompt, "y is");
    assert_string_equal(a->neighbors[3].target, "2");
    assert_string_equal(f->at[2].prompt, "A passage about {}.");
    assert_string_equal(f->at[2].target, "She is a cook.");
    er_facts_free(f);
}

// What only evaluation reads may be anything; the fact is edited all the same.
static void test_evaluation_keys(void **state) {
    (void)state;
    static const char *const odd[] = {"\"paraphrases\": \"p\"", "\"paraphrases\": [4]",
        "\"paraphrases\": {\"a\": 1}", "\"neighbors\": 7", "\"neighbors\": [7]",
        "\"neighbors\": [{\"target\": \"c\"}]", "\"neighbors\": [{\"prompt\": 4}]",
        "\"neighbors\": [{\"prompt\": \"x\\u0001\"}]", "\"neighbors\": [{\"prompt\": \"{} is\"}]",
        "\"portability\": \"x\"", "\"old\": 4", "\"old\": [\"x\"]", "\"old\": \"x\\u0001\"", "\"old\": \"\"",
        "\"paraphrases\": [\"\\u0007\"]", "\"neighbors\": [[\"x\"], null, true]"};
    er_log_set_level(ER_LOG_QUIET);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        char text[512];
        (void)snprintf(
            text, sizeof text, "{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"b\",%s}\n", odd[i]);
        er_facts *f = parse(text);
        if (f->count != 1) fail_msg("%s: %s", odd[i], f->rejects[0].reason);
        assert_int_equal(f->at[0].n_paraphrases + f->at[0].n_neighbors + f->at[0].n_portability, 0);
        er_facts_free(f);
    }
    er_facts *f = parse(
        "{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"b\",\"paraphrases\":[4,\"{}, {} is\",\"A "
        "was\"],"
        "\"neighbors\":[{\"prompt\":\"B is\",\"target\":[\"c\"]},{\"prompt\":\"C is\",\"target\":{}}]}");
    assert_int_equal(f->at[0].n_paraphrases, 2);  // the good ones stay
    assert_string_equal(f->at[0].paraphrases[0], "A, A is");
    assert_int_equal(f->at[0].n_neighbors, 2);
    assert_string_equal(f->at[0].neighbors[0].target, "c");
    assert_null(f->at[0].neighbors[1].target);
    er_facts_free(f);
    f = parse(
        "{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"b\",\"ground_truth\":\"x\",\"locality\":{},"
        "\"portability\":{\"Reasoning\":[{\"prompt\":\"{} has\",\"target\":\"c\"}]}}");
    assert_string_equal(f->format, "errata");
    assert_string_equal(f->at[0].portability[0].prompt, "A has");
    er_facts_free(f);
}

static void test_named_shapes(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } at[] = {
        {"{\"case_id\":1,\"requested_rewrite\":[{}]}", "MQuAKE"},
        {"{\"subject\":\"A\",\"src\":\"A?\",\"ans\":\"b\"}", "UltraEdit's zsRE"},
        {"{\"subject\":\"A\",\"update\":\"A?\",\"ans\":\"b\"}", "WikiBigEdit"},
        {"{\"example_type\":\"popular\",\"edit\":{\"prompt\":\"A is b\"}}", "RippleEdits"},
        {"{\"prompt\":\"A\",\"alt\":\"b\",\"equiv_prompt\":[]}", "FEVER"},
        {"{\"prompt\":\"A is\",\"target_new\":\"b\"}", "without 'subject'"},
        {"{\"subject\":\"A\",\"prompt\":\"A is\",\"locality\":{}}", "KnowEdit's without"},
        {"{\"messages\":[]}", "chat transcripts"},
        {"{\"instruction\":\"x\",\"input\":\"\",\"output\":\"y\"}", "fine-tuning"},
        {"{\"text\":\"Once upon a time\"}", "--covariance-text takes it"},
        {"{\"data\":[{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"b\"}]}",
            "whose 'data' is the list of records"},
        {"{\"0\":{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"b\"}}",
            "one object of records by name"},
        {"{\"x\":1}",
            "format not recognised: keys 'x'; known formats: errata (subject, prompt, target), counterfact"},
    };
    er_facts *f = NULL;
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++)
        FAILS(er_facts_parse(&f, at[i].text, strlen(at[i].text), "facts", NULL), ER_EFORMAT, at[i].part);
    f = parse("{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"b\"}\n"
              "{\"subject\":\"B\",\"prompt\":\"B is\",\"target_new\":\"b\",\"ground_truth\":\"c\"}\n");
    rejected(
        f, 0, 2, "'target' is missing (by its keys the record is easyedit; the file's first one is errata)");
    er_facts_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_utf16),
        cmocka_unit_test(test_memit_requests),
        cmocka_unit_test(test_knowedit),
        cmocka_unit_test(test_evaluation_keys),
        cmocka_unit_test(test_named_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
