// errata edit and errata check: the same options, the same preparation.
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/cli/cli_internal.h"
#include "engine/job/job.h"
#include "engine/job/ranks.h"

enum {
    O_MODEL = CLI_FIRST,
    O_FACTS,
    O_OUT,
    O_FORCE,
    O_COPY_ALL,
    O_STRICT,
    O_LIMIT,
    O_ZSRE,
    O_PROFILE,
    O_EDITOR,
    O_HPARAMS,
    O_LAYERS,
    O_LAMBDA,
    O_STEPS,
    O_TEMPLATES,
    O_SPACE,
    O_SEED,
    O_TEXT,
    O_IMPORT,
    O_TOKENS,
    O_CACHE,
    O_NO_CACHE,
    O_DETERMINISTIC,
    O_BATCH,
    O_DEVICES
};
static const struct option options[] = {{"model", required_argument, NULL, O_MODEL},
    {"facts", required_argument, NULL, O_FACTS}, {"out", required_argument, NULL, O_OUT},
    {"force", no_argument, NULL, O_FORCE}, {"copy-all", no_argument, NULL, O_COPY_ALL},
    {"strict", no_argument, NULL, O_STRICT}, {"limit", required_argument, NULL, O_LIMIT},
    {"zsre-answers", no_argument, NULL, O_ZSRE}, {"profile", required_argument, NULL, O_PROFILE},
    {"editor", required_argument, NULL, O_EDITOR}, {"hparams", required_argument, NULL, O_HPARAMS},
    {"layers", required_argument, NULL, O_LAYERS}, {"lambda", required_argument, NULL, O_LAMBDA},
    {"steps", required_argument, NULL, O_STEPS}, {"templates", required_argument, NULL, O_TEMPLATES},
    {"space", required_argument, NULL, O_SPACE}, {"seed", required_argument, NULL, O_SEED},
    {"covariance-text", required_argument, NULL, O_TEXT},
    {"covariance-import", required_argument, NULL, O_IMPORT},
    {"covariance-tokens", required_argument, NULL, O_TOKENS}, {"cache", required_argument, NULL, O_CACHE},
    {"no-cache", no_argument, NULL, O_NO_CACHE}, {"deterministic", no_argument, NULL, O_DETERMINISTIC},
    {"batch-tokens", required_argument, NULL, O_BATCH}, {"devices", required_argument, NULL, O_DEVICES},
    ER_CLI_COMMON_OPTIONS, {0}};

static const char edit_help[] =
    "usage: errata edit --model DIR --facts FILE --out DIR [OPTIONS]\n\n"
    "Edits the facts into the model and writes the edited checkpoint. After an interruption the same\n"
    "command goes on where it was.\n\n"
    "  --model DIR               Hugging Face checkpoint (config.json, *.safetensors, tokenizer)\n"
    "  --facts FILE              JSON Lines, CounterFact, zsRE (MEND), EasyEdit, KnowEdit or MEMIT's "
    "requests;\n"
    "                            may be a pipe, - is standard input (at most 4 GiB)\n"
    "  --out DIR                 folder to make; it appears whole or not at all\n"
    "  --force                   replace --out when it exists\n"
    "  --copy-all                copy files that hold unedited weights too (*.bin, *.gguf, *.onnx, ...), "
    "and\n"
    "                            hidden folders; else they are left behind and named\n"
    "  --strict                  refuse the job when a record is rejected (else such records are skipped)\n"
    "  --limit N                 the first N records only\n"
    "  --zsre-answers            zsRE: edit to the true answer instead of the alternative\n"
    "  --profile NAME            default: what measures best; reference: MEMIT step for step\n"
    "  --editor NAME             memit; memit_seq: and leaves earlier edits of the model alone; emmet;\n"
    "                            alphaedit: only where the statistics are empty (alg_name of --hparams)\n"
    "  --hparams FILE            the reference's keys as JSON, or as EasyEdit's YAML (.yaml, .yml), over "
    "the\n"
    "                            preset; mom2_trace_ratio instead of mom2_update_weight chooses lambda by\n"
    "                            relative traces, as is done where there is no preset\n"
    "  --layers LIST             such as 3-8 or 3,4,5; the last is the z layer\n"
    "  --lambda X                weight of the covariance (mom2_update_weight)\n"
    "  --steps N                 optimisation steps per value (v_num_grad_steps)\n"
    "  --templates FILE          JSON array of context templates, each with one {}\n"
    "  --space auto|always|never space between prompt and target: by the scripts and signs there (auto),\n"
    "                            or the same for all whose record does not say (reference profile: always)\n"
    "  --seed N                  sampling and document order (1)\n"
    "  --covariance-text FILE    text to take key statistics from; may be repeated (else the model's own)\n"
    "  --covariance-import DIR   the reference's .npz statistics\n"
    "  --covariance-tokens N     (10 x the width of a key)\n"
    "  --cache DIR, --no-cache   statistics and target values found earlier (~/.cache/errata)\n"
    "  --deterministic           batches fixed by the input alone: a resumed job repeats an unbroken one\n"
    "  --batch-tokens N          tokens per optimisation step (1024 on a CPU, on a GPU what "
    "fits)\n"
    "  --devices LIST            a process for each: GPUs such as 0-7 or 0,2, or cpu,cpu. Under mpirun or "
    "srun\n"
    "                            the ranks are those of the launcher, and each takes a GPU of its "
    "own\n" ER_CLI_COMMON_HELP;
static const char check_help[] =
    "usage: errata check --model DIR --facts FILE [the options of errata edit]\n\n"
    "Reads and checks everything an edit would; prints the plan, every rejected record with its reason, and\n"
    "an estimate of memory and time. Writes nothing. Exit code 65 when no fact is usable, or with --strict\n"
    "when any is rejected.\n\n" ER_CLI_COMMON_HELP;

enum { MAX_TEXTS = 256 };

typedef struct parsed {
    er_job_options e;
    er_cli_common c;
    const char *texts[MAX_TEXTS];
    const char *command, *help;
    bool no_cache, devices;
} parsed;

static bool is_space_rule(const char *command, const char *value) {
    er_space s;
    if (er_space_parse(&s, value) == ER_OK) return true;
    (void)er_cli_usage(command, "--space %s", er_last_error());
    return false;
}

// Options with a value that must be checked. 1 taken, 0 not one of them, -1 misuse.
static int take_checked(parsed *p, int option, const char *value) {
    er_job_options *e = &p->e;
    size_t seed = 0;
    switch (option) {
    case O_LIMIT:
        return er_cli_count(&e->limit, p->command, "--limit", value, 1, SIZE_MAX) ? 1 : -1;
    case O_STEPS:
        if (!er_cli_size(&e->steps, p->command, "--steps", value)) return -1;
        if (e->steps) return 1;
        (void)er_cli_usage(p->command, "--steps 0: one evaluation at least");
        return -1;
    case O_TOKENS:
        return er_cli_count(&e->cov_tokens, p->command, "--covariance-tokens", value, 1, INT_MAX) ? 1 : -1;
    case O_BATCH:
        return er_cli_count(&e->batch_tokens, p->command, "--batch-tokens", value, 1, 1 << 24) ? 1 : -1;
    case O_SEED:
        if (!er_cli_seed(&seed, p->command, value)) return -1;
        e->seed = seed;
        return 1;
    case O_LAMBDA:
        if (!er_cli_real(&e->lambda, p->command, "--lambda", value)) return -1;
        if (e->lambda > 0) return 1;
        (void)er_cli_usage(p->command, "--lambda %s is not above 0", value);
        return -1;
    case O_SPACE:
        e->space = value;
        return is_space_rule(p->command, value) ? 1 : -1;
    case O_TEXT:
        if (e->n_text < MAX_TEXTS) {
            p->texts[e->n_text++] = value;
            return 1;
        }
        (void)er_cli_usage(p->command, "more than %d texts", MAX_TEXTS);
        return -1;
    default:
        return 0;
    }
}

static int take_plain(parsed *p, int option, const char *value) {
    er_job_options *e = &p->e;
    switch (option) {
    case O_MODEL:
        e->model = value;
        return 1;
    case O_FACTS:
        e->facts = value;
        return 1;
    case O_OUT:
        e->out = value;
        return 1;
    case O_FORCE:
        e->force = true;
        return 1;
    case O_COPY_ALL:
        e->copy_all = true;
        return 1;
    case O_STRICT:
        e->strict = true;
        return 1;
    case O_ZSRE:
        e->zsre_answers = true;
        return 1;
    case O_PROFILE:
        e->profile = value;
        return 1;
    case O_EDITOR:
        e->editor = value;
        return 1;
    case O_HPARAMS:
        e->hparams = value;
        return 1;
    case O_LAYERS:
        e->layers = value;
        return 1;
    case O_TEMPLATES:
        e->templates = value;
        return 1;
    case O_IMPORT:
        e->import = value;
        return 1;
    case O_CACHE:
        e->cache = value;
        return 1;
    case O_DEVICES:
        p->devices = true;  // ranks.c has read it
        return 1;
    case O_NO_CACHE:
        p->no_cache = true;
        return 1;
    case O_DETERMINISTIC:
        e->deterministic = true;
        return 1;
    default:
        return take_checked(p, option, value);
    }
}

// -1: go on; else the exit code.
static int parse(parsed *p, int argc, char **argv) {
    static const int repeated[] = {O_TEXT, 0};
    int o = 0, code = 0;
    p->e = ER_JOB_OPTIONS_DEFAULT;
    p->c = (er_cli_common){.device = ER_DEVICE_OPTIONS_DEFAULT};
    p->e.text = p->texts;
    while ((o = er_cli_next(&code, p->command, p->help, options, repeated, argc, argv)) != -1) {
        if (o == CLI_DONE) return code;
        int taken = take_plain(p, o, optarg);
        if (!taken) taken = er_cli_take_common(&p->c, p->command, o, optarg);
        if (taken < 0) return 2;
    }
    if (optind < argc) return er_cli_usage(p->command, "unexpected '%s'", argv[optind]);
    if (!p->e.model) return er_cli_usage(p->command, "--model is needed");
    if (!p->e.facts) return er_cli_usage(p->command, "--facts is needed");
    if (p->e.cache && *p->e.cache && p->no_cache)
        return er_cli_usage(p->command, "--cache and --no-cache exclude each other");
    if (p->no_cache) p->e.cache = "";
    if (p->e.n_text && p->e.import)
        return er_cli_usage(p->command, "--covariance-text and --covariance-import exclude each other");
    er_cli_ranks_device(&p->c.device);
    p->e.device = p->c.device;
    return -1;
}

static void print_edit(const er_job_report *r, const char *out) {
    (void)printf("edited   %zu facts (%zu subjects) in %.1f s: %s\n", r->facts, r->requests, r->seconds, out);
    if (r->rejected)
        (void)printf("skipped  %zu records; errata-manifest.json lists them with reasons\n", r->rejected);
    (void)printf("stages   covary %.1f s, values %.1f s (%zu from the cache), solve %.1f s, write %.1f s\n",
        r->statistics_seconds, r->targets.seconds, r->targets_cached, r->spread.seconds, r->write_seconds);
    for (size_t i = 0; i < r->spread.n_layers; i++) {
        const er_layer_report *l = &r->spread.layer[i];
        (void)printf("layer %-3zu|dW|/|W| %.2f %%, residual %.1f %% before it\n", l->layer,
            100 * l->dw_norm / l->w_norm, 100 * l->residual);
    }
    (void)printf("left     %.1f %% of the residual\n", 100 * r->spread.residual_left);
}

static void print_check(const er_job_report *r) {
    const er_estimate *e = &r->estimate;
    const er_memory_plan *m = &r->memory;
    (void)printf("usable   %zu facts (%zu subjects), %zu rejected, %zu duplicates\n", r->facts, r->requests,
        r->rejected, r->duplicates);
    (void)printf("work     %.3g GFLOP a fact, %.3g TFLOP in all, if every step is used\n",
        e->flops / (double)r->facts * 1e-9, e->flops * 1e-12);
    (void)printf(
        "memory   %.2f GB: weights %.2f, statistics %.2f and in turn covary %.2f, values %.2f, solve %.2f\n",
        (double)er_memory_peak(m) * 1e-9, (double)m->weights * 1e-9, (double)m->statistics * 1e-9,
        (double)m->pass * 1e-9, (double)m->values * 1e-9, (double)m->solve * 1e-9);
    (void)printf("time     about %.0f s for the values, at the %.0f GFLOP/s a GEMM reached just now\n",
        e->flops / e->rate, e->rate * 1e-9);
}

int er_cmd_edit(int argc, char **argv) {
    parsed p = {.command = "edit", .help = edit_help};
    int code = parse(&p, argc, argv);
    if (code >= 0) return code;
    if (!p.e.out) return er_cli_usage("edit", "--out is needed");
    er_job_report *r = NULL;
    er_status rc = er_job_edit_ranks(&r, &p.e, er_cli_comm());
    if (rc != ER_OK) return er_cli_fail(rc);
    if (er_cli_comm()->rank) {
    }  // rank 0 has the results
    else if (p.c.json)
        (void)puts(r->json);
    else print_edit(r, p.e.out);
    er_job_report_free(r);
    return 0;
}

int er_cmd_check(int argc, char **argv) {
    parsed p = {.command = "check", .help = check_help};
    int code = parse(&p, argc, argv);
    if (code >= 0) return code;
    if (p.devices) return er_cli_usage("check", "--devices: a check plans for one rank");
    er_job_report *r = NULL;
    er_status rc = er_job_check(&r, &p.e);
    if (rc != ER_OK) return er_cli_fail(rc);
    if (p.c.json) (void)puts(r->json);
    else print_check(r);
    er_job_report_free(r);
    return 0;
}
