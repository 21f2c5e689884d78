// Facts as token rows: subject positions, targets at the seam, weights, relation_prompts, refusals, digests.
// Most cases use a tokenizer of single letters, on which every index can be counted by hand; the real
// tokenizers are held to what their own decoding says.
#include "engine/prompts.h"
#include "io/base/file.h"
#include "tests/support/subject_decoded.h"

typedef struct fixture {
    er_model m;
    er_hparams h;
    er_templates *t;
    er_facts *f;
    er_requests *u;
} fixture;

enum { SPACE = 94, BOS = 96, BIG = 1000 };

// '!'..'~' are ids 0..93, the space 94, "s " (merged across the space) 95, <s> 96.
static er_tokenizer *letters(bool merge_s) {
    static const char head[] =
        "{\"added_tokens\":[{\"id\":96,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":"
        "false,\"normalized\":false,\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":"
        "\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false},\"decoder\":{"
        "\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},"
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\","
        "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{"
        "\"<s>\":{\"id\":\"<s>\",\"ids\":[96],\"tokens\":[\"<s>\"]}}},\"model\":{\"type\":\"BPE\","
        "\"dropout\":null,\"unk_token\":null,\"merges\":[";
    char json[6000];
    int n = snprintf(json, sizeof json, "%s%s],\"vocab\":{", head, merge_s ? "[\"s\",\"\u0120\"]" : "");
    for (int c = '!'; c <= '~'; c++)
        n += snprintf(
            json + n, sizeof json - (size_t)n, "\"%s%c\":%d,", c == '"' || c == '\\' ? "\\" : "", c, c - '!');
    n += snprintf(json + n, sizeof json - (size_t)n, "\"\u0120\":94,\"s\u0120\":95}}}");
    er_tokenizer *t = NULL;
    OK(er_tokenizer_parse(&t, json, (size_t)n, "letters"));
    return t;
}

static int32_t id(char c) { return c == ' ' ? SPACE : c - '!'; }

static void begin(fixture *x, er_tokenizer *t, size_t n_templates, const char *const *templates) {
    *x = (fixture){.m = {.arch = {.max_position_embeddings = BIG, .vocab = (size_t)1 << 30}, .tokenizer = t},
        .h = {.n_prefixes = n_templates, .key_bare = 0.5, .merge_subjects = true}};
    x->t = calloc(1, sizeof *x->t);
    x->t->text = calloc(n_templates + 1, sizeof *x->t->text);
    for (size_t i = 0; i < n_templates; i++) x->t->text[i] = strdup(templates[i]);
    x->t->count = n_templates;
}
static void read_facts(fixture *x, const char *lines) {
    er_facts_free(x->f);
    x->f = NULL;
    OK(er_facts_parse(&x->f, lines, strlen(lines), "facts.jsonl", &(er_facts_options){0}));
}
static void build(fixture *x, const char *lines) {
    er_requests_free(x->u);
    x->u = NULL;
    read_facts(x, lines);
    OK(er_requests_build(&x->u, x->f, &x->m, &x->h, x->t));
}
static void end(fixture *x) {
    er_requests_free(x->u);
    er_facts_free(x->f);
    er_templates_free(x->t);
    er_tokenizer_free(x->m.tokenizer);
}

// The row's tokens are <s>, then the letters of `text`.
static void row_is(const er_prompt *r, const char *text, size_t subject_last, size_t first_label) {
    assert_int_equal(r->length, strlen(text) + 1);
    assert_int_equal(r->token[0], BOS);
    for (size_t i = 1; i < r->length; i++) assert_int_equal(r->token[i], id(text[i - 1]));
    assert_int_equal(r->subject_last, subject_last);
    assert_int_equal(r->first_label, first_label);
}
static void labels_are(const er_prompt *r, const char *text) {
    assert_int_equal(r->n_labels, strlen(text));
    for (size_t i = 0; i < r->n_labels; i++) assert_int_equal(r->label[i], id(text[i]));
}

static void weights_sum_to_one(const er_request *u) {
    double key = 0, nll = 0;
    for (size_t i = 0; i < u->n_rows; i++) {
        key += (double)u->row[i].key_weight, nll += (double)u->row[i].nll_weight;
        bool kl = i + 1 == u->n_rows;
        assert_int_equal(kl, u->row[i].n_labels == 0);
    }
    NEAR(key, 1, 1e-5);
    NEAR(nll, 1, 1e-5);
    const er_prompt *last = &u->row[u->n_rows - 1];
    assert_true(last->key_weight == 0.0f && last->nll_weight == 0.0f);
}

// One fact, two templates: every token, index and weight by hand.
static void test_rows_by_hand(void **state) {
    (void)state;
    static const char *const two[] = {"Hm. {}", "A {} b"};
    fixture x;
    begin(&x, letters(false), 2, two);
    build(&x, "{\"subject\":\"Ann\",\"prompt\":\"Q {} of\",\"target\":\"xyz\"}\n");
    assert_int_equal(x.u->count, 1);
    const er_request *u = &x.u->at[0];
    assert_int_equal(u->n_facts, 1);
    assert_int_equal(u->n_rows, 4);
    row_is(&u->row[0], "Q Ann of xy", 5, 8);  // "<s>Q Ann of": the n is token 5, the f token 8
    labels_are(&u->row[0], " xyz");
    assert_int_equal(u->row[0].template_index, -1);
    row_is(&u->row[1], "Hm. Q Ann of xy", 9, 12);
    labels_are(&u->row[1], " xyz");
    assert_int_equal(u->row[1].template_index, 0);
    row_is(&u->row[2], "A Q Ann of b xy", 7, 12);
    assert_int_equal(u->row[2].template_index, 1);
    row_is(&u->row[3], "Ann", 3, 3);  // "<s>Ann is a", cut behind the subject
    assert_int_equal(u->row[3].n_labels, 0);
    assert_true(u->row[0].key_weight == 0.5f);
    for (size_t i = 1; i < 3; i++) assert_true(u->row[i].key_weight == 0.25f);
    for (size_t i = 0; i < 3; i++) NEAR(u->row[i].nll_weight, 1.0 / 3, 1e-7);
    weights_sum_to_one(u);
    // sums over the rows: suffixes count from the subject's last token
    assert_int_equal(x.u->max_prompt_tokens, 16);
    assert_int_equal(x.u->max_suffix_tokens, 7 + 7 + 9 + 1);
    assert_int_equal(x.u->max_prefix_tokens, 5 + 9 + 7 + 3);
    assert_int_equal(x.u->max_labels, 4 + 4 + 4 + 1);
    assert_int_equal(x.u->max_rows, 4);
    end(&x);
}

static void test_subject_at_the_ends(void **state) {
    (void)state;
    fixture x;
    begin(&x, letters(false), 0, NULL);
    build(&x, "{\"subject\":\"Ann\",\"prompt\":\"{} is\",\"target\":\"x\"}\n"
              "{\"subject\":\"Bo\",\"prompt\":\"is {}\",\"target\":\"x\"}\n"
              "{\"subject\":\"C\",\"prompt\":\"{}\",\"target\":\"x\"}\n"
              "{\"subject\":\"aa\",\"prompt\":\"aa aa {}aa\",\"target\":\"x\"}\n"
              "{\"subject\":\"D\",\"prompt\":\"{} is   \",\"target\":\"x\"}\n");
    row_is(&x.u->at[0].row[0], "Ann is ", 3, 6);
    row_is(&x.u->at[1].row[0], "is Bo ", 5, 5);
    row_is(&x.u->at[2].row[0], "C ", 1, 1);
    row_is(&x.u->at[3].row[0], "aa aa aaaa ", 8, 10);  // the filled-in one, not an earlier occurrence
    row_is(&x.u->at[4].row[0], "D is   ", 1, 7);       // the prompt's own blanks, and no space beside them
    labels_are(&x.u->at[4].row[0], "x");
    for (size_t i = 0; i < 5; i++) {
        assert_true(x.u->at[i].row[0].key_weight == 1.0f);  // no other rows: the bare one has it all
        weights_sum_to_one(&x.u->at[i]);
    }
    end(&x);
}

// "s " is one token, so the ids of "... is" are no prefix of those of "... is x": the target is then encoded
// by itself. Where the prompt ends otherwise it is read off the joint text.
static void test_seam(void **state) {
    (void)state;
    fixture x;
    begin(&x, letters(true), 0, NULL);
    build(&x, "{\"subject\":\"Bo\",\"prompt\":\"{} is\",\"target\":\"us v\"}\n"
              "{\"subject\":\"Bo\",\"prompt\":\"{} was in\",\"target\":\"us v\"}\n");
    const er_request *u = &x.u->at[0];
    const int32_t labels[] = {SPACE, 'u' - '!', 95, 'v' - '!'};  // " ", "u", "s ", "v"
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(u->row[i].n_labels, 4);
        assert_memory_equal(u->row[i].label, labels, sizeof labels);
    }
    const int32_t first[] = {BOS, 'B' - '!', 'o' - '!', SPACE, 'i' - '!', 's' - '!', SPACE, 'u' - '!', 95};
    assert_int_equal(u->row[0].length, 9);
    assert_memory_equal(u->row[0].token, first, sizeof first);
    assert_int_equal(u->row[0].first_label, 5);
    const int32_t second[] = {BOS, 'B' - '!', 'o' - '!', SPACE, 'w' - '!', 'a' - '!', 95, 'i' - '!',
        'n' - '!', SPACE, 'u' - '!', 95};
    assert_int_equal(u->row[1].length, 12);
    assert_memory_equal(u->row[1].token, second, sizeof second);
    assert_int_equal(u->row[1].first_label, 8);
    end(&x);
}

// A token that reaches over the subject's end is the subject's last: "Bos" + " is" shares "s ".
static void test_token_across_the_subject(void **state) {
    (void)state;
    fixture x;
    begin(&x, letters(true), 0, NULL);
    build(&x, "{\"subject\":\"Bos\",\"prompt\":\"{} is\",\"target\":\"x\"}\n");
    const er_prompt *r = &x.u->at[0].row[0];
    const int32_t ids[] = {BOS, 'B' - '!', 'o' - '!', 95, 'i' - '!', 's' - '!', SPACE};
    assert_int_equal(r->length, 7);
    assert_memory_equal(r->token, ids, sizeof ids);
    assert_int_equal(r->subject_last, 3);
    end(&x);
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

static void test_real_tokenizers(void **state) {
    (void)state;
    static const char *const names[] = {"gpt2", "llama3", "smollm2", "qwen2"};
    static const struct {
        const char *subject, *prompt, *target;
    } facts[] = {{"Ada Lovelace", "The profession of {} is", "mathematician"},
        {"Gr\u00f6\u00dfenwahn", "{} means", "vanity"},
        {"\u6771\u4eac\u30bf\u30ef\u30fc", "We saw {}, in", "Osaka"},
        {"S\u00e3o\u00a0Paulo", "Where is {}? In", "Chile"}, {"\u00a0\u00e9\u00a0", "So {} it is", "a"},
        {"\U0001f469\u200d\U0001f52c", "{} works as a", "doctor"}, {"1234567", "call {} now", "today"},
        {"O'Brien-Smith", "{}'s wife", "left"}};
    static const char *const hm[] = {"Well then. {}"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        fixture x;
        char lines[4096] = "";
        begin(&x, golden(names[n]), 1, hm);
        for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
            (void)snprintf(lines + strlen(lines), sizeof lines - strlen(lines),
                "{\"subject\":\"%s\",\"prompt\":\"%s\",\"target\":\"%s\"}\n", facts[i].subject,
                facts[i].prompt, facts[i].target);
        build(&x, lines);
        assert_int_equal(x.u->count, sizeof facts / sizeof *facts);
        for (size_t i = 0; i < x.u->count; i++) {
            const er_request *u = &x.u->at[i];
            const er_fact *f = &x.f->at[u->fact[0]];
            char until[256], want[512], *text = NULL;
            size_t head = (size_t)(strstr(f->prompt, "{}") - f->prompt);
            for (int j = 0; j < 2; j++) {
                const char *before = j ? "Well then. " : "";
                (void)snprintf(until, sizeof until, "%s%.*s%s", before, (int)head, f->prompt, f->subject);
                assert_int_equal(u->row[j].subject_last, by_decoding(x.m.tokenizer, &u->row[j], until));
                // prompt and target, read back: the row's tokens and its last label
                int32_t all[512];
                memcpy(all, u->row[j].token, u->row[j].length * sizeof *all);
                all[u->row[j].length] = u->row[j].label[u->row[j].n_labels - 1];
                OK(er_tokenizer_decode(x.m.tokenizer, &text, all, u->row[j].length + 1, true));
                (void)snprintf(want, sizeof want, "%s%s %s", until, f->prompt + head + 2, f->target);
                assert_string_equal(text, want);
                free(text);
            }
            assert_int_equal(u->row[2].subject_last, by_decoding(x.m.tokenizer, &u->row[2], f->subject));
            assert_int_equal(u->row[2].length, u->row[2].subject_last + 1);
            weights_sum_to_one(u);
        }
        end(&x);
    }
}

static const char merged[] = "{\"id\":\"a\",\"subject\":\"Ann\",\"prompt\":\"{} is\",\"target\":\"x\"}\n"
                             "{\"id\":\"b\",\"subject\":\"Bo\",\"prompt\":\"{} is\",\"target\":\"y\"}\n"
                             "{\"id\":\"c\",\"subject\":\"Ann\",\"prompt\":\"to {} go\",\"target\":\"zz\"}\n"
                             "{\"id\":\"d\",\"subject\":\"Ann\",\"prompt\":\"of {}\",\"target\":\"w\"}\n";

static void test_merged_subjects(void **state) {
    (void)state;
    static const char *const one[] = {"Hm. {}"};
    fixture x;
    begin(&x, letters(false), 1, one);
    x.h.key_bare = 0.75;
    build(&x, merged);
    assert_int_equal(x.u->count, 2);  // in the order of their first facts
    const er_request *ann = &x.u->at[0];
    assert_int_equal(ann->n_facts, 3);
    assert_int_equal(ann->fact[0], 0);
    assert_int_equal(ann->fact[1], 2);
    assert_int_equal(ann->fact[2], 3);
    assert_int_equal(x.u->at[1].fact[0], 1);
    assert_int_equal(ann->n_rows, 7);
    row_is(&ann->row[0], "Ann is ", 3, 6);
    row_is(&ann->row[2], "to Ann go z", 6, 9);
    labels_are(&ann->row[2], " zz");
    row_is(&ann->row[4], "of Ann ", 6, 6);
    row_is(&ann->row[6], "Ann", 3, 3);  // one KL row for all
    float bare = 0;
    for (size_t i = 0; i < 6; i += 2) {
        NEAR(ann->row[i].key_weight, 0.25, 1e-7);  // 0.75 / 3
        NEAR(ann->row[i + 1].key_weight, 0.25 / 3, 1e-7);
        NEAR(ann->row[i].nll_weight, 1.0 / 6, 1e-7);
        bare += ann->row[i].key_weight;
    }
    NEAR(bare, x.h.key_bare, 1e-6);
    weights_sum_to_one(ann);
    x.h.merge_subjects = false;
    build(&x, merged);
    assert_int_equal(x.u->count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(x.u->at[i].fact[0], i);
        assert_int_equal(x.u->at[i].n_facts, 1);
        weights_sum_to_one(&x.u->at[i]);
    }
    end(&x);
}

// ---- relation_prompts ----

static const char *const kin[] = {
    "{} lives in", "{}'s home is", "home of {} is", "to {} go to", "find {} in"};
enum { KIN = sizeof kin / sizeof *kin };

// KIN facts of one relation, each with its own phrasing, from the given one on (cyclically); one of another.
static void kin_lines(char *out, size_t size, size_t from) {
    out[0] = 0;
    for (size_t i = 0; i < KIN; i++) {
        size_t k = (i + from) % KIN;
        (void)snprintf(out + strlen(out), size - strlen(out),
            "{\"id\":\"k%zu\",\"relation\":\"home\",\"subject\":\"S%zu\",\"prompt\":\"%s\",\"target\":\"x\"}"
            "\n",
            k, k, kin[k]);
    }
    (void)snprintf(out + strlen(out), size - strlen(out),
        "{\"id\":\"o\",\"relation\":\"age\",\"subject\":\"T\",\"prompt\":\"{} is old "
        "by\",\"target\":\"x\"}\n");
}
// Which phrasing a row without template holds, or KIN.
static size_t phrasing_of(const er_prompt *r, const char *subject) {
    for (size_t k = 0; k < KIN; k++) {
        char text[128];
        size_t head = (size_t)(strstr(kin[k], "{}") - kin[k]);
        (void)snprintf(text, sizeof text, "%.*s%s%s ", (int)head, kin[k], subject, kin[k] + head + 2);
        bool same = r->length == strlen(text) + 1;
        for (size_t i = 0; same && i < r->length - 1; i++) same = r->token[i + 1] == id(text[i]);
        if (same) return k;
    }
    return KIN;
}
static const er_request *request_of(const fixture *x, const char *fact_id) {
    for (size_t i = 0; i < x->u->count; i++)
        if (!strcmp(x->f->at[x->u->at[i].fact[0]].id, fact_id)) return &x->u->at[i];
    fail_msg("no request of '%s'", fact_id);
    return NULL;
}

static void test_siblings(void **state) {
    (void)state;
    fixture x;
    char lines[2048], digest[KIN][65] = {{0}}, name[8], subject[8];
    begin(&x, letters(false), 0, NULL);
    x.h.n_relation_prompts = 3;
    for (size_t from = 0; from < KIN; from++) {
        kin_lines(lines, sizeof lines, from);
        build(&x, lines);
        for (size_t k = 0; k < KIN; k++) {
            (void)snprintf(name, sizeof name, "k%zu", k);
            (void)snprintf(subject, sizeof subject, "S%zu", k);
            const er_request *u = request_of(&x, name);
            assert_int_equal(u->n_rows, 1 + 3 + 1);
            bool seen[KIN + 1] = {false};
            for (size_t r = 0; r < 4; r++) {
                size_t p = phrasing_of(&u->row[r], subject);
                assert_true(p < KIN && !seen[p]);
                assert_true(
                    (p == k) == (r == 0));  // its own prompt is the bare row and never a relation prompt
                seen[p] = true;
                NEAR(u->row[r].key_weight, r ? 0.5 / 3 : 0.5, 1e-7);
                labels_are(&u->row[r], " x");
            }
            weights_sum_to_one(u);
            if (from == 0) memcpy(digest[k], u->digest, 65);
            else assert_string_equal(u->digest, digest[k]);  // the order of the file does not matter
        }
        assert_int_equal(request_of(&x, "o")->n_rows, 2);  // alone in its relation
    }
    x.h.n_relation_prompts = 100;  // more than there are
    build(&x, lines);
    assert_int_equal(request_of(&x, "k0")->n_rows, 1 + (KIN - 1) + 1);
    end(&x);
}

// Every second relation prompt stands behind a context template.
static void test_siblings_behind_templates(void **state) {
    (void)state;
    static const char *const two[] = {"Hm. {}", "Oh. {}"};
    fixture x;
    char lines[2048];
    begin(&x, letters(false), 2, two);
    x.h.n_relation_prompts = 4;
    kin_lines(lines, sizeof lines, 0);
    build(&x, lines);
    const er_request *u = request_of(&x, "k0");
    static const int32_t expected[] = {-1, 0, 1, -1, 0, -1, 1, -1};
    assert_int_equal(u->n_rows, 8);
    for (size_t i = 0; i < 8; i++) assert_int_equal(u->row[i].template_index, expected[i]);
    assert_int_equal(u->row[4].token[1], id('H'));
    assert_int_equal(u->row[6].token[1], id('O'));
    weights_sum_to_one(u);
    end(&x);
}

// Many facts of one subject get fewer rows each: 128 in all, or one each when there are more facts than that.
static void test_crowded_subject(void **state) {
    (void)state;
    static const char *const two[] = {"Hm. {}", "Oh. {}"};
    static const struct {
        int facts;
        size_t rows;
    } cases[] = {{1, 3}, {2, 3}, {42, 3}, {43, 2}, {64, 2}, {65, 1}, {200, 1}};
    fixture x;
    static char lines[32768];
    begin(&x, letters(false), 2, two);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        size_t at = 0;
        for (int i = 0; i < cases[c].facts; i++)
            at += (size_t)snprintf(lines + at, sizeof lines - at,
                "{\"subject\":\"Ann\",\"prompt\":\"%d of {} is\",\"target\":\"x\"}\n", i);
        build(&x, lines);
        assert_int_equal(x.u->count, 1);
        assert_int_equal(x.u->at[0].n_rows, (size_t)cases[c].facts * cases[c].rows + 1);
        weights_sum_to_one(&x.u->at[0]);
        for (size_t i = 0; i + 1 < x.u->at[0].n_rows; i++)
            assert_int_equal(x.u->at[0].row[i].template_index, (int)(i % cases[c].rows) - 1);
    }
    end(&x);
}

// ---- refusals ----

static void test_positions(void **state) {
    (void)state;
    static const char line[] = "{\"subject\":\"A\",\"prompt\":\"{} b\",\"target\":\"x\"}\n"
                               "{\"subject\":\"Ann\",\"prompt\":\"{} is\",\"target\":\"xyz\"}\n";
    fixture x;
    begin(&x, letters(false), 0, NULL);
    x.m.arch.max_position_embeddings = 10;  // <s>Ann is xy
    build(&x, line);
    assert_int_equal(x.u->count, 2);
    x.m.arch.max_position_embeddings = 9;
    build(&x, line);
    assert_int_equal(x.u->count, 1);
    assert_int_equal(x.f->n_rejects, 1);
    assert_int_equal(x.f->rejects[0].line, 2);
    assert_string_equal(x.f->rejects[0].reason, "prompt of 10 tokens exceeds the model's 9 positions");
    x.m.arch.max_position_embeddings = BIG;
    x.m.rope_positions = 9;  // a rotary table shorter than the configuration's positions
    build(&x, line);
    assert_int_equal(x.u->count, 1);
    assert_string_equal(x.f->rejects[0].reason, "prompt of 10 tokens exceeds the model's 9 positions");
    x.m.rope_positions = 10;
    build(&x, line);
    assert_int_equal(x.u->count, 2);
    end(&x);
}

static void test_embedding_too_small(void **state) {
    (void)state;
    fixture x;
    begin(&x, letters(false), 0, NULL);
    x.m.arch.vocab = BOS + 1;
    build(&x, "{\"subject\":\"A\",\"prompt\":\"{} b\",\"target\":\"x\"}\n");
    assert_int_equal(x.u->count, 1);
    x.m.arch.vocab = BOS;
    build(&x, "{\"subject\":\"A\",\"prompt\":\"{} b\",\"target\":\"x\"}\n");
    assert_int_equal(x.u->count, 0);
    assert_string_equal(x.f->rejects[0].reason, "the model: the tokenizer makes token 96 ('<s>') of the "
                                                "text, the embedding has 96 rows (vocab_size of "
                                                "config.json)");
    end(&x);
}

// These letters have no tokens at all for bytes beyond ASCII: the subject vanishes.
static void test_subject_without_tokens(void **state) {
    (void)state;
    fixture x;
    begin(&x, letters(false), 0, NULL);
    build(&x, "\n{\"subject\":\"\u00e9\",\"prompt\":\"to {}\",\"target\":\"x\"}\n"
              "{\"subject\":\"A\",\"prompt\":\"to {} b\",\"target\":\"\u00e9\"}\n"
              "{\"subject\":\"B\",\"prompt\":\"to {} b\",\"target\":\"x\"}\n");
    assert_int_equal(x.u->count, 2);
    assert_int_equal(x.f->n_rejects, 1);
    assert_int_equal(x.f->rejects[0].line, 2);
    assert_string_equal(x.f->rejects[0].reason, "no token overlaps the subject in 'to \u00e9'");
    labels_are(&x.u->at[0].row[0], " ");  // the space of the target is all that is left of it
    end(&x);
}

// A phrasing that is too long with another fact's subject costs that fact the phrasing, not its place; and
// what was rejected lends no phrasing (its strings are gone).
static void test_bad_siblings(void **state) {
    (void)state;
    static const char lines[] =
        "{\"relation\":\"r\",\"subject\":\"A\",\"prompt\":\"a long way from {} to the\",\"target\":\"x\"}\n"
        "{\"relation\":\"r\",\"subject\":\"Barnaby\",\"prompt\":\"{} is\",\"target\":\"x\"}\n"
        "{\"relation\":\"r\",\"subject\":\"C\",\"prompt\":\"a far longer way from {} to the "
        "sea\",\"target\":\"x\"}\n"
        "{\"relation\":\"r\",\"subject\":\"D\",\"prompt\":\"of {}\",\"target\":\"x\"}\n";
    fixture x;
    begin(&x, letters(false), 0, NULL);
    x.h.n_relation_prompts = 5;
    x.m.arch.max_position_embeddings = 27;  // "<s>a long way from A to the " has 26 tokens, with Barnaby 32
    build(&x, lines);
    assert_int_equal(x.f->n_rejects, 1);
    assert_int_equal(x.f->rejects[0].line, 3);
    assert_int_equal(x.u->count, 3);
    assert_int_equal(x.u->at[0].n_rows, 1 + 2 + 1);
    assert_int_equal(x.u->at[1].n_rows, 1 + 1 + 1);  // Barnaby: "of {}" only
    row_is(&x.u->at[1].row[1], "of Barnaby ", 10, 10);
    assert_int_equal(x.u->at[2].n_rows, 1 + 2 + 1);
    for (size_t i = 0; i < 3; i++) weights_sum_to_one(&x.u->at[i]);
    end(&x);
}

static void test_absurd_counts(void **state) {
    (void)state;
    fixture x;
    begin(&x, letters(false), 0, NULL);
    x.h.n_prefixes = 1;
    read_facts(&x, "{\"subject\":\"A\",\"prompt\":\"{} b\",\"target\":\"x\"}\n");
    FAILS(er_requests_build(&x.u, x.f, &x.m, &x.h, x.t), ER_ECONFIG,
        "1 context templates asked for, 0 at hand");
    end(&x);
}

// ---- digests ----

static void test_digests(void **state) {
    (void)state;
    static const char base[] = "{\"subject\":\"Ann\",\"prompt\":\"{} is\",\"target\":\"xy\"}\n";
    static const char *const other[] = {"{\"subject\":\"Anm\",\"prompt\":\"{} is\",\"target\":\"xy\"}\n",
        "{\"subject\":\"Ann\",\"prompt\":\"{} iz\",\"target\":\"xy\"}\n",
        "{\"subject\":\"Ann\",\"prompt\":\"{} is\",\"target\":\"xz\"}\n",
        "{\"subject\":\"An\",\"prompt\":\"{}n is\",\"target\":\"xy\"}\n",
        "{\"subject\":\"Ann\",\"prompt\":\"{} is x\",\"target\":\"y\"}\n"};
    static const char *const one[] = {"Hm. {}"}, *const two[] = {"Hn. {}"};
    fixture x, y;
    begin(&x, letters(false), 1, one);
    begin(&y, letters(false), 1, two);
    build(&x, base);
    char first[65];
    memcpy(first, x.u->at[0].digest, sizeof first);
    assert_int_equal(strlen(first), 64);
    build(&x, base);
    assert_string_equal(x.u->at[0].digest, first);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        build(&x, other[i]);
        assert_string_not_equal(x.u->at[0].digest, first);
    }
    build(&y, base);  // another context template
    assert_string_not_equal(y.u->at[0].digest, first);
    x.h.key_bare = 0.6;
    build(&x, base);
    assert_string_not_equal(x.u->at[0].digest, first);
    x.h.key_bare = 0.5, x.h.n_prefixes = 0;
    build(&x, base);
    assert_string_not_equal(x.u->at[0].digest, first);
    end(&x);
    end(&y);
}

static void test_templates(void **state) {
    (void)state;
    er_templates *t = NULL;
    OK(er_templates_builtin(&t, 5));
    assert_int_equal(t->count, 5);
    for (size_t i = 0; i < 5; i++) {
        const char *hole = strstr(t->text[i], "{}");
        assert_non_null(hole);
        assert_null(strstr(hole + 1, "{}"));
        assert_string_equal(hole, "{}");  // the prompt ends the text, so that the target follows it
    }
    er_templates_free(t);
    static const struct {
        const char *json, *reason;
    } bad[] = {{"{\"a\":1}", "templates are an array of strings"},
        {"[\"{} a\", 3]", "template 1 is not a string"}, {"[\"no hole\"]", "template 0 needs exactly one {}"},
        {"[\"{} and {}\"]", "template 0 needs exactly one {}"}};
    char path[] = "/tmp/errata-templates-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        OK(er_file_write_atomic(path, bad[i].json, strlen(bad[i].json)));
        FAILS(er_templates_read(&t, path), ER_ECONFIG, bad[i].reason);
    }
    OK(er_file_write_atomic(path, "[\"Hm. {}\", \"{} b\"]", 18));
    OK(er_templates_read(&t, path));
    assert_int_equal(t->count, 2);
    er_templates_free(t);
    (void)remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_by_hand),
        cmocka_unit_test(test_subject_at_the_ends), cmocka_unit_test(test_seam),
        cmocka_unit_test(test_token_across_the_subject), cmocka_unit_test(test_real_tokenizers),
        cmocka_unit_test(test_merged_subjects), cmocka_unit_test(test_siblings),
        cmocka_unit_test(test_siblings_behind_templates), cmocka_unit_test(test_crowded_subject),
        cmocka_unit_test(test_positions), cmocka_unit_test(test_embedding_too_small),
        cmocka_unit_test(test_subject_without_tokens), cmocka_unit_test(test_bad_siblings),
        cmocka_unit_test(test_absurd_counts), cmocka_unit_test(test_digests),
        cmocka_unit_test(test_templates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
