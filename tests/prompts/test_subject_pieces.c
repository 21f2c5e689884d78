// Subjects and targets under SentencePiece-like tokenizers: the space belongs to the word behind it, a text
// gets one in front, and what has no piece falls apart into bytes. Letters by hand first, then the golden
// tokenizers against their own decoding and against the two conventions of published editing code.
#include "engine/prompts.h"
#include "io/base/file.h"
#include "tests/support/subject_decoded.h"

typedef struct fixture {
    er_model m;
    er_hparams h;
    er_templates t;
    er_facts *f;
    er_requests *u;
} fixture;

enum { MARK = 94, S_MARK, BOS, MARK_B, O_DOT, END };

static const char prepend[] = "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
                              "\"prepend\":\"\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
                              "\"content\":\"\u2581\"}]},\"pre_tokenizer\":null";
static const char metaspace[] =
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":"
    "\"\u2581\",\"prepend_scheme\":\"first\",\"split\":false}";

// '!'..'~' are ids 0..93, then the mark, "s▁", <s>, "▁B", "o." and </s>.
static er_tokenizer *letters(const char *marks, const char *merges, bool end_of_text) {
    char json[8000];
    int n = snprintf(json, sizeof json,
        "{\"added_tokens\":[{\"id\":96,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":"
        "false,\"normalized\":false,\"special\":true}],%s,\"decoder\":null,\"post_processor\":{\"type\":"
        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{"
        "\"id\":\"A\",\"type_id\":0}}%s],\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[96]"
        ","
        "\"tokens\":[\"<s>\"]},\"</s>\":{\"id\":\"</s>\",\"ids\":[99],\"tokens\":[\"</s>\"]}}},\"model\":{"
        "\"type\":\"BPE\",\"unk_token\":null,\"merges\":[%s],\"vocab\":{",
        marks, end_of_text ? ",{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":0}}" : "", merges);
    for (int c = '!'; c <= '~'; c++)
        n += snprintf(
            json + n, sizeof json - (size_t)n, "\"%s%c\":%d,", c == '"' || c == '\\' ? "\\" : "", c, c - '!');
    n += snprintf(json + n, sizeof json - (size_t)n,
        "\"\u2581\":94,\"s\u2581\":95,\"<s>\":96,\"\u2581B\":97,\"o.\":98,\"</s>\":99,\"Bo\":100}}}");
    er_tokenizer *t = NULL;
    OK(er_tokenizer_parse(&t, json, (size_t)n, "letters"));
    return t;
}

static er_tokenizer *golden(const char *name) {
    char path[512], *json = NULL;
    size_t len = 0;
    er_tokenizer *t = NULL;
    (void)snprintf(path, sizeof path, "%s/golden/tokenizer/%s.json", TEST_DATA, name);
    OK(er_file_read(&json, &len, path, 1 << 24));
    OK(er_tokenizer_parse(&t, json, len, name));
    free(json);
    return t;
}

static void build(fixture *x, er_tokenizer *t, const char *lines) {
    *x = (fixture){.m = {.arch = {.max_position_embeddings = 1000, .vocab = (size_t)1 << 30}, .tokenizer = t},
        .h = {.key_bare = 0.5, .merge_subjects = false}};
    OK(er_facts_parse(&x->f, lines, strlen(lines), "facts.jsonl", &(er_facts_options){0}));
    OK(er_requests_build(&x->u, x->f, &x->m, &x->h, &x->t));
    assert_int_equal(x->f->n_rejects, 0);
}
static void end(fixture *x) {
    er_requests_free(x->u);
    er_facts_free(x->f);
    er_tokenizer_free(x->m.tokenizer);
}

#define FACT(subject, prompt, target)                                                                        \
    "{\"subject\":\"" subject "\",\"prompt\":\"" prompt "\",\"target\":\"" target "\"}\n"

// The bare row's tokens, the capital letters of `spelled` standing for the ids below it.
static void row_is(const er_prompt *r, const char *spelled, size_t subject_last, size_t first_label) {
    assert_int_equal(r->length, strlen(spelled));
    for (size_t i = 0; i < r->length; i++) {
        char c = spelled[i];
        int want = c == '_'   ? MARK
                   : c == '<' ? BOS
                   : c == '2' ? S_MARK
                   : c == '3' ? MARK_B
                   : c == '4' ? O_DOT
                              : c - '!';
        assert_int_equal(r->token[i], want);
    }
    assert_int_equal(r->subject_last, subject_last);
    assert_int_equal(r->first_label, first_label);
}

static void test_letters(void **state) {
    (void)state;
    static const char facts[] = FACT("Ann", "{} is", "x") FACT("Bo", "is {}", "x") FACT("C", "{}", "x") FACT(
        "B", "is {}, or", "x") FACT("Bo", "at {}. So", "x") FACT("n", "{}n", "x") FACT("e e", "{} e", "x");
    const char *marks[] = {prepend, metaspace};
    for (int k = 0; k < 2; k++) {
        fixture x;
        build(&x, letters(marks[k], "", false), facts);
        row_is(&x.u->at[0].row[0], "<_Ann_is_", 4, 7);  // the mark in front shares the A's place
        row_is(&x.u->at[1].row[0], "<_is_Bo_", 6, 6);
        row_is(&x.u->at[2].row[0], "<_C_", 2, 2);
        row_is(&x.u->at[3].row[0], "<_is_B,_or_", 5, 9);
        row_is(&x.u->at[4].row[0], "<_at_Bo._So_", 6, 10);
        row_is(&x.u->at[5].row[0], "<_nn_", 2, 3);
        row_is(&x.u->at[6].row[0], "<_e_e_e_", 4, 6);
        assert_int_equal(x.u->n_prefix_differs, 0);
        assert_int_equal(x.u->n_target_alone, 0);
        end(&x);
        // Pieces with the space in front, and across the subject's end.
        build(&x, letters(marks[k], "[\"\u2581\",\"B\"],[\"o\",\".\"]", false), facts);
        row_is(&x.u->at[1].row[0], "<_is3o_", 5, 5);
        row_is(&x.u->at[3].row[0], "<_is3,_or_", 4, 8);  // " B" is one token, and overlaps the B
        row_is(&x.u->at[4].row[0], "<_at34_So_", 5, 8);  // so does "o." the o
        assert_false(x.u->at[4].row[0].prefix_differs);  // the o is as many tokens into the text as "o."
        end(&x);
    }
}

// A piece that reaches over the subject's end can be read otherwise when the text is cut there: "o." keeps
// the o from "Bo". The token that overlaps the subject counts, and the row says that another index is about.
static void test_prefix_differs(void **state) {
    (void)state;
    fixture x;
    build(&x, letters(prepend, "[\"o\",\".\"],[\"B\",\"o\"]", false),
        FACT("Bo", "to {}.", "x") FACT("Bo", "{}, no", "x"));
    row_is(&x.u->at[0].row[0], "<_to_B4_", 6, 6);
    assert_true(x.u->at[0].row[0].prefix_differs);
    assert_int_equal(x.u->at[1].row[0].subject_last, 2);
    assert_false(x.u->at[1].row[0].prefix_differs);
    assert_int_equal(x.u->n_prefix_differs, 1);
    end(&x);
}

// ids(prompt + " " + target) minus ids(prompt); where "s▁" reaches over the seam, the target's own encoding,
// which holds one mark and not two.
static void test_seam(void **state) {
    (void)state;
    static const char facts[] = FACT("Bo", "{} is", "us v") FACT("Bo", "{} was in", "us v");
    const char *marks[] = {prepend, metaspace};
    const int32_t labels[] = {MARK, 'u' - '!', S_MARK, 'v' - '!'};
    for (int k = 0; k < 4; k++) {
        fixture x;
        build(&x, letters(marks[k % 2], "[\"s\",\"\u2581\"]", k > 1), facts);
        row_is(&x.u->at[0].row[0], "<_Bo_is_u2", 3, 6);
        row_is(&x.u->at[1].row[0], "<_Bo_wa2in_u2", 3, 9);
        for (size_t i = 0; i < 2; i++) {
            const er_prompt *r = &x.u->at[i].row[0];
            assert_int_equal(r->n_labels, 4);
            assert_memory_equal(r->label, labels, sizeof labels);
            assert_int_equal(r->target_alone, i == 0);
        }
        assert_int_equal(x.u->n_target_alone, 1);
        assert_int_equal(x.u->n_rows, 4);
        // What the other conventions would train on: the target with a space of its own gets a second mark
        // from Prepend.
        er_tokens out = {0};
        OK(er_tokenizer_encode(x.m.tokenizer, &out, " us v", 5, false));
        assert_int_equal(out.count, k % 2 ? 4 : 5);
        // An end of text that the template puts behind every text is in no prompt.
        OK(er_tokenizer_encode(x.m.tokenizer, &out, "Bo", 2, true));
        assert_int_equal(out.at[out.count - 1].id, k > 1 ? END : 'o' - '!');
        er_tokens_free(&out);
        end(&x);
    }
}

static size_t count_of(const er_tokenizer *t, const char *text) {
    er_tokens out = {0};
    OK(er_tokenizer_encode(t, &out, text, strlen(text), true));
    size_t n = out.count;
    er_tokens_free(&out);
    return n;
}

static const struct {
    const char *subject, *prompt, *target;
} facts[] = {{"Ada Lovelace", "The profession of {} is", "mathematician"},
    {"Gr\u00f6\u00dfenwahn", "{} means", "vanity"},
    {"\u6771\u4eac\u30bf\u30ef\u30fc", "We saw {}, in", "Osaka"},
    {"S\u00e3o\u00a0Paulo", "Where is {}? In", "Chile"},
    {"\U0001f469\u200d\U0001f52c", "{} works as a", "doctor"}, {"1234567", "call {} now", "today"},
    {"O'Brien-Smith", "{}'s wife", "left"}, {"Danielle Darrieux", "The mother tongue of {} is", "English"},
    {"X", "{}", "is a letter"}, {"e\u0301", "to {}.", "\u00e9"}, {"the  two", "see {}", "go"}};
enum { FACTS = sizeof facts / sizeof *facts };

static void build_facts(fixture *x, const char *name) {
    static char lines[8192];
    size_t n = 0;
    for (size_t i = 0; i < FACTS; i++)
        n += (size_t)snprintf(lines + n, sizeof lines - n,
            "{\"subject\":\"%s\",\"prompt\":\"%s\",\"target\":\"%s\"}\n", facts[i].subject, facts[i].prompt,
            facts[i].target);
    build(x, golden(name), lines);
    assert_int_equal(x->u->count, FACTS);
}

static void test_golden(void **state) {
    (void)state;
    static const char *const names[] = {
        "llama2", "mistral", "phi3", "gemma", "tekken", "o200k", "opt", "gpt2", "llama3"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        fixture x;
        build_facts(&x, names[n]);
        for (size_t i = 0; i < FACTS; i++) {
            const er_prompt *r = &x.u->at[i].row[0];
            const char *prompt = facts[i].prompt;
            char until[256], want[512], *text = NULL;
            size_t head = (size_t)(strstr(prompt, "{}") - prompt);
            (void)snprintf(until, sizeof until, "%.*s%s", (int)head, prompt, facts[i].subject);
            assert_int_equal(r->subject_last, by_decoding(x.m.tokenizer, r, until));
            int32_t all[512];
            memcpy(all, r->token, r->length * sizeof *all);
            all[r->length] = r->label[r->n_labels - 1];
            OK(er_tokenizer_decode(x.m.tokenizer, &text, all, r->length + 1, true));
            (void)snprintf(want, sizeof want, "%s%s %s", until, prompt + head + 2, facts[i].target);
            assert_string_equal(text, want);
            free(text);
        }
        end(&x);
    }
}

// len(encode(prefix + subject)) - 1, special tokens and all, is the same index wherever the text may be cut
// behind the subject. len(encode(prefix)) + len(encode(" " + subject)) - 1 is it only without a beginning of
// text: that is counted twice, and Prepend's mark beside the space is one more, unless the two
// make one piece that saves as much elsewhere (phi3 here).
static void test_conventions(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t too_far;
    } kinds[] = {{"gpt2", 0}, {"qwen2", 0}, {"llama3", 1}, {"opt", 1}, {"tekken", 1}, {"mistral", 1},
        {"llama2", 2}, {"phi3", 1}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        fixture x;
        build_facts(&x, kinds[k].name);
        assert_int_equal(x.u->n_prefix_differs, 0);
        for (size_t i = 0; i < FACTS; i++) {
            const er_prompt *r = &x.u->at[i].row[0];
            size_t head = (size_t)(strstr(facts[i].prompt, "{}") - facts[i].prompt);
            char text[256];
            (void)snprintf(text, sizeof text, "%.*s%s", (int)head, facts[i].prompt, facts[i].subject);
            assert_int_equal(r->subject_last, count_of(x.m.tokenizer, text) - 1);
            assert_false(r->prefix_differs);
            if (i != 0 && i != 7) continue;  // the second convention wants a word before the subject
            (void)snprintf(text, sizeof text, "%.*s", (int)head - 1, facts[i].prompt);
            size_t before = count_of(x.m.tokenizer, text);
            (void)snprintf(text, sizeof text, " %s", facts[i].subject);
            assert_int_equal(before + count_of(x.m.tokenizer, text) - 1, r->subject_last + kinds[k].too_far);
        }
        end(&x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_letters), cmocka_unit_test(test_prefix_differs),
        cmocka_unit_test(test_seam), cmocka_unit_test(test_golden), cmocka_unit_test(test_conventions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
