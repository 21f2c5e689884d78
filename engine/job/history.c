// K K^T of the edits that a model has been through, for editors whose next edit is to leave those alone. It
// is kept in the edited model's folder, a file a layer, named with its digest in the manifest: only what that
// manifest tells of is believed. Layers that an edit leaves alone keep their file. An edit by another editor
// does not carry it on, and says so.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/job/job_internal.h"
#include "io/base/file.h"
#include "io/base/json.h"
#include "io/base/log.h"

static er_status path_of(char **out, const char *dir, size_t layer) {
    char name[48];
    (void)snprintf(name, sizeof name, ER_HISTORY "layer-%zu.npz", layer);
    free(*out);
    *out = er_path_join(dir, name);
    return *out ? ER_OK : er_fail(ER_ENOMEM, "the path of %s", name);
}

// The object "history" of the model's own manifest, {"layer-N": sha256}; NULL without one.
static er_status told_by_manifest(cJSON **manifest, const cJSON **told, const er_job *j) {
    const char *bytes = NULL;
    size_t len = 0;
    *told = NULL;
    if (!j->parent_digest[0]) return ER_OK;
    er_status rc = er_folder_read(&bytes, &len, j->folder, ER_MANIFEST, (size_t)1 << 30);
    if (rc == ER_OK) rc = er_json_parse(manifest, bytes, len, ER_MANIFEST);
    if (rc == ER_OK) *told = cJSON_GetObjectItemCaseSensitive(*manifest, "history");
    return rc;
}

static const char *digest_of(const cJSON *told, size_t layer) {
    char key[32];
    (void)snprintf(key, sizeof key, "layer-%zu", layer);
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(told, key));
}

er_status er_job_check_history(er_job *j) {
    er_status rc = ER_OK;
    const cJSON *told = NULL;
    cJSON *manifest = NULL;
    char *path = NULL, hex[65];
    size_t files = 0;
    ER_TRY(told_by_manifest(&manifest, &told, j));
    for (size_t l = 0; l < j->arch.layers; l++) {
        const char *digest = digest_of(told, l);
        ER_TRY(path_of(&path, j->o->model, l));
        bool there = er_file_exists(path);
        if (!there && !digest) continue;
        files++;
        if (!j->editor->keeps_history) continue;
        if (!there) ER_FAIL(ER_ENOENT, "%s: no such file, and %s tells of it", path, ER_MANIFEST);
        ER_TRY(er_file_digest(hex, path));
        if (!digest || strcmp(digest, hex) != 0)
            ER_FAIL(ER_EFORMAT, "%s: is not the file that the model's %s tells of", path, ER_MANIFEST);
    }
    if (files && !j->editor->keeps_history)
        er_warn("%s: the keys of earlier edits (%zu files %s*) are not carried on by %s: a later memit_seq "
                "or alphaedit begins "
                "without them",
            j->o->model, files, ER_HISTORY, j->editor->name);
out:
    free(path);
    cJSON_Delete(manifest);
    return rc;
}

er_status er_job_read_history(er_job *j) {
    er_status rc = ER_OK;
    const er_hparams *h = &j->report->hparams;
    char *path = NULL;
    unsigned long long columns = 0;
    if (!j->editor->keeps_history) return ER_OK;
    if (!(j->history = calloc(h->n_layers, sizeof *j->history)))
        ER_FAIL(ER_ENOMEM, "the keys of earlier edits");
    for (size_t i = 0; i < h->n_layers; i++) {
        ER_TRY(path_of(&path, j->o->model, h->layers[i]));
        rc = er_second_moment_load(&j->history[i], j->dev, path, j->arch.d_ff);
        if (rc == ER_ENOENT) rc = er_second_moment_create(&j->history[i], j->dev, j->arch.d_ff);
        if (rc != ER_OK) goto out;
        if (j->history[i]->count > columns) columns = j->history[i]->count;
        if (j->dev->is_async) ER_TRY(er_second_moment_offload(j->dev, j->history[i]));
    }
    if (columns) er_info("history     %llu keys of earlier edits of this model", columns);
out:
    free(path);
    return rc;
}

// This edit's layers anew, the others as they were.
er_status er_job_write_history(er_job *j) {
    er_status rc = ER_OK;
    const er_hparams *h = &j->report->hparams;
    char *from = NULL, *to = NULL, hex[65], key[32];
    if (!j->history) return ER_OK;
    if (!(j->history_told = cJSON_CreateObject())) ER_FAIL(ER_ENOMEM, "the keys of earlier edits");
    for (size_t l = 0, i = 0; l < j->arch.layers; l++) {
        ER_TRY(path_of(&from, j->o->model, l));
        ER_TRY(path_of(&to, er_output_path(j->output), l));
        if (i < h->n_layers && h->layers[i] == l) {
            ER_TRY(er_second_moment_restore(j->dev, j->history[i]));
            ER_TRY(er_second_moment_save(j->history[i++], j->dev, to));
        } else if (er_file_exists(from)) {
            ER_TRY(er_output_copy(j->output, strrchr(to, '/') + 1, from));
        } else {
            continue;
        }
        ER_TRY(er_file_digest(hex, to));
        (void)snprintf(key, sizeof key, "layer-%zu", l);
        if (!cJSON_AddStringToObject(j->history_told, key, hex))
            ER_FAIL(ER_ENOMEM, "the keys of earlier edits");
    }
out:
    free(from);
    free(to);
    return rc;
}
