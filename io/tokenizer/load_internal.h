// From the files of a tokenizer to its parts. `name` is the file in messages: EFORMAT for what is malformed,
// EUNSUPPORTED for a component that is not done here.
#ifndef ER_TOKENIZER_LOAD_INTERNAL_H
#define ER_TOKENIZER_LOAD_INTERNAL_H
#include "io/tokenizer/tokenizer_internal.h"

// ---- load.c: the model and the added tokens of a tokenizer.json ----
er_status er_tokenizer_new(
    er_tokenizer **out);  // empty; er_tokenizer_free frees it however far it was filled
er_status er_tokenizer_named(er_tokenizer *t, const char *name);  // copies the file's name, for messages
er_status er_load_model(er_tokenizer *t, const cJSON *model, const char *name);
// `extra`: tokens to come, so that the table of buckets need not grow.
er_status er_load_vocab(er_tokenizer *t, const cJSON *vocab, size_t extra, const char *name);
er_status er_load_merge(er_tokenizer *t, const char *left, size_t left_len, const char *right,
    size_t right_len, size_t rank, const char *name);
void er_load_bytes(er_tokenizer *t);  // what every byte is in the vocabulary, once that is whole
er_status er_load_added(er_tokenizer *t, const cJSON *list, const char *name);
typedef struct er_added_spec {
    const char *content;
    bool single_word, lstrip, rstrip, normalized, special;
    bool has_id;  // else the vocabulary's, or the next free one
    uint64_t id;
} er_added_spec;
er_status er_add_token(er_tokenizer *t, const er_added_spec *spec, const char *name);
er_status er_add_done(er_tokenizer *t, const char *name);  // after the last one

// ---- pre.c: normalizers and pre-tokenizers ----
er_status er_load_normalizer(er_tokenizer *t, const cJSON *node, const char *name);
er_status er_load_pre_tokenizer(er_tokenizer *t, const cJSON *node, const char *name);
er_status er_load_byte_level(er_tokenizer *t, bool add_prefix_space, bool use_regex);

// ---- parts.c: post-processors, decoders, and what all components have in common ----
er_status er_load_post_processor(er_tokenizer *t, const cJSON *node, const char *name);
er_status er_load_decoder(er_tokenizer *t, const cJSON *node, const char *name);
er_status er_load_byte_decoder(er_tokenizer *t);
er_status er_template_add(int32_t **list, size_t *count, int32_t id);  // one more id at its end
// Grows *list, of *count elements of `size` bytes, by a zeroed one; ENOMEM names `what`.
er_status er_list_grow(void **list, size_t *count, size_t size, const char *what);
bool er_part_given(const cJSON *node);  // neither absent nor null
// `part` is the kind of component ("normalizer"), `type` its own word ("NFC").
er_status er_part_type(const char **type, const cJSON *node, const char *part, const char *name);
er_status er_part_list(
    const cJSON **list, const cJSON *node, const char *key, const char *part, const char *name);
er_status er_part_unknown(const char *part, const char *type, const char *name);
er_status er_part_bool(bool *out, const cJSON *node, const char *key, const char *type, const char *name);
er_status er_part_string(
    char **out, size_t *len, const cJSON *node, const char *key, const char *type, const char *name);
er_status er_part_char(
    char **out, size_t *len, const cJSON *node, const char *key, const char *type, const char *name);
// Exactly one of {"String": ...}, which becomes *out, and {"Regex": ...}, which *regex borrows.
er_status er_part_pattern(
    er_pattern *out, const char **regex, const cJSON *node, const char *type, const char *name);

// ---- legacy.c: vocab.json and merges.txt ----
er_status er_load_legacy(er_tokenizer *t, er_folder *folder);
er_status er_load_legacy_texts(er_tokenizer *t, const char *vocab, size_t vocab_len, const char *merges,
    size_t merges_len, const char *config, size_t config_len);

// ---- config.c: tokenizer_config.json ----
// The end of a text, and with `overrides` what the configuration puts around one.
er_status er_config_read(er_tokenizer *t, const char *json, size_t len, bool overrides, const char *name);
// A token is a string or an object with its "content"; *out stays where there is none.
er_status er_config_string(const char **out, const cJSON *config, const char *key, const char *name);
#endif
