// Every editor, by its line of the table. The first is the default.
#include <strings.h>

#include "engine/editors/editors_internal.h"

static const er_editor *const all[] = {
#define EDITOR(name) &er_editor_##name,
#include "engine/editors/editors.def"
#undef EDITOR
};

const er_editor *er_editor_at(size_t i) { return i < sizeof all / sizeof *all ? all[i] : NULL; }

bool er_editor_settings_at(er_editor_settings *out, size_t i) {
    const er_editor *e = er_editor_at(i);
    if (!e) return false;
    *out = (er_editor_settings){e->name, e->alg_name, e->fields, e->n_fields};
    return true;
}

const er_editor *er_editor_find(const char *name) {
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcasecmp(name, all[i]->name) || !strcasecmp(name, all[i]->alg_name)) return all[i];
    return NULL;
}
