// Private to the files that turn a record into a fact: record.c reads the id, calls the format, and checks
// what came.
#ifndef ER_FACTS_MAP_H
#define ER_FACTS_MAP_H
#include "io/facts/facts_internal.h"

typedef struct er_map {
    const er_facts_options *options;
    er_fact fact;
    er_notes *notes;
    char *reason;  // [ER_FACTS_REASON]; the first one stays
    bool no_memory;
} er_map;

// ---- map.c ----
// All below return false when the record is refused (m->reason says why) or memory is out.
bool er_map_refuse(er_map *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool er_map_no_memory(er_map *m);
bool er_map_note(er_map *m, bool booked);                       // `booked`: what er_notes_add said
const cJSON *er_map_get(const cJSON *object, const char *key);  // NULL for null too
// An answer may be wrapped in lists of alternatives and aliases: the first of the first is taken, as EasyEdit
// does.
const cJSON *er_map_first_of(const cJSON *v);

// ---- look.c: the text of one string, what is dropped of it and what is to be said of it ----
bool er_look_is_blank(const char *s);  // nothing in it can be seen
// White space and invisible characters around are dropped.
bool er_look_name(er_map *m, char **out, const char *s, const char *name);
// Those behind are dropped, and no-break and invisible ones in front. One plain space in front is the seam:
// *space is set, unless the record has said something itself. More white space in front stays: it is as
// given.
bool er_look_target(er_map *m, char **out, er_space *space, const char *s, const char *name);
bool er_look_prompt(er_map *m, char **out, const char *s, const char *name);  // as given
// Line breaks and tabs are at home in a prompt ("Question: ...\nAnswer:") and in front of a target, and
// nowhere else; other control characters are damage.
bool er_look_has_control(const char *s, bool prompt);

// ---- map_edit.c: what the edit needs. `name` is what messages call the value ----
// These must be there:
bool er_map_name(er_map *m, char **out, const cJSON *object, const char *key, const char *name);
bool er_map_prompt(er_map *m, char **out, const cJSON *object, const char *key, const char *name);
bool er_map_target(er_map *m, const cJSON *v, const char *name);
// These may be NULL:
bool er_map_relation(er_map *m, const cJSON *v, const char *name);
bool er_map_space(er_map *m, er_space *out, const cJSON *v, const char *name);

// ---- map_probes.c: what only evaluation reads ----

// An entry that is not what it should be is left out, with a note.
bool er_map_old(er_map *m, const cJSON *v, const char *name);
bool er_map_paraphrase(er_map *m, const cJSON *v, const char *name);
bool er_map_paraphrases(er_map *m, const cJSON *list, const char *name);
typedef enum er_probe_kind { ER_PROBE_NEIGHBOR, ER_PROBE_PORTABILITY } er_probe_kind;
bool er_map_probe(er_map *m, er_probe_kind kind, const cJSON *prompt, const cJSON *target, const cJSON *space,
    const char *name);
bool er_map_probes(er_map *m, er_probe_kind kind, const cJSON *list, const char *name);
// A list, or objects of lists by category, as KnowEdit has them.
bool er_map_categories(er_map *m, er_probe_kind kind, const cJSON *groups, const char *name);

// ---- map_subject.c ----

// Puts "{}" where the prompt holds its subject in full, and takes the prompt's spelling of the subject. A
// prompt with one "{}" stays as it is. Refused where the subject is not to be found.
bool er_map_mark_subject(er_map *m, const char *name);

// ---- formats.c: the record's format fills in m->fact ----
bool er_map_format(er_map *m, er_facts_format format, const cJSON *record);
#endif
