// bench_job --shape gptj-6b --device cuda --precision bf16 --facts 10000 [--layers N] [--layers-edited 3-8]
//           [--steps 25] [--batch-tokens N] [--cov-tokens 100000] [--cov-batch N] [--stages cov,values,solve]
//           [--limit-values N] [--limit-solve N] [--budget S] [--gemm-size N] [--threads N] [--seed N]
//           [--json FILE] [--dump-facts FILE] [--dump-model FILE] [--dump-losses FILE]
// bench_job --floors --shape gptj-6b --facts 10000 [--rate 790e12] [--rate64 55e12] [--copy-rate 3.0e12]
//
// The stages of a whole edit on a model of a real shape with random weights, against this device's own
// ceilings measured in the same run and against the floors that shapes and token counts set. With --budget
// (seconds, from the start of the program) the values are found for as many facts as the time allows, two
// full batches at least, and projected. Past the budget the run stops at the next step or layer.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "benchmarks/job.h"
#include "engine/cli/terminal.h"
#include "io/base/log.h"

static er_status parse_stages(unsigned *out, const char *text) {
    unsigned all = 0;
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, ",");
        if (n == 3 && !strncmp(at, "cov", n)) all |= JOB_COVARY;
        else if (n == 6 && !strncmp(at, "values", n)) all |= JOB_VALUES;
        else if (n == 5 && !strncmp(at, "solve", n)) all |= JOB_SOLVE;
        else return er_fail(ER_EARG, "--stages: '%s' is not of cov, values, solve", at);
        at += n + (at[n] == ',');
    }
    *out = all;
    return ER_OK;
}

static er_status parse_shape(job_options *o, const char *name) {
    char names[256];
    er_shape_list(names, sizeof names);
    if (!(o->shape = er_shape_find(name))) return er_fail(ER_EARG, "--shape: '%s' is not of %s", name, names);
    return ER_OK;
}

static er_status parse_number(double *out, const char *flag, const char *text) {
    char *end;
    *out = strtod(text, &end);
    if (end == text || *end || !(*out >= 0) || *out > 1e18)
        return er_fail(ER_EARG, "%s: '%s' is not a number", flag, text);
    return ER_OK;
}

// One flag with its value; EARG when there is no such flag.
static er_status parse_flag(job_options *o, const char *flag, const char *value) {
    size_t threads = 0, seed = SIZE_MAX;
    double number;
    const struct {
        const char *flag;
        size_t *to;
    } size[] = {{"--layers", &o->layers}, {"--facts", &o->facts}, {"--steps", &o->steps},
        {"--batch-tokens", &o->batch_tokens}, {"--cov-tokens", &o->cov_tokens},
        {"--cov-batch", &o->cov_batch}, {"--limit-values", &o->limit_values},
        {"--limit-solve", &o->limit_solve}, {"--gemm-size", &o->gemm_size},
        {"--memory-limit-mb", &o->memory_mb}, {"--threads", &threads}, {"--seed", &seed}};
    const struct {
        const char *flag;
        double *to;
    } real[] = {{"--budget", &o->budget}, {"--rate", &o->rate}, {"--rate64", &o->rate64},
        {"--copy-rate", &o->copy_rate}};
    const struct {
        const char *flag, **to;
    } text[] = {{"--layers-edited", &o->layers_edited}, {"--json", &o->json},
        {"--dump-facts", &o->dump_facts}, {"--dump-model", &o->dump_model},
        {"--dump-losses", &o->dump_losses}, {"--device", &o->device.kind}};
    if (!strcmp(flag, "--shape")) return parse_shape(o, value);
    if (!strcmp(flag, "--stages")) return parse_stages(&o->stages, value);
    if (!strcmp(flag, "--precision"))
        return er_precision_parse(&o->device.precision, value)
                   ? ER_OK
                   : er_fail(ER_EARG, "--precision: '%s' is not one", value);
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (!strcmp(flag, text[i].flag)) return *text[i].to = value, ER_OK;
    for (size_t i = 0; i < sizeof real / sizeof *real; i++)
        if (!strcmp(flag, real[i].flag)) return parse_number(real[i].to, flag, value);
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        if (strcmp(flag, size[i].flag) != 0) continue;
        er_status rc = parse_number(&number, flag, value);
        if (rc != ER_OK) return rc;
        *size[i].to = (size_t)number;
        if (threads) o->device.threads = (int)threads;
        if (seed != SIZE_MAX) o->seed = seed;
        return ER_OK;
    }
    return er_fail(ER_EARG, "%s: there is no such flag", flag);
}

static er_status parse(job_options *o, int argc, char **argv) {
    er_status rc = ER_OK;
    *o = (job_options){.device = ER_DEVICE_OPTIONS_DEFAULT,
        .facts = 10000,
        .cov_tokens = 100000,
        .stages = JOB_COVARY | JOB_VALUES | JOB_SOLVE,
        .seed = 1,
        .rate = 790e12,
        .rate64 = 55e12,
        .copy_rate = 3.0e12};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--floors")) {
            o->floors_only = true;
            continue;
        }
        if (i + 1 >= argc) ER_FAIL(ER_EARG, "%s: a value is missing", argv[i]);
        ER_TRY(parse_flag(o, argv[i], argv[i + 1]));
        i++;
    }
    if (!o->shape) ER_FAIL(ER_EARG, "--shape is missing");
    if (!o->facts || !o->cov_tokens) ER_FAIL(ER_EARG, "no facts or no tokens");
out:
    return rc;
}

static er_status set_hparams(job *j) {
    const er_shape *s = j->o.shape;
    er_status rc = ER_OK;
    size_t layers = j->o.layers ? j->o.layers : s->arch.layers;
    j->h = (er_hparams){.profile = "reference",
        .steps = j->o.steps ? j->o.steps : s->steps,
        .lr = s->lr,
        .clamp = s->clamp,
        .decay = s->decay,
        .kl = 0.0625,
        .stop = -1,  // never: every fact takes all its steps
        .lambda = s->lambda,
        .n_prefixes = 5,
        .key_bare = 0.5};
    for (size_t l = s->first_edited; l <= s->last_edited; l++) j->h.layers[j->h.n_layers++] = l;
    if (j->o.layers_edited) ER_TRY(er_hparams_set_layers(&j->h, j->o.layers_edited));
    if (j->h.layers[j->h.n_layers - 1] >= layers)
        ER_FAIL(ER_EARG, "layer %zu is to be edited; there are %zu", j->h.layers[j->h.n_layers - 1], layers);
out:
    return rc;
}

static er_status open_model(job *j) {
    er_status rc = ER_OK;
    job_dump *dump = NULL;
    j->o.device.memory_limit = j->o.memory_mb * 1000000;
    ER_TRY(er_device_open(&j->dev, &j->o.device));
    er_watch_memory(j->dev);
    double start = er_now();
    if (j->o.dump_model) ER_TRY(job_dump_open(&dump, j->o.dump_model));
    er_random_options ro = {.layers = j->o.layers,
        .editable = j->h.layers,
        .n_editable = j->h.n_layers,
        .seed = j->o.seed,
        .sink = dump ? job_dump_tensor : NULL,
        .ctx = dump};
    ER_TRY(er_random_model(&j->m, j->dev, j->o.shape, &ro));
    ER_TRY(j->dev->op->sync(j->dev));
    j->model_seconds = er_now() - start;
    j->weight_bytes = j->m->weight_bytes;
    ER_TRY(er_ceilings_measure(&j->ceilings, j->dev, j->o.gemm_size));
    if (!(j->z = calloc(j->o.facts * j->m->arch.hidden, sizeof *j->z)))
        ER_FAIL(ER_ENOMEM, "values of %zu facts", j->o.facts);
    if (j->o.dump_losses && !(j->losses = fopen(j->o.dump_losses, "w")))
        ER_FAIL(ER_EOUTPUT, "%s cannot be written", j->o.dump_losses);
out:
    if (dump) {
        er_status closed = job_dump_close(dump);
        if (rc == ER_OK) rc = closed;
    }
    return rc;
}

static er_status run_stages(job *j) {
    static er_status (*const run[])(job *) = {job_run_covary, job_run_values, job_run_spread};
    static const unsigned bit[] = {JOB_COVARY, JOB_VALUES, JOB_SOLVE};
    static const size_t first[] = {STAGE_COVARY, STAGE_VALUES, STAGE_GATHER, STAGE_COUNT};
    er_status rc = ER_OK;
    for (size_t i = 0; rc == ER_OK && i < 3; i++) {
        if (!(j->o.stages & bit[i])) continue;
        rc = run[i](j);
        for (size_t s = first[i]; s < first[i + 1]; s++) job_print_stage(j, &j->stage[s]);
    }
    return rc;
}

static er_status run(job *j) {
    er_status rc = ER_OK, ran;
    ER_TRY(set_hparams(j));
    ER_TRY(er_random_requests(&j->requests, j->o.facts, j->o.shape->arch.vocab, j->o.seed));
    j->means = er_requests_measure(j->requests);
    if (j->o.floors_only) return job_print_floors(j);
    ER_TRY(open_model(j));
    if (j->o.dump_facts) ER_TRY(job_dump_facts(j, j->o.dump_facts));
    job_print_head(j);
    ran = run_stages(j);
    job_print_sum(j);
    if (j->o.json && (ran == ER_OK || ran == ER_EINTERRUPTED)) ER_TRY(job_write_json(j, j->o.json));
    rc = ran;
out:
    if (j->losses && fclose(j->losses) != 0 && rc == ER_OK)
        rc = er_fail(ER_EIO, "%s cannot be written", j->o.dump_losses);
    return rc;
}

// SIGUSR1 when the time is over, to whoever takes the signals.
static void start_clock(double seconds) {
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec at = {.it_value.tv_sec = (time_t)seconds};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &e, &timer) != 0 || timer_settime(timer, 0, &at, NULL) != 0)
        er_warn("no timer: --budget only plans");
}

int main(int argc, char **argv) {
    job j = {.start = er_now()};
    er_status rc = parse(&j.o, argc, argv);
    er_terminal_listen();
    er_signals_install();
    if (rc == ER_OK && j.o.budget >= 1) start_clock(j.o.budget);
    if (rc == ER_OK) rc = run(&j);
    if (rc != ER_OK) (void)fprintf(stderr, "bench_job: %s\n", er_last_error());
    if (j.dev) job_free_moments(&j);
    er_model_free(j.m);
    er_requests_free(j.requests);
    er_device_close(j.dev);
    free(j.z);
    return er_exit_code(rc);
}
