// Model folders: what the reference library wrote is read as it meant, and edited copies differ only where
// they should.
#include "tests/io/small_disk.h"

#include "io/checkpoint.h"

#define GOLDEN TEST_DATA "/golden/safetensors"

static er_checkpoint *open_ok(const char *dir) {
    er_checkpoint *c = NULL;
    OK(er_checkpoint_open(&c, dir));
    return c;
}

static const er_tensor *find(const er_checkpoint *c, const char *name) {
    const er_tensor *t = er_checkpoint_find(c, name);
    if (!t) fail_msg("no tensor '%s'", name);
    return t;
}

static const struct {
    const char *name;
    er_dtype dtype;
    int rank;
    uint64_t shape[2], n;
    int step;  // element i is (i * step - 3) / 8
} golden[] = {
    {"h.0.f32", ER_F32, 2, {2, 3}, 6, 1},
    {"h.0.f16", ER_F16, 1, {5, 0}, 5, 2},
    {"h.1.bf16", ER_BF16, 2, {3, 4}, 12, 3},
    {"h.1.f64", ER_F64, 1, {2, 0}, 2, 4},
    {"scalar", ER_F32, 0, {0, 0}, 1, 5},
    {"empty", ER_F32, 2, {0, 7}, 0, 1},
};

static void reads_what_the_reference_wrote(void **state) {
    (void)state;
    static const char *const dirs[] = {GOLDEN "/single", GOLDEN "/sharded"};
    for (int d = 0; d < 2; d++) {
        er_checkpoint *c = open_ok(dirs[d]);
        assert_int_equal(er_checkpoint_count(c), 7);
        assert_int_equal(er_checkpoint_shards(c), (size_t)d + 1);
        for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
            const er_tensor *t = find(c, golden[i].name);
            float x[16];
            memset(x, 0xff, sizeof x);
            assert_int_equal(t->dtype, golden[i].dtype);
            assert_int_equal(t->rank, golden[i].rank);
            for (int k = 0; k < t->rank; k++) assert_int_equal(t->shape[k], golden[i].shape[k]);
            assert_int_equal(t->elements, golden[i].n);
            assert_int_equal(t->bytes, golden[i].n * er_dtype_bits(t->dtype) / 8);
            OK(er_checkpoint_read_f32(c, t, x));
            for (size_t k = 0; k < golden[i].n; k++) NEAR(x[k], ((double)k * golden[i].step - 3) / 8, 0);
            assert_true(isnan(x[golden[i].n]));  // nothing behind the end was written
        }
        int64_t ids[3];
        float x[3];
        OK(er_checkpoint_read(c, find(c, "h.1.ids"), ids));
        assert_true(ids[0] == 0 && ids[1] == 1 && ids[2] == 2);
        FAILS(
            er_checkpoint_read_f32(c, find(c, "h.1.ids"), x), ER_EUNSUPPORTED, "'h.1.ids' is stored as I64");
        assert_null(er_checkpoint_find(c, "h.1"));
        assert_null(er_checkpoint_find(c, ""));
        for (size_t i = 1; i < 7; i++)
            assert_true(strcmp(er_checkpoint_at(c, i - 1)->name, er_checkpoint_at(c, i)->name) < 0);
        assert_string_equal(er_checkpoint_dir(c), dirs[d]);
        er_checkpoint_free(c);
    }
}

// More elements than are converted at a time.
static void reads_large_tensors(void **state) {
    (void)state;
    enum { N = (1 << 20) + 12345 };
    char header[256];
    char *file = malloc(2 * (size_t)N + 512);
    float *x = malloc(N * sizeof *x);
    int n = snprintf(header, sizeof header,
        "{\"w\":{\"dtype\":\"BF16\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", N, 2 * N);
    memset(file, 0, 8);
    file[0] = (char)n;
    memcpy(file + 8, header, (size_t)n);
    for (int i = 0; i < N; i++) {
        uint16_t h = er_bf16_from_f32((float)(i % 251));
        memcpy(file + 8 + n + 2 * i, &h, 2);
    }
    OK(er_mkdirs(in_scratch("large")));
    put_bytes("large/model.safetensors", file, 8 + (size_t)n + 2 * (size_t)N);
    er_checkpoint *c = open_ok(in_scratch("large"));
    OK(er_checkpoint_read_f32(c, find(c, "w"), x));
    for (int i = 0; i < N; i++)
        if (x[i] != (float)(i % 251)) fail_msg("element %d", i);
    er_checkpoint_free(c);
    free(file);
    free(x);
}

static void missing_weights(void **state) {
    (void)state;
    er_checkpoint *c = NULL;
    OK(er_mkdirs(in_scratch("bare")));
    FAILS(er_checkpoint_open(&c, in_scratch("nowhere")), ER_ENOENT, "nowhere: no such folder");
    FAILS(er_checkpoint_open(&c, put_text("afile", "x")), ER_ENOENT, "not a model folder");
    FAILS(er_checkpoint_open(&c, in_scratch("bare")), ER_ENOENT, "has neither model.safetensors");
    put_text("bare/training_args.bin", "x");
    put_text("bare/pytorch_model.bin", "x");
    put_text("bare/z.gguf", "x");
    FAILS(er_checkpoint_open(&c, in_scratch("bare")), ER_EUNSUPPORTED, "has pytorch_model.bin");
    assert_int_equal(symlink("nothing", in_scratch("bare/model.safetensors")), 0);
    FAILS(er_checkpoint_open(&c, in_scratch("bare")), ER_ENOENT, "model.safetensors: no such file");
}

// ---- writing ----

static char *slurp(const char *path, size_t *n) {
    char *text = NULL;
    OK(er_file_read(&text, n, path, 1 << 26));
    return text;
}

static void copy_file(const char *to, const char *from) {
    size_t n = 0;
    char *text = slurp(from, &n);
    put_bytes(to, text, n);
    free(text);
}

static const char *const sharded_files[] = {"model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors", "model.safetensors.index.json", "config.json"};

// A working copy of the sharded golden model with everything around it that a real folder has. As in the
// Hugging Face cache the second shard is a link.
static void make_model(const char *name) {
    char to[256], from[512];
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(to, sizeof to, "%s/%s", name, sharded_files[i]);
        (void)snprintf(from, sizeof from, GOLDEN "/sharded/%s", sharded_files[i]);
        OK(er_mkdirs(in_scratch(name)));
        copy_file(i == 1 ? "blob" : to, from);
        if (i == 1) assert_int_equal(symlink("../blob", in_scratch(to)), 0);
    }
    static const char *const others[] = {"tokenizer.json", "LICENSE", ".gitattributes", "modeling.py",
        "errata-manifest.json", "pytorch_model.bin", "pytorch_model-00001-of-00002.bin",
        "pytorch_model.bin.index.json"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        (void)snprintf(to, sizeof to, "%s/%s", name, others[i]);
        put_text(to, others[i]);
    }
    (void)snprintf(to, sizeof to, "%s/original", name);
    OK(er_mkdirs(in_scratch(to)));
    (void)snprintf(to, sizeof to, "%s/fifo", name);
    assert_int_equal(mkfifo(in_scratch(to), 0600), 0);
}

static void writes_only_the_edited_ranges(void **state) {
    (void)state;
    er_output *o = NULL;
    make_model("m");
    er_checkpoint *c = open_ok(in_scratch("m"));
    const er_tensor *a = find(c, "h.1.bf16"), *b = find(c, "scalar");
    uint16_t w[12];
    float s = -7.5f;
    for (size_t i = 0; i < 12; i++) w[i] = er_bf16_from_f32((float)i * 0.25f);
    const er_edited_tensor edits[] = {{b, &s}, {a, w}, {find(c, "empty"), NULL}};
    OK(er_output_begin(&o, in_scratch("m-out"), false));
    OK(er_checkpoint_write(c, o, edits, 3));
    OK(er_output_write(o, "errata-manifest.json", "new", 3));
    OK(er_output_commit(o));
    er_output_free(o);

    assert_int_equal(count_entries(in_scratch("m-out")), 4 + 4 + 1);
    file_holds(in_scratch("m-out/LICENSE"), "LICENSE", 7);
    file_holds(in_scratch("m-out/.gitattributes"), ".gitattributes", 14);
    file_holds(in_scratch("m-out/errata-manifest.json"), "new", 3);
    // The copy equals the original byte for byte, save the two ranges.
    for (size_t f = 0; f < 4; f++) {
        char path[512];
        size_t n = 0, n_out = 0;
        (void)snprintf(path, sizeof path, GOLDEN "/sharded/%s", sharded_files[f]);
        char *want = slurp(path, &n);
        (void)snprintf(path, sizeof path, "%s/m-out/%s", scratch_dir, sharded_files[f]);
        char *got = slurp(path, &n_out);
        assert_int_equal(n, n_out);
        if (f == 1) {
            assert_memory_not_equal(want, got, n);
            memcpy(want + a->offset, w, a->bytes);
            memcpy(want + b->offset, &s, b->bytes);
        }
        assert_memory_equal(want, got, n);
        free(want);
        free(got);
    }
    struct stat st;
    assert_true(lstat(in_scratch("m-out/model-00002-of-00002.safetensors"), &st) == 0 && S_ISREG(st.st_mode));
    file_holds(in_scratch("m/errata-manifest.json"), "errata-manifest.json", 20);  // the source is as it was
    // And it opens again with exactly the new values.
    er_checkpoint *again = open_ok(in_scratch("m-out"));
    float x[12];
    OK(er_checkpoint_read_f32(again, find(again, "h.1.bf16"), x));
    for (size_t i = 0; i < 12; i++) NEAR(x[i], (double)i * 0.25, 0);
    er_checkpoint_free(again);
    er_checkpoint_free(c);
}

static void refuses_bad_edits_and_places(void **state) {
    (void)state;
    er_output *o = NULL;
    make_model("r");
    er_checkpoint *c = open_ok(in_scratch("r")), *other = open_ok(GOLDEN "/single");
    float s = 1;
    const er_edited_tensor twice[] = {{find(c, "scalar"), &s}, {find(c, "scalar"), &s}};
    const er_edited_tensor foreign = {find(other, "scalar"), &s};
    OK(er_output_begin(&o, in_scratch("r-out"), false));
    FAILS(er_checkpoint_write(c, o, twice, 2), ER_EARG, "'scalar' is edited twice");
    FAILS(er_checkpoint_write(c, o, &foreign, 1), ER_EARG, "'scalar' does not belong to");
    er_output_free(o);
    OK(er_output_begin(&o, in_scratch("r/inside"), false));
    FAILS(er_checkpoint_write(c, o, twice, 1), ER_EOUTPUT, "inside it");
    er_output_free(o);
    OK(er_output_begin(&o, in_scratch("r"), true));  // it has a manifest, so force alone would take it
    FAILS(er_checkpoint_write(c, o, twice, 1), ER_EOUTPUT, "is the model's own folder");
    er_output_free(o);
    assert_false(er_dir_exists(in_scratch("r-out")));
    assert_false(er_dir_exists(in_scratch("r/inside")));
    assert_true(er_file_exists(in_scratch("r/config.json")));
    er_checkpoint_free(c);
    er_checkpoint_free(other);
}

// A shard that lost its tail after it was opened must not be published.
static void source_shrinks_meanwhile(void **state) {
    (void)state;
    er_output *o = NULL;
    make_model("s");
    er_checkpoint *c = open_ok(in_scratch("s"));
    float s = 1;
    const er_edited_tensor edit = {find(c, "h.0.f32"), &s};
    assert_int_equal(truncate(in_scratch("s/model-00001-of-00002.safetensors"), 100), 0);
    OK(er_output_begin(&o, in_scratch("s-out"), false));
    FAILS(er_checkpoint_write(c, o, &edit, 1), ER_EIO, "has 100 bytes, had 258 when it was opened");
    er_output_free(o);
    er_checkpoint_free(c);
}

static void digest_names_the_content(void **state) {
    (void)state;
    char one[65], hex[65];
    er_checkpoint *c = open_ok(GOLDEN "/single");
    OK(er_checkpoint_digest(c, one));
    OK(er_checkpoint_digest(c, hex));
    assert_string_equal(one, hex);
    assert_int_equal(strlen(one), 64);
    er_checkpoint_free(c);
    c = open_ok(GOLDEN "/sharded");  // how it is cut into files does not matter
    OK(er_checkpoint_digest(c, hex));
    assert_string_equal(one, hex);
    er_checkpoint_free(c);
    // One bit of one weight, or of the configuration, does.
    size_t n = 0;
    char *bytes = slurp(GOLDEN "/single/model.safetensors", &n), changed[3][65];
    OK(er_mkdirs(in_scratch("d")));
    for (int i = 0; i < 3; i++) {
        bytes[n - 1] ^= (char)(i == 1);
        put_bytes("d/model.safetensors", bytes, n);
        put_text("d/config.json", i == 2 ? "{\"model_type\": \"other\"}" : "{\"model_type\": \"golden\"}");
        bytes[n - 1] ^= (char)(i == 1);
        c = open_ok(in_scratch("d"));
        OK(er_checkpoint_digest(c, changed[i]));
        er_checkpoint_free(c);
    }
    assert_string_equal(changed[0], one);
    assert_string_not_equal(changed[1], one);
    assert_string_not_equal(changed[2], one);
    assert_string_not_equal(changed[2], changed[1]);
    free(bytes);
}

static int write_to_a_small_disk(void) {
    enum { N = 2 << 20 };
    char *file = calloc(1, N + 512);
    er_output *o = NULL;
    float s = 1;
    OK(er_mkdirs(in_scratch("tiny")));
    if (!small_disk_mount(in_scratch("tiny"))) return NO_SMALL_DISK;
    int n = snprintf(file + 8, 256,
        "{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},\"w\":{\"dtype\":\"U8\",\"shape\":[%"
        "d],"
        "\"data_offsets\":[4,%d]}}",
        N - 4, N);
    file[0] = (char)n;
    OK(er_mkdirs(in_scratch("twomeg")));
    put_bytes("twomeg/model.safetensors", file, 8 + (size_t)n + N);
    er_checkpoint *c = open_ok(in_scratch("twomeg"));
    const er_edited_tensor edit = {find(c, "s"), &s};
    OK(er_output_begin(&o, in_scratch("tiny/out"), false));
    FAILS(er_checkpoint_write(c, o, &edit, 1), ER_EIO, "model.safetensors: write at byte");
    assert_non_null(strstr(er_last_error(), "no space left on device"));
    er_output_free(o);
    assert_int_equal(count_entries(in_scratch("tiny")), 0);
    er_checkpoint_free(c);
    free(file);
    return 0;
}

static void disk_full(void **state) {
    (void)state;
    in_child(write_to_a_small_disk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_the_reference_wrote),
        cmocka_unit_test(reads_large_tensors),
        cmocka_unit_test(missing_weights),
        cmocka_unit_test(writes_only_the_edited_ranges),
        cmocka_unit_test(refuses_bad_edits_and_places),
        cmocka_unit_test(source_shrinks_meanwhile),
        cmocka_unit_test(digest_names_the_content),
        cmocka_unit_test(disk_full),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
