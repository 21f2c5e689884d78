// Private to io/facts: the scanner that cuts a file into records, the map from a record to a fact, and the
// passes over all facts.
#ifndef ER_FACTS_INTERNAL_H
#define ER_FACTS_INTERNAL_H
#include <cjson/cJSON.h>
#include "io/facts.h"
#include "io/facts/notes.h"

#define ER_FACTS_RECORD_MAX ((size_t)16 << 20)  // bytes of one record; more is a damaged file, not a fact
// Bytes of a file or pipe; more is no file of facts, or has no end.
#define ER_FACTS_BYTES_MAX ((uint64_t)4 << 30)
#define ER_FACTS_COUNT_MAX ((size_t)8 << 20)  // records
// Records without a fact among them, after which no more are read.
#define ER_FACTS_BAD_FIRST ((size_t)100000)
#define ER_FACTS_REASON 480  // bytes of a reason

// ---- scan.c: a stream of bytes -> the text of one record after the other, holding one record in memory ----
typedef struct er_facts_scan er_facts_scan;
typedef struct er_facts_record {
    const char *text;  // NUL-terminated behind `len` bytes; borrowed until the next call
    size_t len;
    size_t line;         // 1-based line, or record of an array
    const char *damage;  // what is wrong with the file here, or NULL; then `text` is not worth parsing
} er_facts_record;
er_status er_facts_scan_open(er_facts_scan **out, const char *path);  // a file, a pipe, or "-"
const char *er_facts_scan_name(const er_facts_scan *s);               // what messages call it
er_status er_facts_scan_memory(er_facts_scan **out, const char *bytes, size_t len);
er_status er_facts_scan_next(er_facts_scan *s, er_facts_record *record, bool *end);
bool er_facts_scan_is_lines(const er_facts_scan *s);
void er_facts_scan_free(er_facts_scan *s);

// ---- find.c: where a prompt holds its subject ----
typedef enum er_match_kind {
    ER_MATCH_WORD,    // a whole word
    ER_MATCH_BEGINS,  // the beginning of one
    ER_MATCH_INSIDE   // a part of one
} er_match_kind;
typedef struct er_found {
    size_t begin, end;  // bytes of the text
    er_match_kind kind;
    size_t count;  // matches of this kind, of which this is the first; 0: the subject is nowhere
    // Found by its look only: other quotes, dashes, white space, composed or decomposed letters
    bool respelled;
} er_found;
bool er_facts_find(er_found *out, const char *text, const char *subject);  // false when memory is out
// Also across capitals, accents and compatibility forms: too far to edit, near enough to say so.
bool er_facts_find_loose(er_found *out, const char *text, const char *subject);

// ---- shapes.c: which format a record is of ----
typedef enum er_facts_format {
    ER_FACTS_UNKNOWN,
    ER_FACTS_ERRATA,
    ER_FACTS_COUNTERFACT,
    ER_FACTS_MEMIT,
    ER_FACTS_EASYEDIT,
    ER_FACTS_KNOWEDIT,
    ER_FACTS_ZSRE,
    ER_FACTS_FORMATS
} er_facts_format;
er_facts_format er_facts_detect(const cJSON *record);
const char *er_facts_format_name(er_facts_format format);
// Why a record is of no known format: whose shape it has, where that is known; its keys, and the formats
// there are.
void er_facts_unknown(char reason[ER_FACTS_REASON], const cJSON *record);

// ---- record.c: one parsed record -> one fact ----

// `reason` is empty: *out is the fact, owned by the caller. Otherwise it says why there is none. Either way
// *id is a copy of the record's id or NULL, and `notes` has what is to be said of the record. ENOMEM alone is
// a failure.
er_status er_facts_map(er_fact *out, char **id, er_notes *notes, char reason[ER_FACTS_REASON],
    er_facts_format format, const cJSON *record, const er_facts_options *options);

// ---- words.c: what messages have in common ----
const char *er_json_kind(const cJSON *v);       // "a string", "an object", ...
const char *er_facts_place(const er_facts *f);  // "line" or "record": what a fact's `line` counts
// `s` between single quotes, cut to about 60 bytes at a character's end; into dst, which is returned.
const char *er_facts_quote(char dst[80], const char *s);

// ---- fact.c: the lists of facts and of rejected records ----
void er_fact_clear(er_fact *f);  // frees what it owns
// `id` (or NULL) and `reason` are copied. ENOMEM.
er_status er_facts_add_reject(er_facts *f, size_t line, const char *id, const char *reason);
void er_facts_sort_rejects(er_facts *f);  // by line
void er_facts_compact(er_facts *f);       // drops the facts whose line is 0: what a pass has marked

// ---- texts.c: facts as somebody reads them, subject in place ----
// er_facts_merge_classes of the facts whose texts are the same characters.
er_status er_facts_merge_texts(er_facts *f);
// Warns of neighbours and paraphrases that ask for what another fact of the job changes.
er_status er_facts_warn_contradictions(er_facts *f);

// ---- merge.c: what is done to all facts at the end ----
// Duplicates, conflicts and repeated ids go; then the rejects are sorted and the digest is taken.
er_status er_facts_merge(er_facts *f);
#endif
