// Second moments of the keys, from whichever source the options name.
#include <stdio.h>
#include <stdlib.h>

#include "engine/statistics.h"
#include "engine/job/job_internal.h"
#include "io/base/clock.h"
#include "io/base/log.h"

static void describe(er_job *j) {
    const er_job_options *o = j->o;
    size_t n = sizeof j->text_source;
    unsigned long long tokens = j->moments[0]->count;
    if (o->import) (void)snprintf(j->text_source, n, "imported from %s, %llu tokens", o->import, tokens);
    else if (o->n_text)
        (void)snprintf(
            j->text_source, n, "%s%s, %llu tokens", o->text[0], o->n_text > 1 ? " and others" : "", tokens);
    else
        (void)snprintf(j->text_source, n, "sampled from the model, %llu tokens, seed %llu", tokens,
            j->report->hparams.seed);
}

// Without ReLU this finds nothing.
static er_status fill_idle(er_job *j, const er_hparams *h) {
    for (size_t i = 0; i < h->n_layers; i++) {
        size_t idle = 0;
        er_status rc = er_second_moment_fill_dead(j->m->dev, j->moments[i], &idle);
        if (rc != ER_OK) return rc;
        if (idle)
            er_info("covary      layer %zu: %zu of %zu key dimensions were never active", h->layers[i], idle,
                j->moments[i]->dim);
    }
    return ER_OK;
}

// Rank 0 reads the files.
static er_status import(er_job *j, const er_hparams *h) {
    er_status rc = ER_OK;
    if (j->comm->rank == 0) rc = er_statistics_import(j->moments, j->m, h->layers, h->n_layers, j->o->import);
    ER_TRY(er_comm_agree(j->comm, rc, NULL));
    ER_TRY(er_statistics_tell(j->moments, h->n_layers, j->dev, j->arch.d_ff, j->comm));
out:
    return rc;
}

er_status er_job_statistics(er_job *j) {
    er_status rc = ER_OK;
    const er_hparams *h = &j->report->hparams;
    double start = er_clock();
    er_statistics_report r = {0};
    er_statistics_options co = {.corpus = j->o->text,
        .n_corpus = j->o->n_text,
        .tokens = h->cov_tokens,
        .seed = h->seed,
        .cache_dir = j->cache,
        .counted = true,
        .comm = j->comm,
        .whole_batches = j->o->deterministic};
    rc = er_checkpoint_digest(j->m->checkpoint, j->report->model_digest);
    if (rc == ER_OK && !(j->moments = calloc(h->n_layers, sizeof *j->moments)))
        rc = er_fail(ER_ENOMEM, "moments");
    ER_TRY(er_comm_agree(j->comm, rc, NULL));
    ER_TRY(j->o->import ? import(j, h) : er_statistics(j->moments, j->m, h->layers, h->n_layers, &co, &r));
    j->cache_lost = r.lost;
    ER_TRY(fill_idle(j, h));
    describe(j);
    j->report->statistics_seconds = er_clock() - start;
    er_info("covary      %zu layers %s (%zu from the cache), %.1f s", h->n_layers, j->text_source, r.cached,
        j->report->statistics_seconds);
out:
    return rc;
}
