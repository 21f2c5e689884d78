// A file of facts. The format is detected by the keys of its records, never by the file's name; every format may come as JSON Lines
// or as one top-level array, and is read record by record:
//
//     errata        {"subject", "prompt" with one "{}", "target"} and optionally "id", "old", "relation", "paraphrases" [string],
//                   "neighbors" and "portability" [{"prompt", "target"} or string]. A "{}" in a paraphrase is the subject
//     counterfact   CounterFact and multi-CounterFact as published: "requested_rewrite", "paraphrase_prompts", "neighborhood_prompts"
//     easyedit      EasyEdit's CounterFact: "subject", "prompt" with the subject in it, "target_new", "ground_truth",
//                   "rephrase_prompt" (often about something else: do not score generality on it), "locality_prompt"
//     zsre          MEND's zsRE: "subject", "src", "alt", "answers", "rephrase", "loc", "loc_ans"
//
// `path` may name a regular file, a pipe (a named one, /dev/stdin, a shell's <(...)) or be "-", standard input; what it gives is
// read once. A device that is no terminal is refused, and so is what is longer than 4 GiB or 8,388,608 records; a record of more
// than 16 MiB is rejected and read past. When none of the first 100,000 records is a fact, no more are read. A pipe that nobody
// has opened for writing is waited for, 30 seconds long. ER_EINTERRUPTED within a fifth of a second after a stop was asked for.
//
// Unknown keys are ignored. White space around subject, prompt and target is dropped.
#ifndef ER_FACTS_H
#define ER_FACTS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/status.h"

typedef struct er_probe {  // a prompt and what should (or used to) follow it
    char *prompt;          // complete text, no placeholder
    char *target;          // NULL when the file gives none
} er_probe;

typedef struct er_fact {
    char *id;        // the file's, or 16 hex digits of a digest of subject and prompt when it gives none. Unique among `at`
    char *subject;
    char *prompt;    // exactly one "{}" where the subject stands
    char *target;    // the new object, without leading space
    char *old;       // the object it replaces, or NULL; never equal to target
    char *relation;  // or NULL
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
    const char *format;  // "errata", "counterfact", "easyedit", "zsre"
    bool is_lines;       // JSON Lines: `line` is a line number, else a record number
    er_fact *at;         // accepted, in file order
    size_t count;
    er_reject *rejects;   // in file order when reading is done
    size_t n_rejects;
    size_t n_duplicates;  // same subject, prompt and target as an earlier one; dropped
    char digest[65];      // of the content of the facts that the reader accepted (a later er_facts_reject leaves it alone)
} er_facts;

typedef struct er_facts_options {
    bool zsre_answers;  // zsRE: edit to answers[0] rather than to alt
    size_t limit;       // only the first `limit` records, good or bad; 0: all
} er_facts_options;

// EFORMAT only when nothing in the file can be read as records of a known format; a bad record goes to `rejects` with its reason.
// Two targets for one (subject, prompt): neither is accepted, since only the author knows which one was meant.
er_status er_facts_read(er_facts **out, const char *path, const er_facts_options *options);
// The same from memory; `name` is the file name of messages. The fuzz target's entry point.
er_status er_facts_parse(er_facts **out, const char *bytes, size_t len, const char *name, const er_facts_options *options);
void er_facts_free(er_facts *f);
// Moves fact i out of `at` into `rejects` (later checks, e.g. subject not found at token level); the facts behind it move up by
// one. The reason is copied.
er_status er_facts_reject(er_facts *f, size_t i, const char *reason);
char *er_fact_filled(const er_fact *f);  // the prompt with the subject in place, malloc'd; NULL when memory is out
#endif
