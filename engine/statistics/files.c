// The reference's files: which name belongs to which layer.
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "engine/statistics.h"
#include "io/base/file.h"

// As asprintf, but NULL when memory is out.
__attribute__((format(printf, 1, 2))) static char *format(const char *fmt, ...) {
    char *out = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&out, fmt, args);
    va_end(args);
    return n < 0 ? NULL : out;
}

// The module name as the reference says it: its GPT-2 modules begin with "transformer.", which some
// checkpoints leave out.
static char *module_name(const er_model *m, size_t layer) {
    const char *name = m->block[layer].down_name;
    bool bare = !strcmp(m->arch.family, "gpt2") && !strncmp(name, "h.", 2);
    return format("%s%s", bare ? "transformer." : "", name);
}

static er_status check_layers(const er_model *m, const size_t *layers, size_t n_layers) {
    for (size_t i = 0; i < n_layers; i++)
        if (layers[i] >= m->arch.layers)
            return er_fail(ER_EARG, "%s: layer %zu: the model has layers 0 to %zu",
                er_checkpoint_dir(m->checkpoint), layers[i], m->arch.layers - 1);
    return ER_OK;
}

// ---- import ----

// "{}" replaced by the module; wildcards in `from` itself are escaped when it is a folder.
static char *fill_pattern(const char *from, const char *module) {
    const char *hole = strstr(from, "{}");
    return hole ? format("%.*s%s%s", (int)(hole - from), from, module, hole + 2) : strdup(from);
}

static char *escape_wildcards(const char *dir) {
    char *out = malloc(2 * strlen(dir) + 1), *to = out;
    for (; out && *dir; dir++) {
        if (strchr("*?[]\\", *dir)) *to++ = '\\';
        *to++ = *dir;
    }
    if (out) *to = 0;
    return out;
}

// One file that fits `pattern`; ENOENT (without a message) when there is none.
static er_status match_one(char **out, const char *pattern, const char *module) {
    glob_t g = {0};
    er_status rc = ER_OK;
    int found = glob(pattern, 0, NULL, &g);
    if (found == GLOB_NOMATCH) return ER_ENOENT;
    if (found != 0) ER_FAIL(found == GLOB_NOSPACE ? ER_ENOMEM : ER_EIO, "%s: cannot be searched", pattern);
    if (g.gl_pathc > 1)
        ER_FAIL(ER_EARG, "%s: both %s and %s fit; name one by a pattern with {}", module, g.gl_pathv[0],
            g.gl_pathv[1]);
    if (!(*out = strdup(g.gl_pathv[0]))) ER_FAIL(ER_ENOMEM, "path of %s", module);
out:
    globfree(&g);
    return rc;
}

static er_status search_folder(char **out, const char *dir, const char *module) {
    static const char *const below[] = {"", "*_stats/", "*/*_stats/"};
    er_status rc = ER_ENOENT;
    char *safe = escape_wildcards(dir);
    if (!safe) return er_fail(ER_ENOMEM, "path of %s", module);
    for (size_t i = 0; rc == ER_ENOENT && i < sizeof below / sizeof *below; i++) {
        char *pattern = format("%s/%s%s_float*_mom2*.npz", safe, below[i], module);
        rc = pattern ? match_one(out, pattern, module) : er_fail(ER_ENOMEM, "path of %s", module);
        free(pattern);
    }
    free(safe);
    return rc;
}

static er_status find_file(char **out, const char *from, const char *module) {
    er_status rc;
    if (er_dir_exists(from)) {
        rc = search_folder(out, from, module);
        return rc == ER_ENOENT ? er_fail(rc, "%s: no %s_float*_mom2*.npz in it", from, module) : rc;
    }
    char *pattern = fill_pattern(from, module);
    if (!pattern) return er_fail(ER_ENOMEM, "path of %s", module);
    rc = match_one(out, pattern, module);
    if (rc == ER_ENOENT) rc = er_fail(rc, "%s: no such file", pattern);
    free(pattern);
    return rc;
}

er_status er_statistics_find_import(
    char **path, er_model *m, const size_t *layers, size_t n_layers, size_t i, const char *from) {
    er_status rc = ER_OK;
    char *module = NULL;
    ER_TRY(check_layers(m, layers, n_layers));
    // Without a hole every layer would get the same sums.
    if (n_layers > 1 && !er_dir_exists(from) && !strstr(from, "{}"))
        ER_FAIL(ER_EARG, "%s: neither a folder nor a pattern with {} for the module's name", from);
    if (!(module = module_name(m, layers[i]))) ER_FAIL(ER_ENOMEM, "name of layer %zu", layers[i]);
    ER_TRY(find_file(path, from, module));
out:
    free(module);
    return rc;
}

er_status er_statistics_import(
    er_second_moment **out, er_model *m, const size_t *layers, size_t n_layers, const char *from) {
    er_status rc = ER_OK;
    char *path = NULL;
    for (size_t i = 0; i < n_layers; i++) out[i] = NULL;
    for (size_t i = 0; i < n_layers; i++) {
        ER_TRY(er_statistics_find_import(&path, m, layers, n_layers, i, from));
        ER_TRY(er_second_moment_evict(m->dev, out, i, m->arch.d_ff * m->arch.d_ff * sizeof(double)));
        ER_TRY(er_second_moment_import(&out[i], m->dev, path, m->arch.d_ff));
        free(path);
        path = NULL;
    }
out:
    if (rc != ER_OK) er_statistics_free(out, n_layers, m->dev);
    free(path);
    return rc;
}

// ---- export ----

// The checkpoint folder's own name, "." and trailing slashes resolved.
static char *model_name(const er_model *m) {
    char *real = realpath(er_checkpoint_dir(m->checkpoint), NULL);
    if (!real) return NULL;
    const char *slash = strrchr(real, '/');
    char *name = strdup(slash && slash[1] ? slash + 1 : "model");
    free(real);
    return name;
}

er_status er_statistics_export(er_second_moment *const *moments, er_model *m, const size_t *layers,
    size_t n_layers, const char *dir, const char *dataset, int64_t sample_size, bool as_f64) {
    er_status rc = ER_OK;
    char *model = model_name(m), *folder = NULL, *module = NULL, *path = NULL;
    if (!model) ER_FAIL(ER_ENOMEM, "name of the model");
    ER_TRY(check_layers(m, layers, n_layers));
    if (!*dataset || strchr(dataset, '/')) ER_FAIL(ER_EARG, "'%s' is no name of a data set", dataset);
    if (!(folder = format("%s/%s/%s_stats", dir, model, dataset))) ER_FAIL(ER_ENOMEM, "path of %s", dataset);
    ER_TRY(er_mkdirs(folder));
    for (size_t i = 0; i < n_layers; i++) {
        if (!(module = module_name(m, layers[i]))) ER_FAIL(ER_ENOMEM, "name of layer %zu", layers[i]);
        path = format(
            "%s/%s_%s_mom2_%lld.npz", folder, module, as_f64 ? "float64" : "float32", (long long)sample_size);
        if (!path) ER_FAIL(ER_ENOMEM, "path of %s", module);
        ER_TRY(er_second_moment_export(moments[i], m->dev, path, sample_size, as_f64));
        free(module), free(path);
        module = path = NULL;
    }
out:
    free(model);
    free(folder);
    free(module);
    free(path);
    return rc;
}
