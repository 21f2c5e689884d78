// Context templates: the built-in ones, or a file of them.
#include <stdlib.h>
#include <string.h>

#include "engine/presets.h"
#include "engine/prompts.h"
#include "io/facts/notes.h"
#include "io/base/file.h"
#include "io/base/json.h"

void er_templates_free(er_templates *t) {
    if (!t) return;
    for (size_t i = 0; i < t->count; i++) free(t->text[i]);
    free(t->text);
    free(t);
}

static er_status from_json(er_templates **out, const cJSON *list, size_t limit, const char *name) {
    er_status rc = ER_OK;
    er_templates *t = NULL;
    if (!cJSON_IsArray(list)) ER_FAIL(ER_ECONFIG, "%s: templates are an array of strings", name);
    size_t n = (size_t)cJSON_GetArraySize(list), i = 0;
    if (n > limit) n = limit;
    if (!(t = calloc(1, sizeof *t)) || !(t->text = calloc(n + 1, sizeof *t->text)))
        ER_FAIL(ER_ENOMEM, "%zu templates", n);
    for (const cJSON *x = list->child; x && i < n; x = x->next, i++) {
        if (!cJSON_IsString(x)) ER_FAIL(ER_ECONFIG, "%s: template %zu is not a string", name, i);
        const char *hole = strstr(x->valuestring, "{}");
        if (!hole || strstr(hole + 2, "{}"))
            ER_FAIL(ER_ECONFIG, "%s: template %zu needs exactly one {}", name, i);
        if (!(t->text[i] = strdup(x->valuestring))) ER_FAIL(ER_ENOMEM, "template %zu", i);
        t->count = i + 1;
    }
    *out = t;
    t = NULL;
out:
    er_templates_free(t);
    return rc;
}

// They stand in front of every prompt as they are.
static er_status look_at(const er_templates *t, const char *path) {
    er_notes all = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < t->count; i++) {
        er_notes own = {0};
        ok = er_notes_look(&own, t->text[i], "template") && er_notes_take(&all, &own, i);
        er_notes_clear(&own);
    }
    er_notes_warn(&all, path, "template");
    er_notes_clear(&all);
    return ok ? ER_OK : er_fail(ER_ENOMEM, "%s: notes", path);
}

er_status er_templates_read(er_templates **out, const char *path) {
    cJSON *list = NULL;
    er_status rc = er_json_read(&list, path, (size_t)1 << 20);
    er_templates *t = NULL;
    if (rc == ER_OK) rc = from_json(&t, list, SIZE_MAX, path);
    if (rc == ER_OK) rc = look_at(t, path);
    if (rc == ER_OK) *out = t;
    else er_templates_free(t);
    cJSON_Delete(list);
    return rc;
}

er_status er_templates_builtin(er_templates **out, size_t count) {
    const char *text = NULL;
    for (const er_preset_file *f = er_preset_files; f->name; f++)
        if (!strcmp(f->name, "templates")) text = f->text;
    if (!text) return er_fail(ER_ECONFIG, "this build carries no templates");
    cJSON *list = NULL;
    er_status rc = er_json_parse(&list, text, strlen(text), "templates.json");
    if (rc == ER_OK) rc = from_json(out, list, count, "templates.json");
    cJSON_Delete(list);
    return rc;
}
