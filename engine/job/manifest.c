// errata-manifest.json: where the output comes from, with every number that shaped it.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/job/job.h"

static void number(cJSON *o, const char *key, double v) { (void)cJSON_AddNumberToObject(o, key, v); }
static void text(cJSON *o, const char *key, const char *v) {
    if (v) (void)cJSON_AddStringToObject(o, key, v);
}

er_status er_job_parent(er_job *j) {
    er_status rc = ER_OK;
    er_digest *d = NULL;
    const char *bytes = NULL;
    size_t len = 0;
    bool there = false;
    ER_TRY(er_folder_has(&there, j->folder, ER_MANIFEST));
    if (!there) goto out;
    ER_TRY(er_folder_read(&bytes, &len, j->folder, ER_MANIFEST, (size_t)1 << 30));
    ER_TRY(er_digest_new(&d));
    er_digest_add(d, bytes, len);
    er_digest_hex(d, j->parent_digest);
out:
    er_digest_free(d);
    return rc;
}

static void add_run(cJSON *root, const er_job *j) {
    char when[32] = "";
    time_t now = time(NULL);
    struct tm utc;
    cJSON *r = cJSON_AddObjectToObject(root, "run");
    if (gmtime_r(&now, &utc)) (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    text(r, "finished", when);
    number(r, "seconds", er_job_clock() - j->start);
    number(r, "threads", j->dev->threads);
    (void)cJSON_AddBoolToObject(r, "deterministic", j->o->deterministic);
    (void)cJSON_AddBoolToObject(r, "strict", j->o->strict);
    number(r, "limit", (double)j->o->limit);
    text(r, "compiler", __VERSION__);
    text(r, "slurm_job_id", getenv("SLURM_JOB_ID"));
}

static void add_facts(cJSON *root, const er_job *j) {
    cJSON *f = cJSON_AddObjectToObject(root, "facts"),
          *rejects = cJSON_AddArrayToObject(f, "rejected_records");
    text(f, "file", j->facts->path);
    text(f, "format", j->facts->format);
    text(f, "sha256", j->facts->digest);
    number(f, "accepted", (double)j->facts->count);
    number(f, "duplicates", (double)j->facts->n_duplicates);
    number(f, "rejected", (double)j->facts->n_rejects);
    number(f, "subjects", (double)j->units->count);
    for (size_t i = 0; i < j->facts->n_rejects; i++) {
        cJSON *r = cJSON_CreateObject();
        number(r, j->facts->is_lines ? "line" : "record", (double)j->facts->rejects[i].line);
        text(r, "id", j->facts->rejects[i].id);
        text(r, "reason", j->facts->rejects[i].reason);
        (void)cJSON_AddItemToArray(rejects, r);
    }
}

// How the texts were cut into tokens.
// How many facts get which seam between prompt and target; see er_seam.
static void add_seams(cJSON *p, const size_t seam[ER_SEAM_KINDS]) {
    static const char *const names[ER_SEAM_KINDS] = {[ER_SEAM_SPACE] = "space",
        [ER_SEAM_BLANK] = "white_space_of_the_prompt",
        [ER_SEAM_SCRIPT] = "script_without",
        [ER_SEAM_OPEN] = "opening_sign",
        [ER_SEAM_TARGET] = "target_attaches",
        [ER_SEAM_OWN] = "white_space_of_the_target",
        [ER_SEAM_ASKED] = "none_as_asked"};
    cJSON *s = cJSON_AddObjectToObject(p, "seams");
    for (size_t i = 0; i < ER_SEAM_KINDS; i++) number(s, names[i], (double)seam[i]);
}

static void add_prompts(cJSON *root, const er_job *j) {
    cJSON *p = cJSON_AddObjectToObject(root, "prompts");
    number(p, "rows", (double)j->units->n_rows);
    text(p, "space", er_space_name(j->report->hparams.space));
    add_seams(p, j->units->seam);
    number(p, "targets_encoded_apart", (double)j->units->n_target_alone);
    number(p, "subject_ends_read_otherwise_when_cut", (double)j->units->n_prefix_differs);
}

static void add_stages(cJSON *root, const er_job *j) {
    const er_edit_report *r = j->report;
    cJSON *s = cJSON_AddObjectToObject(root, "stages");
    cJSON *c = cJSON_AddObjectToObject(s, "covary"), *v = cJSON_AddObjectToObject(s, "values");
    cJSON *sp = cJSON_AddObjectToObject(s, "solve"), *w = cJSON_AddObjectToObject(s, "write");
    number(c, "seconds", r->covary_seconds);
    text(c, "source", j->text_source);
    number(c, "tokens", j->moments && j->moments[0] ? (double)j->moments[0]->count : 0);
    number(v, "seconds", r->values.seconds);
    number(v, "facts", (double)r->values.units);
    number(v, "cached", (double)r->values_cached);
    number(v, "losses", (double)r->values.losses);
    number(v, "batches", (double)r->values.batches);
    number(v, "gemm_flops", r->values.flops);
    number(v, "slots", (double)r->values.slots);
    number(v, "batch_tokens", (double)r->values.batch_tokens);
    number(sp, "seconds", r->spread.seconds);
    number(sp, "gemm_flops", r->spread.flops);
    number(sp, "residual_left", r->spread.residual_left);
    text(sp, "columns", r->hparams.key_per_row ? "every prompt" : "one mean key a subject");
    cJSON *layers = cJSON_AddArrayToObject(sp, "layers");
    for (size_t i = 0; i < r->spread.n_layers; i++) {
        const er_layer_report *l = &r->spread.layer[i];
        cJSON *o = cJSON_CreateObject();
        number(o, "layer", (double)l->layer);
        text(o, "weight", j->m->block[l->layer].down_tensor->name);
        number(o, "w_norm", l->w_norm);
        number(o, "dw_norm", l->dw_norm);
        number(o, "rounding_loss", l->rounding_loss);
        number(o, "lambda", l->lambda);
        number(o, "trace_ratio", l->trace_ratio);
        number(o, "residual", l->residual);
        text(o, "form", l->solve.dual ? "dual" : "primal");
        number(o, "solve_seconds", l->solve.seconds);
        number(o, "gather_seconds", l->gather_seconds);
        (void)cJSON_AddItemToArray(layers, o);
    }
    number(w, "seconds", r->write_seconds);
}

static void add_files(cJSON *root, const er_job *j) {
    cJSON *files = cJSON_AddObjectToObject(root, "output_sha256");
    for (size_t i = 0; i < er_checkpoint_shards(j->m->checkpoint); i++)
        text(files, er_checkpoint_shard_name(j->m->checkpoint, i), j->shard_digest[i]);
}

er_status er_job_manifest(er_job *j, bool written) {
    er_status rc = ER_OK;
    cJSON *root = cJSON_CreateObject(), *model = NULL, *templates = NULL;
    if (!root) ER_FAIL(ER_ENOMEM, "manifest");
    text(root, "tool", "errata " ERRATA_VERSION);
    model = cJSON_AddObjectToObject(root, "model");
    text(model, "path", j->o->model);
    text(model, "family", j->arch.family);
    if (j->report->model_digest[0]) text(model, "sha256", j->report->model_digest);
    text(model, "tokenizer_sha256", er_tokenizer_digest(j->m->tokenizer));
    if (j->parent_digest[0]) text(model, "parent_manifest_sha256", j->parent_digest);
    add_run(root, j);
    text(root, "device", j->report->device);
    text(root, "precision", er_precision_name(j->dev->precision));
    (void)cJSON_AddItemToObject(root, "hparams", er_hparams_json(&j->report->hparams));
    templates = cJSON_AddArrayToObject(root, "templates");
    for (size_t i = 0; i < j->templates->count; i++)
        (void)cJSON_AddItemToArray(templates, cJSON_CreateString(j->templates->text[i]));
    add_facts(root, j);
    add_prompts(root, j);
    if (written) {
        add_stages(root, j);
        add_files(root, j);
    }
    ER_TRY(er_warnings_add_json(j->warnings, root));
    free(j->report->json);
    if (!(j->report->json = cJSON_Print(root))) ER_FAIL(ER_ENOMEM, "manifest");
out:
    cJSON_Delete(root);
    return rc;
}
