// What travels beside an edited checkpoint: everything but other weights, told by their bytes and by their
// names.
#include "io/checkpoint.h"
#include "io/base/log.h"
#include "io/base/warnings.h"
#include "tests/io/scratch.h"

#define GOLDEN TEST_DATA "/golden/safetensors/single"

typedef struct file {
    const char *name;
    const char *bytes;
    size_t n;
} file;
#define B(text) text, sizeof text - 1
#define ZIP(member) B("PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" member)
#define WORD B("words\n")

// Names as published folders have them, with bytes that say nothing: the name alone decides.
static const file by_name[] = {{"consolidated.safetensors", WORD}, {"consolidated.00.pth", WORD},
    {"pytorch_model.bin", WORD}, {"pytorch_model-00001-of-00002.bin", WORD},
    {"pytorch_model.bin.index.json", B("{}")}, {"model-00001-of-00002.safetensors", WORD},
    {"model.safetensors.index.json", B("{\"weight_map\":{}}")}, {"model.fp16.safetensors", WORD},
    {"model.fp32-00001-of-00002.safetensors", WORD}, {"tf_model.h5", WORD},
    {"tf_model-00001-of-00002.h5", WORD}, {"tf_model.h5.index.json", B("{}")}, {"flax_model.msgpack", WORD},
    {"flax_model-00001-of-00002.msgpack", WORD}, {"flax_model.msgpack.index.json", B("{}")},
    {"rust_model.ot", WORD}, {"model.onnx", WORD}, {"model.onnx_data", WORD}, {"model.onnx_data_1", WORD},
    {"model.onnx.data", WORD}, {"q4_k_m.gguf", WORD}, {"model.gguf.part1of2", WORD},
    {"ggml-model-q4_0.bin", WORD}, {"64.tflite", WORD}, {"model.ckpt.data-00000-of-00001", WORD},
    {"model.ckpt.index", WORD}, {"model.ckpt.meta", WORD}, {"last.ckpt", WORD}, {"adapter_model.bin", WORD},
    {"adapter_model.safetensors", WORD}, {"adapter_config.json", B("{}")}, {"optimizer.pt", WORD},
    {"scheduler.pt", WORD}, {"rng_state.pth", WORD}, {"training_args.bin", WORD}, {"model.keras", WORD},
    {"weights.npz", WORD}, {"model_state.pdparams", WORD}, {"openvino_model.bin", WORD},
    {"openvino_model.xml", B("<net/>")}, {"model.safetensors.bak", WORD}, {"model.safetensors.zst", WORD},
    {"model.bin.gz", WORD}, {"model.tar.gz", WORD}, {"rank0.engine", WORD}, {"llama.llamafile", WORD},
    {"saved_model.pb", WORD}, {"model.nemo", WORD}, {"__0_0.distcp", WORD}, {"MODEL.SAFETENSORS", WORD}};

// Bytes that say it under a name that does not.
static const file by_content[] = {
    {"a", B("\x2a\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}           x")},
    {"b", B("GGUF\3\0\0\0")}, {"c", B("tjgg\3\0\0\0")}, {"d", ZIP("\x10\0\0\0archive/data.pkl........")},
    {"e", ZIP("\x05\0\0\0w.npy........")}, {"f", B("\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.")},
    {"g", B("\x80\4\x95 ctorch._utils\n_rebuild_tensor_v2\n")}, {"h", B("\x93NUMPY\1\0v\0{}")},
    {"i", B("\x89HDF\r\n\x1a\n........")}, {"j", B("\x1c\0\0\0TFL3........")},
    {"k", B("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")},
    {"l", B("\x06\0\0\0\x10\0TransformerSpec\0........")},
    {"m", B("\x81\xa5model\x81\xa3wte\xc7................")},
    {"n", B("\x08\x07\x12\x07pytorch............")}};

// What a model needs beside its weights, or is merely published with it.
static const file travels[] = {{"tokenizer.json", B("{}")},
    {"tokenizer.model", B("\n\x0e\n\5<unk>\x15\0\0\0\0\x18\2........")},
    {"spiece.model", B("\n\x0e\n\5<unk>\x15\0\0\0\0\x18\2........")},
    {"sentencepiece.bpe.model", B("\n\x0e\n\5<unk>........")}, {"tokenizer.bin", B("\x1b\0\0\0........")},
    {"tokenizer.pkl", B("\x80\4\x95\x10\0\0\0ctiktoken.core\nEncoding\n")}, {"vocab.json", B("{}")},
    {"vocab.txt", WORD}, {"vocab.bpe", WORD}, {"merges.txt", WORD}, {"special_tokens_map.json", B("{}")},
    {"added_tokens.json", B("{}")}, {"generation_config.json", B("{}")}, {"chat_template.jinja", WORD},
    {"quantize_config.json", B("{}")}, {"quantization_config.json", B("{}")},
    {"preprocessor_config.json", B("{}")}, {"modeling_x.py", WORD}, {"LICENSE", WORD},
    {"README.md", B("# x\n")}, {"USE_POLICY.md", WORD}, {".gitattributes", B("*.bin filter=lfs\n")},
    {"logo.png", B("\x89PNG\r\n\x1a\n")}, {"figure.jpg", B("\xff\xd8\xff\xe0")},
    {"paper.pdf", B("%PDF-1.5\n")}, {"data.parquet", B("PAR1....PAR1")}, {"trainer_state.json", B("{}")},
    {"params.json", B("{}")}, {"v1.5", WORD}, {"empty", B("")},
    {"notes.zip", ZIP("\x09\0\0\0notes.txt........")}, {"config.json.bak", B("{}")},
    {"qwen.tiktoken", B("IQ== 0\nIg== 1\n")}, {"utf16.txt", B("\xff\xfew\0o\0")}};

// What stands in sub-folders, and whether it travels.
static const struct {
    const char *folder, *name, *bytes;
    bool goes;
} below[] = {{"additional_chat_templates", "tool.jinja", "{{ x }}", true},
    {"original", "params.json", "{}", true}, {"original", "consolidated.00.pth", "x", false},
    {"onnx", "model.onnx", "x", false}, {"onnx", "config.json", "{}", true}, {"deep/er", "c.txt", "x", true},
    {"checkpoint-10", "optimizer.pt", "x", false}, {"2_Dense", "model.safetensors", "x", false},
    {".git", "config", "x", false}, {".cache/huggingface", "x.metadata", "x", false}};

static void path_of(char path[256], const char *model, const char *folder, const char *name) {
    (void)snprintf(path, 256, "%s/%s%s%s", model, folder ? folder : "", folder ? "/" : "", name);
}

static void put_all(const char *model, const file *at, size_t n) {
    char path[256];
    for (size_t i = 0; i < n; i++) {
        path_of(path, model, NULL, at[i].name);
        put_bytes(path, at[i].bytes, at[i].n);
    }
}
#define COUNT(list) (sizeof(list) / sizeof *(list))

static void make_model(const char *model) {
    char path[256], *bytes = NULL;
    size_t n = 0;
    OK(er_mkdirs(in_scratch(model)));
    OK(er_file_read(&bytes, &n, GOLDEN "/model.safetensors", 1 << 20));
    path_of(path, model, NULL, "model.safetensors");
    put_bytes(path, bytes, n);
    free(bytes);
    path_of(path, model, NULL, "config.json");
    put_text(path, "{\"model_type\": \"golden\"}");
    path_of(path, model, NULL, "errata-manifest.json");
    put_text(path, "old");
}

static void put_below(const char *model) {
    char path[256];
    for (size_t i = 0; i < COUNT(below); i++) {
        path_of(path, model, NULL, below[i].folder);
        OK(er_mkdirs(in_scratch(path)));
        path_of(path, model, below[i].folder, below[i].name);
        put_text(path, below[i].bytes);
    }
}

static void copy(const char *model, const char *out, bool all) {
    er_checkpoint *c = NULL;
    er_output *o = NULL;
    float s = 2;
    OK(er_checkpoint_open(&c, in_scratch(model)));
    const er_edited_tensor edit = {er_checkpoint_find(c, "scalar"), &s};
    OK(er_output_begin(&o, in_scratch(out), false));
    OK(er_checkpoint_write_with(c, o, &edit, 1, &(er_write_options){.copy_all = all}));
    OK(er_output_write(o, ER_MANIFEST, "new", 3));
    OK(er_output_commit(o));
    er_output_free(o);
    er_checkpoint_free(c);
}

static bool there(const char *out, const char *folder, const char *name) {
    char path[256];
    path_of(path, out, folder, name);
    return access(in_scratch(path), F_OK) == 0;
}

static void all_are(const char *out, const file *at, size_t n, bool goes) {
    for (size_t i = 0; i < n; i++) {
        if (there(out, NULL, at[i].name) != goes)
            fail_msg("%s %s", at[i].name, goes ? "is left behind" : "travels");
        char path[256];
        path_of(path, out, NULL, at[i].name);
        if (goes) file_holds(in_scratch(path), at[i].bytes, at[i].n);
    }
}

static void other_weights_stay(void **state) {
    (void)state;
    er_warnings *w = NULL;
    make_model("m");
    put_all("m", by_name, COUNT(by_name));
    put_all("m", by_content, COUNT(by_content));
    put_all("m", travels, COUNT(travels));
    put_below("m");
    OK(er_warnings_begin(&w));
    copy("m", "m-out", false);
    all_are("m-out", by_name, COUNT(by_name), false);
    all_are("m-out", by_content, COUNT(by_content), false);
    all_are("m-out", travels, COUNT(travels), true);
    size_t left = COUNT(by_name) + COUNT(by_content) + 2;  // .git and .cache as one each
    for (size_t i = 0; i < COUNT(below); i++) {
        if (there("m-out", below[i].folder, below[i].name) != below[i].goes)
            fail_msg("%s/%s", below[i].folder, below[i].name);
        left += !below[i].goes && below[i].folder[0] != '.';
    }
    assert_false(there("m-out", NULL, "2_Dense"));  // no empty folders
    file_holds(in_scratch("m-out/errata-manifest.json"), "new", 3);
    // Said once, with the count.
    char said[64];
    (void)snprintf(said, sizeof said, "m: %zu left behind, which hold other weights", left);
    assert_int_equal(er_warnings_count(w), 1);
    if (!strstr(er_warnings_at(w, 0), said)) fail_msg("%s lacks '%s'", er_warnings_at(w, 0), said);
    assert_non_null(strstr(er_warnings_at(w, 0), "--copy-all keeps them"));
    er_warnings_end(w);
}

static void or_go_when_asked_to(void **state) {
    (void)state;
    er_warnings *w = NULL;
    make_model("all");
    put_all("all", by_name, COUNT(by_name));
    put_all("all", by_content, COUNT(by_content));
    put_below("all");
    OK(er_warnings_begin(&w));
    copy("all", "all-out", true);
    all_are("all-out", by_name, COUNT(by_name), true);
    all_are("all-out", by_content, COUNT(by_content), true);
    for (size_t i = 0; i < COUNT(below); i++)
        if (!there("all-out", below[i].folder, below[i].name))
            fail_msg("%s/%s", below[i].folder, below[i].name);
    assert_int_equal(er_warnings_count(w), 0);
    er_warnings_end(w);
    file_holds(in_scratch("all-out/errata-manifest.json"), "new", 3);
}

// As in the Hugging Face cache: every file a link into a store of blobs, in sub-folders too.
static void links_to_files_are_followed(void **state) {
    (void)state;
    er_warnings *w = NULL;
    struct stat st;
    make_model("hub");
    OK(er_mkdirs(in_scratch("blobs")));
    OK(er_mkdirs(in_scratch("hub/sub")));
    put_text("blobs/1", "LICENSE");
    put_text("blobs/2", "GGUF");
    assert_int_equal(symlink("../blobs/1", in_scratch("hub/LICENSE")), 0);
    assert_int_equal(symlink("../../blobs/1", in_scratch("hub/sub/LICENSE")), 0);
    assert_int_equal(symlink("../blobs/2", in_scratch("hub/quantised")), 0);
    assert_int_equal(symlink("../blobs", in_scratch("hub/folder")), 0);
    assert_int_equal(symlink("nothing", in_scratch("hub/dangling")), 0);
    assert_int_equal(symlink("..", in_scratch("hub/sub/up")), 0);
    assert_int_equal(mkfifo(in_scratch("hub/fifo"), 0600), 0);
    OK(er_warnings_begin(&w));
    copy("hub", "hub-out", false);
    file_holds(in_scratch("hub-out/LICENSE"), "LICENSE", 7);
    file_holds(in_scratch("hub-out/sub/LICENSE"), "LICENSE", 7);
    assert_true(lstat(in_scratch("hub-out/LICENSE"), &st) == 0 && S_ISREG(st.st_mode));
    assert_false(there("hub-out", NULL, "quantised"));
    assert_int_equal(count_entries(in_scratch("hub-out")), 5);
    assert_int_equal(er_warnings_count(w), 2);
    assert_non_null(strstr(er_warnings_at(w, 1), "4 files are not copied; first "));
    assert_non_null(strstr(er_warnings_at(w, 1), "hub/dangling: no such file"));
    er_warnings_end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(other_weights_stay),
        cmocka_unit_test(or_go_when_asked_to), cmocka_unit_test(links_to_files_are_followed)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
