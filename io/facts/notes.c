// What is said of a file once, however many records it holds of.
#include "io/facts/facts_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/log.h"

#define KINDS 40  // a file of all code points there are is told of its first ones

static bool book(er_notes *n, const char *what, const char *detail, size_t line, bool once) {
    for (size_t i = 0; i < n->count; i++) {
        if (strcmp(n->at[i].what, what) != 0) continue;
        n->at[i].records += !once;
        return true;
    }
    if (n->count == KINDS) {
        n->more++;
        return true;
    }
    er_note *grown = realloc(n->at, (n->count + 1) * sizeof *grown);
    if (!grown) return false;
    n->at = grown;
    er_note fresh = {strdup(what), detail ? strdup(detail) : NULL, 1, line};
    if (!fresh.what || (detail && !fresh.detail)) {
        free(fresh.what);
        free(fresh.detail);
        return false;
    }
    n->at[n->count++] = fresh;
    return true;
}

bool er_notes_add(er_notes *n, const char *detail, const char *fmt, ...) {
    char what[ER_FACTS_REASON];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return book(n, what, detail, 0, true);
}

bool er_notes_take(er_notes *all, const er_notes *record, size_t line) {
    for (size_t i = 0; i < record->count; i++)
        if (!book(all, record->at[i].what, record->at[i].detail, line, false)) return false;
    return true;
}

void er_notes_warn(const er_notes *n, const char *path, const char *place) {
    for (size_t i = 0; i < n->count; i++) {
        const er_note *a = &n->at[i];
        er_warn("%s: %s (%zu record%s, first: %s %zu%s%s)", path, a->what, a->records,
            a->records == 1 ? "" : "s", place, a->line, a->detail ? ", " : "", a->detail ? a->detail : "");
    }
    if (n->more) er_warn("%s: %zu more things of this sort", path, n->more);
}

void er_notes_clear(er_notes *n) {
    for (size_t i = 0; i < n->count; i++) free(n->at[i].what), free(n->at[i].detail);
    free(n->at);
    *n = (er_notes){0};
}
