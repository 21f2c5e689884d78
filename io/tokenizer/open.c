// A model folder: tokenizer.json, or vocab.json + merges.txt; and what the other files say about the end of a
// text.
#include <stdlib.h>
#include <string.h>
#include "io/base/file.h"
#include "io/base/json.h"
#include "io/base/log.h"
#include "io/tokenizer/load_internal.h"

#define MAX_FILE ((size_t)1 << 28)

static er_status config_from(er_tokenizer *t, er_folder *folder, const char *file, bool overrides) {
    er_status rc = ER_OK;
    char *path = er_path_join(er_folder_dir(folder), file);
    const char *text = NULL;
    size_t len = 0;
    bool there = false;
    if (!path) return er_fail(ER_ENOMEM, "the path of %s", file);
    ER_TRY(er_folder_has(&there, folder, file));
    if (!there) goto out;
    ER_TRY(er_folder_read(&text, &len, folder, file, MAX_FILE));
    ER_TRY(er_config_read(t, text, len, overrides, path));
out:
    free(path);
    return rc;
}

static er_status open_json(er_tokenizer **out, er_folder *folder) {
    er_status rc = ER_OK;
    char *path = er_path_join(er_folder_dir(folder), "tokenizer.json");
    const char *text = NULL;
    size_t len = 0;
    if (!path) ER_FAIL(ER_ENOMEM, "the path of a tokenizer");
    ER_TRY(er_folder_read(&text, &len, folder, "tokenizer.json", MAX_FILE));
    ER_TRY(er_tokenizer_parse(out, text, len, path));
out:
    free(path);
    return rc;
}

er_status er_tokenizer_parse_legacy(er_tokenizer **out, const char *vocab, size_t vocab_len,
    const char *merges, size_t merges_len, const char *config, size_t config_len) {
    er_tokenizer *t = NULL;
    er_status rc = er_tokenizer_new(&t);
    if (rc == ER_OK) rc = er_load_legacy_texts(t, vocab, vocab_len, merges, merges_len, config, config_len);
    if (rc == ER_OK) *out = t;
    else er_tokenizer_free(t);
    return rc;
}

static er_status open_legacy(er_tokenizer **out, er_folder *folder) {
    er_tokenizer *t = NULL;
    er_status rc = er_tokenizer_new(&t);
    if (rc == ER_OK) rc = er_load_legacy(t, folder);
    if (rc == ER_OK) *out = t;
    else er_tokenizer_free(t);
    return rc;
}

// Bytes that UTF-8 uses and the vocabulary has no symbol for vanish from a text, as in the reference.
static void warn_of_gaps(const er_tokenizer *t, const char *dir) {
    unsigned lost = 0, first = 0;
    for (unsigned b = 0; t->byte_level && b < 0xf5; b++) {
        if (t->byte_id[b] >= 0 || b == 0xc0 || b == 0xc1) continue;
        if (!lost++) first = b;
    }
    if (lost && !t->has_unk)
        er_warn(
            "%s: the tokenizer has no symbol for %u of 256 bytes (the first: 0x%02x): they vanish from texts",
            dir, lost, first);
}

// What there is instead.
static er_status no_tokenizer(const char *dir) {
    static const char *const others[] = {"tokenizer.model", "spiece.model", "tekken.json"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *path = er_path_join(dir, others[i]);
        bool there = path && er_file_exists(path);
        free(path);
        if (there)
            return er_fail(ER_ENOENT,
                "%s: has %s but no tokenizer.json: transformers' AutoTokenizer writes one when it saves", dir,
                others[i]);
    }
    return er_fail(ER_ENOENT, "%s: no tokenizer.json, and no vocab.json", dir);
}

er_status er_tokenizer_open_in(er_tokenizer **out, er_folder *folder) {
    er_status rc = ER_OK;
    er_tokenizer *t = NULL;
    bool json = false, vocab = false;
    ER_TRY(er_folder_has(&json, folder, "tokenizer.json"));
    if (!json) ER_TRY(er_folder_has(&vocab, folder, "vocab.json"));
    if (json) {
        ER_TRY(open_json(&t, folder));
        ER_TRY(config_from(t, folder, "tokenizer_config.json", true));
        if (t->eos < 0) ER_TRY(config_from(t, folder, "special_tokens_map.json", false));
    } else if (vocab) {
        ER_TRY(open_legacy(&t, folder));
    } else {
        ER_TRY(no_tokenizer(er_folder_dir(folder)));
    }
    warn_of_gaps(t, er_folder_dir(folder));
    *out = t;
    t = NULL;
out:
    er_tokenizer_free(t);
    return rc;
}

er_status er_tokenizer_open(er_tokenizer **out, const char *model_dir) {
    er_folder *folder = NULL;
    er_status rc = er_folder_open(&folder, model_dir);
    if (rc == ER_OK) rc = er_tokenizer_open_in(out, folder);
    er_folder_free(folder);
    return rc;
}

size_t er_tokenizer_vocab(const er_tokenizer *t) { return t->vocab.ids; }
int32_t er_tokenizer_id(const er_tokenizer *t, const char *token) {
    return er_vocab_find(&t->vocab, token, strlen(token));
}
int32_t er_tokenizer_eos(const er_tokenizer *t) { return t->eos; }
int32_t er_tokenizer_bos(const er_tokenizer *t) { return t->before_count ? t->before[0] : -1; }
bool er_tokenizer_marks_start(const er_tokenizer *t) { return t->marks_start; }
const char *er_tokenizer_digest(const er_tokenizer *t) { return t->digest; }
