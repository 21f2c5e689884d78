// A file of facts: errata's own JSON Lines, CounterFact / multi-CounterFact, MEND zsRE. Detected by keys, array or JSON Lines.
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
    char *id;
    char *subject;
    char *prompt;    // exactly one "{}" where the subject stands
    char *target;    // the new object, without leading space
    char *old;       // the object it replaces, or NULL
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
    char *reason;  // "subject is empty", "conflicts with line 3: 'English' and 'French' for the same subject and prompt", ...
} er_reject;

typedef struct er_facts {
    char *path;
    const char *format;  // "errata", "counterfact", "zsre"
    bool is_lines;       // JSON Lines: `line` is a line number, else a record number
    er_fact *at;         // accepted, in file order
    size_t count;
    er_reject *rejects;
    size_t n_rejects;
    size_t n_duplicates;  // same subject, prompt and target as an earlier one; dropped
    char digest[65];      // of the accepted facts' content
} er_facts;

typedef struct er_facts_options {
    bool zsre_answers;  // zsRE: edit to answers[0] rather than to alt
    size_t limit;       // only the first `limit` records; 0: all
} er_facts_options;

// EFORMAT only when nothing in the file can be read as records; a bad record goes to `rejects` with its reason.
er_status er_facts_read(er_facts **out, const char *path, const er_facts_options *options);
void er_facts_free(er_facts *f);
// Moves fact i out of `at` into `rejects` (later checks, e.g. subject not found at token level). The reason is copied.
er_status er_facts_reject(er_facts *f, size_t i, const char *reason);
char *er_fact_filled(const er_fact *f);  // the prompt with the subject in place, malloc'd; NULL when memory is out
#endif
