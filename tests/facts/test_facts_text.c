// The characters of facts: white space that means something, what cannot be seen, spellings that look alike,
// subjects inside of words, records that contradict each other as texts. What is warned of is read back from
// stderr.
#include "tests/test.h"

#include <unistd.h>
#include "engine/cli/terminal.h"
#include "io/facts.h"
#include "io/base/log.h"

static char said[8192];

// Parses with stderr in a file, whose text is then in `said`.
static er_facts *parse(const char *text) {
    er_facts *f = NULL;
    char path[] = "/tmp/errata-said-XXXXXX";
    int fd = mkstemp(path), keep = dup(2);
    assert_true(fd >= 0 && keep >= 0);
    er_log_set_level(ER_LOG_WARN);
    (void)dup2(fd, 2);
    er_status rc = er_facts_parse(&f, text, strlen(text), "facts", NULL);
    (void)dup2(keep, 2);
    ssize_t n = pread(fd, said, sizeof said - 1, 0);
    said[n > 0 ? n : 0] = '\0';
    close(fd);
    close(keep);
    unlink(path);
    if (rc != ER_OK) fail_msg("%s", er_last_error());
    return f;
}

static void warned(const char *part) {
    if (!strstr(said, part)) fail_msg("no warning '%s' in:\n%s", part, said);
}
static void silent(void) {
    if (said[0]) fail_msg("warned without a reason:\n%s", said);
}
static void rejected(const er_facts *f, size_t i, size_t line, const char *part) {
    if (i >= f->n_rejects) fail_msg("%zu rejects, wanted one of line %zu: %s", f->n_rejects, line, part);
    assert_int_equal(f->rejects[i].line, line);
    if (!strstr(f->rejects[i].reason, part)) fail_msg("reason '%s' lacks '%s'", f->rejects[i].reason, part);
}

#define FACT(subject, prompt, target)                                                                        \
    "{\"subject\":\"" subject "\",\"prompt\":\"" prompt "\",\"target\":\"" target "\"}\n"
#define EASY(subject, prompt)                                                                                \
    "{\"subject\":\"" subject "\",\"prompt\":\"" prompt "\",\"target_new\":\"b\",\"ground_truth\":\"x\"}\n"

static void test_prompts_as_given(void **state) {
    (void)state;
    er_facts *f =
        parse("{\"subject\":\"A\",\"prompt\":\"<|user|>\\nWhere is {}?\\n<|assistant|>\\n\",\"target\":\"b\","
              "\"paraphrases\":[\" Where? {}\\n\\n\"],\"neighbors\":[{\"prompt\":\"B is "
              "in\\t\",\"target\":\"c\"}]}\n" FACT("A", "  {} is in ", "b"));
    assert_string_equal(f->at[0].prompt, "<|user|>\nWhere is {}?\n<|assistant|>\n");
    assert_string_equal(f->at[0].paraphrases[0], " Where? A\n\n");
    assert_string_equal(f->at[0].neighbors[0].prompt, "B is in\t");
    assert_string_equal(f->at[1].prompt, "  {} is in ");
    er_facts_free(f);
    f = parse(FACT("A", "{} is in:\\n", "b") FACT("A", "{} is in:", "c"));  // two prompts
    assert_int_equal(f->count, 2);
    silent();
    er_facts_free(f);
}

static void test_space_of_a_record(void **state) {
    (void)state;
    er_facts *f =
        parse("{\"subject\":\"A\",\"prompt\":\"{} "
              "is\",\"target\":\"b\",\"space\":false,\"neighbors\":[{\"prompt\":\"B "
              "is\",\"target\":\"c\",\"space\":true},{\"prompt\":\"C is\",\"target\":\" d\"},{\"prompt\":\"D "
              "is\",\"target\":\"e\"}]}\n"
              "{\"subject\":\"B\",\"prompt\":\"{} is\",\"target\":\" b\"}\n"
              "{\"subject\":\"C\",\"prompt\":\"{} is\",\"target\":\"\\n b\"}\n"
              "{\"subject\":\"D\",\"prompt\":\"{} is\",\"target\":\"b\",\"space\":\"no\"}\n");
    assert_int_equal(f->at[0].space, ER_SPACE_NEVER);
    assert_int_equal(f->at[0].neighbors[0].space, ER_SPACE_ALWAYS);
    assert_int_equal(f->at[0].neighbors[1].space, ER_SPACE_ALWAYS);  // it brings one
    assert_string_equal(f->at[0].neighbors[1].target, "d");
    assert_int_equal(f->at[0].neighbors[2].space, ER_SPACE_AUTO);
    assert_int_equal(f->at[1].space, ER_SPACE_ALWAYS);
    assert_string_equal(f->at[1].target, "b");
    assert_string_equal(f->at[2].target, "\n b");
    warned("facts: white space in front of 'target' is kept as it is (1 record, first: line 3)");
    rejected(f, 0, 4, "'space' is a string, not true or false");
    er_facts_free(f);
}

static void test_dropped_and_said(void **state) {
    (void)state;
    er_facts *f = parse(FACT("A\xe2\x80\x8b", "{} is",
        "\xc2\xa0"
        "b") FACT("B ", "{} is", "b\xef\xbb\xbf") FACT("C\xe2\x80\x8b", "{} is", "b\\n"));
    assert_int_equal(f->count, 3);
    assert_string_equal(f->at[0].subject, "A");
    assert_string_equal(f->at[0].target, "b");
    assert_int_equal(f->at[0].space, ER_SPACE_AUTO);
    assert_string_equal(f->at[1].target, "b");
    assert_string_equal(f->at[2].target, "b");
    warned("U+200B (zero width space) behind 'subject' is dropped (2 records, first: line 1)");
    warned("U+00A0 (no-break space) in front of 'target' is dropped (1 record, first: line 1)");
    warned("U+0020 (space) behind 'subject' is dropped (1 record, first: line 2)");
    warned("U+FEFF (byte order mark) behind 'target' is dropped (1 record, first: line 2)");
    warned("U+000A (line feed) behind 'target' is dropped (1 record, first: line 3)");
    er_facts_free(f);
}

static void test_nothing_to_see(void **state) {
    (void)state;
    static const char *const blank[] = {"\xe3\x80\x80", "\xe2\x80\x8b", "\xc2\xa0\xc2\xad",
        "\xe2\x80\x8e\xe2\x80\x8f", "\xe2\x80\x8d", "\xef\xb8\x8f", "\xe2\x81\xa6\xe2\x81\xa9"};
    for (size_t i = 0; i < sizeof blank / sizeof blank[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text,
            FACT("A", "{} is", "b") "{\"subject\":\"%s\",\"prompt\":\"{} is\",\"target\":\"b\"}\n"
                                    "{\"subject\":\"B\",\"prompt\":\"{} is\",\"target\":\"%s\"}\n",
            blank[i], blank[i]);
        er_facts *f = parse(text);
        assert_int_equal(f->count, 1);
        rejected(f, 0, 2, "'subject' is empty: nothing in it can be seen, it begins with U+");
        rejected(f, 1, 3, "'target' is empty");
        er_facts_free(f);
    }
}

static void test_kept_and_said(void **state) {
    (void)state;
    static const struct {
        const char *line, *said;
    } at[] = {
        {FACT("J.\xc2\xa0R. Venn", "{} is", "b"),
            "U+00A0 (no-break space) in 'subject' (1 record, first: line 1)"},
        {FACT("A", "{}\xe2\x80\x8b is", "b"), "U+200B (zero width space) in 'prompt'"},
        {FACT("A", "{} is",
             "b\xc2\xad"
             "c"),
            "U+00AD (soft hyphen) in 'target'"},
        {FACT("A", "{} \xe2\x80\xaelives", "b"), "U+202E (right-to-left override) in 'prompt'"},
        {FACT("O\xe2\x80\x99"
              "Neill",
             "{} is", "b"),
            "U+2019 (right single quotation mark) in 'subject'"},
        {FACT("A", "{}  is", "b"), "two spaces in a row in 'prompt'"},
        {FACT("Cafe\xcc\x81", "{} is", "b"), "letters in 'subject' are not as Unicode's form C composes them "
                                             "(1 record, first: line 1, U+0065 U+0301 for "
                                             "U+00E9)"},
        {FACT("A\xe2\x80\x8d"
              "B",
             "{} is", "b"),
            "U+200D (zero width joiner) in 'subject'"},
        {"{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"b\",\"old\":\"c\xe2\x81\xa0"
         "d\"}",
            "U+2060 (word joiner) in 'old'"},
        {"{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"b\",\"paraphrases\":[\"\xef\xbb\xbf{}\"]}",
            "U+FEFF (byte order mark) in 'paraphrases'"},
        {"{\"subject\":\"A\",\"prompt\":\"{} "
         "is\",\"target\":\"b\",\"neighbors\":[{\"prompt\":\"B\xe2\x80\x87is\",\"target\":\"c\"}]}",
            "U+2007 (figure space) in 'neighbors'"},
    };
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        er_facts *f = parse(at[i].line);
        assert_int_equal(f->count, 1);
        warned(at[i].said);
        er_facts_free(f);
    }
}

// How these words are spelled: joiners in Persian and Hindi, in a family of emoji; a heart with its variation
// selector.
static void test_proper_characters(void **state) {
    (void)state;
    er_facts *f = parse(FACT("\xd9\x85\xdb\x8c\xe2\x80\x8c\xd8\xae\xd9\x88\xd8\xa7\xd9\x87\xd9\x85", "{} is",
        "b") FACT("\xe0\xa4\x95\xe0\xa5\x8d\xe2\x80\x8d\xe0\xa4\xb7", "{} is", "b")
            FACT("\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7", "{} is",
                "\xe2\x9d\xa4\xef\xb8\x8f"));
    assert_int_equal(f->count, 3);
    assert_string_equal(f->at[2].target, "\xe2\x9d\xa4\xef\xb8\x8f");
    silent();
    er_facts_free(f);
}

static void test_subject_found(void **state) {
    (void)state;
    static const struct {
        const char *line, *prompt, *subject, *said;
    } at[] = {
        {EASY("Iran", "The Iranian film festival takes place in Iran every"),
            "The Iranian film festival takes place in {} every", "Iran", NULL},
        {EASY("art", "The artist lives in"), "The {}ist lives in", "art",
            "the subject is the beginning of a longer word of its prompt (1 record, first: line 1, 'art' in "
            "'artist')"},
        {EASY("art", "A smart cart is"), "A sm{} cart is", "art",
            "the subject stands only inside a longer word of its prompt (1 record, first: line 1, 'art' in "
            "'smart')"},
        {EASY("art", "The smart artist sells"), "The smart {}ist sells", "art",
            "is the beginning of a longer word"},
        {EASY("Berlin", "Berliners know Berlin's mayor is"), "Berliners know {}'s mayor is", "Berlin", NULL},
        {EASY("Ankara", "Ankara'da ya\xc5\x9f"
                        "ayan"),
            "{}'da ya\xc5\x9f"
            "ayan",
            "Ankara", NULL},
        {EASY("Helsinki", "Helsinkiin matkustaa"), "{}in matkustaa", "Helsinki",
            "beginning of a longer word"},
        {EASY("\xe6\xb3\x95\xe5\x9b\xbd", "\xe6\xb3\x95\xe5\x9b\xbd\xe7\x9a\x84"), "{}\xe7\x9a\x84",
            "\xe6\xb3\x95\xe5\x9b\xbd", NULL},
        {EASY("\xec\x84\x9c\xec\x9a\xb8", "\xec\x84\x9c\xec\x9a\xb8\xec\x9d\x80"), "{}\xec\x9d\x80",
            "\xec\x84\x9c\xec\x9a\xb8", NULL},  // a particle behind
        {EASY("Caf\xc3\xa9 Noir", "Where is Cafe\xcc\x81 Noir?"), "Where is {}?", "Cafe\xcc\x81 Noir",
            "the subject is spelled otherwise in its prompt, whose spelling is edited (1 record, first: line "
            "1, U+0065 there, "
            "U+00E9 in 'subject')"},
        {EASY("O'Neill", "O\xe2\x80\x99Neill lives in"), "{} lives in", "O\xe2\x80\x99Neill",
            "U+2019 (right single quotation mark) there, U+0027 (apostrophe) in 'subject'"},
        {EASY("Ten Mosaro", "Here Ten  Mosaro lives"), "Here {} lives", "Ten  Mosaro", "spelled otherwise"},
        {EASY("Ten Mosaro", "Here Ten\xc2\xa0Mosaro lives"), "Here {} lives", "Ten\xc2\xa0Mosaro",
            "U+00A0 (no-break space) there, U+0020 (space) in 'subject'"},
        {EASY("A", "{} lives with A in"), "{} lives with A in", "A", NULL},  // its place is marked
        {EASY("Tam", "Is Tam Tam's brother"), "Is {} Tam's brother", "Tam",
            "the subject occurs more than once in the prompt; its first place is taken (1 record, first: "
            "line 1)"},
    };
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        er_facts *f = parse(at[i].line);
        if (f->count != 1) fail_msg("%s%s", at[i].line, f->rejects[0].reason);
        assert_string_equal(f->at[0].prompt, at[i].prompt);
        assert_string_equal(f->at[0].subject, at[i].subject);
        if (at[i].said) warned(at[i].said);
        else silent();
        er_facts_free(f);
    }
    er_facts *f =
        parse(EASY("Good", "Good is") EASY("Caf\xc3\xa9", "The cafe is") EASY("Cafe", "The Cafe\xcc\x81 is")
                EASY("ABC", "The \xef\xbc\xa1\xef\xbc\xa2\xef\xbc\xa3 is") EASY("Rome", "Paris is"));
    assert_int_equal(f->count, 1);
    rejected(f, 0, 2,
        "subject 'Caf\xc3\xa9' occurs in 'prompt' only spelled otherwise: U+0063 there, U+0043 in 'subject'");
    rejected(f, 2, 4, "only spelled otherwise: U+FF21 there, U+0041 in 'subject'");
    rejected(f, 3, 5, "subject 'Rome' does not occur in 'prompt'");
    er_facts_free(f);
}

static void test_same_text(void **state) {
    (void)state;
    er_facts *f = parse(FACT("Ten Mosaro", "All know that {} is in", "Peverk")
            FACT("Mosaro", "All know that Ten {} is in", "Vibark") FACT("Dudol", "Ten {} is in", "x") FACT(
                "Ten Dudol", "{} is in", "x") FACT("Una", "{} is in", "x") FACT("Una", "{} is in", " x"));
    assert_int_equal(f->count, 2);
    assert_int_equal(f->n_duplicates, 2);
    rejected(f, 0, 1, "target 'Peverk' conflicts with 'Vibark' in line 2, for the same text");
    rejected(f, 1, 2, "target 'Vibark' conflicts with 'Peverk' in line 1, for the same text");
    assert_string_equal(f->at[0].subject, "Dudol");  // the first of two
    er_facts_free(f);
    f = parse(FACT("A", "{} is", "caf\xc3\xa9") FACT("A", "{} is", "cafe\xcc\x81"));  // one answer
    assert_int_equal(f->count, 1);
    assert_int_equal(f->n_duplicates, 1);
    er_facts_free(f);
}

static void test_contradictions(void **state) {
    (void)state;
    er_facts *f =
        parse("{\"subject\":\"A\",\"prompt\":\"{} is "
              "in\",\"target\":\"b\",\"old\":\"c\",\"neighbors\":[{\"prompt\":\"B "
              "is in\",\"target\":\"c\"},{\"prompt\":\"D is in\",\"target\":\"c\"}],\"paraphrases\":[\"B is "
              "in\"]}\n" FACT("B", "{} is in", "x"));
    assert_int_equal(f->count, 2);
    warned("facts: 1 neighbours are to keep an answer that another fact of the job changes (first: line 1 "
           "wants 'c' where line 2 "
           "edits)");
    warned("facts: 1 paraphrases are prompts that another fact edits to another target (first: line 1 wants "
           "'b' where line 2 edits)");
    er_facts_free(f);
    f = parse(
        "{\"subject\":\"A\",\"prompt\":\"{} is in\",\"target\":\"b\",\"old\":\"b\"}\n"
        "{\"subject\":\"B\",\"prompt\":\"{} is "
        "in\",\"target\":\"caf\xc3\xa9\",\"old\":\"cafe\xcc\x81\"}\n" FACT("Rome", "{} is called", "Rome"));
    assert_int_equal(f->count, 3);
    assert_null(f->at[0].old);
    assert_null(f->at[1].old);
    warned("the old target is the new one, which asks for no change (2 records, first: line 1)");
    warned("subject and target are the same (1 record, first: line 3)");
    er_facts_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompts_as_given),
        cmocka_unit_test(test_space_of_a_record),
        cmocka_unit_test(test_dropped_and_said),
        cmocka_unit_test(test_nothing_to_see),
        cmocka_unit_test(test_kept_and_said),
        cmocka_unit_test(test_proper_characters),
        cmocka_unit_test(test_subject_found),
        cmocka_unit_test(test_same_text),
        cmocka_unit_test(test_contradictions),
    };
    er_terminal_listen();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
