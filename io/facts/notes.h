// What is said of a file, each kind once with a count and its first place.
#ifndef ER_NOTES_H
#define ER_NOTES_H
#include <stdbool.h>
#include <stddef.h>

typedef struct er_note {
    char *what, *detail;   // detail: of the first record, or NULL
    size_t records, line;  // how many records have it; the first one's line
} er_note;
typedef struct er_notes {  // zero-initialise
    er_note *at;
    size_t count, more;
} er_notes;
// The functions that add return false when memory is out. Within one record every kind counts once.
bool er_notes_add(er_notes *n, const char *detail, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// A record's notes join those of the file
bool er_notes_take(er_notes *all, const er_notes *record, size_t line);
// Books what stays in `s` and cannot be told by looking: invisible characters, unusual white space, curly
// quotes, letters in parts.
bool er_notes_look(er_notes *n, const char *s, const char *name);
// One warning for each kind; `place` is "line" or "record".
void er_notes_warn(const er_notes *n, const char *path, const char *place);
void er_notes_clear(er_notes *n);
#endif
