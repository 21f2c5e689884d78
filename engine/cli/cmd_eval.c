// errata eval: scores before and after, as a table, as metrics.json and as a report to look at.
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/cli/cli_internal.h"
#include "engine/job/eval.h"

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
    er_job_eval_options o;
    const char *out;
    bool details;
} eval;

static void say_written(const char *metrics, const char *page) {
    (void)printf("written: %s and %s\n", metrics, page);
}

static er_status run(eval *e) {
    er_status rc = ER_OK;
    er_job_eval *scores = NULL;
    char *json = NULL;
    e->o.device = e->c.device;
    ER_TRY(er_job_eval_score(&scores, &e->o));
    if (!e->c.json) er_job_eval_print_table(scores, stdout);
    ER_TRY(er_job_eval_write(&json, scores, e->out, e->details, e->c.json ? NULL : say_written));
    if (e->c.json) (void)puts(json);
out:
    er_job_eval_free(scores);
    free(json);
    return rc;
}

static int take(eval *e, int o, const char *value) {
    er_space space;
    switch (o) {
    case O_MODEL:
        e->o.model = value;
        return 1;
    case O_FACTS:
        e->o.facts = value;
        return 1;
    case O_BASE:
        e->o.base = value;
        return 1;
    case O_TEXT:
        e->o.text = value;
        return 1;
    case O_OUT:
        e->out = value;
        return 1;
    case O_LIMIT:
        return er_cli_count(&e->o.reading.limit, "eval", "--limit", value, 1, SIZE_MAX) ? 1 : -1;
    case O_ANSWERS:
        return er_cli_size(&e->o.answers, "eval", "--answers", value) ? 1 : -1;
    case O_NEIGHBORS:
        return er_cli_count(&e->o.neighbors, "eval", "--neighbors", value, 1, SIZE_MAX) ? 1 : -1;
    case O_DRIFT:
        return er_cli_count(&e->o.text_tokens, "eval", "--drift-tokens", value, 1, INT_MAX) ? 1 : -1;
    case O_SPACE:
        e->o.space = value;
        if (er_space_parse(&space, value) == ER_OK) return 1;
        (void)er_cli_usage("eval", "--space %s", er_last_error());
        return -1;
    case O_ZSRE:
        e->o.reading.zsre_answers = true;
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
    if (!e.o.model) return er_cli_usage("eval", "--model is needed");
    if (!e.o.facts) return er_cli_usage("eval", "--facts is needed");
    er_status rc = run(&e);
    return rc == ER_OK ? 0 : er_cli_fail(rc);
}
