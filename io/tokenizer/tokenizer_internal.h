// What the parts of the tokenizer share. Encoding goes
//
//     text --cut at added tokens--> pieces --normalize--> --cut at normalized added tokens--> views
//          --split, step by step--> words --BPE, through a cache--> tokens --template--> tokens
//
// Words are bytes, spelled in the byte alphabet (behind ByteLevel), or characters (SentencePiece's way);
// every stage keeps the bytes of the input its bytes came from. A token's span is what Hugging Face reports:
// the whole of every character it has a byte of, so the tokens that share a split character share its span.
#ifndef ER_TOKENIZER_INTERNAL_H
#define ER_TOKENIZER_INTERNAL_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <cjson/cJSON.h>
#include <oniguruma.h>
#include "io/tokenizer.h"

// Ids are packed with a length in the word cache, and a file cannot ask for absurd tables.
#define ER_MAX_IDS (1u << 22)

typedef struct er_span {
    uint32_t begin, end;
} er_span;
typedef struct er_spans {
    er_span *at;
    size_t count, capacity;
} er_spans;

// ---- vocab.c: strings <-> ids ----
enum { ID_MODEL = 1, ID_ADDED = 2, ID_SPECIAL = 4 };
typedef struct er_entry {
    uint32_t at, len;     // the token's string in er_vocab.strings; a hole in the ids has no flag
    uint32_t chars;       // its characters, which are its bytes once mapped back from the byte alphabet
    uint32_t lead, tail;  // white space (or the byte alphabet's space) at both ends, for trim_offsets
    uint32_t flags;
} er_entry;
typedef struct er_vocab {
    char *strings;
    size_t used, capacity;
    er_entry *by_id;
    size_t ids, id_capacity;  // highest id + 1
    size_t count;
    uint32_t *buckets;  // open addressing: id + 1, 0 when empty
    size_t mask;
} er_vocab;
er_status er_vocab_init(er_vocab *v, size_t tokens);
er_status er_vocab_add(er_vocab *v, const char *s, size_t len, uint64_t id, uint32_t flags, const char *name);
int32_t er_vocab_find(const er_vocab *v, const char *s, size_t len);  // -1 when absent
void er_vocab_free(er_vocab *v);
uint64_t er_tok_hash(const char *s, size_t n);
void er_trim_count(const char *s, size_t len, uint32_t *lead, uint32_t *tail);

// ---- alphabet.c: GPT-2's printable character for each byte ----
uint32_t er_byte_char(unsigned byte);
int er_char_byte(uint32_t c);  // -1 when c stands for no byte
// Bytes mapped to their characters, as UTF-8; out has 2 * len bytes. Returns the bytes written.
size_t er_byte_map(char *out, const char *bytes, size_t len);

// ---- bpe.c ----
typedef struct er_merge {
    uint64_t pair;  // left << 32 | right; UINT64_MAX when the bucket is empty
    uint32_t rank;
    int32_t id;
} er_merge;
typedef struct er_merges {
    er_merge *buckets;
    size_t mask;
} er_merges;
typedef struct er_symbol {
    int32_t id;
    uint32_t len;  // bytes it covers
} er_symbol;
er_status er_merges_init(er_merges *m, size_t count);
void er_merges_put(er_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id);
// Merges the n symbols in place, lowest rank first and leftmost among equals, and sets what is left of n.
typedef struct er_heap er_heap;
er_status er_bpe_merge(const er_merges *m, er_heap *heap, er_symbol *symbols, size_t *n);
struct er_heap {
    uint64_t *at;  // rank << 32 | position
    uint32_t *prev, *next;
    size_t count, capacity, links;
};

// ---- cache.c: words met before, bounded, one per thread ----
typedef struct er_line {
    uint64_t hash;
    uint32_t at;  // in words: the key's bytes, padded, then count packed tokens
    uint16_t key_len, count;
} er_line;
typedef struct er_cache {
    er_line *lines;
    uint32_t *words;
    size_t used, filled;
} er_cache;
#define ER_CACHE_KEY 96  // longer words are rare and not kept
// The packed tokens (id << 10 | bytes) of a word, or NULL when it is not kept.
const uint32_t *er_cache_get(const er_cache *c, uint64_t hash, const char *key, size_t len, size_t *count);
void er_cache_put(
    er_cache *c, uint64_t hash, const char *key, size_t len, const er_symbol *symbols, size_t count);

// ---- text.c: bytes and where they came from ----
typedef struct er_text {
    char *bytes;
    er_span *from;  // per byte: the input bytes of the character it belongs to
    size_t len, capacity, most;
} er_text;
// How long a file's normalizers, pre-tokenizers and decoders may make `len` bytes: a chain of replacements
// could otherwise grow without bounds. Real ones treble a text at most.
size_t er_text_most(size_t len);
typedef struct er_view {
    const char *bytes;
    size_t len;
    const er_span *from;  // NULL: the bytes are the input's own, from `base` on
    size_t base;
} er_view;
er_span er_view_origin(const er_view *v, size_t begin, size_t end);
er_view er_view_part(const er_view *v, size_t begin, size_t end);
er_status er_text_put(er_text *t, const char *bytes, size_t n, er_span from);
er_status er_text_copy(er_text *t, const er_view *v, size_t begin, size_t end);
er_status er_spans_put(er_spans *s, size_t begin, size_t end);

typedef struct er_change {  // nfc.c: a code point of the new text
    uint32_t c;
    int32_t change;  // > 0 inserted, 0 replaces one character, -n replaces one and drops the n behind it
    uint8_t ccc;
} er_change;

typedef struct er_scratch {
    uint64_t owner;  // serial of the tokenizer the cache belongs to
    er_cache cache;
    er_heap heap;
    er_symbol *symbols;
    size_t symbol_capacity;
    char *spelling;  // a word in the byte alphabet, and the byte of the word each of its bytes is from
    uint32_t *raw_of;
    size_t raw_capacity;
    er_spans words, next;
    er_spans cuts;  // matched and unmatched stretches of one word ...
    uint8_t *hit;   // ... and which is which
    size_t hit_capacity;
    // Written in turn, so that a step reads what the step before it wrote.
    er_text normal[2], prefixed[2];
    bool normal_turn, prefixed_turn;
    er_change *changes;
    size_t change_capacity;
    OnigRegion *region;
} er_scratch;
// This thread's; freed when the thread ends
er_status er_scratch_get(er_scratch **out, const er_tokenizer *t);

// ---- added.c ----
typedef struct er_added {
    char *pattern;
    size_t len;
    int32_t id;
    bool single_word, lstrip, rstrip;
} er_added;
typedef struct er_matcher {
    er_added *at;  // sorted by bytes
    size_t count, capacity;
    bool starts[256];
} er_matcher;
er_status er_matcher_add(er_matcher *m, const char *pattern, size_t len, er_added flags);
er_status er_matcher_build(er_matcher *m, const char *name);  // EFORMAT when two patterns are the same
void er_matcher_free(er_matcher *m);
typedef struct er_cutter {
    const er_matcher *m;
    const char *text;
    size_t len, search, done;
    er_span found, spaces;  // spaces: the run that a match swallowed last on its right
    const er_added *token;  // found but not yet returned, because text before it came first
} er_cutter;
// The next stretch of the text: with *token NULL plain text, otherwise that token's. False at the end.
bool er_cutter_next(er_cutter *c, er_span *piece, const er_added **token);

// ---- pattern.c: a String or a Regex ----
typedef struct er_pattern {
    char *literal;  // NULL: a regular expression
    size_t len;
    regex_t *regex;
    char *expression;  // what it was made of, for messages
} er_pattern;
er_status er_pattern_regex(er_pattern *p, const char *expression, const char *name);
er_status er_pattern_literal(er_pattern *p, const char *literal, const char *type, const char *name);
void er_pattern_free(er_pattern *p);
// Matches and what lies between them, in order, into s->cuts and s->hit.
er_status er_pattern_cut(const er_pattern *p, er_scratch *s, const char *text, er_span w);
er_status er_put_cut(er_scratch *s, size_t begin, size_t end, bool hit);

// ---- normalize.c and nfc.c ----
typedef enum er_norm_kind { NORM_NFC, NORM_PREPEND, NORM_REPLACE } er_norm_kind;
typedef struct er_norm {
    er_norm_kind kind;
    er_pattern pattern;
    char *content;
    size_t len;
} er_norm;
er_status er_nfc(er_scratch *s, const er_view *in, er_text *to, er_view *out);  // *out may be *in
er_status er_normalize(const er_tokenizer *t, er_scratch *s, er_view *view);

// ---- decode.c ----
typedef enum er_decoder_kind {
    DECODE_BYTES,
    DECODE_REPLACE,
    DECODE_FALLBACK,
    DECODE_FUSE,
    DECODE_STRIP,
    DECODE_METASPACE
} er_decoder_kind;
typedef struct er_decoder {
    er_decoder_kind kind;
    er_pattern pattern;
    char *content;  // put for a match; or the character to strip, or that stands for a space
    size_t len;
    uint64_t start, stop;  // DECODE_STRIP
    bool drop_first;       // DECODE_METASPACE: in the first token it stands for nothing
} er_decoder;

// ---- scan.c and split.c ----
typedef enum er_match {
    MATCH_GPT2,
    MATCH_WORDS,
    MATCH_CASED,
    MATCH_NUMERIC,
    MATCH_PATTERN,
    MATCH_PREFIX,
    MATCH_METASPACE
} er_match;
typedef enum er_scheme { SCHEME_FIRST, SCHEME_NEVER, SCHEME_ALWAYS } er_scheme;
typedef enum er_behavior {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_PREVIOUS,
    SPLIT_NEXT,
    SPLIT_CONTIGUOUS
} er_behavior;
typedef struct er_step {
    er_match match;
    er_behavior behavior;
    bool invert;
    unsigned digits;     // MATCH_WORDS, MATCH_CASED: most digits in a word
    bool contractions;   // MATCH_CASED: 's and the like end the word they follow
    er_pattern pattern;  // MATCH_METASPACE: its literal stands for a space
    er_scheme scheme;
} er_step;
// The end of the word that begins at `at`, in text[at, end).
size_t er_scan_gpt2(const uint8_t *classes, const char *text, size_t at, size_t end);
size_t er_scan_words(const uint8_t *classes, const char *text, size_t at, size_t end, unsigned digits);
size_t er_scan_cased(
    const uint8_t *classes, const char *text, size_t at, size_t end, unsigned digits, bool contractions);
bool er_scan_known(const char *regex, er_step *step);  // the regular expressions that have a scanner
// Cuts the view into s->words; *view may be replaced by one in s->prefixed.
er_status er_split(const er_tokenizer *t, er_scratch *s, er_view *view);
// prefix.c: the steps that change the words instead of cutting them.
er_status er_step_prefix(er_scratch *s, er_view *view);
er_status er_step_metaspace(const er_step *step, er_scratch *s, er_view *view);

// ---- the tokenizer ----
struct er_tokenizer {
    uint64_t serial;
    char digest[65];
    char *name;  // the file it was read from, for messages; NULL: not known
    er_vocab vocab;
    er_merges merges;
    bool byte_level;          // words are bytes in the byte alphabet, else characters
    int32_t byte_id[256];     // of a byte in its alphabet; or of an ASCII character
    int32_t byte_token[256];  // of "<0xXX>"
    bool ignore_merges, byte_fallback, fuse_unk, has_unk;
    bool marks_start;              // a text gets a space of its own in front
    int32_t unk_id;                // -1: none, or named but missing
    er_matcher plain, normalized;  // added tokens matched before and after the normalizer
    uint64_t next_added;           // id of the next one that the vocabulary lacks
    er_norm *norms;
    size_t norm_count;
    er_step *steps;
    size_t step_count, step_capacity;
    bool trim, trim_keeps_prefix;  // the ByteLevel post-processor: trim_offsets, add_prefix_space
    int32_t *before, *after;       // the template around the text
    size_t before_count, after_count;
    er_decoder *decoders;
    size_t decoder_count;
    bool has_decoder;  // even one of no steps: tokens are then joined without spaces
    int32_t eos;
};

// ---- words.c ----
typedef struct er_run {  // one call
    const er_tokenizer *t;
    er_scratch *s;
    er_tokens *out;
    const char *text;
    size_t len;
} er_run;
er_status er_tokens_reserve(er_tokens *t, size_t n);
void er_put_token(er_run *r, int32_t id, er_span at, uint32_t lead, uint32_t tail);
er_status er_words(er_run *r, const er_view *v);  // all of s->words, which lie in v

// A refusal while a text is encoded or decoded names the tokenizer: two may be open.
er_status er_tokenizer_refused(const er_tokenizer *t, er_status rc);
#endif
