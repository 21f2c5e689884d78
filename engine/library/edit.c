// er_edit and er_check: the public options and reports beside those of the job.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/job/job.h"
#include "engine/library/library_internal.h"

// Every member is 8 bytes, so that none ever lies in what an older version took for padding.
_Static_assert(sizeof(er_edit_options) == 25 * 8, "an option that is not 8 bytes, or is not in to_job()");
enum { LEAST = offsetof(er_edit_options, limit) };  // what no call can do without

#define FLAGS (ER_FORCE | ER_STRICT | ER_DETERMINISTIC | ER_COPY_ALL | ER_ZSRE_ANSWERS)

static er_status to_job(er_job_options *out, const er_edit_options *o) {
    er_job_options j = ER_JOB_OPTIONS_DEFAULT;
    if (o->flags & ~FLAGS)
        return er_fail(ER_EARG, "flags %#llx: no such flag", (unsigned long long)(o->flags & ~FLAGS));
    if (o->n_texts && !o->texts)
        return er_fail(ER_EARG, "n_texts is %llu without texts", (unsigned long long)o->n_texts);
    if (o->n_texts && o->import) return er_fail(ER_EARG, "texts and import exclude each other");
    if (!isfinite(o->lambda) || o->lambda < 0) return er_fail(ER_EARG, "lambda %g is not above 0", o->lambda);
    if (o->seed >> 53) return er_fail(ER_EARG, "seed %llu is not below 2^53", (unsigned long long)o->seed);
    j.model = o->model, j.facts = o->facts, j.out = o->out;
    j.force = o->flags & ER_FORCE, j.strict = o->flags & ER_STRICT;
    j.copy_all = o->flags & ER_COPY_ALL, j.zsre_answers = o->flags & ER_ZSRE_ANSWERS;
    j.deterministic = o->flags & ER_DETERMINISTIC;
    j.limit = (size_t)o->limit, j.steps = (size_t)o->steps, j.seed = o->seed, j.lambda = o->lambda;
    if (o->profile) j.profile = o->profile;
    j.editor = o->editor, j.hparams = o->hparams, j.layers = o->layers;
    j.space = o->space, j.templates = o->templates;
    j.text = o->texts, j.n_text = (size_t)o->n_texts, j.import = o->import;
    j.cov_tokens = (size_t)o->statistics_tokens, j.batch_tokens = (size_t)o->batch_tokens;
    j.cache = o->cache;
    *out = j;
    return er_device_take(&out->device, o->device, o->precision, o->threads, o->memory_limit);
}

typedef er_status (*run_fn)(er_job_report **, const er_job_options *);

static er_status run(
    er_job_report **out, er_context *c, const er_edit_options *options, run_fn job, bool writes) {
    er_status rc = ER_OK;
    er_edit_options own;
    er_job_options o;
    er_call call;
    ER_TRY(er_options_take(&own, sizeof own, options, LEAST, "ER_EDIT_OPTIONS_INIT"));
    ER_TRY(to_job(&o, &own));
    if (!o.model) ER_FAIL(ER_EARG, "model is not set");
    if (!o.facts) ER_FAIL(ER_EARG, "facts is not set");
    if (writes && !o.out) ER_FAIL(ER_EARG, "out is not set");
    ER_TRY(er_call_begin(&call, c));
    rc = er_call_end(&call, job(out, &o));
out:
    return rc;
}

// A report and the strings it points to, freed as one.
typedef struct edited {
    er_edit_report public;
    er_job_report *job;
} edited;
typedef struct checked {
    er_check_report public;
    er_job_report *job;
} checked;

er_status er_edit(er_edit_report **report, er_context *c, const er_edit_options *options) {
    if (!report) return er_fail(ER_EARG, "er_edit: nowhere to put the report");
    edited *e = calloc(1, sizeof *e);
    if (!e) return er_fail(ER_ENOMEM, "a report");
    er_status rc = run(&e->job, c, options, er_job_edit, true);
    if (rc != ER_OK) {
        free(e);
        return rc;
    }
    const er_job_report *j = e->job;
    e->public = (er_edit_report){.facts = j->facts,
        .rejected = j->rejected,
        .duplicates = j->duplicates,
        .subjects = j->requests,
        .cached = j->targets_cached,
        .residual_left = j->spread.residual_left,
        .statistics_seconds = j->statistics_seconds,
        .values_seconds = j->targets.seconds,
        .solve_seconds = j->spread.seconds,
        .write_seconds = j->write_seconds,
        .seconds = j->seconds,
        .device = j->device,
        .manifest = j->json};
    *report = &e->public;
    return ER_OK;
}

void er_edit_report_free(er_edit_report *report) {
    edited *e = (edited *)report;  // its first member
    if (e) er_job_report_free(e->job);
    free(e);
}

er_status er_check(er_check_report **report, er_context *c, const er_edit_options *options) {
    if (!report) return er_fail(ER_EARG, "er_check: nowhere to put the report");
    checked *e = calloc(1, sizeof *e);
    if (!e) return er_fail(ER_ENOMEM, "a report");
    er_status rc = run(&e->job, c, options, er_job_check, false);
    if (rc != ER_OK) {
        free(e);
        return rc;
    }
    const er_job_report *j = e->job;
    e->public = (er_check_report){.facts = j->facts,
        .rejected = j->rejected,
        .duplicates = j->duplicates,
        .subjects = j->requests,
        .flops = j->estimate.flops,
        .flops_per_second = j->estimate.rate,
        .memory = (double)er_memory_peak(&j->memory),
        .memory_weights = (double)j->memory.weights,
        .memory_statistics = (double)j->memory.statistics,
        .memory_covary = (double)j->memory.pass,
        .memory_values = (double)j->memory.values,
        .memory_solve = (double)j->memory.solve,
        .seconds = j->seconds,
        .device = j->device,
        .manifest = j->json};
    *report = &e->public;
    return ER_OK;
}

void er_check_report_free(er_check_report *report) {
    checked *e = (checked *)report;  // its first member
    if (e) er_job_report_free(e->job);
    free(e);
}
