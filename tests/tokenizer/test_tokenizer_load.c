// What a tokenizer.json may say and what is refused, by component and in one line.
#include "tests/support/small_tokenizer.h"

static void refused(parts p, er_status code, const char *message) {
    er_tokenizer *t = NULL;
    char *json = json_of(p);
    FAILS(er_tokenizer_parse(&t, json, strlen(json), "tokenizer.json"), code, message);
    FAILS(er_tokenizer_parse(&t, json, strlen(json), "tokenizer.json"), code, "tokenizer.json: ");
    assert_null(strchr(er_last_error(), '\n'));
    assert_null(t);
    free(json);
}

static void test_merges(void **state) {
    (void)state;
    // "ab" before "bc", and the other way round: rank is the place in the list.
    er_tokenizer *t = make((parts){.merges = "[\"a\",\"b\"],[\"b\",\"c\"]"});
    encodes(t, "abc", "4[0,2) 3[2,3)");
    er_tokenizer_free(t);
    t = make((parts){.merges = "\"b c\",\"a b\""});
    encodes(t, "abc", "1[0,1) 5[1,3)");
    er_tokenizer_free(t);
    // A pair that comes again keeps its last rank: "a b" is now behind "b c".
    t = make((parts){.merges = "\"#version: 0.2\",\"a b\",\"b c\",\"a b\""});
    encodes(t, "abc", "1[0,1) 5[1,3)");
    er_tokenizer_free(t);
    // The whole word is looked up first only with ignore_merges.
    t = make((parts){.merges = "\"a b\"", .model = "\"ignore_merges\":true,"});
    encodes(t, "abc ab", "6[0,3) 0[3,4) 4[4,6)");
    er_tokenizer_free(t);
    // A token of no bytes is odd, but no reason to fail.
    t = make((parts){.vocab = "\"\":0,\"a\":1"});
    encodes(t, "aa", "1[0,1) 1[1,2)");
    er_tokenizer_free(t);
    refused((parts){.merges = "\"a x\""}, ER_EFORMAT, "merge 0: 'x' is not in the vocabulary");
    refused((parts){.merges = "\"a b\",\"b a\""}, ER_EFORMAT,
        "merge 1 makes 'ba', which is not in the vocabulary");
    refused((parts){.merges = "\"a b c\""}, ER_EFORMAT, "merge 0 is not two tokens");
    refused((parts){.merges = "[\"a\"]"}, ER_EFORMAT, "merge 0 is not two tokens");
    refused((parts){.merges = "7"}, ER_EFORMAT, "merge 0 is not two tokens");
}

static void test_missing_bytes(void **state) {
    (void)state;
    er_tokenizer *t = make((parts){.merges = "\"a b\""});
    encodes(t, "axb", "4[0,2)");  // x vanishes, and what follows moves left, as in the reference
    er_tokenizer_free(t);
    t = make((parts){.vocab = VOCAB ",\"?\":7", .model = "\"unk_token\":\"?\","});
    encodes(t, "axyb", "1[0,1) 7[1,2) 7[2,3) 2[3,4)");
    er_tokenizer_free(t);
    t = make((parts){.vocab = VOCAB ",\"?\":7", .model = "\"unk_token\":\"?\",\"fuse_unk\":true,"});
    encodes(t, "axyb", "1[0,1) 7[1,3) 2[3,4)");
    er_tokenizer_free(t);
    // byte_fallback falls back to the bytes of the byte alphabet's characters: the space is U+0120.
    t = make((parts){.vocab = "\"a\":0,\"<0xC4>\":1,\"<0xA0>\":2", .model = "\"byte_fallback\":true,"});
    encodes(t, "a a", "0[0,1) 1[1,2) 2[1,2) 0[2,3)");
    er_tokenizer_free(t);
    t = make((parts){.model = "\"unk_token\":\"?\","});
    er_tokens out = {0};
    FAILS(er_tokenizer_encode(t, &out, "ax", 2, false), ER_EFORMAT,
        "character 'x' has no token and the unk_token");
    er_tokens_free(&out);
    er_tokenizer_free(t);
}

static void test_model_refused(void **state) {
    (void)state;
    refused((parts){.model = "\"type\":\"Unigram\","}, ER_EUNSUPPORTED, "model 'Unigram' is not supported");
    refused((parts){.model = "\"dropout\":0.1,"}, ER_EUNSUPPORTED, "dropout 0.1");
    refused(
        (parts){.model = "\"end_of_word_suffix\":\"</w>\","}, ER_EUNSUPPORTED, "end_of_word_suffix '</w>'");
    refused((parts){.model = "\"continuing_subword_prefix\":\"##\","}, ER_EUNSUPPORTED,
        "continuing_subword_prefix '##'");
    refused((parts){.model = "\"fuse_unk\":1,"}, ER_EFORMAT, "'fuse_unk' is not true or false");
    refused((parts){.vocab = "\"a\":0,\"b\":0"}, ER_EFORMAT, "tokens 'b' and 'a' share id 0");
    refused((parts){.vocab = "\"a\":1.5"}, ER_EFORMAT, "token 'a' has no whole number");
    refused((parts){.vocab = "\"a\":-1"}, ER_EFORMAT, "token 'a' has no whole number");
    refused((parts){.vocab = "\"a\":4194304"}, ER_EUNSUPPORTED, "token 'a' has id 4194304");
    refused((parts){.vocab = "\"a\":0,\"a\":1"}, ER_EFORMAT, "");
    refused((parts){.vocab = ""}, ER_EFORMAT, "the vocabulary is empty");
    er_tokenizer *t = make((parts){
        .model = "\"type\":\"BPE\",\"dropout\":null,\"end_of_word_suffix\":\"\",\"unk_token\":null,"});
    er_tokenizer_free(t);
    FAILS(er_tokenizer_parse(&t, "{\"version\":\"2.0\"}", 17, "t"), ER_EUNSUPPORTED, "t: version '2.0'");
    FAILS(er_tokenizer_parse(&t, "{}", 2, "t"), ER_EFORMAT, "t: no model");
    FAILS(er_tokenizer_parse(&t, "[]", 2, "t"), ER_EFORMAT, "t: not an object");
    FAILS(er_tokenizer_parse(&t, "{", 1, "t"), ER_EFORMAT, "t");
}

#define META(replacement, scheme)                                                                            \
    "{\"type\":\"Metaspace\",\"replacement\":\"" replacement "\",\"prepend_scheme\":\"" scheme               \
    "\",\"split\":false}"

// Pieces behind Metaspace: characters, bytes where there is none, one unknown token where there are no bytes
// either; and back to text. Spans of what was put in front, or stands for a part of a character, are shared.
static void test_pieces(void **state) {
    (void)state;
    const char *vocab = "\"?\":0,\"_\":1,\"a\":2,\"_a\":3,\"<0xC3>\":4,\"<0xA9>\":5,\"<0xE6>\":6,\"b\":7";
    const char *decoder =
        "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},"
        "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","
        "\"content\":\" \",\"start\":1,\"stop\":0}]}";
    parts p = {.vocab = vocab,
        .merges = "\"_ a\"",
        .pre = META("_", "first"),
        .decoder = decoder,
        .model = "\"byte_fallback\":true,\"fuse_unk\":true,\"unk_token\":\"?\","};
    er_tokenizer *t = make(p);
    encodes(t, "a a", "3[0,1) 3[1,3)");
    encodes(t, " a", "3[0,2)");  // no second mark
    encodes(t, "\u00e9b", "1[0,2) 4[0,2) 5[0,2) 7[2,3)");
    encodes(t, "b", "1[0,1) 7[0,1)");
    // No bytes for these: one unknown token, which comes behind the bytes of the \u00e9, as in the reference.
    encodes(t, "\u65e5x\u00e9", "1[0,3) 4[0,3) 5[0,3) 0[0,6)");
    char *text = NULL;
    const int32_t ids[] = {1, 3, 4, 5, 4, 7, 6, 5, 1};
    OK(er_tokenizer_decode(t, &text, ids, 9, false));
    assert_string_equal(text, " a\ufffd\ufffd\ufffdb\ufffd\ufffd ");
    free(text);
    er_tokenizer_free(t);
    p.model = NULL;  // what has no token vanishes, and what follows moves left
    t = make(p);
    encodes(t, "xab", "3[0,1) 7[1,2)");
    er_tokenizer_free(t);
    p.pre = "null";
    p.normalizer = "{\"type\":\"Prepend\",\"prepend\":\"_\"}";
    t = make(p);
    encodes(t, "a_a", "3[0,1) 3[1,3)");
    encodes(t, "", "");
    er_tokenizer_free(t);
}

static void test_parts_refused(void **state) {
    (void)state;
    refused((parts){.normalizer = "{\"type\":\"Lowercase\"}"}, ER_EUNSUPPORTED,
        "normalizer 'Lowercase' is not supported");
    refused((parts){.normalizer =
                        "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"NFKC\"}]}"},
        ER_EUNSUPPORTED, "normalizer 'NFKC' is not supported");
    refused((parts){.normalizer = "{}"}, ER_EFORMAT, "normalizer has no type");
    refused((parts){.pre = "{\"type\":\"Whitespace\"}"}, ER_EUNSUPPORTED,
        "pre_tokenizer 'Whitespace' is not supported");
    refused((parts){.normalizer = "{\"type\":\"Prepend\"}"}, ER_EFORMAT, "'Prepend' has no 'prepend'");
    refused((parts){.normalizer = "{\"type\":\"Replace\",\"content\":\"\"}"}, ER_EFORMAT,
        "'Replace' has no pattern of either Regex or String");
    refused((parts){.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}"},
        ER_EUNSUPPORTED, "'Replace' with an empty String");
    refused((parts){.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}"}, ER_EFORMAT,
        "'Replace' has no 'content'");
    refused((parts){.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"<e>\"},\"content\":\"\"}",
                .added = "{\"id\":7,\"content\":\"<e>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":"
                         "false,\"normalized\":true,\"special\":false}"},
        ER_EFORMAT, "the normalizer leaves nothing of the added token '<e>'");
    refused((parts){.pre = META("__", "always")}, ER_EFORMAT, "'__' of Metaspace is not one character");
    refused((parts){.pre = META("", "always")}, ER_EFORMAT, "'' of Metaspace is not one character");
    refused((parts){.pre = "{\"type\":\"Metaspace\"}"}, ER_EFORMAT, "'Metaspace' has no 'replacement'");
    refused((parts){.pre = META("_", "often")}, ER_EFORMAT, "unknown prepend_scheme 'often'");
    refused((parts){.pre = META("_", "first\",\"add_prefix_space\":false,\"x\":\"")}, ER_EFORMAT,
        "add_prefix_space false and prepend_scheme 'first'");
    refused((parts){.decoder = "{\"type\":\"Strip\",\"content\":\"  \",\"start\":1,\"stop\":0}"}, ER_EFORMAT,
        "'  ' of Strip is not one character");
    refused((parts){.decoder = "{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}"}, ER_EFORMAT,
        "start");
    refused((parts){.decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"CTC\"}]}"}, ER_EUNSUPPORTED,
        "decoder 'CTC' is not supported");
    refused((parts){.pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"}, ER_EFORMAT,
        "no true or false 'trim_offsets'");
    refused((parts){.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL "," BYTE_LEVEL "]}"},
        ER_EUNSUPPORTED, "'ByteLevel' behind ByteLevel");
    const char *split =
        "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":%s,\"behavior\":\"%s\","
        "\"invert\":false}," BYTE_LEVEL "]}";
    char pre[1024];
    snprintf(pre, sizeof pre, split, "{\"Regex\":\"(a\"}", "Isolated");
    refused((parts){.pre = pre}, ER_EFORMAT, "regular expression '(a': end pattern");
    snprintf(pre, sizeof pre, split, "{\"String\":\"\"}", "Isolated");
    refused((parts){.pre = pre}, ER_EUNSUPPORTED, "empty String");
    snprintf(pre, sizeof pre, split, "\"a\"", "Isolated");
    refused((parts){.pre = pre}, ER_EFORMAT, "no pattern");
    snprintf(pre, sizeof pre, split, "{\"String\":\"a\"}", "Glued");
    refused((parts){.pre = pre}, ER_EFORMAT, "unknown behavior 'Glued'");
    refused(
        (parts){.post = "{\"type\":\"BertProcessing\"}"}, ER_EUNSUPPORTED, "post_processor 'BertProcessing'");
    refused((parts){.decoder = "{\"type\":\"WordPiece\"}"}, ER_EUNSUPPORTED, "decoder 'WordPiece'");
}

#define TEMPLATE(single)                                                                                     \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"pair\":[],\"special_tokens\":"               \
    "{\"<s>\":{\"id\":\"<s>\",\"ids\":[6],\"tokens\":[\"abc\"]},\"<x>\":{\"id\":\"<x>\",\"ids\":[99],"       \
    "\"tokens\":[\"x\"]}}}"
#define TEXT_A "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define TOKEN(name) "{\"SpecialToken\":{\"id\":\"" name "\",\"type_id\":0}}"

static void test_template(void **state) {
    (void)state;
    er_tokenizer *t = make((parts){.post = TEMPLATE(TOKEN("<s>") "," TEXT_A "," TOKEN("<s>"))});
    encodes(t, "", "6[0,0) 6[0,0)");
    encodes(t, "ab", "6[0,0) 1[0,1) 2[1,2) 6[0,0)");
    assert_int_equal(er_tokenizer_bos(t), 6);
    er_tokenizer_free(t);
    t = make((parts){.post = TEMPLATE(TEXT_A)});
    encodes(t, "", "");
    assert_int_equal(er_tokenizer_bos(t), -1);
    assert_int_equal(er_tokenizer_eos(t), -1);
    er_tokenizer_free(t);
    refused(
        (parts){.post = TEMPLATE(TOKEN("<x>") "," TEXT_A)}, ER_EFORMAT, "id 99, which the vocabulary lacks");
    refused(
        (parts){.post = TEMPLATE(TOKEN("<y>") "," TEXT_A)}, ER_EFORMAT, "does not explain its token '<y>'");
    refused((parts){.post = TEMPLATE(TEXT_A "," TEXT_A)}, ER_EUNSUPPORTED, "more than one sequence A");
    refused((parts){.post = TEMPLATE(TOKEN("<s>"))}, ER_EUNSUPPORTED, "without a sequence A");
}

// The token "<s>", which stands for `each` ids, so many times before and after the text.
static char *long_template(size_t before, size_t after, size_t each) {
    char *s = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&s, &n);
    assert_non_null(f);
    fputs("{\"type\":\"TemplateProcessing\",\"single\":[", f);
    for (size_t i = 0; i < before; i++) fputs(TOKEN("<s>") ",", f);
    fputs(TEXT_A, f);
    for (size_t i = 0; i < after; i++) fputs("," TOKEN("<s>"), f);
    fputs("],\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"tokens\":[],\"ids\":[", f);
    for (size_t i = 0; i < each; i++) fputs(i ? ",6" : "6", f);
    fputs("]}}}", f);
    assert_int_equal(fclose(f), 0);
    return s;
}

static void test_template_bound(void **state) {
    (void)state;
    static const size_t fit[][3] = {{64, 0, 1}, {0, 64, 1}, {32, 0, 2}, {40, 24, 1}, {1, 0, 64}, {64, 0, 0}};
    static const size_t over[][3] = {
        {65, 0, 1}, {40, 25, 1}, {1, 0, 65}, {33, 0, 2}, {65, 0, 0}, {5000, 0, 2000}};
    for (size_t i = 0; i < sizeof fit / sizeof *fit; i++) {
        char *post = long_template(fit[i][0], fit[i][1], fit[i][2]);
        er_tokens out = {0};
        er_tokenizer *t = make((parts){.post = post});
        OK(er_tokenizer_encode(t, &out, "a", 1, true));
        assert_int_equal(out.count, (fit[i][0] + fit[i][1]) * fit[i][2] + 1);
        er_tokens_free(&out);
        er_tokenizer_free(t);
        free(post);
    }
    for (size_t i = 0; i < sizeof over / sizeof *over; i++) {
        char *post = long_template(over[i][0], over[i][1], over[i][2]);
        refused((parts){.post = post}, ER_EUNSUPPORTED, "'TemplateProcessing' of more than 64 tokens");
        free(post);
    }
}

// \K inside of a lookbehind: matches that begin before the end of the one before them, in every place that
// has a pattern.
static void test_matches_out_of_order(void **state) {
    (void)state;
    static const char *const expressions[] = {"(?<=\\\\Ka)b|a", "a|(?<=\\\\Kaa*)b", "ab|(?<=\\\\Kab)c"};
    const int32_t ids[] = {6, 6};
    er_tokenizer *t;
    er_tokens out = {0};
    for (size_t i = 0; i < 3; i++) {
        char part[256], *text = NULL;
        snprintf(part, sizeof part, "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"%s\"},\"content\":\"c\"}",
            expressions[i]);
        t = make((parts){.normalizer = part, .decoder = part});
        FAILS(er_tokenizer_encode(t, &out, "abcabc", 6, false), ER_EUNSUPPORTED, "has matches that overlap");
        FAILS(er_tokenizer_decode(t, &text, ids, 2, false), ER_EUNSUPPORTED, "has matches that overlap");
        assert_null(text);
        er_tokenizer_free(t);
        snprintf(part, sizeof part,
            "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},\"behavior\":\"Isolated\",\"invert\":false}",
            expressions[i]);
        t = make((parts){.pre = part});
        FAILS(er_tokenizer_encode(t, &out, "abcabc", 6, false), ER_EUNSUPPORTED, "\\Ka");
        er_tokenizer_free(t);
    }
    // Elsewhere \K only cuts a match short.
    t = make((parts){
        .normalizer = "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\\\\Kb\"},\"content\":\"c\"}"});
    encodes(t, "ab", "1[0,1) 3[1,2)");
    er_tokens_free(&out);
    er_tokenizer_free(t);
}

static void test_added(void **state) {
    (void)state;
    // Not in the vocabulary: the next free id. In it: the vocabulary's.
    er_tokenizer *t = make((parts){
        .added = "{\"id\":7,\"content\":\"<e>\"," FLAGS "},{\"id\":6,\"content\":\"abc\"," FLAGS "}"});
    encodes(t, "a<e>abcb", "1[0,1) 7[1,4) 6[4,7) 2[7,8)");
    assert_int_equal(er_tokenizer_vocab(t), 8);
    assert_int_equal(er_tokenizer_id(t, "<e>"), 7);
    assert_int_equal(er_tokenizer_id(t, "<f>"), -1);
    char *text = NULL;
    const int32_t ids[] = {1, 7, 99, -3, 0, 2};
    OK(er_tokenizer_decode(t, &text, ids, 6, false));
    assert_string_equal(text, "a<e> b");  // ids that do not exist are passed over
    free(text);
    OK(er_tokenizer_decode(t, &text, ids, 6, true));
    assert_string_equal(text, "a b");
    free(text);
    er_tokenizer_free(t);
    // A character outside of the byte alphabet: the token stands for its own text. Added tokens are no words
    // of the model's.
    t = make((parts){.model = "\"ignore_merges\":true,",
        .added = "{\"id\":7,\"content\":\"a日b\"," FLAGS "},{\"id\":8,\"content\":\"Ġc\"," FLAGS "}"});
    encodes(t, "a日b c", "7[0,5) 0[5,6) 3[6,7)");
    const int32_t outside[] = {1, 7, 8};
    OK(er_tokenizer_decode(t, &text, outside, 3, false));
    assert_string_equal(text, "aa日b c");
    free(text);
    er_tokenizer_free(t);
    // A space that the one before it has swallowed is no token, on whichever side it swallows itself.
    t = make(
        (parts){.added = "{\"id\":7,\"content\":\" \",\"single_word\":false,\"lstrip\":true,\"rstrip\":true,"
                         "\"normalized\":false,\"special\":false}"});
    encodes(t, "a   b", "1[0,1) 7[1,4) 2[4,5)");
    er_tokenizer_free(t);
    t = make(
        (parts){.added = "{\"id\":7,\"content\":\" \",\"single_word\":false,\"lstrip\":false,\"rstrip\":true,"
                         "\"normalized\":false,\"special\":false}"});
    encodes(t, "a   b", "1[0,1) 7[1,4) 7[2,4) 7[3,4) 2[4,5)");
    er_tokenizer_free(t);
    refused((parts){.added = "{\"id\":9,\"content\":\"<e>\"," FLAGS "}"}, ER_EFORMAT,
        "added token '<e>' declares id 9, but its place in the vocabulary is 7");
    refused((parts){.added = "{\"id\":1,\"content\":\"abc\"," FLAGS "}"}, ER_EFORMAT,
        "its place in the vocabulary is 6");
    refused((parts){.added = "{\"id\":7,\"content\":\"<e>\",\"special\":true}"}, ER_EFORMAT,
        "lacks 'single_word'");
    refused((parts){.added = "{\"content\":\"<e>\"," FLAGS "}"}, ER_EFORMAT, "added token '<e>' has no id");
    refused((parts){.added = "{\"id\":7," FLAGS "}"}, ER_EFORMAT, "an added token has no content");
    refused(
        (parts){.added = "{\"id\":6,\"content\":\"abc\"," FLAGS "},{\"id\":6,\"content\":\"abc\"," FLAGS "}"},
        ER_EFORMAT, "two added tokens match the same text 'abc'");
}

// Replacements that feed each other stop at a bound instead of filling the memory.
static void test_growth(void **state) {
    (void)state;
#define GROW "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaaaaaaaa\"}"
    er_tokenizer *t = make((parts){.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[" GROW "," GROW
                                                 "," GROW "," GROW "," GROW "]}",
        .decoder = "{\"type\":\"Sequence\",\"decoders\":[" GROW "," GROW "," GROW "," GROW "," GROW "]}"});
    er_tokens out = {0};
    char *text = NULL;
    const int32_t a = 1;
    FAILS(er_tokenizer_encode(t, &out, "a", 1, false), ER_EUNSUPPORTED, "more than 65600 bytes of a text");
    FAILS(er_tokenizer_decode(t, &text, &a, 1, false), ER_EUNSUPPORTED, "decodes to more than 65600 bytes");
    assert_null(text);
    er_tokens_free(&out);
    er_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_missing_bytes),
        cmocka_unit_test(test_model_refused),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_parts_refused),
        cmocka_unit_test(test_template),
        cmocka_unit_test(test_template_bound),
        cmocka_unit_test(test_matches_out_of_order),
        cmocka_unit_test(test_added),
        cmocka_unit_test(test_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
