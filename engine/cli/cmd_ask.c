// errata ask: continuations, to look at an edit by eye.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/cli/cli_internal.h"
#include "engine/job/ask.h"

enum { O_MODEL = CLI_FIRST, O_BASE, O_TOKENS, O_TEMPERATURE, O_TOP_K, O_TOP_P, O_SEED };
static const struct option options[] = {{"model", required_argument, NULL, O_MODEL},
    {"base", required_argument, NULL, O_BASE}, {"max-tokens", required_argument, NULL, O_TOKENS},
    {"temperature", required_argument, NULL, O_TEMPERATURE}, {"top-k", required_argument, NULL, O_TOP_K},
    {"top-p", required_argument, NULL, O_TOP_P}, {"seed", required_argument, NULL, O_SEED},
    ER_CLI_COMMON_OPTIONS, {0}};
static const char help[] = "usage: errata ask --model DIR [OPTIONS] PROMPT...\n\n"
                           "Continues each prompt, greedily unless a temperature is given.\n\n"
                           "  --model DIR               checkpoint\n"
                           "  --base DIR                another one to ask too; its answer is shown first\n"
                           "  --max-tokens N            length of a continuation (24)\n"
                           "  --temperature X           0: always the most probable token (0)\n"
                           "  --top-k N, --top-p X      sample among the most probable only\n"
                           "  --seed N                  (1)\n" ER_CLI_COMMON_HELP;

typedef struct ask {
    er_cli_common c;
    const char *model, *base;
    er_generate_options g;
} ask;

static int take(ask *a, int o, const char *value) {
    size_t n = 0;
    switch (o) {
    case O_MODEL:
        a->model = value;
        return 1;
    case O_BASE:
        a->base = value;
        return 1;
    case O_TOKENS:
        return er_cli_count(&a->g.max_new_tokens, "ask", "--max-tokens", value, 1, INT_MAX) ? 1 : -1;
    case O_TEMPERATURE:
        return er_cli_real(&a->g.temperature, "ask", "--temperature", value) ? 1 : -1;
    case O_TOP_K:
        return er_cli_size(&a->g.top_k, "ask", "--top-k", value) ? 1 : -1;
    case O_TOP_P:
        return er_cli_real(&a->g.top_p, "ask", "--top-p", value) ? 1 : -1;
    case O_SEED:
        if (!er_cli_seed(&n, "ask", value)) return -1;
        a->g.seed = n;
        return 1;
    default:
        return er_cli_take_common(&a->c, "ask", o, value);
    }
}

// A list with an object for each prompt; warnings stand in the first.
static er_status print_json(char **prompts, char **before, char **after, size_t n) {
    er_json_writer w = {0};
    er_status rc = ER_OK;
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < n; i++) {
        cJSON *o = er_json_element(&w, list);
        er_json_text(&w, o, "prompt", prompts[i]);
        if (before[i]) er_json_text(&w, o, "base", before[i]);
        er_json_text(&w, o, "model", after[i]);
        if (i == 0 && er_warnings_count(er_cli_warnings()))
            ER_TRY(er_warnings_add_json(er_cli_warnings(), o));
    }
    ER_TRY(er_cli_print_json(list, &w, "the answers"));
out:
    cJSON_Delete(list);
    return rc;
}

// Two answers are read side by side: a line each, runs of blank space as one blank.
static void on_one_line(char *s) {
    char *to = s;
    for (const char *from = s; *from; from++) {
        char c = *from == '\n' || *from == '\r' || *from == '\t' ? ' ' : *from;
        if (c != ' ' || to == s || to[-1] != ' ') *to++ = c;
    }
    *to = 0;
}

static int run(ask *a, char **prompts, size_t n) {
    er_status rc = ER_OK;
    const char *const *asked = (const char *const *)prompts;
    char **after = calloc(n, sizeof *after), **before = calloc(n, sizeof *before);
    if (!after || !before) ER_FAIL(ER_ENOMEM, "%zu answers", n);
    if (a->base) ER_TRY(er_job_ask(before, &a->c.device, a->base, asked, n, &a->g));
    ER_TRY(er_job_ask(after, &a->c.device, a->model, asked, n, &a->g));
    if (a->c.json) ER_TRY(print_json(prompts, before, after, n));
    for (size_t i = 0; i < n && !a->c.json; i++) {
        if (!a->base) {
            (void)printf("%s%s\n", prompts[i], after[i]);
            continue;
        }
        on_one_line(before[i]);
        on_one_line(after[i]);
        (void)printf("%s\n  before:%s\n  after: %s\n", prompts[i], before[i], after[i]);
    }
out:
    for (size_t i = 0; i < n; i++) {
        if (after) free(after[i]);
        if (before) free(before[i]);
    }
    free(after);
    free(before);
    return rc == ER_OK ? 0 : er_cli_fail(rc);
}

int er_cmd_ask(int argc, char **argv) {
    ask a = {.c = {.device = ER_DEVICE_OPTIONS_DEFAULT}, .g = ER_GENERATE_OPTIONS_DEFAULT};
    int o = 0, code = 0;
    a.g.max_new_tokens = 24;
    a.g.seed = 1;
    while ((o = er_cli_next(&code, "ask", help, options, NULL, argc, argv)) != -1) {
        if (o == CLI_DONE) return code;
        if (take(&a, o, optarg) < 0) return 2;
    }
    if (!a.model) return er_cli_usage("ask", "--model is needed");
    if (optind == argc) return er_cli_usage("ask", "a prompt is needed");
    if (!(a.g.temperature >= 0)) return er_cli_usage("ask", "--temperature must not be negative");
    if (!(a.g.top_p > 0 && a.g.top_p <= 1)) return er_cli_usage("ask", "--top-p is in (0, 1]");
    return run(&a, argv + optind, (size_t)(argc - optind));
}
