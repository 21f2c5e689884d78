// Folders: what ends a text, and the older pair vocab.json and merges.txt.
#include "io/base/json.h"
#include "tests/support/small_tokenizer.h"
#include "tests/support/tokenizer_folder.h"

static void test_end_of_text(void **state) {
    (void)state;
    er_tokenizer *t = NULL;
    char *json = json_of((parts){0});
    put_file("tokenizer.json", json);
    OK(er_tokenizer_open(&t, folder));
    assert_int_equal(er_tokenizer_eos(t), -1);
    char digest[65];
    memcpy(digest, er_tokenizer_digest(t), 65);
    assert_int_equal(strlen(digest), 64);
    er_tokenizer_free(t);
    put_file("special_tokens_map.json", "{\"eos_token\":\"b\"}");
    OK(er_tokenizer_open(&t, folder));
    assert_int_equal(er_tokenizer_eos(t), 2);
    er_tokenizer_free(t);
    put_file("tokenizer_config.json", "{\"eos_token\":{\"content\":\"abc\",\"lstrip\":false}}");
    OK(er_tokenizer_open(&t, folder));
    assert_int_equal(er_tokenizer_eos(t), 6);
    assert_string_equal(er_tokenizer_digest(t), digest);
    er_tokenizer_free(t);
    put_file("tokenizer_config.json", "{\"eos_token\":\"</s>\"}");
    FAILS(er_tokenizer_open(&t, folder), ER_EFORMAT,
        "tokenizer_config.json: eos_token '</s>' is not in the vocabulary");
    put_file("tokenizer_config.json", NULL);
    put_file("special_tokens_map.json", NULL);
    free(json);
    json = json_of((parts){.merges = "\"a b\""});
    put_file("tokenizer.json", json);
    OK(er_tokenizer_open(&t, folder));
    assert_string_not_equal(er_tokenizer_digest(t), digest);
    er_tokenizer_free(t);
    put_file("tokenizer.json", NULL);
    FAILS(er_tokenizer_open(&t, folder), ER_ENOENT, "no tokenizer.json, and no vocab.json");
    free(json);
}

// gpt2.json of the golden data, taken apart into the older files, must encode every string alike.
static void test_older_files(void **state) {
    (void)state;
    cJSON *root = NULL;
    er_tokenizer *whole = NULL, *parted = NULL;
    size_t len = 0, used = 0, room = (size_t)1 << 20;
    char *merges = malloc(room), *strings = NULL;
    assert_non_null(merges);
    OK(er_json_read(&root, TEST_DATA "/golden/tokenizer/gpt2.json", room));
    char *json = cJSON_PrintUnformatted(root);
    OK(er_tokenizer_parse(&whole, json, strlen(json), "gpt2.json"));
    const cJSON *model = cJSON_GetObjectItem(root, "model"), *m;
    char *vocab = cJSON_PrintUnformatted(cJSON_GetObjectItem(model, "vocab"));
    used += (size_t)snprintf(merges, room, "#version: 0.2\n");
    cJSON_ArrayForEach(m, cJSON_GetObjectItem(model, "merges")) used += (size_t)snprintf(
        merges + used, room - used, "%s %s\n", m->child->valuestring, m->child->next->valuestring);
    put_file("vocab.json", vocab);
    put_file("merges.txt", merges);
    OK(er_tokenizer_open(&parted, folder));
    assert_int_equal(er_tokenizer_eos(parted), er_tokenizer_id(whole, "<|endoftext|>"));
    OK(er_file_read(&strings, &len, TEST_DATA "/golden/tokenizer/strings.bin", (size_t)1 << 24));
    er_tokens a = {0}, b = {0};
    for (size_t at = 4; at < len; at += 40) {
        size_t n = len - at < 40 ? len - at : 40;
        OK(er_tokenizer_encode_lossy(whole, &a, strings + at, n, true));
        OK(er_tokenizer_encode_lossy(parted, &b, strings + at, n, true));
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.at, b.at, a.count * sizeof *a.at);
    }
    er_tokenizer_free(parted);
    put_file("tokenizer_config.json",
        "{\"add_bos_token\":true,\"add_prefix_space\":true,\"bos_token\":{\"content\":\"<|endoftext|>\"},"
        "\"pad_token\":\"<pad>\",\"eos_token\":\"<pad>\"}");
    OK(er_tokenizer_open(&parted, folder));
    assert_int_equal(er_tokenizer_bos(parted), er_tokenizer_id(whole, "<|endoftext|>"));
    assert_int_equal(
        er_tokenizer_eos(parted), (int)er_tokenizer_vocab(whole));  // <pad> is new: behind the vocabulary
    OK(er_tokenizer_encode(whole, &a, " the def<|endoftext|> x", 23, false));
    OK(er_tokenizer_encode(parted, &b, "the def<|endoftext|> x", 22, true));
    assert_int_equal(b.count, a.count + 1);
    assert_int_equal(b.at[0].id, er_tokenizer_bos(parted));
    for (size_t i = 0; i < a.count; i++) assert_int_equal(b.at[i + 1].id, a.at[i].id);
    er_tokenizer_free(parted);
    put_file("merges.txt", "#version: 0.2\nt h\nt h e\n");
    FAILS(er_tokenizer_open(&parted, folder), ER_EFORMAT, "merges.txt:3: not two tokens: 't h e'");
    put_file("vocab.json", "[]");
    FAILS(er_tokenizer_open(&parted, folder), ER_EFORMAT, "vocab.json: no vocabulary object");
    er_tokens_free(&a);
    er_tokens_free(&b);
    // Tokens behind the vocabulary, in both spellings and out of order.
    put_file("merges.txt", "");
    put_file("vocab.json", "{\"a\":0,\"Ġ\":1}");
    put_file("tokenizer_config.json",
        "{\"added_tokens_decoder\":{\"3\":{\"content\":\"<y>\",\"lstrip\":true,\"special\":true},"
        "\"2\":{\"content\":\"<x>\",\"special\":false}}}");
    OK(er_tokenizer_open(&parted, folder));
    encodes(parted, "a<x> <y>a", "0[0,1) 2[1,4) 3[4,8) 0[8,9)");
    er_tokenizer_free(parted);
    put_file("tokenizer_config.json", NULL);
    put_file("added_tokens.json", "{\"<y>\":3,\"<x>\":2}");
    OK(er_tokenizer_open(&parted, folder));
    encodes(parted, "a<x> <y>a", "0[0,1) 2[1,4) 1[4,5) 3[5,8) 0[8,9)");
    er_tokenizer_free(parted);
    put_file("added_tokens.json", "{\"<y>\":4,\"<x>\":2}");
    FAILS(er_tokenizer_open(&parted, folder), ER_EFORMAT, "added token '<y>' declares id 4, but its place");
    put_file("added_tokens.json", "{\"<y>\":2.5}");
    FAILS(er_tokenizer_open(&parted, folder), ER_EFORMAT, "added token '<y>' has no whole number as its id");
    put_file("added_tokens.json", "{\"<y>\":null}");
    FAILS(er_tokenizer_open(&parted, folder), ER_EFORMAT, "added token '<y>' has no whole number as its id");
    er_tokenizer_free(whole);
    cJSON_Delete(root);
    free(json);
    free(vocab);
    free(merges);
    free(strings);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end_of_text),
        cmocka_unit_test(test_older_files),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
