// errata-manifest.json: where the output comes from, with every number that shaped it.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/errata.h"
#include "engine/job/job_internal.h"
#include "io/base/clock.h"
#include "io/base/json_write.h"

// Absent when there is no value.
static void text(er_json_writer *w, cJSON *o, const char *key, const char *v) {
    if (v) er_json_text(w, o, key, v);
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

static void add_run(er_json_writer *w, cJSON *root, const er_job *j) {
    char when[32] = "";
    time_t now = time(NULL);
    struct tm utc;
    cJSON *r = er_json_object(w, root, "run");
    if (gmtime_r(&now, &utc)) (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    text(w, r, "finished", when);
    er_json_number(w, r, "seconds", er_clock() - j->start);
    er_json_number(w, r, "ranks", (double)j->comm->size);
    er_json_number(w, r, "threads", j->dev->threads);  // of each
    er_json_bool(w, r, "deterministic", j->o->deterministic);
    er_json_bool(w, r, "strict", j->o->strict);
    er_json_number(w, r, "limit", (double)j->o->limit);
    text(w, r, "compiler", __VERSION__);
    text(w, r, "slurm_job_id", getenv("SLURM_JOB_ID"));
}

static void add_facts(er_json_writer *w, cJSON *root, const er_job *j) {
    cJSON *f = er_json_object(w, root, "facts"), *rejects = er_json_array(w, f, "rejected_records");
    text(w, f, "file", j->facts->path);
    text(w, f, "format", j->facts->format);
    text(w, f, "sha256", j->facts->digest);
    er_json_number(w, f, "accepted", (double)j->facts->count);
    er_json_number(w, f, "duplicates", (double)j->facts->n_duplicates);
    er_json_number(w, f, "rejected", (double)j->facts->n_rejects);
    er_json_number(w, f, "subjects", (double)j->requests->count);
    for (size_t i = 0; i < j->facts->n_rejects; i++) {
        cJSON *r = er_json_element(w, rejects);
        er_json_number(w, r, j->facts->is_lines ? "line" : "record", (double)j->facts->rejects[i].line);
        text(w, r, "id", j->facts->rejects[i].id);
        text(w, r, "reason", j->facts->rejects[i].reason);
    }
}

// How many facts get which seam between prompt and target; see er_seam.
static void add_seams(er_json_writer *w, cJSON *p, const size_t seam[ER_SEAM_KINDS]) {
    static const char *const names[ER_SEAM_KINDS] = {[ER_SEAM_SPACE] = "space",
        [ER_SEAM_BLANK] = "white_space_of_the_prompt",
        [ER_SEAM_SCRIPT] = "script_without",
        [ER_SEAM_OPEN] = "opening_sign",
        [ER_SEAM_TARGET] = "target_attaches",
        [ER_SEAM_OWN] = "white_space_of_the_target",
        [ER_SEAM_ASKED] = "none_as_asked"};
    cJSON *s = er_json_object(w, p, "seams");
    for (size_t i = 0; i < ER_SEAM_KINDS; i++) er_json_number(w, s, names[i], (double)seam[i]);
}

// How the texts were cut into tokens.
static void add_prompts(er_json_writer *w, cJSON *root, const er_job *j) {
    cJSON *p = er_json_object(w, root, "prompts");
    er_json_number(w, p, "rows", (double)j->requests->n_rows);
    text(w, p, "space", er_space_name(j->report->hparams.space));
    add_seams(w, p, j->requests->seam);
    er_json_number(w, p, "targets_encoded_apart", (double)j->requests->n_target_alone);
    er_json_number(w, p, "subject_ends_read_otherwise_when_cut", (double)j->requests->n_prefix_differs);
}

static void add_stages(er_json_writer *w, cJSON *root, const er_job *j) {
    const er_job_report *r = j->report;
    cJSON *s = er_json_object(w, root, "stages");
    cJSON *c = er_json_object(w, s, "covary"), *v = er_json_object(w, s, "values");
    cJSON *sp = er_json_object(w, s, "solve"), *written = er_json_object(w, s, "write");
    er_json_number(w, c, "seconds", r->statistics_seconds);
    text(w, c, "source", j->text_source);
    er_json_number(w, c, "tokens", j->moments && j->moments[0] ? (double)j->moments[0]->count : 0);
    er_json_number(w, v, "seconds", r->targets.seconds);
    er_json_number(w, v, "facts", (double)r->targets.requests);
    er_json_number(w, v, "cached", (double)r->targets_cached);
    er_json_number(w, v, "losses", (double)r->targets.losses);
    er_json_number(w, v, "batches", (double)r->targets.batches);
    er_json_number(w, v, "gemm_flops", r->targets.flops);
    er_json_number(w, v, "slots", (double)r->targets.slots);
    er_json_number(w, v, "batch_tokens", (double)r->targets.batch_tokens);
    er_json_number(w, sp, "seconds", r->spread.seconds);
    er_json_number(w, sp, "gemm_flops", r->spread.flops);
    er_json_number(w, sp, "residual_left", r->spread.residual_left);
    text(w, sp, "columns", r->hparams.key_per_prompt ? "every prompt" : "one mean key a subject");
    cJSON *layers = er_json_array(w, sp, "layers");
    for (size_t i = 0; i < r->spread.n_layers; i++) {
        const er_layer_report *l = &r->spread.layer[i];
        cJSON *o = er_json_element(w, layers);
        er_json_number(w, o, "layer", (double)l->layer);
        text(w, o, "weight", j->m->block[l->layer].down_tensor->name);
        er_json_number(w, o, "w_norm", l->w_norm);
        er_json_number(w, o, "dw_norm", l->dw_norm);
        er_json_number(w, o, "rounding_loss", l->rounding_loss);
        er_json_number(w, o, "lambda", l->lambda);
        er_json_number(w, o, "trace_ratio", l->trace_ratio);
        er_json_number(w, o, "residual", l->residual);
        text(w, o, "form", l->rank ? "restricted" : l->solve.dual ? "dual" : "primal");
        if (l->rank) er_json_number(w, o, "rank", (double)l->rank);
        er_json_number(w, o, "solve_seconds", l->solve.seconds);
        er_json_number(w, o, "gather_seconds", l->gather_seconds);
    }
    er_json_number(w, written, "seconds", r->write_seconds);
}

static void add_files(er_json_writer *w, cJSON *root, const er_job *j) {
    cJSON *files = er_json_object(w, root, "output_sha256");
    for (size_t i = 0; i < er_checkpoint_shards(j->m->checkpoint); i++)
        text(w, files, er_checkpoint_shard_name(j->m->checkpoint, i), j->shard_digest[i]);
}

// The digests of the keys of earlier edits that stand beside the weights.
static void add_history(er_json_writer *w, cJSON *root, const er_job *j) {
    cJSON *copy = cJSON_Duplicate(j->history_told, true);
    if (copy && cJSON_AddItemToObject(root, "history", copy)) return;
    cJSON_Delete(copy);
    w->failed = true;
}

er_status er_job_manifest(er_job *j, bool written) {
    er_status rc = ER_OK;
    er_json_writer writer = {0}, *w = &writer;
    cJSON *root = er_json_root(w), *model = NULL, *templates = NULL;
    char *printed = NULL;
    text(w, root, "tool", "errata " ERRATA_VERSION);
    model = er_json_object(w, root, "model");
    text(w, model, "path", j->o->model);
    text(w, model, "family", j->arch.family);
    if (j->report->model_digest[0]) text(w, model, "sha256", j->report->model_digest);
    text(w, model, "tokenizer_sha256", er_tokenizer_digest(j->m->tokenizer));
    if (j->parent_digest[0]) text(w, model, "parent_manifest_sha256", j->parent_digest);
    if (j->history_told) add_history(w, root, j);
    add_run(w, root, j);
    text(w, root, "device", j->report->device);
    text(w, root, "precision", er_precision_name(j->dev->precision));
    er_json_item(w, root, "hparams", er_hparams_json(&j->report->hparams));
    templates = er_json_array(w, root, "templates");
    for (size_t i = 0; i < j->templates->count; i++)
        er_json_item(w, templates, NULL, cJSON_CreateString(j->templates->text[i]));
    add_facts(w, root, j);
    add_prompts(w, root, j);
    if (written) {
        add_stages(w, root, j);
        add_files(w, root, j);
    }
    ER_TRY(er_warnings_add_json(j->warnings, root));
    ER_TRY(er_json_print(&printed, root, w, "the manifest"));
    free(j->report->json);
    j->report->json = printed;
out:
    cJSON_Delete(root);
    return rc;
}
