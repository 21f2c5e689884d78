// What a file is by its first bytes: the marks of formats, and the pages that servers send instead of a file.
#include "io/base/file_kind.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "io/base/log.h"
#include "io/base/os.h"
#include "io/base/utf8.h"

#define LOOKED_AT ((size_t)1 << 20)  // of a text, for what is warned of

typedef struct magic {
    const char *bytes;
    size_t len, at;
    er_file_kind kind;
} magic;

#define MAGIC(bytes, at, words)                                                                              \
    {                                                                                                        \
        bytes, sizeof(bytes) - 1, at, { words, false }                                                       \
    }
#define AGAIN ": it was saved in place of the file, which has to be downloaded again"
#define PYTORCH "convert it to safetensors first"

// Longest first where one begins with another. A NUL may be part of a magic number.
static const magic binary[] = {
    MAGIC("\x1f\x8b", 0, "is gzip-compressed: unpack it first (gunzip)"),
    MAGIC("\x28\xb5\x2f\xfd", 0, "is zstd-compressed: unpack it first (unzstd)"),
    MAGIC("\xfd"
          "7zXZ",
        0, "is xz-compressed: unpack it first (unxz)"),
    MAGIC("\x04\x22\x4d\x18", 0, "is lz4-compressed: unpack it first (unlz4)"),
    MAGIC("7z\xbc\xaf\x27\x1c", 0, "is a 7z archive: unpack it first"),
    MAGIC("Rar!\x1a\x07", 0, "is a rar archive: unpack it first"),
    MAGIC("ustar", 257, "is a tar archive: unpack it first (tar -xf)"),
    MAGIC("PAR1", 0, "is a Parquet file: convert it first, a table of records to JSON Lines"),
    MAGIC("ARROW1", 0, "is an Arrow file: convert it first, a table of records to JSON Lines"),
    MAGIC("GGUF", 0, "is a GGUF file: the checkpoint it was made from is needed, in safetensors"),
    MAGIC("tjgg", 0, "is a GGML file: the checkpoint it was made from is needed, in safetensors"),
    MAGIC("lmgg", 0, "is a GGML file: the checkpoint it was made from is needed, in safetensors"),
    MAGIC("\x89HDF\r\n\x1a\n", 0, "is an HDF5 file (Keras weights, for one): safetensors are needed"),
    MAGIC("%PDF-", 0, "is a PDF document: save its text as plain text first"),
    MAGIC("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "is an old Office document: save it as plain text first"),
    MAGIC("\x89PNG\r\n\x1a\n", 0, "is a PNG picture"),
    MAGIC("\xff\xd8\xff", 0, "is a JPEG picture"),
    MAGIC("\x7f"
          "ELF",
        0, "is a program (ELF)"),
    MAGIC("SQLite format 3", 0, "is an SQLite database"),
    MAGIC("\x93NUMPY", 0, "is a single NumPy array (npy)"),
};

// What text can be that nobody meant to pass, behind white space and a byte order mark, in any case.
static const magic textual[] = {
    MAGIC("version https://git-lfs.github.com/spec/", 0,
        "is a Git LFS pointer: the file itself was not fetched (git lfs pull)"),
    MAGIC("version https://hawser.github.com/spec/", 0,
        "is a Git LFS pointer: the file itself was not fetched (git lfs pull)"),
    MAGIC("# xet version", 0, "is a Xet pointer: the file itself was not fetched (git xet, or hf download)"),
    MAGIC("/annex/objects/", 0, "is a git-annex pointer: the file itself was not fetched (git annex get)"),
    MAGIC("{\\rtf", 0, "is an RTF document: save it as plain text first"),
};

// All there is in the file, then: prose may begin with the same words.
#define SHORT 400u
static const magic messages[] = {
    MAGIC("Entry not found", 0, "is a server's message, \"Entry not found\"" AGAIN),
    MAGIC("404: Not Found", 0, "is a server's message, \"404: Not Found\"" AGAIN),
    MAGIC("Not Found", 0, "is a server's message, \"Not Found\"" AGAIN),
    MAGIC("Repository not found", 0, "is a server's message, \"Repository not found\"" AGAIN),
    MAGIC("Invalid username or password", 0, "is a server's message, \"Invalid username or password\"" AGAIN),
    MAGIC("Invalid credentials", 0, "is a server's message, \"Invalid credentials\"" AGAIN),
    MAGIC("{\"error\":", 0, "is a server's message about an error" AGAIN),
};

static const er_file_kind empty = {"is empty: a download that broke off, perhaps", false},
                          zeros = {"begins with zeros alone: a download that did not finish", false},
                          utf16 = {"is UTF-16 text: save it as UTF-8 first", false},
                          bzip2 = {"is bzip2-compressed: unpack it first (bunzip2)", false},
                          utf32 = {"is UTF-32 text: save it as UTF-8 first", false},
                          pickle = {"is a Python pickle (a PyTorch checkpoint, for one): " PYTORCH, false},
                          torch_zip = {"is a PyTorch checkpoint (a zip archive): " PYTORCH, false},
                          numpy_zip = {"is a NumPy archive (npz)", false},
                          office = {"is an Office document: save it as plain text first", false},
                          zip = {"is a zip archive: unpack it first (unzip)", false},
                          sentencepiece = {"is a SentencePiece model: a tokenizer.json is needed", false},
                          gated = {"is a server's message about access that is restricted" AGAIN, false},
                          html = {"is an HTML page, perhaps a login or error page saved in place of the file",
                              true},
                          store = {"is an object store's error document (XML)" AGAIN, false},
                          xml = {"is an XML document", true};

static bool begins(const unsigned char *p, size_t n, const char *with, size_t len) {
    return n >= len && memcmp(p, with, len) == 0;
}

static bool begins_word(const char *p, size_t n, const char *word) {
    size_t len = strlen(word);
    return n >= len && strncasecmp(p, word, len) == 0;
}

// A local header: 30 bytes, then the first member's name.
static const er_file_kind *kind_of_zip(const unsigned char *p, size_t n) {
    size_t len = n >= 30 ? p[26] | (size_t)p[27] << 8 : 0;
    const char *name = (const char *)p + 30;
    if (len > n - 30) len = n >= 30 ? n - 30 : 0;
    if (len >= 8 && memcmp(name + len - 8, "data.pkl", 8) == 0) return &torch_zip;
    if (len >= 4 && memcmp(name + len - 4, ".npy", 4) == 0) return &numpy_zip;
    if (len >= 19 && memcmp(name, "[Content_Types].xml", 19) == 0) return &office;
    if (len == 8 && memcmp(name, "mimetype", 8) == 0) return &office;
    return &zip;
}

// A mark, or every second byte of the first few zero, as in Latin text without one.
static const er_file_kind *kind_of_wide(const unsigned char *p, size_t n) {
    if (begins(p, n, "\xff\xfe\0\0", 4) || begins(p, n, "\0\0\xfe\xff", 4)) return &utf32;
    if (begins(p, n, "\xff\xfe", 2) || begins(p, n, "\xfe\xff", 2)) return &utf16;
    if (n < 8) return NULL;
    bool little = true, big = true;
    for (size_t i = 0; i < 8; i++) {
        bool even = i % 2 == 0, plain = p[i] >= 9 && p[i] < 127;
        little = little && (even ? plain : p[i] == 0);
        big = big && (even ? p[i] == 0 : plain);
    }
    return little || big ? &utf16 : NULL;
}

static const er_file_kind *kind_of_markup(const char *p, size_t n) {
    if (begins_word(p, n, "<!doctype html") || begins_word(p, n, "<html") || begins_word(p, n, "<head"))
        return &html;
    if (!begins_word(p, n, "<?xml") && !begins_word(p, n, "<Error>")) return NULL;
    bool page = false, error = false;
    for (size_t i = 0; i < n; i++) {
        page = page || begins_word(p + i, n - i, "<html");
        error = error || begins_word(p + i, n - i, "<Error>") || begins_word(p + i, n - i, "<Code>");
    }
    return page ? &html : error ? &store : &xml;
}

// Protocol 2 and later begin with it; what follows in a checkpoint is a number, a frame, or a container.
static bool is_pickle(const unsigned char *p, size_t n) {
    return n >= 3 && p[0] == 0x80 && p[1] >= 2 && p[1] <= 5 && memchr("\x8a\x95}](cX\x8c", p[2], 8);
}

const er_file_kind *er_file_kind_of(const void *head, size_t n) {
    const unsigned char *p = head;
    const er_file_kind *kind = NULL;
    if (n > ER_KIND_BYTES) n = ER_KIND_BYTES;
    if (n == 0) return &empty;
    if (begins(p, n, "PK\3\4", 4) || begins(p, n, "PK\5\6", 4)) return kind_of_zip(p, n);
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++)
        if (n > binary[i].at && begins(p + binary[i].at, n - binary[i].at, binary[i].bytes, binary[i].len))
            return &binary[i].kind;
    if (n >= 6 && begins(p, n, "BZh", 3) && p[3] >= '1' && p[3] <= '9' && begins(p + 4, n - 4, "1A", 2))
        return &bzip2;
    if (is_pickle(p, n)) return &pickle;
    if ((kind = kind_of_wide(p, n))) return kind;
    // A piece of the model begins the file: field 1, then its own field 1, the unknown token.
    if (n > 9 && p[0] == 0x0a && p[2] == 0x0a && begins(p + 4, n - 4, "<unk>", 5)) return &sentencepiece;
    size_t at = 0;
    while (at < n && p[at] == 0) at++;
    if (at >= 16) return &zeros;
    at = er_utf8_mark(head, n);
    while (at < n && isspace(p[at])) at++;
    for (size_t i = 0; i < sizeof textual / sizeof *textual; i++)
        if (begins_word((const char *)p + at, n - at, textual[i].bytes)) return &textual[i].kind;
    for (size_t i = 0; n <= SHORT && i < sizeof messages / sizeof *messages; i++)
        if (begins_word((const char *)p + at, n - at, messages[i].bytes)) return &messages[i].kind;
    if (n <= SHORT && begins_word((const char *)p + at, n - at, "Access to ") &&
        memmem(p + at, n - at, " is restricted", 14))
        return &gated;
    return kind_of_markup((const char *)p + at, n - at);
}

static bool has_ending(const char *path, const char *ending) {
    size_t n = strlen(path), len = strlen(ending);
    return n >= len && strcasecmp(path + n - len, ending) == 0;
}

// Clients that load under another name until all is there; links of a cache may lead to such a file.
static bool is_unfinished(const char *path, int fd) {
    static const char *const endings[] = {".incomplete", ".part", ".crdownload", ".aria2", ".download"};
    char link[64], target[4096];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (has_ending(path, endings[i]) || has_ending(target, endings[i])) return true;
    return false;
}

er_status er_file_kind_refuse(er_status rc, const char *path) {
    unsigned char head[ER_KIND_BYTES];
    char said[1024];
    uint64_t size = 0;
    int fd = -1;
    if (rc != ER_EFORMAT && rc != ER_EUNSUPPORTED) return rc;
    (void)snprintf(said, sizeof said, "%s", er_last_error());
    if (er_open_regular(&fd, &size, path) != ER_OK) return er_fail(rc, "%s", said);
    size_t n = size < sizeof head ? (size_t)size : sizeof head;
    er_status read = er_pread_all(fd, head, n, 0, path);
    const er_file_kind *kind = read == ER_OK ? er_file_kind_of(head, n) : NULL;
    bool unfinished = is_unfinished(path, fd);
    close(fd);
    if (unfinished) return er_fail(ER_EFORMAT, "%s: is a download that did not finish", path);
    if (kind) return er_fail(ER_EFORMAT, "%s: %s", path, kind->words);
    return read == ER_OK ? rc : er_fail(rc, "%s", said);
}

er_status er_text_check(const char *bytes, size_t n, const char *name) {
    const er_file_kind *kind = er_file_kind_of(bytes, n);
    const char *nul = n ? memchr(bytes, 0, n) : NULL;
    if (kind && !kind->text) return er_fail(ER_EFORMAT, "%s: %s", name, kind->words);
    if (nul)
        return er_fail(ER_EFORMAT, "%s: byte %zu is zero: this is not text", name, (size_t)(nul - bytes));
    return ER_OK;
}

void er_text_warn(const char *path) {
    uint64_t size = 0;
    size_t bad = 0;
    int fd = -1;
    char *head = malloc(LOOKED_AT);
    if (!head || er_open_regular(&fd, &size, path) != ER_OK) goto out;
    size_t n = size < LOOKED_AT ? (size_t)size : LOOKED_AT;
    if (er_pread_all(fd, head, n, 0, path) != ER_OK) goto out;
    const er_file_kind *kind = er_file_kind_of(head, n);
    if (kind && kind->text) er_warn("%s: %s; it is taken as text as it stands", path, kind->words);
    // A character that the look cuts in two is none that is wrong.
    if (!er_utf8_valid(head, n, &bad) && (n == size || n - bad >= 4))
        er_warn("%s: byte %zu is not UTF-8: what is not is read as U+FFFD", path, bad);
out:
    if (fd >= 0) close(fd);
    free(head);
}
