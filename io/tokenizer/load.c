// tokenizer.json: the file as a whole, its vocabulary and merges, its added tokens. The components are in
// parts.c and pre.c.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/file.h"
#include "io/base/json.h"
#include "io/tokenizer/load_internal.h"
#include "io/tokenizer/unicode.h"

er_status er_tokenizer_new(er_tokenizer **out) {
    static atomic_uint_fast64_t serials = 1;
    er_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return er_fail(ER_ENOMEM, "a tokenizer");
    t->serial = atomic_fetch_add(&serials, 1);
    t->unk_id = t->eos = -1;
    *out = t;
    return ER_OK;
}

er_status er_tokenizer_named(er_tokenizer *t, const char *name) {
    return (t->name = strdup(name)) ? ER_OK : er_fail(ER_ENOMEM, "the name %s", name);
}

er_status er_tokenizer_refused(const er_tokenizer *t, er_status rc) {
    char said[512];
    if (!t->name || (rc != ER_EFORMAT && rc != ER_EUNSUPPORTED)) return rc;
    (void)snprintf(said, sizeof said, "%s", er_last_error());
    return er_fail(rc, "%s: %s", t->name, said);
}

void er_tokenizer_free(er_tokenizer *t) {
    if (!t) return;
    free(t->name);
    er_vocab_free(&t->vocab);
    free(t->merges.buckets);
    er_matcher_free(&t->plain);
    er_matcher_free(&t->normalized);
    for (size_t i = 0; i < t->norm_count; i++) {
        er_pattern_free(&t->norms[i].pattern);
        free(t->norms[i].content);
    }
    for (size_t i = 0; i < t->step_count; i++) er_pattern_free(&t->steps[i].pattern);
    for (size_t i = 0; i < t->decoder_count; i++) {
        er_pattern_free(&t->decoders[i].pattern);
        free(t->decoders[i].content);
    }
    free(t->norms);
    free(t->steps);
    free(t->decoders);
    free(t->before);
    free(t->after);
    free(t);
}

er_status er_load_vocab(er_tokenizer *t, const cJSON *vocab, size_t extra, const char *name) {
    er_status rc = ER_OK;
    if (!cJSON_IsObject(vocab)) ER_FAIL(ER_EFORMAT, "%s: no vocabulary object", name);
    size_t n = extra;
    const cJSON *item;
    cJSON_ArrayForEach(item, vocab) n++;
    ER_TRY(er_vocab_init(&t->vocab, n));
    cJSON_ArrayForEach(item, vocab) {
        double id = item->valuedouble;
        if (!cJSON_IsNumber(item) || !(id >= 0) || id > 0x1p53 || floor(id) != id)
            ER_FAIL(ER_EFORMAT, "%s: token '%.60s' has no whole number as its id", name, item->string);
        ER_TRY(er_vocab_add(&t->vocab, item->string, strlen(item->string), (uint64_t)id, ID_MODEL, name));
    }
    if (!t->vocab.count) ER_FAIL(ER_EFORMAT, "%s: the vocabulary is empty", name);
    t->next_added = t->vocab.count;
out:
    return rc;
}

er_status er_load_merge(er_tokenizer *t, const char *left, size_t left_len, const char *right,
    size_t right_len, size_t rank, const char *name) {
    er_status rc = ER_OK;
    char small[256], *both = small;
    int32_t a = er_vocab_find(&t->vocab, left, left_len), b = er_vocab_find(&t->vocab, right, right_len);
    if (a < 0 || b < 0)
        ER_FAIL(ER_EFORMAT, "%s: merge %zu: '%.*s' is not in the vocabulary", name, rank,
            (int)(a < 0 ? left_len : right_len), a < 0 ? left : right);
    if (left_len + right_len > sizeof small && !(both = malloc(left_len + right_len)))
        ER_FAIL(ER_ENOMEM, "merge %zu", rank);
    memcpy(both, left, left_len);
    memcpy(both + left_len, right, right_len);
    int32_t id = er_vocab_find(&t->vocab, both, left_len + right_len);
    if (id < 0)
        ER_FAIL(ER_EFORMAT, "%s: merge %zu makes '%.*s', which is not in the vocabulary", name, rank,
            (int)(left_len + right_len), both);
    er_merges_put(&t->merges, a, b, (uint32_t)rank, id);
out:
    if (both != small) free(both);
    return rc;
}

// What one byte, or one ASCII character, is in the vocabulary.
void er_load_bytes(er_tokenizer *t) {
    for (unsigned b = 0; b < 256; b++) {
        char utf8[4], code[8];
        size_t n = er_uc_put(utf8, t->byte_level ? er_byte_char(b) : b);
        t->byte_id[b] = b < 0x80 || t->byte_level ? er_vocab_find(&t->vocab, utf8, n) : -1;
        t->byte_token[b] = er_vocab_find(&t->vocab, code, (size_t)snprintf(code, sizeof code, "<0x%02X>", b));
    }
}

// Both spellings: "left right" (tokens without spaces; lines that start with #version do not count) and
// ["left", "right"].
static er_status load_merges(er_tokenizer *t, const cJSON *merges, const char *name) {
    er_status rc = ER_OK;
    if (!cJSON_IsArray(merges)) ER_FAIL(ER_EFORMAT, "%s: model has no array of merges", name);
    size_t n = 0, rank = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, merges) n++;
    ER_TRY(er_merges_init(&t->merges, n));
    cJSON_ArrayForEach(item, merges) {
        const cJSON *a = cJSON_IsArray(item) ? item->child : NULL, *b = a ? a->next : NULL;
        if (cJSON_IsString(item)) {
            const char *s = item->valuestring, *space = strchr(s, ' ');
            if (!strncmp(s, "#version", 8)) continue;
            if (!space || strchr(space + 1, ' '))
                ER_FAIL(ER_EFORMAT, "%s: merge %zu is not two tokens: '%.60s'", name, rank, s);
            ER_TRY(er_load_merge(t, s, (size_t)(space - s), space + 1, strlen(space + 1), rank, name));
        } else if (cJSON_IsString(a) && cJSON_IsString(b) && !b->next) {
            ER_TRY(er_load_merge(t, a->valuestring, strlen(a->valuestring), b->valuestring,
                strlen(b->valuestring), rank, name));
        } else {
            ER_FAIL(ER_EFORMAT, "%s: merge %zu is not two tokens", name, rank);
        }
        rank++;
    }
out:
    return rc;
}

static er_status refuse_affix(const cJSON *model, const char *key, const char *name) {
    const char *s = NULL;
    er_status rc = er_json_get_str(&s, model, key, name);
    if (rc != ER_OK || !s || !*s) return rc;
    return er_fail(ER_EUNSUPPORTED, "%s: model BPE with %s '%.40s' is not supported", name, key, s);
}

er_status er_load_model(er_tokenizer *t, const cJSON *model, const char *name) {
    er_status rc = ER_OK;
    const char *type = "BPE", *unk = NULL;
    double dropout = 0;
    if (!cJSON_IsObject(model)) ER_FAIL(ER_EFORMAT, "%s: no model", name);
    ER_TRY(er_json_get_str(&type, model, "type", name));
    if (strcmp(type, "BPE"))
        ER_FAIL(ER_EUNSUPPORTED, "%s: model '%.40s' is not supported, only BPE", name, type);
    ER_TRY(er_json_get_f64(&dropout, model, "dropout", name));
    if (dropout != 0)
        ER_FAIL(ER_EUNSUPPORTED, "%s: model BPE with dropout %g is not supported", name, dropout);
    ER_TRY(refuse_affix(model, "continuing_subword_prefix", name));
    ER_TRY(refuse_affix(model, "end_of_word_suffix", name));
    ER_TRY(er_json_get_bool(&t->byte_fallback, model, "byte_fallback", name));
    ER_TRY(er_json_get_bool(&t->ignore_merges, model, "ignore_merges", name));
    ER_TRY(er_json_get_bool(&t->fuse_unk, model, "fuse_unk", name));
    ER_TRY(er_json_get_str(&unk, model, "unk_token", name));
    ER_TRY(er_load_vocab(t, cJSON_GetObjectItemCaseSensitive(model, "vocab"), 64, name));
    ER_TRY(load_merges(t, cJSON_GetObjectItemCaseSensitive(model, "merges"), name));
    t->has_unk = unk != NULL;
    if (unk) t->unk_id = er_vocab_find(&t->vocab, unk, strlen(unk));
out:
    return rc;
}

// The reference ignores the declared id: a token of the vocabulary keeps its id, another gets the next free
// one behind the vocabulary's *count*. A file that declares something else would be read differently there,
// so it is refused.
er_status er_add_token(er_tokenizer *t, const er_added_spec *spec, const char *name) {
    er_status rc = ER_OK;
    er_scratch *s;
    size_t len = strlen(spec->content);
    if (!len) return ER_OK;
    int32_t id = er_vocab_find(&t->vocab, spec->content, len);
    if (id < 0) {
        ER_TRY(er_vocab_add(&t->vocab, spec->content, len, t->next_added, ID_ADDED, name));
        id = (int32_t)t->next_added++;
    }
    if (spec->has_id && spec->id != (uint64_t)id)
        ER_FAIL(ER_EFORMAT, "%s: added token '%.60s' declares id %llu, but its place in the vocabulary is %d",
            name, spec->content, (unsigned long long)spec->id, id);
    er_entry *e = &t->vocab.by_id[id];
    e->flags |= ID_ADDED | (spec->special ? ID_SPECIAL : 0u);
    er_added flags = {
        .id = id, .single_word = spec->single_word, .lstrip = spec->lstrip, .rstrip = spec->rstrip};
    er_view pattern = {spec->content, len, NULL, 0};
    if (spec->normalized && t->norm_count) {
        ER_TRY(er_scratch_get(&s, t));
        ER_TRY(er_normalize(t, s, &pattern));
        if (!pattern.len)
            ER_FAIL(ER_EFORMAT, "%s: the normalizer leaves nothing of the added token '%.60s'", name,
                spec->content);
    }
    ER_TRY(er_matcher_add(spec->normalized ? &t->normalized : &t->plain, pattern.bytes, pattern.len, flags));
out:
    return rc;
}

er_status er_add_done(er_tokenizer *t, const char *name) {
    er_status rc = er_matcher_build(&t->plain, name);
    return rc == ER_OK ? er_matcher_build(&t->normalized, name) : rc;
}

er_status er_load_added(er_tokenizer *t, const cJSON *list, const char *name) {
    er_status rc = ER_OK;
    static const char *const keys[] = {"single_word", "lstrip", "rstrip", "normalized", "special"};
    if (list && !cJSON_IsNull(list) && !cJSON_IsArray(list))
        ER_FAIL(ER_EFORMAT, "%s: added_tokens is not an array", name);
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        er_added_spec a = {0};
        bool *const flags[] = {&a.single_word, &a.lstrip, &a.rstrip, &a.normalized, &a.special};
        a.id = UINT64_MAX;
        ER_TRY(er_json_get_str(&a.content, item, "content", name));
        if (!a.content) ER_FAIL(ER_EFORMAT, "%s: an added token has no content", name);
        ER_TRY(er_json_get_u64(&a.id, item, "id", name));
        if (!(a.has_id = a.id != UINT64_MAX))
            ER_FAIL(ER_EFORMAT, "%s: added token '%.60s' has no id", name, a.content);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            if (!cJSON_GetObjectItemCaseSensitive(item, keys[i]))
                ER_FAIL(ER_EFORMAT, "%s: added token '%.60s' lacks '%s'", name, a.content, keys[i]);
            ER_TRY(er_json_get_bool(flags[i], item, keys[i], name));
        }
        ER_TRY(er_add_token(t, &a, name));
    }
    ER_TRY(er_add_done(t, name));
out:
    return rc;
}

er_status er_tokenizer_parse(er_tokenizer **out, const char *json, size_t len, const char *name) {
    er_status rc = ER_OK;
    cJSON *root = NULL;
    er_tokenizer *t = NULL;
    er_digest *digest = NULL;
    const char *version = NULL;
    ER_TRY(er_json_parse(&root, json, len, name));
    ER_TRY(er_tokenizer_new(&t));
    ER_TRY(er_tokenizer_named(t, name));
    if (!cJSON_IsObject(root)) ER_FAIL(ER_EFORMAT, "%s: not an object", name);
    ER_TRY(er_json_get_str(&version, root, "version", name));
    if (version && strcmp(version, "1.0"))
        ER_FAIL(ER_EUNSUPPORTED, "%s: version '%.20s' is not supported", name, version);
    ER_TRY(er_load_model(t, cJSON_GetObjectItemCaseSensitive(root, "model"), name));
    ER_TRY(er_load_normalizer(t, cJSON_GetObjectItemCaseSensitive(root, "normalizer"), name));
    ER_TRY(er_load_pre_tokenizer(t, cJSON_GetObjectItemCaseSensitive(root, "pre_tokenizer"), name));
    er_load_bytes(t);
    ER_TRY(er_load_added(t, cJSON_GetObjectItemCaseSensitive(root, "added_tokens"), name));
    ER_TRY(er_load_post_processor(t, cJSON_GetObjectItemCaseSensitive(root, "post_processor"), name));
    ER_TRY(er_load_decoder(t, cJSON_GetObjectItemCaseSensitive(root, "decoder"), name));
    ER_TRY(er_digest_new(&digest));
    er_digest_add_str(digest, "tokenizer.json");
    er_digest_add(digest, json, len);
    er_digest_hex(digest, t->digest);
    *out = t;
    t = NULL;
out:
    cJSON_Delete(root);
    er_tokenizer_free(t);
    er_digest_free(digest);
    return rc;
}
