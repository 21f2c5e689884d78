// The list of temporary paths, and the hold under which they are made and put in place.
#include "io/base/unfinished.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/path.h"

typedef struct unfinished {
    struct unfinished *next;
    char path[];
} unfinished;

static pthread_mutex_t hold = PTHREAD_MUTEX_INITIALIZER;
static unfinished *first;

void er_unfinished_hold(void) { (void)pthread_mutex_lock(&hold); }
void er_unfinished_release(void) { (void)pthread_mutex_unlock(&hold); }

void er_unfinished_note(const char *path) {
    size_t n = strlen(path) + 1;
    unfinished *u = malloc(sizeof *u + n);
    if (!u) return;
    memcpy(u->path, path, n);
    u->next = first;
    first = u;
}

void er_unfinished_forget(const char *path) {
    for (unfinished **at = &first; *at; at = &(*at)->next)
        if (strcmp((*at)->path, path) == 0) {
            unfinished *gone = *at;
            *at = gone->next;
            free(gone);
            return;
        }
}

// A writer that is in the middle of a folder may put one more file into it while it is taken down.
void er_unfinished_remove(void) {
    er_unfinished_hold();
    for (const unfinished *u = first; u; u = u->next)
        for (int i = 0; i < 8 && er_remove_tree(u->path) != ER_OK; i++) continue;
}
