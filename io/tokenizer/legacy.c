// vocab.json + merges.txt, as GPT-2 and OPT ship them: ByteLevel around BPE, special tokens from the
// configuration beside them.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/file.h"
#include "io/base/file_kind.h"
#include "io/base/json.h"
#include "io/base/log.h"
#include "io/base/utf8.h"
#include "io/tokenizer/load_internal.h"

#define MAX_FILE ((size_t)1 << 28)

enum { VOCAB, MERGES, CONFIG, SPECIALS, ADDED, FILES };
static const char *const file_name[FILES] = {
    "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};

typedef struct er_legacy {
    cJSON *vocab, *config, *specials, *added;  // NULL when missing
    const char *merges;                        // borrowed
    size_t merges_len;
    char *path[FILES];  // for messages; the bare names where there is no folder
} er_legacy;

static er_status name_files(er_legacy *f, const char *dir) {
    for (int i = 0; i < FILES; i++)
        if (!(f->path[i] = er_path_join(dir, file_name[i])))
            return er_fail(ER_ENOMEM, "the path of %s", file_name[i]);
    return ER_OK;
}

static void legacy_free(er_legacy *f) {
    cJSON_Delete(f->vocab);
    cJSON_Delete(f->config);
    cJSON_Delete(f->specials);
    cJSON_Delete(f->added);
    for (int i = 0; i < FILES; i++) free(f->path[i]);
}

static er_status read_optional(
    cJSON **out, const er_legacy *f, int file, er_folder *folder, er_digest *digest) {
    er_status rc = ER_OK;
    const char *text = NULL;
    size_t len = 0;
    bool there = false;
    er_digest_add_str(digest, file_name[file]);
    ER_TRY(er_folder_has(&there, folder, file_name[file]));
    if (!there) {
        er_digest_add_str(digest, NULL);
        goto out;
    }
    ER_TRY(er_folder_read(&text, &len, folder, file_name[file], MAX_FILE));
    er_digest_add(digest, &len, sizeof len);
    er_digest_add(digest, text, len);
    ER_TRY(er_json_parse(out, text, len, f->path[file]));
out:
    return rc;
}

// "a b" per line, in the order of their ranks; the first line may be a version.
static er_status load_merges_txt(er_tokenizer *t, const char *text, size_t len, const char *name) {
    er_status rc = ER_OK;
    size_t lines = 0, rank = 0, line = 0;
    for (size_t i = 0; i < len; i++) lines += text[i] == '\n';
    ER_TRY(er_merges_init(&t->merges, lines + 1));
    for (size_t at = er_utf8_mark(text, len), next; at < len; at = next) {
        const char *stop = memchr(text + at, '\n', len - at);
        size_t end = stop ? (size_t)(stop - text) : len;
        next = stop ? end + 1 : len;
        line++;
        if (end > at && text[end - 1] == '\r') end--;
        if (end - at >= 8 && !memcmp(text + at, "#version", 8)) continue;
        if (end == at && next == len) break;
        const char *space = memchr(text + at, ' ', end - at);
        size_t second = space ? (size_t)(space - text) + 1 : end;
        if (!space || memchr(text + second, ' ', end - second))
            ER_FAIL(ER_EFORMAT, "%s:%zu: not two tokens: '%.*s'", name, line,
                (int)(end - at < 60 ? end - at : 60), text + at);
        ER_TRY(er_load_merge(t, text + at, second - 1 - at, text + second, end - second, rank++, name));
    }
out:
    return rc;
}

static er_status flag_of(bool *out, const cJSON *node, const char *key, const char *name) {
    return cJSON_IsObject(node) ? er_json_get_bool(out, node, key, name) : ER_OK;
}

static er_status add_special(
    er_tokenizer *t, const er_legacy *f, const char *key, const char *fallback, const char **content) {
    er_status rc = ER_OK;
    er_added_spec a = {.special = true};
    const char *name = f->path[CONFIG];
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(f->config, key);
    if (!node || cJSON_IsNull(node))
        node = cJSON_GetObjectItemCaseSensitive(f->specials, key), name = f->path[SPECIALS];
    ER_TRY(er_config_string(&a.content, f->config, key, f->path[CONFIG]));
    if (!a.content) ER_TRY(er_config_string(&a.content, f->specials, key, f->path[SPECIALS]));
    if (!a.content && fallback && er_vocab_find(&t->vocab, fallback, strlen(fallback)) >= 0)
        a.content = fallback;
    *content = a.content;
    if (!a.content) goto out;
    ER_TRY(flag_of(&a.single_word, node, "single_word", name));
    ER_TRY(flag_of(&a.lstrip, node, "lstrip", name));
    ER_TRY(flag_of(&a.rstrip, node, "rstrip", name));
    int32_t id = er_vocab_find(&t->vocab, a.content, strlen(a.content));
    if (id < 0 || !(t->vocab.by_id[id].flags & ID_ADDED)) ER_TRY(er_add_token(t, &a, name));
out:
    return rc;
}

typedef struct er_listed {
    uint64_t id;
    const cJSON *item;
} er_listed;

static int by_id(const void *a, const void *b) {
    const er_listed *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

// Both spellings of the tokens behind the vocabulary: id -> description, and content -> id.
static er_status listed_spec(er_added_spec *a, const er_listed *l, bool described, const char *name) {
    er_status rc = ER_OK;
    *a = (er_added_spec){
        .has_id = true, .id = l->id, .normalized = !described, .content = described ? NULL : l->item->string};
    if (!described) return ER_OK;
    ER_TRY(er_json_get_str(&a->content, l->item, "content", name));
    if (!a->content) ER_FAIL(ER_EFORMAT, "%s: added token %s has no content", name, l->item->string);
    ER_TRY(flag_of(&a->single_word, l->item, "single_word", name));
    ER_TRY(flag_of(&a->lstrip, l->item, "lstrip", name));
    ER_TRY(flag_of(&a->rstrip, l->item, "rstrip", name));
    ER_TRY(flag_of(&a->normalized, l->item, "normalized", name));
    ER_TRY(flag_of(&a->special, l->item, "special", name));
out:
    return rc;
}

// Asking the list for each key would walk it as often as it is long.
static er_status plain_id(uint64_t *id, const cJSON *item, const char *name) {
    double x = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(x >= 0 && x < 0x1p53) || x != floor(x))
        return er_fail(
            ER_EFORMAT, "%s: added token '%.60s' has no whole number as its id", name, item->string);
    *id = (uint64_t)x;
    return ER_OK;
}

static er_status add_listed(er_tokenizer *t, const er_legacy *f) {
    er_status rc = ER_OK;
    const cJSON *decoder = cJSON_GetObjectItemCaseSensitive(f->config, "added_tokens_decoder"), *item;
    bool described = cJSON_IsObject(decoder);
    const cJSON *list = described ? decoder : f->added;
    const char *name = f->path[described ? CONFIG : ADDED];
    size_t n = 0;
    er_listed *all = NULL;
    if (list && !cJSON_IsObject(list)) ER_FAIL(ER_EFORMAT, "%s: not an object", name);
    cJSON_ArrayForEach(item, list) n++;
    if (!(all = malloc((n + 1) * sizeof *all))) ER_FAIL(ER_ENOMEM, "%zu added tokens", n);
    n = 0;
    cJSON_ArrayForEach(item, list) {
        char *end = item->string;
        uint64_t id = 0;
        if (described) id = strtoull(item->string, &end, 10);
        else ER_TRY(plain_id(&id, item, name));
        if (described && (end == item->string || *end))
            ER_FAIL(ER_EFORMAT, "%s: added token '%.60s' has no id", name, item->string);
        all[n++] = (er_listed){id, item};
    }
    // Ids are given out in their order, whatever the order of the file.
    qsort(all, n, sizeof *all, by_id);
    for (size_t i = 0; i < n; i++) {
        er_added_spec a;
        ER_TRY(listed_spec(&a, &all[i], described, name));
        ER_TRY(er_add_token(t, &a, name));
    }
out:
    free(all);
    return rc;
}

static er_status assemble(er_tokenizer *t, const er_legacy *f) {
    er_status rc = ER_OK;
    const char *bos = NULL, *other = NULL, *usual = "<|endoftext|>";
    bool prefix = false, add_bos = false;
    ER_TRY(er_tokenizer_named(t, f->path[VOCAB]));
    ER_TRY(er_load_vocab(t, f->vocab, 64, f->path[VOCAB]));
    ER_TRY(load_merges_txt(t, f->merges, f->merges_len, f->path[MERGES]));
    if (f->config) {
        ER_TRY(er_json_get_bool(&prefix, f->config, "add_prefix_space", f->path[CONFIG]));
        ER_TRY(er_json_get_bool(&add_bos, f->config, "add_bos_token", f->path[CONFIG]));
    }
    ER_TRY(er_load_byte_level(t, prefix, true));
    er_load_bytes(t);
    ER_TRY(add_listed(t, f));
    ER_TRY(add_special(t, f, "bos_token", usual, &bos));
    ER_TRY(add_special(t, f, "eos_token", usual, &other));
    if (other) t->eos = er_vocab_find(&t->vocab, other, strlen(other));
    ER_TRY(add_special(t, f, "unk_token", usual, &other));
    ER_TRY(add_special(t, f, "pad_token", NULL, &other));
    ER_TRY(er_add_done(t, f->path[CONFIG]));
    if (add_bos && bos) {
        // An empty token is none of the vocabulary's, unless the vocabulary itself has one.
        int32_t id = er_vocab_find(&t->vocab, bos, strlen(bos));
        if (id < 0)
            ER_FAIL(ER_EFORMAT, "%s: add_bos_token with a bos_token '%.60s' that is not in the vocabulary",
                f->path[CONFIG], bos);
        ER_TRY(er_template_add(&t->before, &t->before_count, id));
    }
    ER_TRY(er_load_byte_decoder(t));
out:
    return rc;
}

er_status er_load_legacy_texts(er_tokenizer *t, const char *vocab, size_t vocab_len, const char *merges,
    size_t merges_len, const char *config, size_t config_len) {
    er_status rc = ER_OK;
    er_legacy f = {.merges = merges_len ? merges : "", .merges_len = merges_len};
    ER_TRY(name_files(&f, ""));
    ER_TRY(er_json_parse(&f.vocab, vocab, vocab_len, f.path[VOCAB]));
    if (config_len) ER_TRY(er_json_parse(&f.config, config, config_len, f.path[CONFIG]));
    ER_TRY(assemble(t, &f));
out:
    legacy_free(&f);
    return rc;
}

er_status er_load_legacy(er_tokenizer *t, er_folder *folder) {
    er_status rc = ER_OK;
    er_legacy f = {0};
    er_digest *digest = NULL;
    ER_TRY(name_files(&f, er_folder_dir(folder)));
    ER_TRY(er_digest_new(&digest));
    ER_TRY(read_optional(&f.vocab, &f, VOCAB, folder, digest));
    ER_TRY(read_optional(&f.config, &f, CONFIG, folder, digest));
    ER_TRY(read_optional(&f.specials, &f, SPECIALS, folder, digest));
    ER_TRY(read_optional(&f.added, &f, ADDED, folder, digest));
    ER_TRY(er_folder_read(&f.merges, &f.merges_len, folder, file_name[MERGES], MAX_FILE));
    if (f.merges_len) ER_TRY(er_text_check(f.merges, f.merges_len, f.path[MERGES]));
    else er_warn("%s: is empty: no two characters are merged", f.path[MERGES]);
    er_digest_add(digest, f.merges, f.merges_len);
    ER_TRY(assemble(t, &f));
    er_digest_hex(digest, t->digest);
out:
    legacy_free(&f);
    er_digest_free(digest);
    return rc;
}
