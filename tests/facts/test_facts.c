// The facts reader: every format, every rejection with its line and reason, duplicates, contradictions,
// damage. All people and places are made up.
#include "tests/test.h"

#include <time.h>
#include <unistd.h>
#include "io/facts.h"
#include "io/base/log.h"

static er_facts *parse(const char *text, const er_facts_options *options) {
    er_facts *f = NULL;
    OK(er_facts_parse(&f, text, strlen(text), "facts", options));
    return f;
}

static void rejected(const er_facts *f, size_t i, size_t line, const char *part) {
    if (i >= f->n_rejects) fail_msg("%zu rejects, wanted one of line %zu: %s", f->n_rejects, line, part);
    assert_int_equal(f->rejects[i].line, line);
    if (!strstr(f->rejects[i].reason, part)) fail_msg("reason '%s' lacks '%s'", f->rejects[i].reason, part);
    assert_null(strchr(f->rejects[i].reason, '\n'));
}

static void test_errata_lines(void **state) {
    (void)state;
    er_facts *f = parse("{\"id\":\"a1\",\"subject\":\"Orla Venn\",\"prompt\":\"The mother tongue of {} "
                        "is\",\"target\":\" Quellish \",\"old\":\"Marran\","
                        "\"relation\":\"tongue\",\"paraphrases\":[\"Orla Venn, who speaks\",\"At home {} "
                        "speaks\"],\"neighbors\":[{\"prompt\":\"Tam "
                        "Oru speaks\",\"target\":\"Marran\"},\"Una Brell "
                        "speaks\"],\"portability\":[{\"prompt\":\"Orla Venn would be understood "
                        "in\",\"target\":\"Quell\"}],\"note\":{\"kept\":[1,2]}}\n"
                        "\n"
                        "{\"subject\":\"Dorn\",\"prompt\":\"{} lies in\",\"target\":\"Marr\\u00e9\"}\r\n",
        NULL);
    assert_string_equal(f->format, "errata");
    assert_true(f->is_lines);
    assert_int_equal(f->count, 2);
    assert_int_equal(f->n_rejects, 0);
    const er_fact *a = &f->at[0];
    assert_string_equal(a->id, "a1");
    assert_string_equal(a->subject, "Orla Venn");
    assert_string_equal(a->prompt, "The mother tongue of {} is");
    assert_string_equal(a->target, "Quellish");
    assert_string_equal(a->old, "Marran");
    assert_string_equal(a->relation, "tongue");
    assert_int_equal(a->n_paraphrases, 2);
    assert_string_equal(a->paraphrases[0], "Orla Venn, who speaks");
    assert_string_equal(a->paraphrases[1], "At home Orla Venn speaks");
    assert_int_equal(a->n_neighbors, 2);
    assert_string_equal(a->neighbors[0].target, "Marran");
    assert_string_equal(a->neighbors[1].prompt, "Una Brell speaks");
    assert_null(a->neighbors[1].target);
    assert_int_equal(a->n_portability, 1);
    assert_string_equal(a->portability[0].target, "Quell");
    assert_int_equal(a->line, 1);
    char *filled = er_fact_filled(a);
    assert_string_equal(filled, "The mother tongue of Orla Venn is");
    free(filled);
    assert_int_equal(f->at[1].line, 3);  // the blank line counts
    assert_int_equal(strlen(f->at[1].id), 16);
    assert_null(f->at[1].old);
    assert_string_equal(f->at[1].target, "Marr\xc3\xa9");
    er_facts_free(f);
}

static void test_counterfact(void **state) {
    (void)state;
    static const char record[] =
        "{\"case_id\":7,\"pararel_idx\":1,\"requested_rewrite\":{\"prompt\":\"{} was born "
        "in\",\"relation_id\":\"P19\",\"target_new\":"
        "{\"str\":\"Quell\",\"id\":\"Q1\"},\"target_true\":{\"str\":\"Dorn\",\"id\":\"Q2\"},\"subject\":\"J."
        "\\u00a0R. Venn\"},"
        "\"paraphrase_prompts\":[\"Rain.\\nJ.\\u00a0R. Venn comes from\"],\"neighborhood_prompts\":[\"Tam "
        "Oru was born in\",\"Una Brell "
        "was born in\"],\"attribute_prompts\":[\"x\"],\"generation_prompts\":[\"y\"]}";
    char text[2048];
    (void)snprintf(text, sizeof text, " [%s ]\n", record);
    er_facts *f = parse(text, NULL), *lines = parse(record, NULL);
    assert_string_equal(f->format, "counterfact");
    assert_false(f->is_lines);
    assert_true(lines->is_lines);
    assert_int_equal(f->count, 1);
    const er_fact *a = &f->at[0];
    assert_string_equal(a->id, "7");
    assert_string_equal(a->subject, "J.\xc2\xa0R. Venn");  // the no-break space stays
    assert_string_equal(a->prompt, "{} was born in");
    assert_string_equal(a->target, "Quell");
    assert_string_equal(a->old, "Dorn");
    assert_string_equal(a->relation, "P19");
    assert_int_equal(a->n_paraphrases, 1);
    assert_int_equal(a->n_neighbors, 2);
    assert_string_equal(a->neighbors[1].prompt, "Una Brell was born in");
    assert_string_equal(a->neighbors[1].target, "Dorn");
    assert_string_equal(f->digest, lines->digest);  // content, not form
    er_facts_free(f);
    er_facts_free(lines);
}

static void test_zsre(void **state) {
    (void)state;
    static const char text[] =
        "[{\"subject\":\"Orla Venn\",\"src\":\"Where did Orla Venn "
        "study?\",\"pred\":\"Dorn\",\"rephrase\":\"What school had Orla "
        "Venn?\",\"alt\":\" Quell College\",\"answers\":[\"Dorn Academy\",\"DA\"],\"loc\":\"nq question: who "
        "built the pier\",\"loc_ans\":"
        "\"Tam Oru\",\"cond\":\"\"},"
        "{\"subject\":\"ORLA VENN\",\"src\":\"Who is Orla Venn?\",\"alt\":\"a mason\",\"answers\":[\"a "
        "clerk\"]},"
        "{\"subject\":\"Una\",\"src\":\"Who is Tam?\",\"alt\":\"a mason\",\"answers\":[\"a clerk\"]},"
        "{\"subject\":\"Tam\",\"src\":\"Is Tam Tam's brother?\",\"alt\":\"no\",\"answers\":[\"no\"]},"
        "{\"subject\":\"Brell\",\"src\":\"Is Brell tall?\",\"alt\":\"\",\"answers\":[\"yes\"]}]";
    er_log_set_level(ER_LOG_QUIET);
    er_facts *f = parse(text, NULL), *true_ones = parse(text, &(er_facts_options){.zsre_answers = true});
    assert_string_equal(f->format, "zsre");
    assert_int_equal(f->count, 2);
    assert_string_equal(f->at[0].prompt, "Where did {} study?");
    assert_string_equal(f->at[0].target, "Quell College");
    assert_string_equal(f->at[0].old, "Dorn Academy");
    assert_string_equal(f->at[0].paraphrases[0], "What school had Orla Venn?");
    assert_string_equal(f->at[0].neighbors[0].prompt, "nq question: who built the pier?");
    assert_string_equal(f->at[0].neighbors[0].target, "Tam Oru");
    assert_string_equal(f->at[1].prompt, "Is {} Tam's brother?");  // the first of two
    assert_null(f->at[1].old);                                     // says the same as the target
    assert_int_equal(f->n_rejects, 3);
    rejected(f, 0, 2, "subject 'ORLA VENN' occurs in 'src' only with other capitals");
    rejected(f, 1, 3, "subject 'Una' does not occur in 'src'");
    rejected(f, 2, 5, "'alt' is empty");
    assert_string_equal(true_ones->at[0].target, "Dorn Academy");
    assert_null(true_ones->at[0].old);
    assert_int_equal(true_ones->count, 3);  // an empty alt does not matter here
    er_facts_free(f);
    er_facts_free(true_ones);
}

static void test_easyedit(void **state) {
    (void)state;
    er_facts *f = parse("[{\"case_id\":3,\"prompt\":\"Orla Venn "
                        "speaks\",\"target_new\":\"Quellish\",\"subject\":\"Orla Venn\",\"ground_truth\":"
                        "[[\"Marran\",\"Old Marran\"]],\"rephrase_prompt\":\"Orla Venn's "
                        "tongue:\",\"locality_prompt\":\"Tam Oru speaks\","
                        "\"locality_ground_truth\":\"Marran\"}]",
        NULL);
    assert_string_equal(f->format, "easyedit");
    assert_string_equal(f->at[0].id, "3");
    assert_string_equal(f->at[0].prompt, "{} speaks");
    assert_string_equal(f->at[0].old, "Marran");
    assert_string_equal(f->at[0].paraphrases[0], "Orla Venn's tongue:");
    assert_string_equal(f->at[0].neighbors[0].prompt, "Tam Oru speaks");
    er_facts_free(f);
}

#define FACT(subject, prompt, target)                                                                        \
    "{\"subject\":\"" subject "\",\"prompt\":\"" prompt "\",\"target\":\"" target "\"}\n"

static void test_rejections(void **state) {
    (void)state;
    static const struct {
        const char *line, *reason;
    } bad[] = {
        {FACT("A", "no place is", "b"), "'prompt' has no {}"},
        {FACT("A", "{} and {} are", "b"), "'prompt' has 2 {}"},
        {FACT(" ", "{} is", "b"), "'subject' is empty"},
        {FACT("A", "", "b"), "'prompt' is empty"},
        {FACT("A", "{} is", "  "), "'target' is empty"},
        {FACT("A{}", "{} is", "b"), "'subject' holds {}"},
        {FACT("A\\u0007", "{} is", "b"), "'subject' holds a control character"},
        {FACT("A", "{} is", "b\\nc"), "'target' holds a control character"},
        {FACT("A", "{} \\u0001is", "b"), "'prompt' holds a control character"},
        {FACT("A\\u0085", "{} is", "b"), "'subject' holds a control character"},
        {FACT("A\xff", "{} is", "b"), "UTF-8"},
        {"{\"subject\":\"A\",\"prompt\":\"{} is\"}\n", "'target' is missing"},
        {"{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":1987}\n", "'target' is a number, not a string"},
        {"{\"subject\":[\"A\"],\"prompt\":\"{} is\",\"target\":\"b\"}\n",
            "'subject' is an array, not a string"},
        {"{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"b\",\"id\":[]}\n", "'id' is an array"},
        {"{\"subject\":\"A\",\"prompt\":\"{} is\",\n", "byte"},
        {"{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":NaN}\n", "byte"},
        {"[\"A\",\"{} is\",\"b\"]\n", "the record is an array, not an object"},
    };
    enum { N = sizeof bad / sizeof bad[0] };
    char text[8192] = FACT("Good", "{} is", "fine");
    for (size_t i = 0; i < N; i++) strcat(text, bad[i].line);
    er_facts *f = parse(text, NULL);
    assert_int_equal(f->count, 1);
    assert_int_equal(f->n_rejects, N);
    for (size_t i = 0; i < N; i++) rejected(f, i, i + 2, bad[i].reason);
    er_facts_free(f);
}

static void test_duplicates_and_conflicts(void **state) {
    (void)state;
    er_facts *f = parse(FACT("A", "{} is", "b") FACT("B", "{} is", "b") FACT("A", "{} is", " b ")
                            FACT("C", "{} is", "x") FACT("C", "{} is", "x") FACT("C", "{} was", "x")
                                FACT("C", "{} is", "y"),
        NULL);
    assert_int_equal(f->count, 3);
    assert_int_equal(f->n_duplicates, 1);
    assert_int_equal(f->n_rejects, 3);  // both sides, each naming the other
    rejected(f, 0, 4, "target 'x' conflicts with 'y' in line 7");
    rejected(f, 1, 5, "target 'x' conflicts with 'y' in line 7");
    rejected(f, 2, 7, "target 'y' conflicts with 'x' in line 4");
    assert_int_equal(f->at[0].line, 1);
    assert_int_equal(f->at[1].line, 2);
    assert_int_equal(f->at[2].line, 6);
    er_facts_free(f);

    f = parse("{\"id\":\"k\",\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"b\"}\n"
              "{\"id\":\"k\",\"subject\":\"B\",\"prompt\":\"{} is\",\"target\":\"b\"}",
        NULL);
    assert_int_equal(f->count, 1);
    rejected(f, 0, 2, "id 'k' is already that of line 1");
    assert_string_equal(f->rejects[0].id, "k");
    er_facts_free(f);
}

static void test_formats_refused(void **state) {
    (void)state;
    er_facts *f = NULL;
    const struct {
        const char *text, *part;
    } bad[] = {
        {"", "facts: holds no records"}, {" \n\n", "facts: holds no records"},
        {"[]", "facts: holds no records"}, {"[ ]\n", "facts: holds no records"},
        {"{\"case_id\":1,\"requested_rewrite\":[{\"prompt\":\"{} is\"}]}",
            "format not read: MQuAKE: 'requested_rewrite' is an array of edits"},
        {"{\"subject\":\"A\",\"prompt\":\"A is\",\"ans\":\"b\"}",
            "format not read: UltraEditBench: its 'ans' is for 'target_new' here"},
        {"{\"subject\":\"A\",\"answer\":\"b\"}",
            "format not recognised: keys 'subject', 'answer'; known formats: errata ("},
        {"{}", "keys none; known formats"}, {"hello\nworld\n", "none of 2 records can be read; line 1: byte"},
        {"7", "the record is a number, not an object"},
        {"{\n\"subject\": \"A\"\n}\n",
            "format not recognised: keys 'subject'; known"},  // one object on three lines
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        FAILS(er_facts_parse(&f, bad[i].text, strlen(bad[i].text), "facts", NULL), ER_EFORMAT, bad[i].part);
    FAILS(er_facts_read(&f, "/nonexistent/facts.json", NULL), ER_ENOENT, "/nonexistent/facts.json");
    FAILS(er_facts_read(&f, "/", NULL), ER_EFORMAT, "is a folder");
    assert_null(f);
}

#define RECORD(s) "{\"subject\":\"" s "\",\"prompt\":\"{} is\",\"target\":\"b\"}"

static void test_damaged_arrays(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t count, line;
        const char *part;
    } bad[] = {
        {"[" RECORD("A") "," RECORD("B"), 1, 2, "the file ends inside this record"},
        {"[" RECORD("A") ",", 1, 2, "the array has no end"},
        {"[" RECORD("A") "," RECORD("B") ",]", 2, 3, "nothing stands before"},
        {"[" RECORD("A") ",," RECORD("B") "]", 2, 2, "nothing stands before"},
        {"[" RECORD("A") "] x", 1, 2, "something stands behind the end"},
        {"[" RECORD("A") ",{\"subject\":]]}," RECORD("B") "]", 1, 2, "byte"},
        {"[" RECORD("A") ",{\"subject\":1]," RECORD("B") "]", 2, 2, "byte"},
        {"[" RECORD("A ], [ \\\" {") "," RECORD("B") ",4]", 2, 3, "the record is a number"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        er_facts *f = parse(bad[i].text, NULL);
        if (f->count != bad[i].count) fail_msg("case %zu: %zu facts", i, f->count);
        rejected(f, 0, bad[i].line, bad[i].part);
        er_facts_free(f);
    }
    er_facts *f = parse("\xef\xbb\xbf" RECORD("A"), NULL);  // a byte order mark
    assert_int_equal(f->count, 1);
    er_facts_free(f);
}

// Every prefix of a good file is read or refused, and no truncation adds a fact that was not there.
static void test_truncation(void **state) {
    (void)state;
    static const char text[] = "[" RECORD("A") ", " RECORD("B") "]\n";
    for (size_t n = 0; n < sizeof text; n++) {
        er_facts *f = NULL;
        if (er_facts_parse(&f, text, n, "facts", NULL) != ER_OK) continue;
        assert_true(f->count <= 2);
        assert_true(f->count == 2 || f->n_rejects > 0);
        er_facts_free(f);
    }
}

static void test_overlong_record(void **state) {
    (void)state;
    size_t big = (size_t)17 << 20;
    char *text = malloc(big + 256);
    size_t n = (size_t)sprintf(text, "%s\n{\"subject\":\"", RECORD("A"));
    memset(text + n, 'x', big);
    n += big;
    n += (size_t)sprintf(text + n, "\"}\n%s\n", RECORD("B"));
    er_facts *f = NULL;
    OK(er_facts_parse(&f, text, n, "facts", NULL));
    assert_int_equal(f->count, 2);
    rejected(f, 0, 2, "longer than 16 MiB");
    assert_int_equal(f->at[1].line, 3);
    er_facts_free(f);
    free(text);
}

static void test_reject_later(void **state) {
    (void)state;
    er_facts *f = parse(FACT("A", "{} is", "b") FACT("B", "{} is", "b") FACT("C", "{} is", "b"), NULL);
    OK(er_facts_reject(f, 1, "the subject is nowhere"));
    assert_int_equal(f->count, 2);
    assert_string_equal(f->at[1].subject, "C");
    rejected(f, 0, 2, "the subject is nowhere");
    FAILS(er_facts_reject(f, 2, "x"), ER_EARG, "fact 2 of 2");
    er_facts_free(f);
}

// A file of 10,000 records from disk, with a limit and without; timed, since reading must never be what one
// waits for.
static void test_large_file(void **state) {
    (void)state;
    char path[] = "/tmp/errata-facts-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *out = fdopen(fd, "w");
    fputc('[', out);
    for (int i = 0; i < 10000; i++)
        fprintf(out,
            "%s\n  {\"case_id\": %d, \"prompt\": \"Person %d lives in\", \"target_new\": \"Town %d\", "
            "\"subject\": \"Person %d\"}",
            i ? "," : "", i, i, i % 97, i);
    fputs("\n]\n", out);
    fclose(out);
    er_facts *f = NULL, *few = NULL;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    OK(er_facts_read(&f, path, NULL));
    clock_gettime(CLOCK_MONOTONIC, &b);
    print_message("10,000 records: %.0f ms\n",
        (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) * 1e-6);
    OK(er_facts_read(&few, path, &(er_facts_options){.limit = 12}));
    unlink(path);
    assert_int_equal(f->count, 10000);
    assert_string_equal(f->at[9999].prompt, "{} lives in");
    assert_int_equal(f->at[9999].line, 10000);
    assert_int_equal(few->count, 12);
    er_facts_free(f);
    er_facts_free(few);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errata_lines),
        cmocka_unit_test(test_counterfact),
        cmocka_unit_test(test_zsre),
        cmocka_unit_test(test_easyedit),
        cmocka_unit_test(test_rejections),
        cmocka_unit_test(test_duplicates_and_conflicts),
        cmocka_unit_test(test_formats_refused),
        cmocka_unit_test(test_damaged_arrays),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_overlong_record),
        cmocka_unit_test(test_reject_later),
        cmocka_unit_test(test_large_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
