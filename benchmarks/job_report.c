#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/job.h"

static double gib(double bytes) { return bytes / 1073741824.0; }

void job_print_head(const job *j) {
    const er_arch *a = &j->m->arch;
    const er_unit_means *m = &j->means;
    printf("device      %s, %s\n", j->dev->name, er_precision_name(j->dev->precision));
    printf("model       %s: %zu layers of %zu, d_ff %zu, vocabulary %zu; %.2f GiB of random weights in %.1f "
           "s\n",
        j->o.shape->name, a->layers, a->hidden, a->d_ff, a->vocab, gib((double)j->weight_bytes),
        j->model_seconds);
    printf("edit        layers %zu to %zu, %zu steps, lambda %g\n", j->h.layers[0],
        j->h.layers[j->h.n_layers - 1], j->h.steps, j->h.lambda);
    printf(
        "facts       %zu; per fact %.2f tokens in rows, %.2f in suffixes (bare prompt: %.2f, subject's last "
        "at %.2f, 9 in 10 suffixes up to %zu)\n",
        j->o.facts, m->tokens, m->suffix, m->prompt, m->subject_last, m->suffix_p90);
    printf(
        "ceilings    linear %zu^3 %.2f TFLOP/s, fp64 product %zu^3 %.3f TFLOP/s, copy of %zu MiB %.1f GB/s\n",
        j->ceilings.gemm_size, j->ceilings.gemm * 1e-12, j->ceilings.gemm64_size, j->ceilings.gemm64 * 1e-12,
        j->ceilings.copy_bytes >> 20, j->ceilings.copy * 1e-9);
}

static double floor_seconds(const job *j, const job_stage *s) {
    double work = s->ceiling > 0 ? s->floor_flops / s->ceiling : 0,
           bytes = j->ceilings.copy > 0 ? s->bytes / j->ceilings.copy : 0;
    return work > bytes ? work : bytes;
}
static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

void job_print_stage(const job *j, const job_stage *s) {
    if (!s->ran) return;
    double floor = floor_seconds(j, s);
    printf(
        "%-11s %zu %s in %.2f s, %.1f %s/s; %.4g FLOP counted, %.3f TFLOP/s = %.1f %% of the ceiling; floor "
        "%.3f s, measured/floor %.2f",
        s->name, s->done, s->request, s->seconds, ratio((double)s->done, s->seconds), s->request, s->flops,
        ratio(s->flops, s->seconds) * 1e-12, 100 * ratio(ratio(s->flops, s->seconds), s->ceiling), floor,
        ratio(s->seconds, floor));
    if (s->bytes > 0)
        printf("; weights read %.1f GB, %.1f %% of the copy ceiling", s->bytes * 1e-9,
            100 * ratio(ratio(s->bytes, s->seconds), j->ceilings.copy));
    printf("; peak %.2f GiB%s\n", gib((double)s->peak_bytes), s->interrupted ? "; INTERRUPTED" : "");
    if (s->project && s->done != s->project && !s->interrupted)
        printf("%-11s projected, not measured: %.1f s for %zu facts\n", "", s->projected, s->project);
    (void)fflush(stdout);
}

// Seconds of all stages for `project` facts, 0 when a stage is missing or was cut short.
static double job_seconds(const job *j, bool projected) {
    double sum = 0;
    for (size_t i = 0; i < STAGE_COUNT; i++) {
        const job_stage *s = &j->stage[i];
        if (!s->ran || s->interrupted) return 0;
        sum += projected && s->project ? s->projected : s->seconds;
    }
    return sum;
}

void job_print_sum(const job *j) {
    double measured = job_seconds(j, false), projected = job_seconds(j, true);
    const job_stage *v = &j->stage[STAGE_VALUES], *g = &j->stage[STAGE_GATHER];
    if (measured <= 0) return;
    if (v->done == v->project && g->done == g->project)
        printf("job         %.1f s for %zu facts, covariance included\n", measured, v->done);
    else
        printf("job         projected, not measured: %.1f s for %zu facts, covariance included\n", projected,
            v->project);
}

// ---- JSON ----

static void add_stage(cJSON *list, const job *j, const job_stage *s) {
    cJSON *o = cJSON_CreateObject();
    double floor = floor_seconds(j, s);
    cJSON_AddStringToObject(o, "stage", s->name);
    cJSON_AddStringToObject(o, "request", s->request);
    cJSON_AddNumberToObject(o, "done", (double)s->done);
    cJSON_AddNumberToObject(o, "asked", (double)s->asked);
    cJSON_AddBoolToObject(o, "whole", s->whole);
    cJSON_AddBoolToObject(o, "interrupted", s->interrupted);
    cJSON_AddNumberToObject(o, "seconds", s->seconds);
    cJSON_AddNumberToObject(o, "per_second", ratio((double)s->done, s->seconds));
    cJSON_AddNumberToObject(o, "flops", s->flops);
    cJSON_AddNumberToObject(o, "flops_per_second", ratio(s->flops, s->seconds));
    cJSON_AddNumberToObject(o, "ceiling_share", ratio(ratio(s->flops, s->seconds), s->ceiling));
    cJSON_AddNumberToObject(o, "floor_flops", s->floor_flops);
    cJSON_AddNumberToObject(o, "floor_seconds", floor);
    cJSON_AddNumberToObject(o, "measured_over_floor", ratio(s->seconds, floor));
    if (s->bytes > 0) {
        cJSON_AddNumberToObject(o, "weight_bytes_read", s->bytes);
        cJSON_AddNumberToObject(o, "copy_share", ratio(ratio(s->bytes, s->seconds), j->ceilings.copy));
    }
    if (s->project && !s->interrupted) {
        cJSON_AddNumberToObject(o, "projected_facts", (double)s->project);
        cJSON_AddNumberToObject(o, "projected_seconds", s->projected);
    }
    cJSON_AddNumberToObject(o, "peak_bytes", (double)s->peak_bytes);
    cJSON_AddItemToArray(list, o);
}

static void add_settings(cJSON *o, const job *j) {
    const er_unit_means *m = &j->means;
    struct {
        const char *key;
        double value;
    } number[] = {{"layers", (double)j->m->arch.layers}, {"first_edited", (double)j->h.layers[0]},
        {"last_edited", (double)j->h.layers[j->h.n_layers - 1]}, {"steps", (double)j->h.steps},
        {"facts", (double)j->o.facts}, {"slots", (double)j->slots}, {"batch_tokens", (double)j->batch_tokens},
        {"weight_bytes", (double)j->weight_bytes}, {"model_seconds", j->model_seconds},
        {"mean_tokens", m->tokens}, {"mean_suffix_tokens", m->suffix},
        {"gemm_size", (double)j->ceilings.gemm_size}, {"gemm_ceiling", j->ceilings.gemm},
        {"fp64_ceiling", j->ceilings.gemm64}, {"copy_ceiling", j->ceilings.copy},
        {"seconds_in_all", er_now() - j->start}};
    cJSON_AddStringToObject(o, "shape", j->o.shape->name);
    cJSON_AddStringToObject(o, "device", j->dev->name);
    cJSON_AddStringToObject(o, "precision", er_precision_name(j->dev->precision));
    for (size_t i = 0; i < sizeof number / sizeof *number; i++)
        cJSON_AddNumberToObject(o, number[i].key, number[i].value);
}

er_status job_write_json(const job *j, const char *path) {
    er_status rc = ER_OK;
    FILE *f = NULL;
    char *text = NULL;
    cJSON *o = cJSON_CreateObject(), *list;
    add_settings(o, j);
    list = cJSON_AddArrayToObject(o, "stages");
    for (size_t i = 0; list && i < STAGE_COUNT; i++)
        if (j->stage[i].ran) add_stage(list, j, &j->stage[i]);
    if (job_seconds(j, true) > 0) cJSON_AddNumberToObject(o, "job_projected_seconds", job_seconds(j, true));
    if (!list || !(text = cJSON_Print(o))) ER_FAIL(ER_ENOMEM, "a report");
    if (!(f = strcmp(path, "-") ? fopen(path, "w") : stdout))
        ER_FAIL(ER_EOUTPUT, "%s cannot be written", path);
    if (fprintf(f, "%s\n", text) < 0) ER_FAIL(ER_EIO, "%s cannot be written", path);
out:
    if (f && f != stdout && fclose(f) != 0 && rc == ER_OK) rc = er_fail(ER_EIO, "%s cannot be written", path);
    cJSON_free(text);
    cJSON_Delete(o);
    return rc;
}

// ---- floors alone: no device ----

er_status job_print_floors(const job *j) {
    const job_options *o = &j->o;
    er_arch a = o->shape->arch;
    er_floors f;
    size_t slots = (size_t)((double)(o->batch_tokens ? o->batch_tokens : 1024) / j->means.suffix) + 1;
    if (o->layers) a.layers = o->layers;
    er_floors_count(&f, &a, &j->h, &j->means, o->facts, o->cov_tokens, slots, 2);
    printf("%s: %zu facts, %zu covariance tokens, layers %zu to %zu, %zu steps, %zu facts to a pass; "
           "%.0f TFLOP/s, fp64 %.0f TFLOP/s, copy %.1f TB/s\n",
        o->shape->name, o->facts, o->cov_tokens, j->h.layers[0], j->h.layers[j->h.n_layers - 1], j->h.steps,
        slots, o->rate * 1e-12, o->rate64 * 1e-12, o->copy_rate * 1e-12);
    struct {
        const char *name;
        double flops, rate, bytes;
    } row[] = {{"covariance: layers", f.statistics_layers, o->rate, 0},
        {"covariance: products, half", f.statistics_products, o->rate, 0},
        {"values", f.values, o->rate, f.values_bytes}, {"gather", f.gather, o->rate, 0},
        {"solve (fp64)", f.solve, o->rate64, 0}};
    printf("\n| stage | FLOP | floor by FLOP, s | weight bytes, GB | floor by bytes, s | measured, s | "
           "measured/floor |\n"
           "|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        printf("| %s | %.3g | %.2f |", row[i].name, row[i].flops, row[i].flops / row[i].rate);
        if (row[i].bytes > 0)
            printf(" %.0f | %.2f | | |\n", row[i].bytes * 1e-9, row[i].bytes / o->copy_rate);
        else printf(" | | | |\n");
    }
    printf("\nper fact %.2f tokens in rows, %.2f in suffixes\n", j->means.tokens, j->means.suffix);
    printf("values, per fact: once %.3g FLOP, each pass %.3g FLOP\n", f.values_once, f.values_step);
    return ER_OK;
}
