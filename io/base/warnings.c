#include "io/base/warnings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct er_warnings {
    char **text;
    size_t count;
    er_warnings *outer;  // the one opened before it in this thread
};

static _Thread_local er_warnings *innermost;

er_status er_warnings_begin(er_warnings **out) {
    er_warnings *w = calloc(1, sizeof *w);
    if (!w) return er_fail(ER_ENOMEM, "a list of warnings");
    w->outer = innermost;
    innermost = w;
    *out = w;
    return ER_OK;
}

void er_warnings_end(er_warnings *w) {
    if (!w) return;
    for (er_warnings **at = &innermost; *at; at = &(*at)->outer)
        if (*at == w) {
            *at = w->outer;
            break;
        }
    for (size_t i = 0; i < w->count; i++) free(w->text[i]);
    free(w->text);
    free(w);
}

er_warnings *er_warnings_swap(er_warnings *w) {
    er_warnings *before = innermost;
    innermost = w;
    return before;
}

size_t er_warnings_count(const er_warnings *w) { return w ? w->count : 0; }
const char *er_warnings_at(const er_warnings *w, size_t i) { return w->text[i]; }

static void keep_in(er_warnings *w, const char *text) {
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->text[i], text) == 0) return;
    char *copy = strdup(text), **grown = copy ? realloc(w->text, (w->count + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(copy);
        return;
    }
    w->text = grown;
    grown[w->count++] = copy;
}

void er_warnings_keep(const char *fmt, va_list ap) {
    char *text = NULL;
    if (!innermost || vasprintf(&text, fmt, ap) < 0) return;
    for (er_warnings *w = innermost; w; w = w->outer) keep_in(w, text);
    free(text);
}

er_status er_warnings_add_json(const er_warnings *w, cJSON *object) {
    cJSON *list = cJSON_AddArrayToObject(object, "warnings");
    for (size_t i = 0; list && i < er_warnings_count(w); i++) {
        cJSON *s = cJSON_CreateString(w->text[i]);
        if (!s || !cJSON_AddItemToArray(list, s)) {
            cJSON_Delete(s);
            list = NULL;
        }
    }
    return list ? ER_OK : er_fail(ER_ENOMEM, "%zu warnings as JSON", er_warnings_count(w));
}
