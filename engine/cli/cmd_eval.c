// errata eval: scores before and after, as a table, as metrics.json and as a report to look at.
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli/cli_internal.h"
#include "engine/evaluate.h"
#include "engine/prompts.h"
#include "engine/report.h"
#include "io/base/file_kind.h"
#include "io/base/log.h"
#include "io/base/signals.h"
#include "io/base/utf8.h"

enum {
    O_MODEL = CLI_FIRST,
    O_FACTS,
    O_BASE,
    O_TEXT,
    O_OUT,
    O_LIMIT,
    O_ZSRE,
    O_ANSWERS,
    O_PARAPHRASES,
    O_NEIGHBORS,
    O_SPACE,
    O_DRIFT,
    O_DETAILS
};
static const struct option options[] = {{"model", required_argument, NULL, O_MODEL},
    {"facts", required_argument, NULL, O_FACTS}, {"base", required_argument, NULL, O_BASE},
    {"text", required_argument, NULL, O_TEXT}, {"out", required_argument, NULL, O_OUT},
    {"limit", required_argument, NULL, O_LIMIT}, {"zsre-answers", no_argument, NULL, O_ZSRE},
    {"space", required_argument, NULL, O_SPACE}, {"answers", required_argument, NULL, O_ANSWERS},
    {"all-paraphrases", no_argument, NULL, O_PARAPHRASES},
    {"neighbors", required_argument, NULL, O_NEIGHBORS}, {"drift-tokens", required_argument, NULL, O_DRIFT},
    {"details", no_argument, NULL, O_DETAILS}, ER_CLI_COMMON_OPTIONS, {0}};
static const char help[] =
    "usage: errata eval --model DIR --facts FILE [--base DIR] [OPTIONS]\n\n"
    "Scores each fact's prompt, its paraphrases and its neighbours: as a comparison of the two objects'\n"
    "probabilities, and strictly, every token of the right object the most probable one.\n\n"
    "  --model DIR               checkpoint to score\n"
    "  --facts FILE              as for errata edit, - for standard input\n"
    "  --base DIR                the unedited checkpoint, to set beside it\n"
    "  --text FILE               held-out prose: perplexity before and after\n"
    "  --drift-tokens N          of it, at most (8192)\n"
    "  --out DIR                 write metrics.json and report.html there\n"
    "  --limit N                 the first N records only\n"
    "  --answers N               ask N facts in words, for the report (40)\n"
    "  --neighbors N             score the first N neighbours of each fact (all)\n"
    "  --all-paraphrases         score EasyEdit's rephrase_prompt too, although few are paraphrases\n"
    "  --zsre-answers            zsRE: the true answer is the target\n"
    "  --space auto|always|never between prompts and objects (as the model's edit had it, else auto)\n"
    "  --details                 every prompt's scores in metrics.json\n" ER_CLI_COMMON_HELP;

typedef struct eval {
    er_cli_common c;
    const char *model, *space, *facts_path, *base, *text_path, *out;
    er_facts_options fo;
    er_eval_options o;
    bool details;
    er_facts *facts;
    char *text;
    er_eval *before, *after;
    er_folder *folder;  // of the edited model
    cJSON *manifest;    // its own, or NULL
} eval;

// The manifest of an edited model, from the folder as it was opened. One that cannot be read costs the report
// its plots and no more.
static er_status read_manifest(eval *e, er_folder *folder) {
    const char *text = NULL;
    size_t len = 0;
    bool there = false;
    er_status rc = er_folder_has(&there, folder, ER_MANIFEST);
    if (rc != ER_OK || !there) return rc;
    rc = er_folder_read(&text, &len, folder, ER_MANIFEST, (size_t)256 << 20);
    if (rc == ER_OK) rc = er_json_parse(&e->manifest, text, len, ER_MANIFEST);
    if (rc != ER_OK) er_warn("%s: %s; the report goes without it", e->model, er_last_error());
    return ER_OK;
}

static er_status score(er_eval **out, eval *e, const char *dir) {
    er_status rc = ER_OK;
    er_device *dev = NULL;
    er_model *m = NULL;
    er_model_options mo = {.folder = out == &e->after ? e->folder : NULL};
    ER_TRY(er_device_open(&dev, &e->c.device));
    ER_TRY(er_model_open(&m, dev, dir, &mo));
    ER_TRY(er_evaluate(out, m, e->facts, &e->o));
out:
    er_model_free(m);
    er_device_close(dev);
    return rc;
}

// The facts, less what the model's tokenizer cannot tell apart, and the rule for the space before an object:
// the edit's own, unless one is given.
static er_status read_facts(eval *e) {
    er_status rc = ER_OK;
    er_tokenizer *t = NULL;
    const char *rule = NULL;
    ER_TRY(er_facts_read(&e->facts, e->facts_path, &e->fo));
    const cJSON *prompts = cJSON_GetObjectItemCaseSensitive(e->manifest, "prompts");
    if (!e->space && prompts && er_json_get_str(&rule, prompts, "space", "manifest") == ER_OK && rule)
        if (er_space_parse(&e->o.space, rule) == ER_OK && e->o.space != ER_SPACE_AUTO)
            er_info("prompts     space before objects: %s, as the edit had it", rule);
    ER_TRY(er_tokenizer_open_in(&t, e->folder));
    ER_TRY(er_prompts_agree(e->facts, t, e->o.space));
    er_facts_warn_rejects(e->facts, 20);
out:
    er_tokenizer_free(t);
    return rc;
}

// The layers of the edit, as far as they are told.
static size_t read_layers(eval *e, er_report_layer *layers, size_t most) {
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

static er_status write_out(eval *e) {
    er_status rc = ER_OK;
    er_report_layer layers[ER_MAX_EDIT_LAYERS];
    cJSON *json = NULL;
    char *text = NULL, *html = NULL, *path = NULL, *page = NULL;
    size_t n = read_layers(e, layers, ER_MAX_EDIT_LAYERS);
    er_report r = {.before = e->before,
        .after = e->after,
        .layer = layers,
        .n_layers = n,
        .settings = cJSON_GetObjectItemCaseSensitive(e->manifest, "hparams"),
        .warnings = er_cli_warnings(),
        .edit_warnings = cJSON_GetObjectItemCaseSensitive(e->manifest, "warnings")};
    ER_TRY(er_stop_check("nothing is written"));  // the manifest may not have been read for that reason
    ER_TRY(er_eval_json(&json, e->before, e->after, e->details));
    ER_TRY(er_warnings_add_json(er_cli_warnings(), json));
    ER_TRY(er_json_print(&text, json, &(er_json_writer){0}, "the metrics"));
    if (e->c.json) (void)puts(text);
    if (!e->out) goto out;
    ER_TRY(er_report_html(&html, &r));
    ER_TRY(er_mkdirs(e->out));
    if (!(path = er_path_join(e->out, "metrics.json")) || !(page = er_path_join(e->out, "report.html")))
        ER_FAIL(ER_ENOMEM, "a path");
    ER_TRY(er_file_write_atomic(path, text, strlen(text)));
    ER_TRY(er_file_write_atomic(page, html, strlen(html)));
    if (!e->c.json) (void)printf("written: %s and %s\n", path, page);
out:
    cJSON_Delete(json);
    free(text);
    free(html);
    free(path);
    free(page);
    return rc;
}

static er_status run(eval *e) {
    er_status rc = ER_OK;
    if (e->text_path) {
        ER_TRY(er_file_read(&e->text, &e->o.drift_bytes, e->text_path, (size_t)1 << 30));
        ER_TRY(er_text_check(e->text, e->o.drift_bytes, e->text_path));
        er_text_warn(e->text_path);
        size_t mark = er_utf8_mark(e->text, e->o.drift_bytes);
        e->o.drift_text = e->text + mark;
        e->o.drift_bytes -= mark;
    }
    ER_TRY(er_folder_open(&e->folder, e->model));
    ER_TRY(read_manifest(e, e->folder));
    ER_TRY(read_facts(e));
    if (e->base) ER_TRY(score(&e->before, e, e->base));
    ER_TRY(score(&e->after, e, e->model));
    if (!e->c.json) er_eval_print_table(stdout, e->before, e->after);
    ER_TRY(write_out(e));
out:
    er_eval_free(e->before);
    er_eval_free(e->after);
    er_facts_free(e->facts);
    er_folder_free(e->folder);
    cJSON_Delete(e->manifest);
    free(e->text);
    return rc;
}

static int take(eval *e, int o, const char *value) {
    switch (o) {
    case O_MODEL:
        e->model = value;
        return 1;
    case O_FACTS:
        e->facts_path = value;
        return 1;
    case O_BASE:
        e->base = value;
        return 1;
    case O_TEXT:
        e->text_path = value;
        return 1;
    case O_OUT:
        e->out = value;
        return 1;
    case O_LIMIT:
        return er_cli_count(&e->fo.limit, "eval", "--limit", value, 1, SIZE_MAX) ? 1 : -1;
    case O_ANSWERS:
        return er_cli_size(&e->o.answers, "eval", "--answers", value) ? 1 : -1;
    case O_NEIGHBORS:
        return er_cli_count(&e->o.neighbors, "eval", "--neighbors", value, 1, SIZE_MAX) ? 1 : -1;
    case O_DRIFT:
        return er_cli_count(&e->o.drift_tokens, "eval", "--drift-tokens", value, 1, INT_MAX) ? 1 : -1;
    case O_SPACE:
        e->space = value;
        if (er_space_parse(&e->o.space, value) == ER_OK) return 1;
        (void)er_cli_usage("eval", "--space %s", er_last_error());
        return -1;
    case O_ZSRE:
        e->fo.zsre_answers = true;
        return 1;
    case O_PARAPHRASES:
        e->o.all_paraphrases = true;
        return 1;
    case O_DETAILS:
        e->details = true;
        return 1;
    default:
        return er_cli_take_common(&e->c, "eval", o, value);
    }
}

int er_cmd_eval(int argc, char **argv) {
    eval e = {.c = {.device = ER_DEVICE_OPTIONS_DEFAULT}, .o = {.answers = 40}};
    int o = 0, code = 0;
    while ((o = er_cli_next(&code, "eval", help, options, NULL, argc, argv)) != -1) {
        if (o == CLI_DONE) return code;
        if (take(&e, o, optarg) < 0) return 2;
    }
    if (optind < argc) return er_cli_usage("eval", "unexpected '%s'", argv[optind]);
    if (!e.model) return er_cli_usage("eval", "--model is needed");
    if (!e.facts_path) return er_cli_usage("eval", "--facts is needed");
    er_status rc = run(&e);
    return rc == ER_OK ? 0 : er_cli_fail(er_interrupted_in(rc, "eval", NULL));
}
