// A file of facts. The format is detected by the keys of its records, never by the file's name; every format
// may come as JSON Lines, as one top-level array, or as objects one behind the other over as many lines as
// they like (pretty-printed), and is read record by record. UTF-8, with or without a byte order mark:
//
//     errata        {"subject", "prompt" with one "{}", "target"} and optionally "id", "old", "relation",
//                   "space", "paraphrases" [string], "neighbors" and "portability" [{"prompt", "target",
//                   "space"} or string]. A "{}" in a paraphrase is the subject
//     counterfact   CounterFact and multi-CounterFact as published: "requested_rewrite",
//                   "paraphrase_prompts", "neighborhood_prompts"
//     memit         requests of MEMIT's and ROME's notebooks: "subject", "prompt", "target_new" {"str"},
//                   "target_true" {"str"}
//     easyedit      EasyEdit's CounterFact: "subject", "prompt" with the subject in it, "target_new",
//                   "ground_truth", "rephrase_prompt" (often about something else: do not score generality on
//                   it), "locality_prompt"
//     knowedit      KnowEdit: as easyedit, with "locality" (read as neighbours) and "portability" as objects
//                   of lists of {"prompt", "ground_truth"}; also with its other names "concept", "text",
//                   "labels"
//     zsre          MEND's zsRE: "subject", "src", "alt", "answers", "rephrase", "loc", "loc_ans"
//
// `path` may name a regular file, a pipe (a named one, /dev/stdin, a shell's <(...)) or be "-", standard
// input; what it gives is read once. A device that is no terminal is refused, and so is what is longer than 4
// GiB or 8,388,608 records; a record of more than 16 MiB is rejected and read past. When none of the first
// 100,000 records is a fact, no more are read. A pipe that nobody has opened for writing is waited for, 30
// seconds long. ER_EINTERRUPTED within a fifth of a second after a stop was asked for.
//
// Unknown keys are ignored. What only evaluation reads ("old", paraphrases, neighbours, portability) never
// costs a fact its edit: an entry that cannot be read is left out, with a warning.
//
// White space means something: prompts, paraphrases and neighbours are taken as given, to the last line
// break. White space and invisible characters around a subject, and behind a target, are dropped with a
// warning; one plain space in front of a target is its seam (see er_space). Other characters that cannot be
// told by looking (no-break and zero width spaces, direction marks, curly quotes, decomposed letters ...)
// stay and are warned of, once for each with its code point, count and first place.
#ifndef ER_FACTS_H
#define ER_FACTS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

// Whether a space stands between a prompt and its target: as the scripts and signs at the seam want it, or as
// somebody said.
typedef enum er_space { ER_SPACE_AUTO, ER_SPACE_ALWAYS, ER_SPACE_NEVER } er_space;
// What stands there: a space, or none and why.
typedef enum er_seam {
    ER_SEAM_SPACE,
    ER_SEAM_BLANK,   // the prompt ends in white space of its own
    ER_SEAM_SCRIPT,  // the scripts are written without (Chinese, Japanese, Thai, Lao, Khmer, Burmese ...)
    ER_SEAM_OPEN,    // the prompt ends in an opening quote or bracket, a currency sign, a hyphen, a tag ...
    ER_SEAM_TARGET,  // the target begins with what is written against a word (a comma, "%", "-based")
    ER_SEAM_OWN,     // the target begins with white space of its own
    ER_SEAM_ASKED,   // the record or the job says so
    ER_SEAM_KINDS
} er_seam;
// `prompt` is the whole text in front, of len bytes; `fact` what the record says ("space"), which goes before
// what the job says. ER_SPACE_ALWAYS is the reference's rule. docs/facts.md has the rule for each sign.
er_seam er_seam_of(const char *prompt, size_t len, const char *target, er_space fact, er_space job);
er_status er_space_parse(er_space *out, const char *word);  // "auto", "always", "never"; EARG
const char *er_space_name(er_space s);

typedef struct er_probe {  // a prompt and what should (or used to) follow it
    char *prompt;          // complete text, no placeholder
    char *target;          // NULL when the file gives none
    er_space space;
} er_probe;

typedef struct er_fact {
    // The file's, or 16 hex digits of a digest of subject and prompt when it gives none. Unique among `at`
    char *id;
    char *subject;
    char *prompt;        // exactly one "{}" where the subject stands
    char *target;        // the new object, as it continues the prompt behind its seam
    char *old;           // the object it replaces, or NULL; never equal to target
    er_space space;      // of the prompt and the paraphrases, before target and old
    char *relation;      // or NULL
    char **paraphrases;  // complete prompts (subject filled in)
    size_t n_paraphrases;
    er_probe *neighbors;  // other subjects, whose answer must not change
    size_t n_neighbors;
    er_probe *portability;
    size_t n_portability;
    size_t line;  // in the file: 1-based line (JSON Lines) or 1-based record (array)
} er_fact;

typedef struct er_reject {
    size_t line;
    char *id;      // or NULL
    char *reason;  // "'subject' is empty", "target 'English' conflicts with 'French' in line 3 ...", ...
} er_reject;

typedef struct er_facts {
    char *path;
    const char *format;  // "errata", "counterfact", "memit", "easyedit", "knowedit", "zsre"
    bool is_lines;       // not an array: `line` is the line where the record begins, else a record number
    er_fact *at;         // accepted, in file order
    size_t count;
    er_reject *rejects;  // in file order when reading is done
    size_t n_rejects;
    size_t n_duplicates;  // same text and target as an earlier one; dropped
    char digest[65];      // of the facts' content once they are read; a later er_facts_reject leaves it
} er_facts;

typedef struct er_facts_options {
    bool zsre_answers;  // zsRE: edit to answers[0] rather than to alt
    size_t limit;       // only the first `limit` records, good or bad; 0: all
} er_facts_options;

// Reads all of it; the caller frees. EFORMAT only when nothing in the file can be read as records of a known
// format; a bad record goes to `rejects` with its reason. Two targets behind one text (the prompt with its
// subject in place): neither is accepted, since only the author knows which one was meant.
er_status er_facts_read(er_facts **out, const char *path, const er_facts_options *options);
// The same from memory; `name` is the file name of messages. The fuzz target's entry point.
er_status er_facts_parse(
    er_facts **out, const char *bytes, size_t len, const char *name, const er_facts_options *options);
void er_facts_free(er_facts *f);
// Warns of the rejects: the first `most` one by one, the others by their number.
void er_facts_warn_rejects(const er_facts *f, size_t most);
// Moves fact i out of `at` into `rejects` (later checks, e.g. subject not found at token level); the facts
// behind it move up by one. The reason is copied.
er_status er_facts_reject(er_facts *f, size_t i, const char *reason);
// Merges facts that are equal by somebody's own measure, such as the tokenizer's: at[i] has the classes of
// fact i, and equal numbers mean equal texts. Of facts with equal prompt and target all but the first are
// dropped as duplicates; facts with equal prompt and two targets all go to `rejects`.
typedef struct er_fact_class {
    size_t prompt, target;  // prompt SIZE_MAX: equal to no other
} er_fact_class;
er_status er_facts_merge_classes(er_facts *f, const er_fact_class *at);
// The prompt with the subject in place; the caller frees. NULL when memory is out.
char *er_fact_filled(const er_fact *f);
#endif
