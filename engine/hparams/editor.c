// The editor that the settings are for, and the numbers that it alone has. What an editor does is in
// engine/editors.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/hparams/fields_internal.h"

bool er_hparams_find_editor(er_editor_settings *out, const char *name, er_editor_list editors) {
    for (size_t i = 0; editors(out, i); i++)
        if (!strcasecmp(name, out->name) || !strcasecmp(name, out->alg_name)) return true;
    return false;
}

er_status er_hparams_set_editor(er_hparams *h, const char *name, er_editor_list editors) {
    er_editor_settings e;
    char known[256] = "";
    if (er_hparams_find_editor(&e, name, editors)) {
        if (e.n_fields > ER_OWN_FIELDS)
            return er_fail(ER_EARG, "editor '%s' has %zu fields, at most %d are possible", e.name, e.n_fields,
                ER_OWN_FIELDS);
        if (h->editor.name && !strcmp(h->editor.name, e.name)) return ER_OK;
        h->editor = e;
        for (size_t i = 0; i < e.n_fields; i++) h->own[i] = e.fields[i].initial;
        return e.n_fields ? er_hparams_own_of_preset(h) : ER_OK;
    }
    for (size_t i = 0, n = 0; n < sizeof known && editors(&e, i); i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", e.name);
    return er_fail(ER_EARG, "editor '%s' is none of %s", name, known);
}

bool er_hparams_is_idle(
    er_editor_settings *whose, const er_hparams *h, const char *key, er_editor_list editors) {
    if (er_hparams_own_index(&h->editor, key) != SIZE_MAX) return false;
    for (size_t i = 0; editors(whose, i); i++)
        if (er_hparams_own_index(whose, key) != SIZE_MAX) return true;
    return false;
}
