// Everything that can be refused is refused here, before any compute: output, facts, model, settings,
// prompts.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/statistics.h"
#include "engine/job/job_internal.h"
#include "engine/job/paths.h"
#include "io/base/log.h"

static er_status resolve_hparams(er_job *j) {
    er_status rc = ER_OK;
    er_hparams *h = &j->report->hparams;
    const er_job_options *o = j->o;
    ER_TRY(er_hparams_resolve(h, &j->arch, o->profile ? o->profile : "default"));
    if (o->editor) ER_TRY(er_hparams_set_editor(h, o->editor, er_editor_settings_at));
    h->editor_given = o->editor != NULL;
    if (o->hparams) ER_TRY(er_hparams_merge_file(h, o->hparams, er_editor_settings_at));
    if (o->layers) ER_TRY(er_hparams_set_layers(h, o->layers));
    if (o->lambda > 0) {
        h->lambda = o->lambda;
        er_hparams_mark(h, "mom2_update_weight", ER_FROM_FLAG);
        h->trace_ratio = 0;
        h->lambda_guessed = false;
    }
    if (o->steps) h->steps = o->steps, er_hparams_mark(h, "v_num_grad_steps", ER_FROM_FLAG);
    if (o->seed) h->seed = o->seed;
    if (o->space) ER_TRY(er_space_parse(&h->space, o->space));
    if (o->cov_tokens) h->cov_tokens = o->cov_tokens, er_hparams_mark(h, "cov_tokens", ER_FROM_FLAG);
    if (!h->cov_tokens) h->cov_tokens = 10 * j->arch.d_ff;
    ER_TRY(er_hparams_check(h, &j->arch));
    j->editor = er_editor_find(h->editor.name);
    if (j->editor->check) ER_TRY(j->editor->check(h));
out:
    return rc;
}

static er_status read_facts(er_job *j) {
    uint64_t bytes = 0;
    if (j->comm->size > 1) {
        er_status rc = strcmp(j->o->facts, "-")
                           ? er_file_size(&bytes, j->o->facts)
                           : er_fail(ER_ECONFIG, "standard input has facts for one rank");
        if (rc != ER_OK) return rc;
    }
    er_facts_options fo = {.zsre_answers = j->o->zsre_answers, .limit = j->o->limit};
    return er_facts_read(&j->facts, j->o->facts, &fo);
}

static er_status open_model(er_job *j) {
    er_status rc = ER_OK;
    ER_TRY(er_folder_open(&j->folder, j->o->model));
    ER_TRY(er_job_parent(j));
    ER_TRY(er_arch_read_in(&j->arch, j->folder));
    ER_TRY(resolve_hparams(j));
    ER_TRY(er_job_check_history(j));
    ER_TRY(er_device_open(&j->dev, &j->o->device));
    ER_TRY(er_job_check_limit(j));
    er_model_options mo = {.editable = j->report->hparams.layers,
        .n_editable = j->report->hparams.n_layers,
        .check_only = j->check_only,
        .digest = true,
        .folder = j->folder};
    ER_TRY(er_model_open(&j->m, j->dev, j->o->model, &mo));
out:
    return rc;
}

static er_status build_requests(er_job *j) {
    er_status rc = ER_OK;
    er_hparams *h = &j->report->hparams;
    if (j->o->templates) {
        ER_TRY(er_templates_read(&j->templates, j->o->templates));
        h->n_prefixes = j->templates->count;
        er_hparams_mark(h, "n_prefixes", ER_FROM_FLAG);
    } else {
        ER_TRY(er_templates_builtin(&j->templates, h->n_prefixes));
    }
    ER_TRY(er_requests_build(&j->requests, j->facts, j->m, h, j->templates));
    if (j->o->strict && j->facts->n_rejects) {
        const er_reject *r = &j->facts->rejects[0];
        ER_FAIL(ER_EFORMAT, "%s: %s %zu: %s", j->facts->path, j->facts->is_lines ? "line" : "record", r->line,
            r->reason);
    }
    er_facts_warn_rejects(j->facts, j->check_only ? SIZE_MAX : 20);
    if (!j->requests->count) ER_FAIL(ER_EFORMAT, "%s: no usable fact", j->facts->path);
    j->report->facts = j->facts->count;
    j->report->rejected = j->facts->n_rejects;
    j->report->duplicates = j->facts->n_duplicates;
    j->report->requests = j->requests->count;
out:
    return rc;
}

static size_t stored_bytes(const er_checkpoint *c) {
    size_t sum = 0;
    for (size_t i = 0; i < er_checkpoint_count(c); i++) sum += (size_t)er_checkpoint_at(c, i)->bytes;
    return sum;
}

er_status er_job_prepare(er_job *j) {
    er_status rc = ER_OK;
    if (!j->o->model || !j->o->facts) ER_FAIL(ER_EARG, "--model and --facts are needed");
    if (!j->check_only) {
        if (!j->o->out) ER_FAIL(ER_EARG, "--out is needed");
        if (j->comm->rank == 0) ER_TRY(er_output_check(j->o->out, j->o->force, j->o->model));
    }
    ER_TRY(er_corpus_check(j->o->text, j->o->n_text));
    ER_TRY(er_cache_dir(&j->cache, j->o->cache));
    if (!j->cache && !j->o->cache && !j->check_only)
        er_warn("neither HOME nor XDG_CACHE_HOME names a folder for the cache: nothing is kept for later "
                "jobs, and an "
                "interrupted one begins anew");
    ER_TRY(read_facts(j));
    ER_TRY(open_model(j));
    ER_TRY(build_requests(j));
    ER_TRY(er_job_check_tokens(j));
    (void)snprintf(j->report->device, sizeof j->report->device, "%s", j->dev->name);
    j->report->weight_bytes = j->check_only ? stored_bytes(j->m->checkpoint) : j->m->weight_bytes;
out:
    return rc;
}

static void print_settings(const er_hparams *h) {
    er_info("settings    profile %s, preset %s", h->profile, h->preset);
    if (strncmp(h->preset, ER_RULE_OF_THUMB, strlen(ER_RULE_OF_THUMB)) != 0) return;
    const char *layers = h->layers_guessed ? "layers by depth fraction" : "",
               *lambda = h->lambda_guessed ? "lambda by traces" : "";
    if (!*layers && !*lambda)
        er_info("            no preset is for a model of this family and size; layers and lambda as given");
    else
        er_info("            no preset is for a model of this family and size, so this is a guess: %s%s%s",
            layers, *layers && *lambda ? ", " : "", lambda);
}

void er_job_print_plan(const er_job *j) {
    const er_arch *a = &j->arch;
    const er_hparams *h = &j->report->hparams;
    char layers[256] = "", lambda[256] = "";
    size_t used = 0, rows = 0;
    for (size_t i = 0; i < h->n_layers && used < sizeof layers - 8; i++)
        used += (size_t)snprintf(layers + used, sizeof layers - used, "%s%zu", i ? " " : "", h->layers[i]);
    for (size_t i = 0; i < j->requests->count; i++) rows += j->requests->at[i].n_rows - 1;
    er_info("model       %s: %s, %zu layers, hidden %zu, d_ff %zu, %.0f MB", j->o->model, a->family,
        a->layers, a->hidden, a->d_ff, (double)j->report->weight_bytes * 1e-6);
    er_info("device      %s", j->dev->name);
    er_info("facts       %zu accepted, %zu rejected, %zu duplicates; %zu subjects, %.1f prompts each",
        j->facts->count, j->facts->n_rejects, j->facts->n_duplicates, j->requests->count,
        (double)rows / (double)j->requests->count);
    print_settings(h);
    if (j->editor->restricted)
        for (size_t i = 0, n = 0; i < h->editor.n_fields && n < sizeof lambda; i++)
            n += (size_t)snprintf(
                lambda + n, sizeof lambda - n, "%s%s %g", i ? ", " : "", h->editor.fields[i].key, h->own[i]);
    else if (h->trace_ratio > 0)
        (void)snprintf(lambda, sizeof lambda, "lambda for tr(lambda C) = %g tr(KK')", h->trace_ratio);
    else (void)snprintf(lambda, sizeof lambda, "lambda %g", h->lambda);
    er_info("edit        %s, layers %s, %s, %zu steps, lr %g, clamp %g, decay %g, kl %g, seed %llu",
        h->editor.name, layers, lambda, h->steps, h->lr, h->clamp, h->decay, h->kl, h->seed);
    er_info("covariance  %zu tokens, cache %s", h->cov_tokens, j->cache ? j->cache : "none");
}
