// K K^T of the edits that a model has been through, for editors whose next edit is to leave those alone. It is kept in the edited
// model's folder, a file a layer; an edit by another editor does not carry it on.
#include <stdio.h>
#include <stdlib.h>

#include "engine/job/job_internal.h"
#include "io/base/file.h"
#include "io/base/log.h"

static er_status path_of(char **out, const char *dir, size_t layer) {
    char name[48];
    (void)snprintf(name, sizeof name, ER_HISTORY "layer-%zu.npz", layer);
    free(*out);
    *out = er_path_join(dir, name);
    return *out ? ER_OK : er_fail(ER_ENOMEM, "the path of %s", name);
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
        columns = j->history[i]->count;
        if (j->dev->is_async) ER_TRY(er_second_moment_offload(j->dev, j->history[i]));
    }
    if (columns) er_info("history     %llu keys of earlier edits of this model", columns);
out:
    free(path);
    return rc;
}

er_status er_job_write_history(const er_job *j) {
    er_status rc = ER_OK;
    const er_hparams *h = &j->report->hparams;
    char *path = NULL;
    for (size_t i = 0; j->history && i < h->n_layers; i++) {
        ER_TRY(path_of(&path, er_output_path(j->output), h->layers[i]));
        ER_TRY(er_second_moment_restore(j->dev, j->history[i]));
        ER_TRY(er_second_moment_save(j->history[i], j->dev, path));
    }
out:
    free(path);
    return rc;
}
