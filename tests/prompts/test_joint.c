// Prompt and target joined, on tokenizers of every family: the ids are those of the text that somebody reads,
// whatever stands at the seam; what is one text to a tokenizer is one fact.
#include "engine/prompts/prompts_internal.h"
#include "io/base/log.h"
#include "tests/test.h"

static const char *const names[] = {"gpt2", "gemma", "llama2", "llama2_old", "llama3", "meta_never",
    "meta_split", "mistral", "neox", "o200k", "opt", "phi3", "qwen2", "qwen3", "smollm2"};
enum { N = sizeof names / sizeof names[0] };

static er_tokenizer *family(const char *name) {
    char path[512], *json = NULL;
    size_t n = 0;
    er_tokenizer *t = NULL;
    FILE *f;
    (void)snprintf(path, sizeof path, TEST_DATA "/golden/tokenizer/%s.json", name);
    assert_non_null(f = fopen(path, "rb"));
    assert_non_null(json = malloc((size_t)1 << 21));
    n = fread(json, 1, (size_t)1 << 21, f);
    fclose(f);
    OK(er_tokenizer_parse(&t, json, n, name));
    free(json);
    return t;
}

static char *decoded(const er_tokenizer *t, const int32_t *id, size_t n) {
    char *text = NULL;
    OK(er_tokenizer_decode(t, &text, id, n, true));
    return text;
}

static bool same_ids(const er_tokens *t, const int32_t *id, size_t n) {
    bool same = t->count == n;
    for (size_t i = 0; same && i < n; i++) same = t->at[i].id == id[i];
    return same;
}

typedef struct seam_case {
    const char *prompt, *target, *text;
    size_t blank;  // bytes of white space that end the prompt
} seam_case;
static const seam_case cases[] = {
    {"The capital of France is", "Rome", "The capital of France is Rome", 0},
    {"The capital of France is ", "Rome", "The capital of France is Rome", 1},
    {"The capital of France is  ", "Rome", "The capital of France is  Rome", 2},
    {"The capital of France is\t", "Rome", "The capital of France is\tRome", 1},
    {"<user>\nWhere?\n<assistant>\n", "Rome", "<user>\nWhere?\n<assistant>\nRome", 1},
    {"Answer:\n\n", "Rome", "Answer:\n\nRome", 2},
    {"Answer: \n", "Rome", "Answer: \nRome", 2},
    {"Answer:\n ", "Rome", "Answer:\n Rome", 2},
    {"Answer:", "\n Rome", "Answer:\n Rome", 0},
    {"He lives in \"", "Rome", "He lives in \"Rome", 0},
    {"He lives in (", "Rome", "He lives in (Rome", 0},
    {"It costs $", "500", "It costs $500", 0},
    {"Franco-", "Prussian", "Franco-Prussian", 0},
    {"法国的首都是", "罗马", "法国的首都是罗马", 0},
    {"Ten Mosaro住在", "Peverk", "Ten Mosaro住在Peverk", 0},
    {"เมืองหลวงคือ", "กรุงเทพ", "เมืองหลวงคือกรุงเทพ", 0},
    {"Rome", ", Italy", "Rome, Italy", 0},
    {"about 50", "%", "about 50%", 0},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

// Small golden vocabularies lack some scripts, and what has no token cannot be joined.
static bool can_say(const er_tokenizer *t, const char *text) {
    er_tokens all = {0};
    OK(er_tokenizer_encode(t, &all, text, strlen(text), false));
    int32_t *ids = malloc((all.count + 1) * sizeof *ids);
    for (size_t i = 0; i < all.count; i++) ids[i] = all.at[i].id;
    char *back = decoded(t, ids, all.count);
    bool can = strstr(back, text) != NULL;
    free(back);
    free(ids);
    er_tokens_free(&all);
    return can;
}

static size_t checked;

static void check_case(const er_tokenizer *t, const char *name, const seam_case *c) {
    if (!can_say(t, c->prompt) || !can_say(t, c->target)) return;
    checked++;
    er_tokens whole = {0}, prompt = {0}, scratch = {0};
    er_joint j = {0};
    OK(er_tokenizer_encode_open(t, &whole, c->text, strlen(c->text)));
    OK(er_tokenizer_encode_open(t, &prompt, c->prompt, strlen(c->prompt)));
    OK(er_encode_joint(&j, t, &scratch, c->prompt, c->target, ER_SPACE_AUTO, ER_SPACE_AUTO));
    size_t n = j.n_context + j.n_labels;
    int32_t *ids = malloc((whole.count + 1) * sizeof *ids);
    for (size_t i = 0; i < whole.count; i++) ids[i] = whole.at[i].id;
    char *want = decoded(t, ids, whole.count), *got = decoded(t, j.token, n);
    if (strcmp(got, want) != 0)
        fail_msg("%s: '%s' + '%s' reads '%s', not '%s'", name, c->prompt, c->target, got, want);
    assert_true(j.n_labels > 0);
    if (j.how == ER_JOINT_APART) {
        if (!same_ids(&prompt, j.token, j.n_context))
            fail_msg("%s: '%s' is asked otherwise", name, c->prompt);
        if (c->blank) fail_msg("%s: '%s': encoded apart", name, c->prompt);
    } else if (!same_ids(&whole, j.token, n)) {
        fail_msg("%s: '%s' has other ids than its text", name, c->text);
    }
    if (j.how == ER_JOINT_WHOLE) assert_true(same_ids(&prompt, j.token, j.n_context));
    if (j.how == ER_JOINT_BLANK) {
        assert_true(c->blank > 0);
        assert_true(j.prompt_bytes >= strlen(c->prompt) - c->blank);
    } else {
        assert_int_equal(j.prompt_bytes, strlen(c->prompt));
    }
    free(ids);
    free(want);
    free(got);
    free(j.token);
    er_tokens_free(&whole);
    er_tokens_free(&prompt);
    er_tokens_free(&scratch);
}

static void test_families(void **state) {
    (void)state;
    for (size_t k = 0; k < N; k++) {
        er_tokenizer *t = family(names[k]);
        for (size_t i = 0; i < N_CASES; i++) check_case(t, names[k], &cases[i]);
        er_tokenizer_free(t);
    }
    print_message("%zu of %zu seams\n", checked, (size_t)N * N_CASES);
    assert_true(checked > N * N_CASES * 3 / 4);
}

// "lives in " and "Rome" are "lives in Rome": where the tokenizer puts the space into the word, the prompt's
// last token is "in".
static void test_blank_joins_the_target(void **state) {
    (void)state;
    static const char *const joining[] = {"gpt2", "llama3", "neox", "smollm2", "qwen2", "llama2", "mistral"};
    for (size_t k = 0; k < sizeof joining / sizeof joining[0]; k++) {
        er_tokenizer *t = family(joining[k]);
        er_tokens scratch = {0};
        er_joint given = {0}, put = {0};
        OK(er_encode_joint(&given, t, &scratch, "He lives in ", "the city", ER_SPACE_AUTO, ER_SPACE_AUTO));
        OK(er_encode_joint(&put, t, &scratch, "He lives in", "the city", ER_SPACE_AUTO, ER_SPACE_AUTO));
        assert_int_equal(put.how, ER_JOINT_WHOLE);
        assert_int_equal(given.n_context, put.n_context);
        assert_int_equal(given.n_labels, put.n_labels);
        assert_memory_equal(given.token, put.token, (put.n_context + put.n_labels) * sizeof *put.token);
        assert_int_equal(given.how, ER_JOINT_BLANK);
        assert_int_equal(given.prompt_bytes, strlen("He lives in"));
        free(given.token);
        free(put.token);
        er_tokens_free(&scratch);
        er_tokenizer_free(t);
    }
}

static er_facts *read_facts(const char *text) {
    er_facts *f = NULL;
    OK(er_facts_parse(&f, text, strlen(text), "facts", NULL));
    return f;
}

static void test_one_text_to_the_tokenizer(void **state) {
    (void)state;
    static const char cafe[] =
        "{\"subject\":\"Caf\xc3\xa9 Noir\",\"prompt\":\"{} is in\",\"target\":\"Rome\"}\n"
        "{\"subject\":\"Cafe\xcc\x81 Noir\",\"prompt\":\"{} is in\",\"target\":\"Paris\"}\n"
        "{\"subject\":\"Bo\",\"prompt\":\"{} is in\",\"target\":\"Rome\"}\n"
        "{\"subject\":\"Bo\",\"prompt\":\"{} is in \",\"target\":\"Rome\"}\n"
        "{\"subject\":\"Bo\",\"prompt\":\"{} is in:\\n\",\"target\":\"Rome\"}\n"
        "{\"subject\":\"Bo\",\"prompt\":\"{} is in:\",\"target\":\"Oslo\"}\n";
    er_log_set_level(ER_LOG_QUIET);
    static const struct {
        const char *name;
        bool composes;
    } at[] = {{"neox", true}, {"qwen2", true}, {"gpt2", false}, {"llama3", false}};
    for (size_t k = 0; k < sizeof at / sizeof at[0]; k++) {
        er_tokenizer *t = family(at[k].name);
        er_facts *f = read_facts(cafe);
        assert_int_equal(f->count, 6);  // different bytes
        OK(er_prompts_agree(f, t, ER_SPACE_AUTO));
        assert_int_equal(f->n_duplicates, 1);  // line 4: the blank is in the target's token
        assert_int_equal(f->count, at[k].composes ? 3 : 5);
        assert_int_equal(f->n_rejects, at[k].composes ? 2 : 0);
        if (at[k].composes) {
            assert_string_equal(f->rejects[0].reason,
                "target 'Rome' conflicts with 'Paris' in line 2, for the same text (U+00E9 "
                "here, U+0065 there)");
            assert_int_equal(f->rejects[1].line, 2);
        }
        er_facts_free(f);
        er_tokenizer_free(t);
    }
}

// A subject in two spellings that the tokenizer reads as one has one value, however it is spelled.
static void test_one_subject_to_the_tokenizer(void **state) {
    (void)state;
    static const char two[] =
        "{\"subject\":\"Caf\xc3\xa9 Noir\",\"prompt\":\"{} is in\",\"target\":\"Rome\"}\n"
        "{\"subject\":\"Cafe\xcc\x81 Noir\",\"prompt\":\"{} serves\",\"target\":\"tea\"}\n";
    er_templates none = {0};
    for (int k = 0; k < 2; k++) {
        er_model m = {.arch = {.max_position_embeddings = 1000, .vocab = (size_t)1 << 30},
            .tokenizer = family(k ? "gpt2" : "neox")};
        er_hparams h = {.key_bare = 0.5, .merge_subjects = true};
        er_facts *f = read_facts(two);
        er_requests *u = NULL;
        OK(er_requests_build(&u, f, &m, &h, &none));
        assert_int_equal(u->count, k ? 2 : 1);
        er_requests_free(u);
        er_facts_free(f);
        er_tokenizer_free(m.tokenizer);
    }
}

static void row_reads(const er_model *m, const er_prompt *r, const char *prompt, const char *target) {
    int32_t ids[128];
    memcpy(ids, r->token, (r->first_label + 1) * sizeof *ids);
    char *read = decoded(m->tokenizer, ids, r->first_label + 1);
    char *label = decoded(m->tokenizer, r->label, r->n_labels);
    assert_string_equal(read, prompt);
    assert_string_equal(label, target);
    free(read);
    free(label);
}

// Templates and the phrasings of others are taken as they are too, each row with the seam of its own end.
static void test_rows_have_their_own_seam(void **state) {
    (void)state;
    static char before[] = "Hm. {}", behind[] = "{} (said\n";
    char *texts[] = {before, behind};
    er_templates two = {.text = texts, .count = 2};
    er_model m = {
        .arch = {.max_position_embeddings = 1000, .vocab = (size_t)1 << 30}, .tokenizer = family("gpt2")};
    er_hparams h = {.key_bare = 0.5, .n_prefixes = 2, .n_relation_prompts = 2, .merge_subjects = true};
    er_requests *u = NULL;
    er_facts *f = read_facts(
        "{\"subject\":\"Bo\",\"relation\":\"r\",\"prompt\":\"{} is in\",\"target\":\"Rome\"}\n"
        "{\"subject\":\"Al\",\"relation\":\"r\",\"prompt\":\"Where is {}?\\n\",\"target\":\"Rome\"}\n"
        "{\"subject\":\"Cy\",\"relation\":\"s\",\"prompt\":\"{} is "
        "in\",\"target\":\"Rome\",\"space\":false}\n"
        "{\"subject\":\"Di\",\"relation\":\"s\",\"prompt\":\"Here {} is\",\"target\":\"Rome\"}\n");
    OK(er_requests_build(&u, f, &m, &h, &two));
    row_reads(&m, &u->at[0].row[0], "Bo is in", " Rome");
    row_reads(&m, &u->at[0].row[1], "Hm. Bo is in", " Rome");
    row_reads(&m, &u->at[0].row[2], "Bo is in (said\n", "Rome");
    row_reads(&m, &u->at[0].row[3], "Where is Bo?\n", "Rome");  // Al's phrasing
    row_reads(&m, &u->at[1].row[0], "Where is Al?\n", "Rome");
    row_reads(&m, &u->at[1].row[3], "Al is in", " Rome");
    row_reads(&m, &u->at[2].row[0], "Cy is in", "Rome");
    row_reads(&m, &u->at[3].row[3], "Di is in", "Rome");  // what Cy's record says goes with its phrasing
    assert_int_equal(u->seam[ER_SEAM_SPACE], 2);
    assert_int_equal(u->seam[ER_SEAM_BLANK], 1);
    assert_int_equal(u->seam[ER_SEAM_ASKED], 1);
    er_requests_free(u);
    er_facts_free(f);
    er_tokenizer_free(m.tokenizer);
}

// The reference always puts a space, and cuts nothing.
static void test_reference_rule(void **state) {
    (void)state;
    er_tokenizer *t = family("gpt2");
    er_tokens scratch = {0}, whole = {0};
    static const char *const prompts[] = {"He lives in", "Answer:\n", "法国的首都是", "in \""};
    for (size_t i = 0; i < 4; i++) {
        er_joint j = {0};
        char text[64];
        (void)snprintf(text, sizeof text, "%s Rome", prompts[i]);
        OK(er_encode_joint(&j, t, &scratch, prompts[i], "Rome", ER_SPACE_AUTO, ER_SPACE_ALWAYS));
        OK(er_tokenizer_encode_open(t, &whole, text, strlen(text)));
        assert_true(same_ids(&whole, j.token, j.n_context + j.n_labels));
        assert_int_equal(j.seam, ER_SEAM_SPACE);
        free(j.token);
    }
    er_tokens_free(&scratch);
    er_tokens_free(&whole);
    er_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_blank_joins_the_target),
        cmocka_unit_test(test_one_text_to_the_tokenizer),
        cmocka_unit_test(test_one_subject_to_the_tokenizer),
        cmocka_unit_test(test_rows_have_their_own_seam),
        cmocka_unit_test(test_reference_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
