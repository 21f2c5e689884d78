// Whether the key statistics can rest on as many tokens as there will be. A sum of k k^T over fewer tokens
// than a key is wide has no inverse, and finding that out after an hour of work helps nobody.
#include <stdio.h>
#include <stdlib.h>

#include "engine/statistics.h"
#include "engine/job/job_internal.h"
#include "engine/solve/normal.h"
#include "io/base/log.h"

enum { FEW = 4, USUAL = 10 };  // tokens per dimension

// Can the system of any layer be solved from `tokens`? ReLU leaves dimensions idle, how many nobody knows
// yet, and those are filled in: then it may.
static bool is_solvable(const er_job *j, size_t tokens) {
    const er_hparams *h = &j->report->hparams;
    size_t d = j->arch.d_ff, n = j->requests->count, rows = j->requests->n_rows - n;
    if (tokens >= d || j->arch.act == ER_RELU || j->editor->restricted) return true;
    if (h->key_per_prompt) return tokens + rows >= d;
    return !er_normal_is_dual(
               &(er_normal_shape){.d_key = d, .d_out = j->arch.hidden, .n = n, .definite = true}) &&
           tokens + n >= d;
}

// `where`: what has too few, "FILE: holds 312 tokens" or "cov_tokens is 800"; NULL: the setting.
static er_status judge(const er_job *j, size_t tokens, const char *where) {
    const er_hparams *h = &j->report->hparams;
    size_t d = j->arch.d_ff;
    if (!is_solvable(j, tokens)) {
        static const char why[] =
            "keys are %zu wide, and statistics of fewer tokens have no inverse (%zu are usual)";
        char text[160];
        (void)snprintf(text, sizeof text, why, d, USUAL * d);
        return where ? er_fail(ER_ECONFIG, "%s; %s", where, text)
                     : er_hparams_refuse(h, "cov_tokens", "cov_tokens is %zu; %s", tokens, text);
    }
    if (tokens >= FEW * d) return ER_OK;
    static const char rough[] =
        "keys are %zu wide, and few tokens make their statistics rough (%zu are usual)";
    char text[160], own[64];
    (void)snprintf(text, sizeof text, rough, d, USUAL * d);
    (void)snprintf(own, sizeof own, "cov_tokens is %zu", tokens);
    er_warn("%s; %s", where ? where : own, text);
    return ER_OK;
}

static er_status check_text(const er_job *j) {
    const er_hparams *h = &j->report->hparams;
    const er_job_options *o = j->o;
    char where[512];
    size_t tokens = 0;
    er_statistics_options co = {
        .corpus = o->text, .n_corpus = o->n_text, .tokens = h->cov_tokens, .seed = h->seed};
    er_status rc = er_statistics_count(&tokens, j->m, &co);
    if (rc != ER_OK || tokens == h->cov_tokens) return rc == ER_OK ? judge(j, tokens, NULL) : rc;
    (void)snprintf(where, sizeof where, "%s%s: %zu tokens, the budget is %zu", o->text[0],
        o->n_text > 1 ? " and others" : "", tokens, h->cov_tokens);
    if (tokens >= FEW * j->arch.d_ff) er_warn("%s", where);
    return judge(j, tokens, where);
}

static er_status check_import(const er_job *j) {
    const er_hparams *h = &j->report->hparams;
    char where[512], *path = NULL;
    er_status rc = ER_OK;
    for (size_t i = 0; rc == ER_OK && i < h->n_layers; i++) {
        uint64_t count = 0;
        rc = er_statistics_find_import(&path, j->m, h->layers, h->n_layers, i, j->o->import);
        if (rc == ER_OK) rc = er_second_moment_count(&count, path);
        if (rc == ER_OK && !is_solvable(j, (size_t)count)) {  // few are warned of as they are read
            (void)snprintf(where, sizeof where, "%s: %llu tokens", path, (unsigned long long)count);
            rc = judge(j, (size_t)count, where);
        }
        free(path);
        path = NULL;
    }
    return rc;
}

er_status er_job_check_tokens(const er_job *j) {
    if (j->o->import) return check_import(j);
    return j->o->n_text ? check_text(j) : judge(j, j->report->hparams.cov_tokens, NULL);
}
