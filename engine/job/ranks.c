// What ranks compare before they begin, and what rank 0 says for them.
#include "engine/job/ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/errata.h"
#include "engine/job/job_internal.h"
#include "io/base/log.h"
#include "kernels/comm/device_sum.h"

// ---- the same inputs ----

enum { MODEL, TOKENIZER, FACTS, SETTINGS, TEMPLATES, PROMPTS, HISTORY, PROGRAM, N_INPUTS };
static const char *const input_name[N_INPUTS] = {[MODEL] = "another model",
    [TOKENIZER] = "another tokenizer",
    [FACTS] = "other facts",
    [SETTINGS] = "other settings",
    [TEMPLATES] = "other context templates",
    [PROMPTS] = "other prompts",
    [HISTORY] = "another errata-manifest.json beside the model",
    [PROGRAM] = "another build of errata"};

typedef char digest[65];

static er_status digest_strings(digest out, const char *const *text, size_t n) {
    er_digest *d = NULL;
    er_status rc = er_digest_new(&d);
    if (rc != ER_OK) return rc;
    for (size_t i = 0; i < n; i++) er_digest_add_str(d, text[i]);
    er_digest_hex(d, out);
    er_digest_free(d);
    return ER_OK;
}

// Whatever the numbers depend on. How large a batch is matters to a deterministic job alone.
static er_status digest_settings(digest out, const er_job *j) {
    er_status rc = ER_OK;
    char batch[64];
    cJSON *json = er_hparams_json(&j->report->hparams);
    char *text = json ? cJSON_PrintUnformatted(json) : NULL;
    if (!text) ER_FAIL(ER_ENOMEM, "the settings as JSON");
    (void)snprintf(batch, sizeof batch, "%d %zu %d", j->o->deterministic,
        j->o->deterministic ? j->batch_tokens : 0, j->cache != NULL);
    ER_TRY(digest_strings(out, (const char *const[]){text, batch, er_precision_name(j->dev->precision)}, 3));
out:
    free(text);
    cJSON_Delete(json);
    return rc;
}

static er_status digest_prompts(digest out, const er_job *j) {
    er_status rc = ER_OK;
    const char **text = malloc((j->requests->count + 1) * sizeof *text);
    if (!text) return er_fail(ER_ENOMEM, "%zu prompts", j->requests->count);
    for (size_t i = 0; i < j->requests->count; i++) text[i] = j->requests->at[i].digest;
    rc = digest_strings(out, text, j->requests->count);
    free(text);
    return rc;
}

static er_status digest_inputs(digest own[N_INPUTS], er_job *j) {
    er_status rc = ER_OK;
    ER_TRY(er_checkpoint_digest(j->m->checkpoint, own[MODEL]));
    (void)snprintf(own[TOKENIZER], sizeof(digest), "%s", er_tokenizer_digest(j->m->tokenizer));
    (void)snprintf(own[FACTS], sizeof(digest), "%s", j->facts->digest);
    ER_TRY(digest_settings(own[SETTINGS], j));
    ER_TRY(digest_strings(own[TEMPLATES], (const char *const *)j->templates->text, j->templates->count));
    ER_TRY(digest_prompts(own[PROMPTS], j));
    (void)snprintf(own[HISTORY], sizeof(digest), "%s", j->parent_digest);
    ER_TRY(digest_strings(own[PROGRAM], (const char *const[]){ERRATA_VERSION, __VERSION__}, 2));
out:
    return rc;
}

// What came first on the way from a file to the prompts differs first.
static er_status compare(const digest (*all)[N_INPUTS], const er_job *j) {
    for (size_t i = 0; i < N_INPUTS; i++)
        for (size_t r = 1; r < j->comm->size; r++)
            if (memcmp(all[r][i], all[0][i], sizeof(digest)) != 0)
                return er_fail(ER_ECONFIG,
                    "rank %zu has %s than rank 0 (model %s, facts %s; sha256 %.12s, on rank 0 %.12s)", r,
                    input_name[i], j->o->model, j->o->facts, all[r][i], all[0][i]);
    return ER_OK;
}

er_status er_job_compare_ranks(er_job *j) {
    er_status rc = ER_OK;
    digest own[N_INPUTS] = {{0}}, (*all)[N_INPUTS] = NULL;
    size_t size = j->comm->size, *bytes = NULL;
    if (size == 1) return ER_OK;
    all = malloc(size * sizeof *all), bytes = malloc(size * sizeof *bytes);
    rc = all && bytes ? digest_inputs(own, j) : er_fail(ER_ENOMEM, "digests of %zu ranks", size);
    ER_TRY(er_comm_agree(j->comm, rc, NULL));
    for (size_t r = 0; r < size; r++) bytes[r] = sizeof own;
    ER_TRY(er_comm_gather(j->comm, all, own, bytes));
    ER_TRY(er_comm_agree(j->comm, compare((const digest(*)[N_INPUTS])all, j), NULL));
out:
    free(all);
    free(bytes);
    return rc;
}

// ---- devices ----

er_status er_job_join_devices(er_job *j) {
    const char *how = "";
    if (j->comm->size == 1) return ER_OK;
    er_status rc = er_comm_join(j->comm, j->dev, &how);
    if (rc == ER_OK) er_info("ranks       %zu, sums by %s", j->comm->size, how);
    return rc;
}

// ---- warnings ----

static bool is_known(const er_warnings *w, const char *text) {
    for (size_t i = 0; i < er_warnings_count(w); i++)
        if (!strcmp(er_warnings_at(w, i), text)) return true;
    return false;
}

// New warnings of this rank, each with its NUL.
static er_status join_warnings(char **out, size_t *len, er_job *j) {
    size_t n = er_warnings_count(j->warnings), bytes = 0;
    for (size_t i = j->warnings_told; i < n; i++) bytes += strlen(er_warnings_at(j->warnings, i)) + 1;
    char *text = malloc(bytes + 1), *at = text;
    if (!text) return er_fail(ER_ENOMEM, "%zu warnings", n);
    for (size_t i = j->warnings_told; i < n; i++) at = stpcpy(at, er_warnings_at(j->warnings, i)) + 1;
    j->warnings_told = n;
    *out = text, *len = bytes;
    return ER_OK;
}

er_status er_job_tell_warnings(er_job *j) {
    er_status rc = ER_OK;
    size_t size = j->comm->size, own = 0, at = 0, *bytes = NULL;
    char *mine = NULL, *all = NULL;
    if (size == 1) return ER_OK;
    rc = (bytes = malloc(size * sizeof *bytes)) ? join_warnings(&mine, &own, j)
                                                : er_fail(ER_ENOMEM, "warnings of %zu ranks", size);
    ER_TRY(er_comm_agree(j->comm, rc, NULL));
    ER_TRY(er_comm_collect(j->comm, (void **)&all, bytes, mine, own));
    for (size_t r = 0; r < size; at += bytes[r++])
        for (size_t i = 0; r && j->comm->rank == 0 && i < bytes[r]; i += strlen(all + at + i) + 1)
            if (!is_known(j->warnings, all + at + i)) er_warn("rank %zu: %s", r, all + at + i);
out:
    free(bytes);
    free(mine);
    free(all);
    return rc;
}
