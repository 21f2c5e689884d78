// Every editor. The first is the default.
#include <strings.h>

#include "engine/editors/editors_internal.h"

static const er_editor *const all[] = {
    &er_editor_memit, &er_editor_memit_seq, &er_editor_emmet, &er_editor_alphaedit};

const er_editor *er_editor_at(size_t i) { return i < sizeof all / sizeof *all ? all[i] : NULL; }

const er_editor *er_editor_find(const char *name) {
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcasecmp(name, all[i]->name) || !strcasecmp(name, all[i]->alg_name)) return all[i];
    return NULL;
}
