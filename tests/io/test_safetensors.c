// The 22 malformed files that a safetensors reader must refuse, each a test of its own, and the odd ones it
// must accept.
#include "tests/io/scratch.h"

#include "io/checkpoint.h"

#define MAX_FILE 8192

// A file image: header length, header, `data` bytes.
static size_t image(char *out, uint64_t n, const char *header, size_t header_len, size_t data) {
    for (int i = 0; i < 8; i++) out[i] = (char)(n >> (8 * i));
    memcpy(out + 8, header, header_len);
    for (size_t i = 0; i < data; i++) out[8 + header_len + i] = (char)(i * 37 + 11);
    return 8 + header_len + data;
}

// Parses an exact copy, so that a sanitizer sees any byte read behind the end.
static er_status parse_exact(er_safetensors **s, const char *bytes, size_t len) {
    char *copy = malloc(len ? len : 1);
    memcpy(copy, bytes, len);
    er_status rc = er_safetensors_parse(s, copy, len, len, "m");
    free(copy);
    return rc;
}

static void refuse_header(const char *header, size_t header_len, size_t data, const char *message) {
    char bytes[MAX_FILE];
    er_safetensors *s = NULL;
    assert_true(header_len + data + 8 <= sizeof bytes);
    size_t len = image(bytes, header_len, header, header_len, data);
    FAILS(parse_exact(&s, bytes, len), ER_EFORMAT, message);
    FAILS(er_safetensors_open(&s, put_bytes("bad.safetensors", bytes, len)), ER_EFORMAT, message);
    assert_null(s);
}
#define REFUSE(header, data, message) refuse_header(header, sizeof(header) - 1, data, message)

static er_safetensors *accept_header(const char *header, size_t data) {
    char bytes[MAX_FILE];
    er_safetensors *s = NULL, *from_file = NULL;
    size_t len = image(bytes, strlen(header), header, strlen(header), data);
    OK(parse_exact(&s, bytes, len));
    OK(er_safetensors_open(&from_file, put_bytes("good.safetensors", bytes, len)));
    assert_int_equal(er_safetensors_count(s), er_safetensors_count(from_file));
    er_safetensors_free(from_file);
    return s;
}

#define ENTRY(dtype, shape, offsets)                                                                         \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void case_01_shorter_than_8_bytes(void **state) {
    (void)state;
    er_safetensors *s = NULL;
    for (size_t n = 0; n < 8; n++) {
        FAILS(parse_exact(&s, "\2\0\0\0\0\0\0\0", n), ER_EFORMAT, "are no safetensors file");
        FAILS(er_safetensors_open(&s, put_bytes("short", "\2\0\0\0\0\0\0\0", n)), ER_EFORMAT,
            n ? "are no safetensors file" : "is empty");
    }
}

static void case_02_header_of_0_or_1_bytes(void **state) {
    (void)state;
    REFUSE("", 0, "does not begin with '{'");
    REFUSE("", 5, "does not begin with '{'");
    REFUSE("{", 0, "byte 1: ends here");
}

static void case_03_header_length_out_of_range(void **state) {
    (void)state;
    static const uint64_t lengths[] = {
        100000001u, 1ull << 32, 1ull << 63, UINT64_MAX, UINT64_MAX - 7, UINT64_MAX - 8};
    char bytes[64];
    er_safetensors *s = NULL;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t len = image(bytes, lengths[i], "{}", 2, 0);
        FAILS(parse_exact(&s, bytes, len), ER_EFORMAT, "limit 100000000");
    }
}

static void case_04_header_longer_than_file(void **state) {
    (void)state;
    char bytes[64];
    er_safetensors *s = NULL;
    size_t len = image(bytes, 3, "{}", 2, 0);
    FAILS(parse_exact(&s, bytes, len), ER_EFORMAT, "header ends at byte 11, the file at 10");
    len = image(bytes, 100000000u, "{}", 2, 0);
    FAILS(parse_exact(&s, bytes, len), ER_EFORMAT, "the file at 10");
    // The file is long enough, the bytes at hand are not.
    FAILS(er_safetensors_parse(&s, bytes, 10, 1u << 30, "m"), ER_EFORMAT, "only 10 are there");
}

static void case_05_header_not_utf8(void **state) {
    (void)state;
    REFUSE("{\"\xff\":" ENTRY("U8", "[1]", "[0,1]") "}", 1, "not valid UTF-8");
    REFUSE("{\"\xc0\xaf\":" ENTRY("U8", "[1]", "[0,1]") "}", 1, "not valid UTF-8");
    REFUSE("{\"\xed\xa0\x80\":" ENTRY("U8", "[1]", "[0,1]") "}", 1, "not valid UTF-8");
}

static void case_06_invalid_json_or_trailing_bytes(void **state) {
    (void)state;
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[0,1]") ",}", 1, "a comma stands before this '}'");
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[0,1]"), 1, "expected ',' or '}'");
    REFUSE("{}x", 0, "something follows");
    REFUSE("{}{}", 0, "something follows");
    REFUSE("{}\0\0\0\0\0", 0, "something follows");
    REFUSE("{'a':1}", 0, "expected a key");
}

static void case_07_top_level_not_an_object(void **state) {
    (void)state;
    REFUSE("[]", 0, "does not begin with '{'");
    REFUSE("null", 0, "does not begin with '{'");
    REFUSE(" {}", 0, "does not begin with '{'");
    REFUSE("\t\n{}", 0, "does not begin with '{'");
    REFUSE("\xef\xbb\xbf{}", 0, "does not begin with '{'");
}

static void case_08_duplicate_names(void **state) {
    (void)state;
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[0,1]") ",\"a\":" ENTRY("U8", "[1]", "[1,2]") "}", 2,
        "key \"a\" stands twice");
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[0,1]") ",\"\\u0061\":" ENTRY("U8", "[1]", "[1,2]") "}", 2,
        "key \"a\" stands twice");
    REFUSE("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "key \"__metadata__\" stands twice");
    REFUSE("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
        "key \"dtype\" stands twice");
}

static void case_09_metadata_not_strings(void **state) {
    (void)state;
    REFUSE("{\"__metadata__\":[]}", 0, "__metadata__ is not an object");
    REFUSE("{\"__metadata__\":\"pt\"}", 0, "__metadata__ is not an object");
    REFUSE("{\"__metadata__\":null}", 0, "__metadata__ is not an object");
    REFUSE("{\"__metadata__\":{\"format\":1}}", 0, "not a string");
    REFUSE("{\"__metadata__\":{\"a\":\"x\",\"b\":{}}}", 0, "not a string");
}

static void case_10_entry_incomplete(void **state) {
    (void)state;
    REFUSE("{\"a\":[]}", 0, "tensor 'a': its entry is not an object");
    REFUSE("{\"a\":1}", 0, "tensor 'a': its entry is not an object");
    REFUSE("{\"a\":{}}", 0, "tensor 'a': has no dtype");
    REFUSE("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor 'a': has no dtype");
    REFUSE("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "tensor 'a': has no shape");
    REFUSE("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "tensor 'a': has no data_offsets");
    REFUSE("{\"a\":{\"DTYPE\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor 'a': has no dtype");
}

static void case_11_unknown_dtype(void **state) {
    (void)state;
    REFUSE("{\"a\":" ENTRY("f32", "[1]", "[0,4]") "}", 4, "unknown dtype 'f32'");
    REFUSE("{\"a\":" ENTRY("F32 ", "[1]", "[0,4]") "}", 4, "unknown dtype 'F32 '");
    REFUSE("{\"a\":" ENTRY("", "[1]", "[0,4]") "}", 4, "unknown dtype ''");
    REFUSE("{\"a\":" ENTRY("a name that is far too long for one", "[1]", "[0,4]") "}", 4, "unknown dtype");
    REFUSE("{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype is not a string");
}

static void case_12_shape_not_unsigned_integers(void **state) {
    (void)state;
    REFUSE("{\"a\":" ENTRY("U8", "[-1]", "[0,1]") "}", 1, "dimension 0 is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[2.0]", "[0,2]") "}", 2, "dimension 0 is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[1,2e0]", "[0,2]") "}", 2, "dimension 1 is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[-0]", "[0,0]") "}", 0, "dimension 0 is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[\"1\"]", "[0,1]") "}", 1, "dimension 0 is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[null]", "[0,1]") "}", 1, "dimension 0 is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[[1]]", "[0,1]") "}", 1, "dimension 0 is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[18446744073709551616]", "[0,1]") "}", 1,
        "dimension 0 is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[9007199254740993]", "[0,1]") "}", 1, "need 9007199254740993");
    REFUSE("{\"a\":" ENTRY("U8", "1", "[0,1]") "}", 1, "shape is not a list");
    REFUSE("{\"a\":" ENTRY("U8", "{}", "[0,1]") "}", 1, "shape is not a list");
    char header[MAX_FILE] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1";
    for (int i = 1; i < 65; i++) strcat(header, ",1");
    strcat(header, "],\"data_offsets\":[0,1]}}");
    refuse_header(header, strlen(header), 1, "more than 64 dimensions");
}

static void case_13_size_overflow(void **state) {
    (void)state;
    REFUSE("{\"a\":" ENTRY("U8", "[2,18446744073709551614]", "[0,1]") "}", 1, "more than 2^64 elements");
    REFUSE("{\"a\":" ENTRY("F32", "[2,9223372036854775807]", "[0,1]") "}", 1, "overflow");
    REFUSE("{\"a\":" ENTRY("F64", "[288230376151711744]", "[0,0]") "}", 0, "overflow");
    REFUSE("{\"a\":" ENTRY("U8", "[4294967296,4294967296]", "[0,0]") "}", 0, "more than 2^64 elements");
}

static void case_14_data_offsets_malformed(void **state) {
    (void)state;
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[0]") "}", 1, "1 data_offsets instead of two");
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[]") "}", 1, "0 data_offsets instead of two");
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[0,1,2]") "}", 1, "more than two data_offsets");
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[1,0]") "}", 1, "begins at 1, behind its end at 0");
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[-1,0]") "}", 1, "data_offsets[0] is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[0,1.0]") "}", 1, "data_offsets[1] is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[0,1e0]") "}", 1, "data_offsets[1] is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "[\"0\",1]") "}", 1, "data_offsets[0] is not an unsigned integer");
    REFUSE("{\"a\":" ENTRY("U8", "[1]", "7") "}", 1, "data_offsets is not a list");
}

static void case_15_size_differs_from_shape(void **state) {
    (void)state;
    REFUSE("{\"a\":" ENTRY("F32", "[2]", "[0,4]") "}", 4, "its data is 4 bytes, its shape and dtype need 8");
    REFUSE(
        "{\"a\":" ENTRY("F32", "[2]", "[0,12]") "}", 12, "its data is 12 bytes, its shape and dtype need 8");
    REFUSE("{\"a\":" ENTRY("F32", "[]", "[0,0]") "}", 0, "need 4");
    REFUSE("{\"a\":" ENTRY("F32", "[0]", "[0,4]") "}", 4, "need 0");
}

static void case_16_first_not_at_0_hole_overlap_twins(void **state) {
    (void)state;
    REFUSE("{\"a\":" ENTRY("U8", "[2]", "[1,3]") "}", 3, "begins at 1 of the data, the first belongs at 0");
    REFUSE("{\"a\":" ENTRY("U8", "[2]", "[0,2]") ",\"b\":" ENTRY("U8", "[2]", "[3,5]") "}", 5,
        "'b' begins at 3 of the data, the one before it ends at 2");
    REFUSE("{\"a\":" ENTRY("U8", "[2]", "[0,2]") ",\"b\":" ENTRY("U8", "[2]", "[1,3]") "}", 3,
        "'b' begins at 1 of the data, the one before it ends at 2");
    REFUSE("{\"a\":" ENTRY("U8", "[2]", "[0,2]") ",\"b\":" ENTRY("U8", "[2]", "[0,2]") "}", 2,
        "'b' begins at 0");
    REFUSE("{\"a\":" ENTRY("U8", "[4]", "[0,4]") ",\"e\":" ENTRY("U8", "[0]", "[2,2]") "}", 4,
        "'e' begins at 2");
}

static void case_17_data_shorter_or_longer_than_file(void **state) {
    (void)state;
    REFUSE("{\"a\":" ENTRY("U8", "[4]", "[0,4]") "}", 2, "'a' ends at 4 of the data, the file at 2");
    REFUSE("{\"a\":" ENTRY("U8", "[4]", "[0,4]") "}", 44, "40 bytes of data belong to no tensor");
    REFUSE("{}", 1, "1 bytes of data belong to no tensor");
    REFUSE("{\"a\":" ENTRY("U8", "[18446744073709551615]", "[0,18446744073709551615]") "}", 4, "overflow");
    REFUSE("{\"a\":" ENTRY("U8", "[1152921504606846976]", "[0,1152921504606846976]") "}", 4, "the file at 4");
    REFUSE("{\"a\":" ENTRY("U8", "[0]", "[18446744073709551615,18446744073709551615]") "}", 4,
        "the first belongs at 0");
}

static void case_18_subbyte_not_whole_bytes(void **state) {
    (void)state;
    REFUSE("{\"a\":" ENTRY("F4", "[3]", "[0,2]") "}", 2, "3 elements of F4 are no whole number of bytes");
    REFUSE("{\"a\":" ENTRY("F6_E2M3", "[2]", "[0,2]") "}", 2, "2 elements of F6_E2M3");
}

static void case_19_nul_in_name(void **state) {
    (void)state;
    REFUSE("{\"a\\u0000b\":" ENTRY("U8", "[1]", "[0,1]") "}", 1, "\\u0000 in a string");
    REFUSE("{\"a\0b\":" ENTRY("U8", "[1]", "[0,1]") "}", 1, "control character");
    REFUSE("{\"a\\ud800\":" ENTRY("U8", "[1]", "[0,1]") "}", 1, "lone surrogate");
}

static void put_model(const char *dir, const char *header, size_t data) {
    char bytes[MAX_FILE], name[256];
    (void)snprintf(name, sizeof name, "%s/model.safetensors", dir);
    OK(er_mkdirs(in_scratch(dir)));
    put_bytes(name, bytes, image(bytes, strlen(header), header, strlen(header), data));
}

static void case_20_file_shrinks_after_open(void **state) {
    (void)state;
    er_checkpoint *c = NULL;
    float x[4];
    char hex[65];
    put_model(
        "shrunk", "{\"a\":" ENTRY("F32", "[4]", "[0,16]") ",\"b\":" ENTRY("F16", "[2]", "[16,20]") "}", 20);
    OK(er_checkpoint_open(&c, in_scratch("shrunk")));
    OK(er_checkpoint_read_f32(c, er_checkpoint_find(c, "b"), x));
    struct stat st;
    assert_int_equal(stat(in_scratch("shrunk/model.safetensors"), &st), 0);
    assert_int_equal(truncate(in_scratch("shrunk/model.safetensors"), st.st_size - 5), 0);
    FAILS(er_checkpoint_read(c, er_checkpoint_find(c, "a"), x), ER_EIO,
        "1 bytes missing: it shrank after it was opened");
    FAILS(er_checkpoint_read_f32(c, er_checkpoint_find(c, "b"), x), ER_EIO, "4 bytes missing");
    FAILS(er_checkpoint_digest(c, hex), ER_EIO, "shrank");
    er_checkpoint_free(c);
}

// Shards s1 {a, b} and s2 {c}, one byte each, and an index with this weight_map.
static void refuse_index(const char *index, er_status code, const char *message) {
    char bytes[MAX_FILE];
    er_checkpoint *c = NULL;
    const char *h1 = "{\"a\":" ENTRY("U8", "[1]", "[0,1]") ",\"b\":" ENTRY("U8", "[1]", "[1,2]") "}";
    const char *h2 = "{\"c\":" ENTRY("U8", "[1]", "[0,1]") "}",
               *h3 = "{\"a\":" ENTRY("U8", "[1]", "[0,1]") "}";
    OK(er_mkdirs(in_scratch("sharded/sub")));
    put_bytes("sharded/s1", bytes, image(bytes, strlen(h1), h1, strlen(h1), 2));
    put_bytes("sharded/s2", bytes, image(bytes, strlen(h2), h2, strlen(h2), 1));
    put_bytes("sharded/again", bytes, image(bytes, strlen(h3), h3, strlen(h3), 1));
    put_bytes("sharded/sub/s2", bytes, image(bytes, strlen(h2), h2, strlen(h2), 1));
    put_bytes("outer", bytes, image(bytes, strlen(h2), h2, strlen(h2), 1));
    (void)symlink("s1", in_scratch("sharded/alias"));
    put_text("sharded/model.safetensors.index.json", index);
    if (code != ER_OK) FAILS(er_checkpoint_open(&c, in_scratch("sharded")), code, message);
    else OK(er_checkpoint_open(&c, in_scratch("sharded")));
    er_checkpoint_free(c);
}

static void case_21_index_maps_to_wrong_files(void **state) {
    (void)state;
    refuse_index("{\"metadata\":{\"total_size\":3},\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"s2\"}}",
        ER_OK, "");
    refuse_index("{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"s9\"}}", ER_ENOENT, "s9: no such file");
    refuse_index(
        "{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"../outer\"}}", ER_EFORMAT, "no plain file name");
    refuse_index(
        "{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"sub/s2\"}}", ER_EFORMAT, "no plain file name");
    refuse_index(
        "{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"/s2\"}}", ER_EFORMAT, "no plain file name");
    refuse_index(
        "{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"..\"}}", ER_EFORMAT, "no plain file name");
    refuse_index("{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"\"}}", ER_EFORMAT, "no plain file name");
    refuse_index("{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"sub\"}}", ER_EFORMAT, "is a folder");
    refuse_index(
        "{\"weight_map\":{\"a\":\"s1\",\"b\":\"alias\",\"c\":\"s2\"}}", ER_EFORMAT, "is the same file as");
    refuse_index("{\"weight_map\":{\"a\":\"again\",\"b\":\"s1\",\"c\":\"s2\"}}", ER_EFORMAT,
        "'a' is in both again and s1");
    refuse_index(
        "{\"weight_map\":{\"a\":\"s1\",\"c\":\"s2\"}}", ER_EFORMAT, "does not list tensor 'b' of s1");
    refuse_index(
        "{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\"}}", ER_OK, "");  // s2 is then no part of the model
    refuse_index("{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"s2\",\"d\":\"s2\"}}", ER_EFORMAT,
        "'d' is not in s2");
    refuse_index("{\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\",\"c\":\"s2\"}}", ER_EFORMAT,
        "'b' is mapped to s2 and stands in s1");
    refuse_index("{\"weight_map\":{\"a\":\"s1\",\"a\":\"s2\"}}", ER_EFORMAT, "key \"a\" stands twice");
    refuse_index("{\"weight_map\":{\"a\":1}}", ER_EFORMAT, "not a string");
    refuse_index("{\"weight_map\":[]}", ER_EFORMAT, "weight_map is not an object");
    refuse_index("{\"weight_map\":{}}", ER_EFORMAT, "has no weight_map");
    refuse_index("{\"metadata\":{}}", ER_EFORMAT, "has no weight_map");
    refuse_index("[]", ER_EFORMAT, "not an object");
}

static void case_22_not_a_regular_file(void **state) {
    (void)state;
    er_safetensors *s = NULL;
    er_checkpoint *c = NULL;
    assert_int_equal(mkfifo(in_scratch("fifo"), 0600), 0);
    FAILS(er_safetensors_open(&s, in_scratch("fifo")), ER_EFORMAT, "not a regular file");
    FAILS(er_safetensors_open(&s, scratch_dir), ER_EFORMAT, "is a folder");
    FAILS(er_safetensors_open(&s, in_scratch("nowhere")), ER_ENOENT, "no such file");
    FAILS(er_safetensors_open(&s, "/dev/zero"), ER_EFORMAT, "not a regular file");
    OK(er_mkdirs(in_scratch("asfolder/model.safetensors")));
    FAILS(er_checkpoint_open(&c, in_scratch("asfolder")), ER_EFORMAT, "is a folder");
}

static void legal_oddities(void **state) {
    (void)state;
    er_safetensors *s = accept_header("{}", 0);
    assert_int_equal(er_safetensors_count(s), 0);
    er_safetensors_free(s);
    er_safetensors_free(accept_header("{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\"}}   \n", 0));
    // Any order, a rank of 0, empty tensors at either end, odd alignment, unknown keys, names of every kind,
    // 64 dimensions.
    char header[MAX_FILE] = "{\"w\":" ENTRY("F32", "[1,2]", "[3,11]") ",\"empty\":" ENTRY("F32",
        "[0,18446744073709551615]", "[0,0]") ",\"s\":" ENTRY("U8", "[]", "[0,1]") ",\"last\":" ENTRY("F64",
        "[3,0]", "[15,15]") ",\"__metadata__\":{\"format\":\"pt\"},\"h\":{\"extra\":{\"deep\":[1,{}]},\"data_"
                            "offsets\":[1,3],\"shape\":[1],"
                            "\"a key longer than any\":1,\"dtype\":\"BF16\"},\"\\u00e9\\\"\\n\":" ENTRY(
                                "F4", "[2]", "[11,12]") ",\"\":" ENTRY("F6_E3M2", "[4]",
                                "[12,15]") ",\"deep\":{\"dtype\":\"F16\",\"shape\":[0";
    for (int i = 1; i < 64; i++) strcat(header, ",1");
    strcat(header, "],\"data_offsets\":[15,15]}}   ");
    s = accept_header(header, 15);
    static const char *const names[] = {"empty", "s", "h", "w", "\xc3\xa9\"\n", "", "deep", "last"};
    static const uint64_t at[] = {0, 0, 1, 3, 11, 12, 15, 15}, bytes[] = {0, 1, 2, 8, 1, 3, 0, 0};
    assert_int_equal(er_safetensors_count(s), 8);
    for (size_t i = 0; i < 8; i++) {
        const er_tensor *t = er_safetensors_at(s, i);
        assert_string_equal(t->name, names[i]);
        assert_int_equal(t->offset, 8 + strlen(header) + at[i]);
        assert_int_equal(t->bytes, bytes[i]);
    }
    assert_int_equal(er_safetensors_at(s, 3)->rank, 2);
    assert_int_equal(er_safetensors_at(s, 3)->shape[1], 2);
    assert_int_equal(er_safetensors_at(s, 3)->elements, 2);
    assert_int_equal(er_safetensors_at(s, 1)->rank, 0);
    assert_int_equal(er_safetensors_at(s, 1)->elements, 1);
    assert_int_equal(er_safetensors_at(s, 6)->rank, 64);
    er_safetensors_free(s);
}

// Every prefix of a good file is refused.
static void truncation_at_every_byte(void **state) {
    (void)state;
    char bytes[512];
    const char *header = "{\"a\":" ENTRY("F32", "[2]", "[0,8]") ",\"b\":" ENTRY("U8", "[3]", "[8,11]") "}";
    er_safetensors *s = NULL;
    size_t len = image(bytes, strlen(header), header, strlen(header), 11);
    for (size_t n = 0; n < len; n++) assert_int_equal(parse_exact(&s, bytes, n), ER_EFORMAT);
    OK(parse_exact(&s, bytes, len));
    er_safetensors_free(s);
}

// Changing any one byte of the header either is refused or leaves all reads inside the file.
static void any_byte_changed(void **state) {
    (void)state;
    char bytes[512];
    const char *header = "{\"a\":" ENTRY("F32", "[2]", "[0,8]") ",\"b\":" ENTRY("U8", "[3]", "[8,11]") "}";
    size_t len = image(bytes, strlen(header), header, strlen(header), 11);
    int accepted = 0;
    for (size_t i = 0; i < len - 11; i++) {
        char old = bytes[i];
        for (int v = 0; v < 256; v++) {
            er_safetensors *s = NULL;
            bytes[i] = (char)v;
            if (parse_exact(&s, bytes, len) != ER_OK) continue;
            accepted++;
            uint64_t sum = 0;
            for (size_t k = 0; k < er_safetensors_count(s); k++) {
                const er_tensor *t = er_safetensors_at(s, k);
                assert_true(t->offset <= len && t->bytes <= len - t->offset);
                sum += t->bytes;
            }
            assert_int_equal(sum, 11);
            er_safetensors_free(s);
        }
        bytes[i] = old;
    }
    assert_true(accepted > (int)(len - 11));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_01_shorter_than_8_bytes),
        cmocka_unit_test(case_02_header_of_0_or_1_bytes),
        cmocka_unit_test(case_03_header_length_out_of_range),
        cmocka_unit_test(case_04_header_longer_than_file),
        cmocka_unit_test(case_05_header_not_utf8),
        cmocka_unit_test(case_06_invalid_json_or_trailing_bytes),
        cmocka_unit_test(case_07_top_level_not_an_object),
        cmocka_unit_test(case_08_duplicate_names),
        cmocka_unit_test(case_09_metadata_not_strings),
        cmocka_unit_test(case_10_entry_incomplete),
        cmocka_unit_test(case_11_unknown_dtype),
        cmocka_unit_test(case_12_shape_not_unsigned_integers),
        cmocka_unit_test(case_13_size_overflow),
        cmocka_unit_test(case_14_data_offsets_malformed),
        cmocka_unit_test(case_15_size_differs_from_shape),
        cmocka_unit_test(case_16_first_not_at_0_hole_overlap_twins),
        cmocka_unit_test(case_17_data_shorter_or_longer_than_file),
        cmocka_unit_test(case_18_subbyte_not_whole_bytes),
        cmocka_unit_test(case_19_nul_in_name),
        cmocka_unit_test(case_20_file_shrinks_after_open),
        cmocka_unit_test(case_21_index_maps_to_wrong_files),
        cmocka_unit_test(case_22_not_a_regular_file),
        cmocka_unit_test(legal_oddities),
        cmocka_unit_test(truncation_at_every_byte),
        cmocka_unit_test(any_byte_changed),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
