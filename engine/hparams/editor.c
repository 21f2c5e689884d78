// Which editor settings are for. What an editor does is in engine/editors.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/hparams/fields_internal.h"

static const struct {
    const char *name, *alg_name;
    const char *const keys[3];  // its own, for which other editors have no use
} editors[] = {
    {"memit", "MEMIT", {NULL}},
    {"memit_seq", "MEMIT_seq", {NULL}},
    {"emmet", "EMMET", {"emmet_lambda", "update_norm_lambda", NULL}},
    {"alphaedit", "AlphaEdit", {"L2", "nullspace_threshold", NULL}},
};
enum { N_EDITORS = sizeof editors / sizeof *editors };

static size_t find(const char *name) {
    size_t i = 0;
    while (
        i < N_EDITORS && strcasecmp(name, editors[i].name) != 0 && strcasecmp(name, editors[i].alg_name) != 0)
        i++;
    return i;
}

er_status er_hparams_set_editor(er_hparams *h, const char *name) {
    size_t i = find(name);
    if (i == N_EDITORS)
        return er_fail(ER_EARG, "editor '%s' is none of memit, memit_seq, emmet, alphaedit", name);
    (void)snprintf(h->editor, sizeof h->editor, "%s", editors[i].name);
    return ER_OK;
}

bool er_hparams_knows_editor(const char *name) { return find(name) < N_EDITORS; }

const char *er_hparams_alg_name(const er_hparams *h) {
    size_t i = find(h->editor);
    return i < N_EDITORS ? editors[i].alg_name : "MEMIT";
}

bool er_hparams_is_idle(const er_hparams *h, const char *key) {
    for (size_t i = 0; i < N_EDITORS; i++)
        for (size_t k = 0; editors[i].keys[k]; k++)
            if (!strcmp(key, editors[i].keys[k])) return strcmp(h->editor, editors[i].name) != 0;
    return false;
}
