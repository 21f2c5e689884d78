// er_job_eval_score and er_job_eval_write.
#include "engine/job/eval.h"

#include <stdlib.h>
#include <string.h>

#include "engine/editors/apply.h"
#include "engine/evaluate.h"
#include "engine/prompts.h"
#include "engine/report.h"
#include "io/base/file_kind.h"
#include "io/base/json_write.h"
#include "io/base/log.h"
#include "io/base/utf8.h"
#include "io/base/warnings.h"

struct er_job_eval {
    er_job_eval_options o;
    er_eval_options scoring;
    er_facts *facts;
    char *text;
    er_eval *before, *after;
    er_folder *folder;  // of the edited model
    cJSON *manifest;    // its own, or NULL
    er_warnings *warnings;
};

// The manifest of an edited model, from the folder as it was opened. One that cannot be read costs the report
// its plots and no more.
static er_status read_manifest(er_job_eval *e) {
    const char *text = NULL;
    size_t len = 0;
    bool there = false;
    er_status rc = er_folder_has(&there, e->folder, ER_MANIFEST);
    if (rc != ER_OK || !there) return rc;
    rc = er_folder_read(&text, &len, e->folder, ER_MANIFEST, (size_t)256 << 20);
    if (rc == ER_OK) rc = er_json_parse(&e->manifest, text, len, ER_MANIFEST);
    if (rc != ER_OK) er_warn("%s: %s; the report goes without it", e->o.model, er_last_error());
    return ER_OK;
}

static er_status score(er_eval **out, er_job_eval *e, const char *dir) {
    er_status rc = ER_OK;
    er_device *dev = NULL;
    er_model *m = NULL;
    er_model_options mo = {.folder = out == &e->after ? e->folder : NULL};
    ER_TRY(er_device_open(&dev, &e->o.device));
    ER_TRY(er_model_open(&m, dev, dir, &mo));
    ER_TRY(er_evaluate(out, m, e->facts, &e->scoring));
out:
    er_model_free(m);
    er_device_close(dev);
    return rc;
}

// The facts, less what the model's tokenizer cannot tell apart, and the rule for the space before an object:
// the edit's own, unless one is given.
static er_status read_facts(er_job_eval *e) {
    er_status rc = ER_OK;
    er_tokenizer *t = NULL;
    const char *rule = NULL;
    ER_TRY(er_facts_read(&e->facts, e->o.facts, &e->o.reading));
    const cJSON *prompts = cJSON_GetObjectItemCaseSensitive(e->manifest, "prompts");
    if (!e->o.space && prompts && er_json_get_str(&rule, prompts, "space", "manifest") == ER_OK && rule)
        if (er_space_parse(&e->scoring.space, rule) == ER_OK && e->scoring.space != ER_SPACE_AUTO)
            er_info("prompts     space before objects: %s, as the edit had it", rule);
    ER_TRY(er_tokenizer_open_in(&t, e->folder));
    ER_TRY(er_prompts_agree(e->facts, t, e->scoring.space));
    er_facts_warn_rejects(e->facts, 20);
out:
    er_tokenizer_free(t);
    return rc;
}

// The layers of the edit, as far as they are told.
static size_t read_layers(const er_job_eval *e, er_report_layer *layers, size_t most) {
    size_t n = 0;
    const cJSON *stages = cJSON_GetObjectItemCaseSensitive(e->manifest, "stages");
    const cJSON *solve = cJSON_GetObjectItemCaseSensitive(stages, "solve"), *l = NULL;
    cJSON_ArrayForEach(l, cJSON_GetObjectItemCaseSensitive(solve, "layers")) {
        uint64_t layer = 0;
        er_report_layer r = {.rounding_loss = -1};  // older manifests have fewer numbers
        if (n == most || er_json_get_u64(&layer, l, "layer", "manifest") != ER_OK) break;
        if (er_json_get_f64(&r.w_norm, l, "w_norm", "manifest") != ER_OK) break;
        if (er_json_get_f64(&r.dw_norm, l, "dw_norm", "manifest") != ER_OK) break;
        if (er_json_get_f64(&r.rounding_loss, l, "rounding_loss", "manifest") != ER_OK) break;
        if (er_json_get_f64(&r.lambda, l, "lambda", "manifest") != ER_OK) break;
        if (er_json_get_f64(&r.trace_ratio, l, "trace_ratio", "manifest") != ER_OK) break;
        r.layer = (size_t)layer;
        layers[n++] = r;
    }
    return n;
}

static er_status read_text(er_job_eval *e) {
    er_status rc = ER_OK;
    er_eval_options *o = &e->scoring;
    if (!e->o.text) return ER_OK;
    ER_TRY(er_file_read(&e->text, &o->drift_bytes, e->o.text, (size_t)1 << 30));
    ER_TRY(er_text_check(e->text, o->drift_bytes, e->o.text));
    er_text_warn(e->o.text);
    size_t mark = er_utf8_mark(e->text, o->drift_bytes);
    o->drift_text = e->text + mark;
    o->drift_bytes -= mark;
out:
    return rc;
}

er_status er_job_eval_score(er_job_eval **out, const er_job_eval_options *options) {
    er_status rc = ER_OK;
    er_job_eval *e = calloc(1, sizeof *e);
    if (!e) ER_FAIL(ER_ENOMEM, "scores");
    e->o = *options;
    e->scoring = (er_eval_options){.answers = options->answers,
        .neighbors = options->neighbors,
        .drift_tokens = options->text_tokens,
        .all_paraphrases = options->all_paraphrases};
    ER_TRY(er_warnings_begin(&e->warnings));
    if (e->o.space) ER_TRY(er_space_parse(&e->scoring.space, e->o.space));
    ER_TRY(read_text(e));
    ER_TRY(er_folder_open(&e->folder, e->o.model));
    ER_TRY(read_manifest(e));
    ER_TRY(read_facts(e));
    if (e->o.base) ER_TRY(score(&e->before, e, e->o.base));
    ER_TRY(score(&e->after, e, e->o.model));
    *out = e;
    e = NULL;
out:
    er_job_eval_free(e);
    return er_interrupted_in(rc, "eval", NULL);
}

void er_job_eval_print_table(const er_job_eval *e, FILE *to) { er_eval_print_table(to, e->before, e->after); }

static er_status write_files(const er_job_eval *e, const char *json, const char *to,
    void (*wrote)(const char *metrics, const char *page)) {
    er_status rc = ER_OK;
    er_report_layer layers[ER_MAX_EDIT_LAYERS];
    char *html = NULL, *path = NULL, *page = NULL;
    size_t n = read_layers(e, layers, ER_MAX_EDIT_LAYERS);
    er_report r = {.before = e->before,
        .after = e->after,
        .layer = layers,
        .n_layers = n,
        .settings = cJSON_GetObjectItemCaseSensitive(e->manifest, "hparams"),
        .warnings = e->warnings,
        .edit_warnings = cJSON_GetObjectItemCaseSensitive(e->manifest, "warnings")};
    ER_TRY(er_report_html(&html, &r));
    ER_TRY(er_mkdirs(to));
    if (!(path = er_path_join(to, "metrics.json")) || !(page = er_path_join(to, "report.html")))
        ER_FAIL(ER_ENOMEM, "a path");
    ER_TRY(er_file_write_atomic(path, json, strlen(json)));
    ER_TRY(er_file_write_atomic(page, html, strlen(html)));
    if (wrote) wrote(path, page);
out:
    free(html);
    free(path);
    free(page);
    return rc;
}

er_status er_job_eval_write(char **json, const er_job_eval *e, const char *to, bool details,
    void (*wrote)(const char *metrics, const char *page)) {
    er_status rc = ER_OK;
    cJSON *tree = NULL;
    char *text = NULL;
    ER_TRY(er_stop_check("nothing is written"));  // the manifest may not have been read for that reason
    ER_TRY(er_eval_json(&tree, e->before, e->after, details));
    ER_TRY(er_warnings_add_json(e->warnings, tree));
    ER_TRY(er_json_print(&text, tree, &(er_json_writer){0}, "the metrics"));
    if (to) ER_TRY(write_files(e, text, to, wrote));
    *json = text;
    text = NULL;
out:
    cJSON_Delete(tree);
    free(text);
    return er_interrupted_in(rc, "eval", NULL);
}

void er_job_eval_free(er_job_eval *e) {
    if (!e) return;
    er_eval_free(e->before);
    er_eval_free(e->after);
    er_facts_free(e->facts);
    er_folder_free(e->folder);
    er_warnings_end(e->warnings);
    cJSON_Delete(e->manifest);
    free(e->text);
    free(e);
}
