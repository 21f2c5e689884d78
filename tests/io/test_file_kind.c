// What a file is by its first bytes: each kind under every reader that may meet it.
#include "tests/io/scratch.h"

#include "io/checkpoint.h"
#include "io/facts.h"
#include "io/base/file_kind.h"
#include "io/base/json.h"
#include "io/npz.h"
#include "io/tokenizer.h"
#include "io/base/yaml.h"

#define SAMPLE(bytes, words)                                                                                 \
    { bytes, sizeof(bytes) - 1, words }
// First bytes as the formats' own specifications give them, and what has to be said.
static const struct sample {
    const char *bytes;
    size_t len;
    const char *words;
} samples[] = {
    SAMPLE("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 4949453792\n", "Git LFS pointer"),
    SAMPLE("# xet version 0\nfilesize = 5\n", "Xet pointer"),
    SAMPLE("/annex/objects/SHA256E-s5--aa\n", "git-annex pointer"),
    SAMPLE("\x1f\x8b\x08\0\0\0\0\0\0\3\xab\0\0\0\0\0", "gzip"),
    SAMPLE("\x28\xb5\x2f\xfd\x04\x58\x19\0\0aaaaaaa", "zstd"),
    SAMPLE("\xfd"
           "7zXZ\0\0\4\xe6\xd6\xb4\x46\2\0\x21\1",
        "xz"),
    SAMPLE("BZh91AY&SY\xc1\xc0\x80\xe2\0\0", "bzip2"),
    SAMPLE("PAR1\x15\x04\x15\x10\x15\x14\x4c\x15\x02\x15\x00\x12", "Parquet"),
    SAMPLE("ARROW1\0\0\xff\xff\xff\xff\x10\0\0\0", "Arrow"),
    SAMPLE("GGUF\3\0\0\0\x23\1\0\0\0\0\0\0", "GGUF"),
    SAMPLE("\x80\2\x8a\nl\xfc\x9c\x46\xf9\x20j\xa8P\x19.\x80", "pickle"),
    SAMPLE("\x80\4\x95\x0b\0\0\0\0\0\0\0}\x94.aa", "pickle"),
    SAMPLE("\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0", "HDF5"),
    SAMPLE("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0", "PDF"),
    SAMPLE("\xff\xfe{\0\"\0a\0\"\0:\0001\0}\0", "UTF-16"),
    SAMPLE("\xfe\xff\0{\0\"\0a\0\"\0:\0001\0}", "UTF-16"),
    SAMPLE("{\0\"\0a\0\"\0:\0001\0}\0\n\0", "UTF-16"),
    SAMPLE("<!DOCTYPE html>\n<html><head><title>Sign in</title>", "HTML"),
    SAMPLE("\xef\xbb\xbf\r\n  <HTML lang=\"en\"><body>", "HTML"),
    SAMPLE("<?xml version=\"1.0\"?><!DOCTYPE x><html xmlns=\"y\">", "HTML"),
    SAMPLE("<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>", "object store"),
    SAMPLE("<?xml version=\"1.0\"?>\n<records><a/></records>", "XML document"),
    SAMPLE("Entry not found", "server's message"),
    SAMPLE("Access to model meta-llama/Llama-2-7b-hf is restricted. Log in.", "server's message"),
    SAMPLE("{\"error\":\"Repository not found\"", "server's message"),
    SAMPLE("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "zeros"),
    SAMPLE("\n\x0e\n\5<unk>\x15\0\0\0\0\x18\2", "SentencePiece"),
    SAMPLE("", "is empty"),
};
enum { SAMPLES = sizeof samples / sizeof *samples };

// A local header of a zip archive whose first member is called `name`.
static size_t zip_head(char out[128], const char *name) {
    memset(out, 0, 128);
    memcpy(out, "PK\3\4\24\0", 6);
    out[26] = (char)strlen(name);
    memcpy(out + 30, name, strlen(name));
    return 128;
}

static void kinds(void **state) {
    (void)state;
    char zip[128], tar[512] = "facts.jsonl";
    for (size_t i = 0; i < SAMPLES; i++) {
        const er_file_kind *k = er_file_kind_of(samples[i].bytes, samples[i].len);
        if (!k) fail_msg("sample %zu (%s) is of no kind", i, samples[i].words);
        if (!strstr(k->words, samples[i].words)) fail_msg("'%s' lacks '%s'", k->words, samples[i].words);
    }
    assert_non_null(strstr(er_file_kind_of(zip, zip_head(zip, "archive/data.pkl"))->words, "PyTorch"));
    assert_non_null(strstr(er_file_kind_of(zip, zip_head(zip, "mom2.mom2.npy"))->words, "NumPy"));
    assert_non_null(strstr(er_file_kind_of(zip, zip_head(zip, "[Content_Types].xml"))->words, "Office"));
    assert_non_null(strstr(er_file_kind_of(zip, zip_head(zip, "facts.json"))->words, "zip archive"));
    memcpy(tar + 257, "ustar", 5);
    assert_non_null(strstr(er_file_kind_of(tar, sizeof tar)->words, "tar archive"));
    // Cut anywhere, nothing is read behind the end.
    for (size_t i = 0; i < SAMPLES; i++)
        for (size_t n = 1; n < samples[i].len; n++) {
            char *copy = malloc(n);
            memcpy(copy, samples[i].bytes, n);
            (void)er_file_kind_of(copy, n);
            free(copy);
        }
}

// What people do mean to pass.
static void no_kind(void **state) {
    (void)state;
    static const char *const plain[] = {"{\"a\": 1}", "[{\"subject\": \"x\"}]", "alg_name: MEMIT\n",
        "#version: 0.2\na b\n",
        "Not found in any dictionary, the word was invented. It is long enough that no "
        "server would have said so, and the reader of this prose goes on reading to the "
        "end of a paragraph of more than four hundred bytes, which takes a while and has "
        "to be filled with words of some kind or another, whatever they are, as long as "
        "there are enough of them to get there, which by now there must be, or nearly so, "
        "if the count is right.",
        "version https is a word in a text", "BZh is how a name begins", "<unk> is a token", "PK is a name",
        "Access to model railways is free.\n", "\xef\xbb\xbfText with a mark.", " ",
        "\xe4\xbd\xa0\xe5\xa5\xbd"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        const er_file_kind *k = er_file_kind_of(plain[i], strlen(plain[i]));
        if (k) fail_msg("'%s' %s", plain[i], k->words);
    }
    const char header[] = "\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}";
    assert_null(er_file_kind_of(header, sizeof header - 1));
}

// Whatever reads the file says what it is, by its path.
static void every_reader(void **state) {
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        const struct sample *s = &samples[i];
        er_safetensors *tensors = NULL;
        er_npz *npz = NULL;
        er_facts *facts = NULL;
        er_tokenizer *tokenizer = NULL;
        cJSON *json = NULL;
        char path[1024], words[128];
        (void)snprintf(path, sizeof path, "%s", put_bytes("any", s->bytes, s->len));
        (void)snprintf(words, sizeof words, "%s", s->words);
        FAILS(er_safetensors_open(&tensors, path), ER_EFORMAT, words);
        FAILS(er_npz_open(&npz, path), ER_EFORMAT, words);
        FAILS(er_json_read(&json, path, 1 << 20), ER_EFORMAT, words);
        FAILS(er_yaml_read(&json, path), ER_EFORMAT, words);
        FAILS(er_facts_read(&facts, path, NULL), ER_EFORMAT, words);
        FAILS(er_facts_read(&facts, path, NULL), ER_EFORMAT, path);
        FAILS(er_tokenizer_parse(&tokenizer, s->bytes, s->len, path), ER_EFORMAT, words);
    }
}

static void texts(void **state) {
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        const er_file_kind *k = er_file_kind_of(samples[i].bytes, samples[i].len);
        er_status rc = er_text_check(samples[i].bytes, samples[i].len, "held.txt");
        assert_int_equal(rc, k->text ? ER_OK : ER_EFORMAT);
        if (rc != ER_OK) assert_non_null(strstr(er_last_error(), samples[i].words));
    }
    FAILS(
        er_text_check("some\0text", 9, "held.txt"), ER_EFORMAT, "held.txt: byte 4 is zero: this is not text");
    OK(er_text_check("plain text", 10, "held.txt"));
    OK(er_text_check("caf\xe9", 4, "held.txt"));
}

// Safetensors that are no such kind but end early, or are another text.
static void cut_short(void **state) {
    (void)state;
    er_safetensors *s = NULL;
    static const char half[] =
        "\x38\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}} ";
    size_t header = sizeof half - 1;
    FAILS(er_safetensors_open(&s, put_bytes("half", half, header)), ER_EFORMAT, "a download that broke off");
    FAILS(er_safetensors_open(&s, put_bytes("half", half, 20)), ER_EFORMAT, "a download that broke off");
    FAILS(er_safetensors_open(&s, put_text("text", "{\"weight_map\": {}}")), ER_EFORMAT,
        "begins with the text '{\"weight'");
    FAILS(er_safetensors_open(&s, put_bytes("model.safetensors.incomplete", half, header)), ER_EFORMAT,
        "is a download that did not finish");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kinds), cmocka_unit_test(no_kind),
        cmocka_unit_test(every_reader), cmocka_unit_test(texts), cmocka_unit_test(cut_short)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
