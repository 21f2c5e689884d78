// errata cov: covariances by themselves: collected ahead of a job, taken from or given to the reference.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli/cli_internal.h"
#include "engine/hparams.h"
#include "engine/statistics.h"
#include "engine/job/paths.h"
#include "io/base/log.h"
#include "io/base/signals.h"

enum {
    O_MODEL = CLI_FIRST,
    O_CORPUS,
    O_SAMPLE,
    O_LAYERS,
    O_TOKENS,
    O_SEED,
    O_CACHE,
    O_IMPORT,
    O_EXPORT,
    O_DATASET,
    O_SIZE,
    O_F64
};
static const struct option options[] = {{"model", required_argument, NULL, O_MODEL},
    {"corpus", required_argument, NULL, O_CORPUS}, {"sample", no_argument, NULL, O_SAMPLE},
    {"layers", required_argument, NULL, O_LAYERS}, {"tokens", required_argument, NULL, O_TOKENS},
    {"seed", required_argument, NULL, O_SEED}, {"cache", required_argument, NULL, O_CACHE},
    {"import", required_argument, NULL, O_IMPORT}, {"export", required_argument, NULL, O_EXPORT},
    {"dataset", required_argument, NULL, O_DATASET}, {"sample-size", required_argument, NULL, O_SIZE},
    {"float64", no_argument, NULL, O_F64}, ER_CLI_COMMON_OPTIONS, {0}};
static const char help[] =
    "usage: errata cov --model DIR (--corpus FILE... | --sample | --import DIR) [OPTIONS]\n\n"
    "Second moments of the keys of all edited layers, in one pass; kept in the cache that errata edit "
    "reads.\n\n"
    "  --model DIR               checkpoint\n"
    "  --corpus FILE             plain text, or JSON Lines with \"text\"; may be repeated\n"
    "  --sample                  text of the model's own making (seeded), when there is no corpus\n"
    "  --layers LIST             such as 3-8 (the preset's)\n"
    "  --tokens N                (10 x the width of a key)\n"
    "  --seed N                  order of the documents, and sampling (1)\n"
    "  --cache DIR               (~/.cache/errata)\n"
    "  --import DIR              the reference's .npz files\n"
    "  --export DIR              write <model>/<dataset>_stats/<module>_float32_mom2_<N>.npz for the "
    "reference\n"
    "  --dataset NAME            in the exported names (corpus)\n"
    "  --sample-size N           the reference's mom2_n_samples; it reads a file only when they agree "
    "(100000)\n"
    "  --float64                 export in float64\n" ER_CLI_COMMON_HELP;

enum { MAX_TEXTS = 256 };
typedef struct cov {
    er_cli_common c;
    const char *model, *layers, *cache, *import, *export, *dataset, *texts[MAX_TEXTS];
    bool sample, as_f64;
    size_t sample_size;
    er_statistics_options o;
    er_hparams h;
} cov;

static int take(cov *c, int o, const char *value) {
    size_t n = 0;
    switch (o) {
    case O_MODEL:
        c->model = value;
        return 1;
    case O_CORPUS:
        if (c->o.n_corpus == MAX_TEXTS) return (void)er_cli_usage("cov", "more than %d texts", MAX_TEXTS), -1;
        c->texts[c->o.n_corpus++] = value;
        return 1;
    case O_SAMPLE:
        c->sample = true;
        return 1;
    case O_LAYERS:
        c->layers = value;
        return 1;
    case O_TOKENS:
        return er_cli_count(&c->o.tokens, "cov", "--tokens", value, 1, INT_MAX) ? 1 : -1;
    case O_SEED:
        if (!er_cli_seed(&n, "cov", value)) return -1;
        c->o.seed = n;
        return 1;
    case O_CACHE:
        c->cache = value;
        return 1;
    case O_IMPORT:
        c->import = value;
        return 1;
    case O_EXPORT:
        c->export = value;
        return 1;
    case O_DATASET:
        c->dataset = value;
        return 1;
    case O_SIZE:
        return er_cli_count(&c->sample_size, "cov", "--sample-size", value, 1, INT_MAX) ? 1 : -1;
    case O_F64:
        c->as_f64 = true;
        return 1;
    default:
        return er_cli_take_common(&c->c, "cov", o, value);
    }
}

static er_status collect(cov *c) {
    er_status rc = ER_OK;
    er_device *dev = NULL;
    er_model *m = NULL;
    er_arch arch;
    char *cache = NULL;
    er_folder *folder = NULL;
    er_second_moment **moments = NULL;
    er_statistics_report r = {0};
    er_model_options mo = {.digest = true};
    ER_TRY(er_cache_dir(&cache, c->cache));
    c->o.cache_dir = cache;
    c->o.must_keep = !c->export;
    if (!cache && !c->export)
        ER_FAIL(ER_EARG,
            "neither HOME nor XDG_CACHE_HOME names a folder to keep the statistics in: give --cache or "
            "--export");
    ER_TRY(er_corpus_check(c->o.corpus, c->o.n_corpus));
    ER_TRY(er_folder_open(&folder, c->model));
    mo.folder = folder;
    ER_TRY(er_arch_read_in(&arch, folder));
    ER_TRY(er_hparams_resolve(&c->h, &arch, "default"));
    if (c->layers) ER_TRY(er_hparams_set_layers(&c->h, c->layers));
    ER_TRY(er_hparams_check(&c->h, &arch));
    if (c->o.tokens && c->o.tokens < arch.d_ff)
        er_warn("%zu tokens for statistics of keys %zu wide: fewer tokens than that give a matrix without an "
                "inverse (%zu are usual)",
            c->o.tokens, arch.d_ff, 10 * arch.d_ff);
    ER_TRY(er_device_open(&dev, &c->c.device));
    ER_TRY(er_model_open(&m, dev, c->model, &mo));
    if (!(moments = calloc(c->h.n_layers, sizeof *moments))) ER_FAIL(ER_ENOMEM, "moments");
    if (c->import) ER_TRY(er_statistics_import(moments, m, c->h.layers, c->h.n_layers, c->import));
    else ER_TRY(er_statistics(moments, m, c->h.layers, c->h.n_layers, &c->o, &r));
    if (c->export)
        ER_TRY(er_statistics_export(moments, m, c->h.layers, c->h.n_layers, c->export, c->dataset,
            (int64_t)c->sample_size, c->as_f64));
    for (size_t i = 0; i < c->h.n_layers && !c->c.json; i++)
        (void)printf("layer %-3zu %s: %llu tokens\n", c->h.layers[i], m->block[c->h.layers[i]].down_name,
            (unsigned long long)moments[i]->count);
    if (c->c.json)
        (void)printf("{\"layers\":%zu,\"computed\":%zu,\"cached\":%zu,\"tokens\":%zu,\"text_seconds\":%.3f,"
                     "\"pass_seconds\":%.3f}\n",
            c->h.n_layers, r.computed, r.cached, r.tokens, r.text_seconds, r.pass_seconds);
    else if (!c->import)
        (void)printf("%zu layers computed, %zu from the cache; text %.1f s, pass %.1f s\n", r.computed,
            r.cached, r.text_seconds, r.pass_seconds);
out:
    if (moments) er_statistics_free(moments, c->h.n_layers, dev);
    free(moments);
    er_model_free(m);
    er_device_close(dev);
    er_folder_free(folder);
    free(cache);
    return rc;
}

int er_cmd_cov(int argc, char **argv) {
    static const int repeated[] = {O_CORPUS, 0};
    cov c = {.c = {.device = ER_DEVICE_OPTIONS_DEFAULT},
        .dataset = "corpus",
        .sample_size = 100000,
        .o = {.seed = 1}};
    int o = 0, code = 0;
    c.o.corpus = c.texts;
    while ((o = er_cli_next(&code, "cov", help, options, repeated, argc, argv)) != -1) {
        if (o == CLI_DONE) return code;
        if (take(&c, o, optarg) < 0) return 2;
    }
    if (optind < argc) return er_cli_usage("cov", "unexpected '%s'", argv[optind]);
    if (!c.model) return er_cli_usage("cov", "--model is needed");
    if ((c.o.n_corpus > 0) + c.sample + (c.import != NULL) != 1)
        return er_cli_usage("cov", "one of --corpus, --sample and --import is needed");
    er_status rc = er_interrupted_in(collect(&c), "cov", NULL);
    return rc == ER_OK ? 0 : er_cli_fail(rc);
}
