// What stands around a text: tokenizer_config.json beside a tokenizer.json, and the older files of OPT.
#include "io/base/json.h"
#include "io/tokenizer.h"
#include "tests/support/tokenizer_folder.h"

// A golden tokenizer as a folder, with a configuration beside it.
static er_tokenizer *configured(const char *name, const char *config) {
    char path[512], *json = NULL;
    size_t len = 0;
    er_tokenizer *t = NULL;
    snprintf(path, sizeof path, TEST_DATA "/golden/tokenizer/%s.json", name);
    OK(er_file_read(&json, &len, path, (size_t)1 << 24));
    put_file("tokenizer.json", json);
    put_file("tokenizer_config.json", config);
    free(json);
    OK(er_tokenizer_open(&t, folder));
    put_file("tokenizer.json", NULL);
    put_file("tokenizer_config.json", NULL);
    return t;
}

// The ids in front of and behind an empty text, as letters: what transformers 4.57 gives for the same files.
static void around(const char *name, const char *config, const char *want, bool own_digest) {
    er_tokenizer *t = configured(name, config), *plain = configured(name, NULL);
    er_tokens out = {0}, open = {0};
    char got[8] = "";
    OK(er_tokenizer_encode(t, &out, "", 0, true));
    OK(er_tokenizer_encode_open(t, &open, "", 0));
    assert_true(out.count < sizeof got);
    for (size_t i = 0; i < out.count && i < sizeof got - 1; i++) got[i] = (char)('0' + out.at[i].id);
    assert_string_equal(got, want);
    assert_true(open.count <= 1 && er_tokenizer_bos(t) == (open.count ? open.at[0].id : -1));
    assert_int_equal(strcmp(er_tokenizer_digest(t), er_tokenizer_digest(plain)) == 0, own_digest);
    er_tokens_free(&out);
    er_tokens_free(&open);
    er_tokenizer_free(t);
    er_tokenizer_free(plain);
}

static void test_configured_template(void **state) {
    (void)state;
    around("llama2", "{}", "1", true);
    around("llama2", "{\"tokenizer_class\":\"LlamaTokenizer\"}", "1", true);
    around("llama2", "{\"tokenizer_class\":\"LlamaTokenizerFast\",\"add_bos_token\":false}", "", false);
    around("llama2", "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_bos_token\":null}", "", false);
    around("llama2", "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_eos_token\":true}", "12", false);
    around("llama2",
        "{\"tokenizer_class\":\"CodeLlamaTokenizer\",\"add_bos_token\":false,\"add_eos_token\":true,"
        "\"eos_token\":{\"content\":\"<s>\"}}",
        "1", false);
    around("llama2_old", "{\"tokenizer_class\":\"LlamaTokenizer\"}", "1", false);
    around("llama2_old", "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"add_bos_token\":false}", "12",
        true);
    around("opt", "{\"tokenizer_class\":\"GPT2Tokenizer\",\"add_bos_token\":false}", "2", true);
    around("qwen3", "{\"tokenizer_class\":\"Qwen2Tokenizer\",\"add_bos_token\":true}", "", true);
    around("neox", "{\"tokenizer_class\":\"GPTNeoXTokenizerFast\",\"add_bos_token\":true}", "0", false);
    er_tokenizer *t = NULL;
    put_file("tokenizer.json", "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}");
    put_file("tokenizer_config.json", "{\"tokenizer_class\":\"LlamaTokenizer\"}");
    FAILS(er_tokenizer_open(&t, folder), ER_EFORMAT, "bos_token '<s>' is not in the vocabulary");
    put_file("tokenizer_config.json", "{\"tokenizer_class\":\"LlamaTokenizer\",\"bos_token\":null}");
    FAILS(er_tokenizer_open(&t, folder), ER_EFORMAT, "add_bos_token without a bos_token");
    put_file("tokenizer_config.json", "{\"tokenizer_class\":\"GemmaTokenizer\",\"add_bos_token\":1}");
    FAILS(er_tokenizer_open(&t, folder), ER_EFORMAT, "'add_bos_token' is not true or false");
    put_file("tokenizer.json", NULL);
    put_file("tokenizer_config.json", NULL);
}

#define V5(class)                                                                                            \
    "{\"backend\":\"tokenizers\",\"bos_token\":\"<s>\",\"clean_up_tokenization_spaces\":false,"              \
    "\"eos_token\":\"</s>\",\"is_local\":true,\"tokenizer_class\":\"" class "\",\"unk_token\":\"<unk>\"}"

// What transformers 5 saves says nothing of the beginning and end: the file's template is theirs, or there is
// none. The ids are those of transformers 5.24 for these very files.
static void test_saved_by_transformers_5(void **state) {
    (void)state;
    static const int32_t want[] = {414, 299, 696, 491, 475, 425, 335, 327};
    er_tokenizer *t = NULL;
    er_tokens out = {0};
    cJSON *root = NULL;
    around("llama2", V5("LlamaTokenizer"), "1", true);
    around("llama2_old", V5("LlamaTokenizer"), "12", true);
    around("meta_split", V5("LlamaTokenizer"), "", true);
    around("gemma", V5("GemmaTokenizer"), "1", true);
    // Another writer's configuration, without the mark, still means what it meant.
    around("meta_split", "{\"tokenizer_class\":\"LlamaTokenizer\"}", "1", false);
    OK(er_json_read(&root, TEST_DATA "/golden/tokenizer/llama2.json", (size_t)1 << 20));
    cJSON_DeleteItemFromObject(root, "post_processor");
    char *json = cJSON_PrintUnformatted(root);
    put_file("tokenizer.json", json);
    put_file("tokenizer_config.json", V5("LlamaTokenizer"));
    OK(er_tokenizer_open(&t, folder));
    OK(er_tokenizer_encode(t, &out, "Hello world", 11, true));
    assert_int_equal(out.count, sizeof want / sizeof *want);
    for (size_t i = 0; i < out.count; i++) assert_int_equal(out.at[i].id, want[i]);
    assert_int_equal(er_tokenizer_bos(t), -1);
    put_file("tokenizer.json", NULL);
    put_file("tokenizer_config.json", NULL);
    er_tokens_free(&out);
    er_tokenizer_free(t);
    cJSON_Delete(root);
    free(json);
}

// What OPT ships, vocab.json and merges.txt with </s> in front of every text, reads as the one file would.
static void test_opt_files(void **state) {
    (void)state;
    static const char tokens[] =
        "{\"unk_token\":{\"content\":\"</"
        "s>\",\"lstrip\":false,\"normalized\":true},\"bos_token\":{\"content\":"
        "\"</s>\",\"normalized\":true},\"eos_token\":{\"content\":\"</"
        "s>\"},\"pad_token\":{\"content\":\"<pad>\"},"
        "\"add_prefix_space\":false,\"add_bos_token\":true,\"tokenizer_class\":\"GPT2Tokenizer\"}";
    static const char text[] = "Hello</s>the <pad>caf\u00e9 \U0001f469 12  x";
    cJSON *root = NULL;
    er_tokenizer *whole = configured("opt", NULL), *parted = NULL;
    er_tokens a = {0}, b = {0};
    const cJSON *m;
    char merges[16384] = "#version: 0.2\n";
    size_t used = strlen(merges);
    OK(er_json_read(&root, TEST_DATA "/golden/tokenizer/opt.json", (size_t)1 << 20));
    const cJSON *model = cJSON_GetObjectItem(root, "model");
    char *vocab = cJSON_PrintUnformatted(cJSON_GetObjectItem(model, "vocab"));
    cJSON_ArrayForEach(m, cJSON_GetObjectItem(model, "merges")) used += (size_t)snprintf(
        merges + used, sizeof merges - used, "%s %s\n", m->child->valuestring, m->child->next->valuestring);
    assert_true(used < sizeof merges);
    put_file("added_tokens.json", NULL);
    put_file("vocab.json", vocab);
    put_file("merges.txt", merges);
    put_file("tokenizer_config.json", tokens);
    OK(er_tokenizer_open(&parted, folder));
    assert_int_equal(er_tokenizer_bos(parted), 2);
    assert_int_equal(er_tokenizer_eos(parted), 2);
    for (size_t at = 0; at < sizeof text - 1; at++) {
        OK(er_tokenizer_encode_lossy(whole, &a, text + at, sizeof text - 1 - at, true));
        OK(er_tokenizer_encode_lossy(parted, &b, text + at, sizeof text - 1 - at, true));
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.at, b.at, a.count * sizeof *a.at);
    }
    put_file("tokenizer_config.json", NULL);
    er_tokens_free(&a);
    er_tokens_free(&b);
    er_tokenizer_free(whole);
    er_tokenizer_free(parted);
    cJSON_Delete(root);
    free(vocab);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_configured_template),
        cmocka_unit_test(test_saved_by_transformers_5), cmocka_unit_test(test_opt_files)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
