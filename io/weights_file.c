// Is a file one of weights? By the marks of formats, else by its name.
#include "io/weights_file.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { HEAD = 1 << 16 };

typedef struct head {
    unsigned char byte[HEAD];
    size_t n;
    uint64_t size;  // of the file
} head;

static bool begins(const head *h, const char *bytes, size_t n) {
    return h->n >= n && memcmp(h->byte, bytes, n) == 0;
}

static bool holds(const head *h, const char *word) {
    return memmem(h->byte, h->n, word, strlen(word)) != NULL;
}

static uint64_t little(const unsigned char *p, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

// ---- by content ----

static bool is_safetensors(const head *h) {
    if (h->n < 10 || h->byte[8] != '{') return false;
    uint64_t n = little(h->byte, 8);
    return n >= 2 && n <= h->size - 8 &&
           (holds(h, "\"data_offsets\"") || holds(h, "\"__metadata__\"") || n <= 16);
}

static bool is_gguf(const head *h) {
    static const char *const marks[] = {"GGUF", "FUGG", "lmgg", "fmgg", "tjgg", "algg"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (begins(h, marks[i], 4)) return true;
    return false;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcasecmp(s + n - m, end) == 0;
}

// The members of a zip archive, as far as their local headers lie in the head. torch.save writes data.pkl
// first.
static bool is_zip_of_weights(const head *h) {
    static const char *const ends[] = {"data.pkl", ".npy", ".safetensors", ".h5", ".bin", ".pt", ".pth",
        ".onnx", ".gguf", ".msgpack", ".ckpt", "constants.pkl", "weight.bin"};
    if (!begins(h, "PK\3\4", 4)) return false;
    for (size_t at = 0; at + 30 <= h->n;) {
        const unsigned char *p = memmem(h->byte + at, h->n - at, "PK\3\4", 4);
        char name[256];
        if (!p || (size_t)(p - h->byte) + 30 > h->n) break;
        size_t n = (size_t)little(p + 26, 2), begin = (size_t)(p - h->byte) + 30;
        at = begin;
        if (n == 0 || n >= sizeof name || begin + n > h->n) continue;
        memcpy(name, h->byte + begin, n);
        name[n] = '\0';
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            if (ends_with(name, ends[i])) return true;
    }
    return false;
}

// A pickle may be a tokenizer too: only one that rebuilds arrays counts.
static bool is_pickle_of_weights(const head *h) {
    static const char *const words[] = {"torch._utils", "torch.storage", "torch\n", "_rebuild_tensor",
        "multiarray", "numpy.ndarray", "jax._src", "paddle", "FloatStorage", "HalfStorage"};
    if (begins(h, "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19", 14)) return true;  // torch.save before zip
    if (h->n < 2 || h->byte[0] != 0x80 || h->byte[1] < 2 || h->byte[1] > 5) return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (holds(h, words[i])) return true;
    return false;
}

// A tar whose first member is a file of weights; later members lie beyond the head.
static bool is_tar_of_weights(const head *h) {
    static const char *const ends[] = {
        ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".gguf", ".onnx", ".msgpack", ".npz", ".npy"};
    char name[101] = "";
    if (h->n < 262 || memcmp(h->byte + 257, "ustar", 5) != 0) return false;
    memcpy(name, h->byte, 100);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(name, ends[i])) return true;
    return false;
}

static bool is_hdf5(const head *h) {
    for (size_t at = 0; at + 8 <= h->n; at = at ? 2 * at : 512)
        if (memcmp(h->byte + at, "\x89HDF\r\n\x1a\n", 8) == 0) return true;
    return false;
}

// A map of MessagePack whose first key is a word and whose first value is a map again: flax's tree of
// parameters.
static bool is_flax(const head *h) {
    size_t at = 0;
    if (h->n < 16) return false;
    if (h->byte[0] > 0x80 && h->byte[0] <= 0x8f) at = 1;
    else if (h->byte[0] == 0xde) at = 3;
    else if (h->byte[0] == 0xdf) at = 5;
    else return false;
    size_t n = h->byte[at] >= 0xa1 && h->byte[at] <= 0xbf ? h->byte[at] & 31u
               : h->byte[at] == 0xd9                      ? h->byte[at + 1]
                                                          : 0;
    at += h->byte[at] == 0xd9 ? 2 : 1;
    if (n == 0 || at + n >= h->n) return false;
    for (size_t i = 0; i < n; i++)
        if (h->byte[at + i] < ' ' || h->byte[at + i] > '~') return false;
    unsigned char value = h->byte[at + n];
    return (value > 0x80 && value <= 0x8f) || value == 0xde || value == 0xdf ||
           (value >= 0xc7 && value <= 0xc9);
}

// ir_version, then producer, domain, graph or opset: a SentencePiece model begins with another field.
static bool is_onnx(const head *h) {
    static const unsigned char next[] = {0x12, 0x1a, 0x22, 0x3a, 0x42};
    return h->n >= 16 && h->byte[0] == 0x08 && h->byte[1] >= 1 && h->byte[1] <= 32 &&
           memchr(next, h->byte[2], sizeof next) != NULL;
}

// A version, then the length of a specification's name and the name: "TransformerSpec".
static bool is_ctranslate2(const head *h) {
    if (h->n < 12 || little(h->byte, 4) > 64) return false;
    size_t n = (size_t)little(h->byte + 4, 2);
    return n >= 5 && n < 64 && 6 + n <= h->n && memcmp(h->byte + 6 + n - 5, "Spec", 5) == 0;
}

static const char *kind_by_content(const head *h) {
    if (is_safetensors(h)) return "safetensors";
    if (is_gguf(h)) return "GGUF";
    if (is_zip_of_weights(h) || is_pickle_of_weights(h)) return "PyTorch";
    if (is_tar_of_weights(h)) return "an archive of weights";
    if (begins(h, "\x93NUMPY", 6)) return "NumPy";
    if (is_hdf5(h)) return "HDF5";
    if (h->n >= 8 && memcmp(h->byte + 4, "TFL3", 4) == 0) return "TensorFlow Lite";
    if (begins(h, "ftrt", 4)) return "TensorRT";
    if (begins(h, "version https://git-lfs.github.com/spec/", 40)) return "Git LFS pointer";
    if (is_ctranslate2(h)) return "CTranslate2";
    if (is_flax(h)) return "flax";
    if (is_onnx(h)) return "ONNX";
    return NULL;
}

// ---- by name ----

// "model.safetensors.zst", "w.bin.part-aa", "w.gguf.1": what was compressed, split or left by a download is
// the same thing.
static void strip_wrapping(char *name) {
    static const char *const wraps[] = {".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip", ".tar", ".tgz", ".7z",
        ".incomplete", ".tmp", ".bak", ".old", ".orig", ".backup", ".lock", ".metadata"};
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < sizeof wraps / sizeof *wraps; i++)
            if (ends_with(name, wraps[i])) name[strlen(name) - strlen(wraps[i])] = '\0', again = true;
        char *dot = strrchr(name, '.');
        if (!dot || dot == name) continue;
        bool number = dot[1] && dot[1 + strspn(dot + 1, "0123456789")] == '\0';
        if (number || strncasecmp(dot, ".part", 5) == 0 || strncasecmp(dot, ".split", 6) == 0)
            *dot = '\0', again = true;
    }
}

static bool is_weights_ending(const char *name) {
    static const char *const ends[] = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".hdf5",
        ".keras", ".msgpack", ".gguf", ".ggml", ".onnx", ".onnx_data", ".onnx.data", ".ot", ".tflite", ".npz",
        ".npy", ".pdparams", ".pdiparams", ".pdopt", ".mlmodel", ".nemo", ".engine", ".plan", ".trt",
        ".distcp", ".llamafile", ".mar", ".pte", ".ptl", ".mnn", ".rknn", ".dlc", ".tensors", ".params",
        ".orbax", ".exl2", ".pb"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(name, ends[i])) return true;
    return false;
}

// Both tokenizers and vocabularies come as .bin, .npz or .model.
static bool is_about_tokens(const char *name) {
    static const char *const words[] = {"token", "vocab", "merges", "spiece", "sentencepiece", "bpe"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(name, words[i])) return true;
    return false;
}

// "model.ckpt.data-00000-of-00001", "model.ckpt.index", "model.onnx_data_1", "openvino_model.xml".
static bool is_part_of_weights(const char *name) {
    const char *data = strstr(name, ".data-"), *onnx = strcasestr(name, ".onnx_data");
    return (data && strstr(data, "-of-")) || onnx || strcasestr(name, ".ckpt.") ||
           strcasestr(name, ".ckpt-") || strncasecmp(name, "consolidated", 12) == 0 ||
           strncasecmp(name, "adapter_model", 13) == 0 ||
           (strncasecmp(name, "openvino", 8) == 0 && ends_with(name, ".xml"));
}

static const char *kind_by_name(const char *path) {
    char name[512];
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = strlen(base);
    if (n >= sizeof name) base += n - sizeof name + 1;
    (void)strcpy(name, base);
    // A loader that finds them takes the base model from elsewhere, or the weights of another set of files.
    if (strcasecmp(name, "adapter_config.json") == 0) return "settings of an adapter";
    if (ends_with(name, ".index.json")) return "index of weights";
    size_t wrapped = strlen(name);
    strip_wrapping(name);
    bool archive = strlen(name) < wrapped && !strchr(name, '.');
    if (ends_with(name, ".index.json")) return "index of weights";
    if (archive && !is_about_tokens(name) &&
        (strcasestr(name, "model") || strcasestr(name, "weights") || strcasestr(name, "checkpoint")))
        return "weights by its name";
    if (is_part_of_weights(name)) return "weights by its name";
    if (is_weights_ending(name) && !is_about_tokens(name)) return "weights by its name";
    return NULL;
}

const char *er_weights_kind(const char *name, int fd, uint64_t size) {
    head h = {.size = size};
    ssize_t got = pread(fd, h.byte, sizeof h.byte, 0);
    h.n = got > 0 ? (size_t)got : 0;
    const char *kind = kind_by_content(&h);
    return kind ? kind : kind_by_name(name);
}
