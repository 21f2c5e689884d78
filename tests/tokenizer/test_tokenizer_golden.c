// Ids, byte spans and decoded text against what Hugging Face gave for 5,400 strings, and 900 of the families,
// (scripts/make_golden_tokenizer.py), one tokenizer of each kind. The strings hold several writing systems,
// emoji, combining marks, digit and space runs, code, special tokens inside text and bytes that are not
// UTF-8.
#include "io/base/file.h"
#include "io/base/json.h"
#include "io/base/utf8.h"
#include "io/tokenizer.h"
#include "tests/test.h"

typedef struct cursor {
    const unsigned char *at, *end;
} cursor;

static uint64_t varint(cursor *c) {
    uint64_t x = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (c->at == c->end || shift > 56) fail_msg("golden file ends too early");
        x |= (uint64_t)(*c->at & 0x7f) << shift;
        if (!(*c->at++ & 0x80)) return x;
    }
}

static const char *bytes(cursor *c, size_t n) {
    if ((size_t)(c->end - c->at) < n) fail_msg("golden file ends too early");
    const char *s = (const char *)c->at;
    c->at += n;
    return s;
}

static char *load(const char *name, const char *suffix, size_t *len) {
    char path[512];
    char *text = NULL;
    snprintf(path, sizeof path, TEST_DATA "/golden/tokenizer/%s%s", name, suffix);
    OK(er_file_read(&text, len, path, (size_t)1 << 24));
    return text;
}

static er_tokenizer *open_golden(const char *name) {
    size_t len = 0;
    char *json = load(name, ".json", &len);
    er_tokenizer *t = NULL;
    OK(er_tokenizer_parse(&t, json, len, name));
    free(json);
    return t;
}

// The tokens of one record must be out[0, count).
static void check_tokens(cursor *c, const er_token *got, size_t count, const char *name, size_t string) {
    uint64_t want = varint(c);
    uint32_t before = 0;
    if (want != count)
        fail_msg("%s, string %zu: %zu tokens, expected %zu", name, string, count, (size_t)want);
    for (size_t i = 0; i < count; i++) {
        uint64_t id = varint(c), len = varint(c), step = len & 1 ? varint(c) : 0;
        uint32_t begin = before + (uint32_t)(step & 1 ? ~(step >> 1) : step >> 1);
        uint32_t end = begin + (uint32_t)(len >> 1);
        if ((uint64_t)got[i].id != id || got[i].begin != begin || got[i].end != end)
            fail_msg("%s, string %zu, token %zu: %d [%u, %u), expected %d [%u, %u)", name, string, i,
                got[i].id, got[i].begin, got[i].end, (int)id, begin, end);
        before = end;
    }
}

static void check_text(cursor *c, const er_tokenizer *t, const er_tokens *tokens, bool skip, const char *text,
    size_t len, const char *name, size_t string) {
    int32_t *ids = calloc(tokens->count + 1, sizeof *ids);
    char *got = NULL;
    uint64_t n = varint(c);
    const char *want = n ? bytes(c, (size_t)n - 1) : text;
    size_t want_len = n ? (size_t)n - 1 : len;
    assert_non_null(ids);
    for (size_t i = 0; i < tokens->count; i++) ids[i] = tokens->at[i].id;
    OK(er_tokenizer_decode(t, &got, ids, tokens->count, skip));
    // A NUL inside stays inside; what is behind it is compared as well.
    if (memcmp(got, want, want_len) != 0 || got[want_len] != '\0')
        fail_msg("%s, string %zu: decodes to '%s'", name, string, got);
    free(got);
    free(ids);
}

static void check_template(cursor *c, const er_tokens *with, const er_tokens *bare) {
    size_t at = 0;
    for (int side = 0; side < 2; side++) {
        for (uint64_t n = varint(c); n > 0; n--, at++) {
            assert_true(at < with->count);
            assert_int_equal(with->at[at].id, (int)varint(c));
            assert_int_equal(with->at[at].begin, 0);
            assert_int_equal(with->at[at].end, 0);
        }
        if (side) continue;
        assert_true(at + bare->count <= with->count);
        if (bare->count) assert_memory_equal(with->at + at, bare->at, bare->count * sizeof *bare->at);
        at += bare->count;
    }
    assert_int_equal(at, with->count);
}

static void check(const char *name, const char *texts) {
    size_t strings_len = 0, golden_len = 0;
    char *strings = load(texts, ".bin", &strings_len), *golden = load(name, ".bin", &golden_len);
    cursor s = {(unsigned char *)strings + 4, (unsigned char *)strings + strings_len};
    cursor g = {(unsigned char *)golden, (unsigned char *)golden + golden_len};
    er_tokenizer *t = open_golden(name);
    er_tokens out = {0}, with = {0}, strict = {0};
    size_t used = (size_t)varint(&g), invalid = 0;
    cursor template = g;
    for (int side = 0; side < 2; side++)
        for (uint64_t n = varint(&g); n > 0; n--) (void)varint(&g);
    assert_true(used >= 800);
    for (size_t i = 0; i < used; i++) {
        size_t len = (size_t)varint(&s);
        const char *text = bytes(&s, len);
        // A copy of exactly these bytes, so that a sanitizer sees any step behind them.
        char *copy = malloc(len ? len : 1);
        assert_non_null(copy);
        memcpy(copy, text, len);
        OK(er_tokenizer_encode_lossy(t, &out, copy, len, false));
        check_tokens(&g, out.at, out.count, name, i);
        cursor again = template;
        OK(er_tokenizer_encode_lossy(t, &with, copy, len, true));
        check_template(&again, &with, &out);
        if (er_utf8_valid(copy, len, NULL)) {
            OK(er_tokenizer_encode(t, &strict, copy, len, false));
            assert_int_equal(strict.count, out.count);
            if (out.count) assert_memory_equal(strict.at, out.at, out.count * sizeof *out.at);
        } else {
            invalid++;
            FAILS(er_tokenizer_encode(t, &strict, copy, len, false), ER_EFORMAT, "not UTF-8 at byte");
        }
        check_text(&g, t, &out, false, copy, len, name, i);
        check_text(&g, t, &out, true, copy, len, name, i);
        free(copy);
    }
    assert_true(g.at == g.end);
    assert_true(invalid > 15);
    er_tokens_free(&out);
    er_tokens_free(&with);
    er_tokens_free(&strict);
    er_tokenizer_free(t);
    free(strings);
    free(golden);
}

#define TEST(name, texts)                                                                                    \
    static void test_##name(void **state) {                                                                  \
        (void)state;                                                                                         \
        check(#name, texts);                                                                                 \
    }
#define KIND(name) TEST(name, "strings")
#define FAMILY(name) TEST(name, "family_strings")
KIND(gpt2)
KIND(llama3)
KIND(smollm2)
KIND(neox)
KIND(qwen2)
KIND(odd_unk)
KIND(odd_drop)
KIND(split_removed)
KIND(split_isolated)
KIND(split_previous)
KIND(split_next)
KIND(split_contiguous)
KIND(split_empty)
KIND(split_o200k)
KIND(split_gpt2)
FAMILY(llama2)
FAMILY(llama2_old)
FAMILY(mistral)
FAMILY(phi3)
FAMILY(gemma)
FAMILY(meta_split)
FAMILY(meta_never)
FAMILY(odd_meta)
FAMILY(tekken)
FAMILY(o200k)
FAMILY(qwen3)
FAMILY(opt)
FAMILY(words_gpt2)
FAMILY(words_llama3)
FAMILY(words_qwen2)
FAMILY(words_cl100k)
FAMILY(words_o200k)
FAMILY(words_tekken)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_smollm2),
        cmocka_unit_test(test_neox),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_odd_unk),
        cmocka_unit_test(test_odd_drop),
        cmocka_unit_test(test_split_removed),
        cmocka_unit_test(test_split_isolated),
        cmocka_unit_test(test_split_previous),
        cmocka_unit_test(test_split_next),
        cmocka_unit_test(test_split_contiguous),
        cmocka_unit_test(test_split_empty),
        cmocka_unit_test(test_split_o200k),
        cmocka_unit_test(test_split_gpt2),
        cmocka_unit_test(test_llama2),
        cmocka_unit_test(test_llama2_old),
        cmocka_unit_test(test_mistral),
        cmocka_unit_test(test_phi3),
        cmocka_unit_test(test_gemma),
        cmocka_unit_test(test_meta_split),
        cmocka_unit_test(test_meta_never),
        cmocka_unit_test(test_odd_meta),
        cmocka_unit_test(test_tekken),
        cmocka_unit_test(test_o200k),
        cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_opt),
        cmocka_unit_test(test_words_gpt2),
        cmocka_unit_test(test_words_llama3),
        cmocka_unit_test(test_words_qwen2),
        cmocka_unit_test(test_words_cl100k),
        cmocka_unit_test(test_words_o200k),
        cmocka_unit_test(test_words_tekken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
