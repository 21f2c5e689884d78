// values, solve, write.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/statistics.h"
#include "engine/job/share_internal.h"
#include "io/base/clock.h"
#include "io/base/log.h"

static er_status store_key(er_job *j, char key[65]) {
    const er_hparams *h = &j->report->hparams;
    er_digest *d = NULL;
    er_status rc = er_digest_new(&d);
    if (rc != ER_OK) return rc;
    double real[] = {h->lr, h->clamp, h->decay, h->kl, h->stop};
    uint64_t whole[] = {h->steps, h->layers[h->n_layers - 1], j->dev->precision, 1 /* format */};
    // The last bits of a z depend on what else was in its batch. A deterministic job takes only values that
    // it would have found itself: those of the same batches on the same device.
    uint64_t batch[] = {j->o->deterministic, j->batch_tokens};
    er_digest_add_str(d, "values");
    er_digest_add_str(d, j->report->model_digest);
    er_digest_add_str(d, er_tokenizer_digest(j->m->tokenizer));
    er_digest_add(d, real, sizeof real);
    er_digest_add(d, whole, sizeof whole);
    if (j->o->deterministic) {
        er_digest_add(d, batch, sizeof batch);
        er_digest_add_str(d, j->dev->name);
        for (size_t i = 0; i < j->requests->count; i++) er_digest_add_str(d, j->requests->at[i].digest);
    }
    er_digest_hex(d, key);
    er_digest_free(d);
    return ER_OK;
}

// A store that fails is closed: what stands in it is for later jobs, what the job found is in its memory.
static er_status without_store(er_job *j, er_status rc) {
    if (!er_cache_failure(rc)) return rc;
    if (!j->cache_lost)
        er_warn("%s; target values are no longer kept: an interrupted job finds them anew", er_last_error());
    j->cache_lost = true;
    er_target_store_close(j->store);
    j->store = NULL;
    return ER_OK;
}

typedef struct sink {
    er_job *j;
    const er_share *share;
} sink;

static er_status keep_value(void *ctx, size_t own, const er_target_z *v) {
    const sink *k = ctx;
    er_job *j = k->j;
    size_t hidden = j->arch.hidden, request = er_share_request(k->share, own);
    memcpy(j->z + request * hidden, v->z, hidden * sizeof *j->z);
    if (!j->store) return ER_OK;
    er_status rc = er_target_store_put(j->store, j->requests->at[request].digest, v);
    if (rc == ER_OK) j->kept++;
    return rc == ER_OK ? rc : without_store(j, rc);
}

static er_status take_known(er_job *j) {
    er_status rc = ER_OK;
    char key[65];
    ER_TRY(store_key(j, key));
    rc = er_target_store_open_rank(&j->store, j->cache, key, j->arch.hidden, j->comm->rank);
    if (rc != ER_OK) return without_store(j, rc);
    size_t known = 0;
    for (size_t i = 0; i < j->requests->count; i++) {
        j->have[i] = er_target_store_get(j->store, j->requests->at[i].digest, j->z + i * j->arch.hidden);
        known += j->have[i];
    }
    if (known) er_info("values      %zu of %zu from the cache", known, j->requests->count);
    if (er_target_store_refusal(j->store) && known < j->requests->count && !j->cache_lost) {
        er_warn("%s; target values are not kept: an interrupted job finds them anew",
            er_target_store_refusal(j->store));
        j->cache_lost = true;
    }
    if (er_target_store_refusal(j->store)) {
        er_target_store_close(j->store);
        j->store = NULL;
    }
out:
    return rc;
}

// The values that this rank is to find. A fact whose loss is not finite is named as the file has it.
static er_status optimise(er_job *j, const er_share *share) {
    er_status rc = ER_OK;
    const er_hparams *h = &j->report->hparams;
    er_targets_stats *stats = &j->report->targets;
    sink to = {j, share};
    er_targets_options vo = {
        .batch_tokens = j->batch_tokens, .have = share->have, .deterministic = j->o->deterministic};
    ER_TRY(er_second_moment_evict(
        j->dev, j->moments, h->n_layers, er_targets_bytes(&j->arch, &share->own, h, j->batch_tokens)));
    rc = (j->editor->targets ? j->editor->targets : er_targets_optimise)(
        stats, j->m, &share->own, h, &vo, keep_value, &to);
    if (rc == ER_ENUMERIC) {
        const er_fact *f = &j->facts->at[j->requests->at[er_share_request(share, stats->failed)].fact[0]];
        char why[256];
        (void)snprintf(why, sizeof why, "%s", er_last_error());
        ER_FAIL(rc, "%s: %s %zu: fact '%s': %s", j->facts->path, j->facts->is_lines ? "line" : "record",
            f->line, f->id, why);
    }
out:
    return rc;
}

// What all ranks did, and what is kept of it, counted before they end together.
static er_status add_up_targets(er_job *j, er_status mine) {
    er_targets_stats *t = &j->report->targets;
    double x[] = {(double)t->requests, (double)t->losses, (double)t->batches, t->flops, (double)j->kept};
    if (j->comm->size == 1) return ER_OK;
    if (mine != ER_OK) er_comm_raise(j->comm);
    er_status rc = er_comm_sum_host(j->comm, x, sizeof x / sizeof *x);
    if (rc != ER_OK) return rc;
    t->requests = (size_t)x[0], t->losses = (size_t)x[1], t->batches = (size_t)x[2], t->flops = x[3];
    j->kept = (size_t)x[4];
    return ER_OK;
}

// The stage says "done and kept" of its own facts.
static er_status interrupted(const er_job *j) {
    size_t n = j->requests->count, kept = j->kept + j->report->targets_cached;
    if (!j->store)
        return er_fail(ER_EINTERRUPTED, "interrupted in values: %zu of %zu facts are kept", kept, n);
    return er_fail(ER_EINTERRUPTED, "interrupted in values: %zu of %zu facts are done and kept", kept, n);
}

er_status er_job_targets(er_job *j) {
    er_status rc = ER_OK;
    er_share share = {0};
    size_t n = j->requests->count, hidden = j->arch.hidden;
    if (!(j->z = calloc(n * hidden, sizeof *j->z)) || !(j->have = calloc(n, sizeof *j->have)))
        rc = er_fail(ER_ENOMEM, "%zu target values", n);
    if (rc == ER_OK && j->cache) rc = take_known(j);
    ER_TRY(er_comm_agree(j->comm, rc, NULL));
    ER_TRY(er_share_begin(&share, j));
    rc = optimise(j, &share);
    if (rc == ER_EINTERRUPTED && j->comm->size == 1 && !j->store) rc = interrupted(j);
    er_status counted = add_up_targets(j, rc);
    if (rc == ER_EINTERRUPTED && j->comm->size > 1) rc = interrupted(j);
    ER_TRY(er_comm_agree(j->comm, counted == ER_OK ? rc : counted, NULL));
    ER_TRY(er_share_exchange(&share, j));
    const er_targets_stats *s = &j->report->targets;
    if (s->requests)
        er_info("values      %zu facts in %.1f s, %.2f facts/s, %.1f steps each, %.0f GFLOP/s in GEMMs",
            s->requests, s->seconds, (double)s->requests / s->seconds,
            (double)s->losses / (double)s->requests, s->flops / s->seconds * 1e-9);
out:
    er_share_free(&share);
    return rc;
}

er_apply er_job_apply(const er_job *j) {
    return (er_apply){.editor = j->editor,
        .requests = j->requests,
        .z = j->z,
        .c = j->moments,
        .history = j->history,
        .h = &j->report->hparams,
        .comm = j->comm};
}

er_status er_job_solve(er_job *j) {
    er_status rc = er_job_read_history(j);
    er_apply a = er_job_apply(j);
    if (rc == ER_OK) rc = er_apply_room(&a.max_tokens, j->dev, &j->arch, &a);
    if (j->o->deterministic) a.max_tokens = er_apply_tokens(j->dev);  // whatever is free at the moment
    rc = er_comm_agree(j->comm, rc, NULL);
    if (rc == ER_OK) rc = er_apply_edits(&j->report->spread, j->m, &a);
    if (rc == ER_OK) rc = er_comm_sum_host(j->comm, &j->report->spread.flops, 1);
    if (rc != ER_OK) return rc;
    const er_apply_report *s = &j->report->spread;
    for (size_t i = 0; i < s->n_layers; i++)
        er_info("layer %-5zu lambda %.4g, tr(lambda C) %.3g tr(KK'), residual %5.1f %%, |dW| %.3g, |dW|/|W| "
                "%.2f %%, lost in rounding %.1f %% (%s, "
                "%.2f s + %.2f s)",
            s->layer[i].layer, s->layer[i].lambda, s->layer[i].trace_ratio, 100 * s->layer[i].residual,
            s->layer[i].dw_norm, 100 * s->layer[i].dw_norm / s->layer[i].w_norm,
            100 * s->layer[i].rounding_loss, s->layer[i].solve.dual ? "dual" : "primal",
            s->layer[i].gather_seconds, s->layer[i].solve.seconds);
    er_info("solve       %.1f %% of the residual is left, %.1f s", 100 * s->residual_left, s->seconds);
    return ER_OK;
}

// Everything but the last step: the output is complete and bears another name.
static er_status write_output(er_job *j) {
    er_status rc = ER_OK;
    const er_hparams *h = &j->report->hparams;
    er_edited_tensor edits[ER_MAX_EDIT_LAYERS] = {0};
    void *bytes[ER_MAX_EDIT_LAYERS] = {0};
    double start = er_clock();
    ER_TRY(er_output_begin(&j->output, j->o->out, j->o->force));
    for (size_t i = 0; i < h->n_layers; i++) {
        const er_block *b = &j->m->block[h->layers[i]];
        if (!(bytes[i] = malloc(b->down_tensor->bytes)))
            ER_FAIL(ER_ENOMEM, "weight of layer %zu", h->layers[i]);
        ER_TRY(j->dev->op->weight_read(j->dev, b->down, bytes[i]));
        edits[i] = (er_edited_tensor){b->down_tensor, bytes[i]};
    }
    j->shard_digest = calloc(er_checkpoint_shards(j->m->checkpoint), sizeof *j->shard_digest);
    if (!j->shard_digest) ER_FAIL(ER_ENOMEM, "digests of the output");
    rc = er_checkpoint_write_with(j->m->checkpoint, j->output, edits, h->n_layers,
        &(er_write_options){.copy_all = j->o->copy_all, .shard_digest = j->shard_digest});
    if (rc != ER_OK) goto out;
    ER_TRY(er_job_write_history(j));
    j->report->write_seconds = er_clock() - start;
    ER_TRY(er_job_manifest(j, true));
    ER_TRY(er_output_write(j->output, ER_MANIFEST, j->report->json, strlen(j->report->json)));
    ER_TRY(er_stop_check(""));
out:
    for (size_t i = 0; i < h->n_layers; i++) free(bytes[i]);
    return rc;
}

// Rank 0 writes. A rank that is gone by then leaves no output; once it stands the job is done, whatever
// becomes of the others.
er_status er_job_write(er_job *j) {
    char missing[512];
    double start = er_clock();
    bool writes = j->comm->rank == 0;
    (void)snprintf(missing, sizeof missing, "%s is not made", j->o->out);
    er_status rc = writes ? er_interrupted_in(write_output(j), "write", missing) : ER_OK;
    if ((rc = er_comm_agree(j->comm, rc, NULL)) != ER_OK) return rc;
    if (j->comm->size > 1) er_stop_watch(NULL, NULL);  // nobody else stops it any more
    if (writes) rc = er_output_commit(j->output);
    er_status told = er_comm_agree(j->comm, rc, NULL);
    if (!writes || rc != ER_OK) return er_interrupted_in(told, "write", missing);
    if (told != ER_OK) er_warn("%s; the output was written before that", er_last_error());
    j->report->write_seconds = er_clock() - start;
    er_info("written     %s", j->o->out);
    return ER_OK;
}
