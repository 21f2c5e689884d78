// Hugging Face tokenizers: byte-level and SentencePiece-like BPE from tokenizer.json, or vocab.json +
// merges.txt (docs/tokenizers.md lists the components). Ids and byte offsets equal Hugging Face's own.
// Immutable after opening; encoding is safe from several threads, each with its own er_tokens. Each thread
// that encodes keeps 3 MiB of words it has met, for the tokenizer it used last, until it ends.
//
// A span is what the reference reports: the bytes of every character the token has a byte of. Tokens that
// split a character all span it, so spans overlap there. "Ġ" belongs to its token (" is" spans the space)
// unless the post-processor trims offsets; a prefix space (or SentencePiece's mark) that was added spans the
// first character. NFC: a composed character spans the first of its parts.
#ifndef ER_TOKENIZER_H
#define ER_TOKENIZER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/base/folder.h"
#include "io/base/status.h"

typedef struct er_token {
    int32_t id;
    // Bytes of the text that it stands for; begin == end for those of the template (BOS)
    uint32_t begin, end;
} er_token;
typedef struct er_tokens {  // zero-initialise; grows; er_tokens_free when done
    er_token *at;
    size_t count, capacity;
} er_tokens;
void er_tokens_free(er_tokens *t);

typedef struct er_tokenizer er_tokenizer;
// The tokenizer of a model folder, which the caller frees. ENOENT when there is none, EFORMAT, EUNSUPPORTED
// names the component.
er_status er_tokenizer_open(er_tokenizer **out, const char *model_dir);
er_status er_tokenizer_open_in(er_tokenizer **out, er_folder *folder);  // of a folder that is open
// From memory, for the fuzz targets and the tests: a tokenizer.json; vocab.json, merges.txt and, unless it
// has no bytes, tokenizer_config.json; and a tokenizer_config.json, right behind er_tokenizer_parse.
er_status er_tokenizer_parse(er_tokenizer **out, const char *json, size_t len, const char *name);
er_status er_tokenizer_parse_legacy(er_tokenizer **out, const char *vocab, size_t vocab_len,
    const char *merges, size_t merges_len, const char *config, size_t config_len);
er_status er_tokenizer_configure(er_tokenizer *t, const char *json, size_t len, const char *name);
void er_tokenizer_free(er_tokenizer *t);

// Replaces out's content. add_special: run the post-processor's template (BOS and the like). Invalid UTF-8 in
// `text` is EFORMAT, except with er_tokenizer_encode_lossy, which reads it as U+FFFD as Python's "replace"
// does (offsets stay bytes of `text`). A text above 512 MiB is EARG.
er_status er_tokenizer_encode(
    const er_tokenizer *t, er_tokens *out, const char *text, size_t len, bool add_special);
er_status er_tokenizer_encode_lossy(
    const er_tokenizer *t, er_tokens *out, const char *text, size_t len, bool add_special);
// A text that goes on: what the template puts in front, but nothing behind (an end of text would come between
// the two parts).
er_status er_tokenizer_encode_open(const er_tokenizer *t, er_tokens *out, const char *text, size_t len);
// The text of ids, NUL-terminated, which the caller frees; skip_special drops special added tokens, and ids
// that do not exist are passed over. Bytes that are not UTF-8 become U+FFFD.
er_status er_tokenizer_decode(
    const er_tokenizer *t, char **out, const int32_t *ids, size_t n, bool skip_special);
size_t er_tokenizer_vocab(const er_tokenizer *t);  // highest id + 1
// Spelled as in the vocabulary; -1: unknown
int32_t er_tokenizer_id(const er_tokenizer *t, const char *token);
int32_t er_tokenizer_eos(const er_tokenizer *t);         // by its configuration, or -1
int32_t er_tokenizer_bos(const er_tokenizer *t);         // what the template puts first, or -1
bool er_tokenizer_marks_start(const er_tokenizer *t);    // a text gets a space of its own in front
const char *er_tokenizer_digest(const er_tokenizer *t);  // 64 hex digits: what caches are keyed by
#endif
