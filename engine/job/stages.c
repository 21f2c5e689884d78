// values, solve, write.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/statistics.h"
#include "engine/job/job_internal.h"
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

static er_status keep_value(void *ctx, size_t request, const er_target_z *v) {
    er_job *j = ctx;
    size_t hidden = j->arch.hidden;
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
    if ((rc = er_target_store_open(&j->store, j->cache, key, j->arch.hidden)) != ER_OK)
        return without_store(j, rc);
    for (size_t i = 0; i < j->requests->count; i++) {
        j->have[i] = er_target_store_get(j->store, j->requests->at[i].digest, j->z + i * j->arch.hidden);
        j->report->targets_cached += j->have[i];
    }
    if (j->report->targets_cached)
        er_info("values      %zu of %zu from the cache", j->report->targets_cached, j->requests->count);
    if (er_target_store_refusal(j->store) && j->report->targets_cached < j->requests->count &&
        !j->cache_lost) {
        er_warn("%s; target values are not kept: an interrupted job finds them anew",
            er_target_store_refusal(j->store));
        j->cache_lost = true;
    }
    if (er_target_store_refusal(j->store)) {
        er_target_store_close(j->store);
        j->store = NULL;
    }
    j->kept = j->report->targets_cached;
out:
    return rc;
}

er_status er_job_targets(er_job *j) {
    er_status rc = ER_OK;
    size_t n = j->requests->count, hidden = j->arch.hidden;
    if (!(j->z = calloc(n * hidden, sizeof *j->z)) || !(j->have = calloc(n, sizeof *j->have)))
        ER_FAIL(ER_ENOMEM, "%zu target values", n);
    if (j->cache) ER_TRY(take_known(j));
    er_targets_options vo = {
        .batch_tokens = j->batch_tokens, .have = j->have, .deterministic = j->o->deterministic};
    ER_TRY(er_second_moment_evict(j->dev, j->moments, j->report->hparams.n_layers,
        er_targets_bytes(&j->arch, j->requests, &j->report->hparams, j->batch_tokens)));
    rc = (j->editor->targets ? j->editor->targets : er_targets_optimise)(
        &j->report->targets, j->m, j->requests, &j->report->hparams, &vo, keep_value, j);
    if (rc == ER_ENUMERIC) {
        const er_fact *f = &j->facts->at[j->requests->at[j->report->targets.failed].fact[0]];
        char why[256];
        (void)snprintf(why, sizeof why, "%s", er_last_error());
        ER_FAIL(rc, "%s: %s %zu: fact '%s': %s", j->facts->path, j->facts->is_lines ? "line" : "record",
            f->line, f->id, why);
    }
    if (rc == ER_EINTERRUPTED && !j->store)  // the stage says "done and kept"
        ER_FAIL(rc, "interrupted in values: %zu of %zu facts are kept", j->kept, n);
    if (rc != ER_OK) goto out;
    const er_targets_stats *s = &j->report->targets;
    if (s->requests)
        er_info("values      %zu facts in %.1f s, %.2f facts/s, %.1f steps each, %.0f GFLOP/s in GEMMs",
            s->requests, s->seconds, (double)s->requests / s->seconds,
            (double)s->losses / (double)s->requests, s->flops / s->seconds * 1e-9);
out:
    return rc;
}

er_apply er_job_apply(const er_job *j) {
    return (er_apply){.editor = j->editor,
        .requests = j->requests,
        .z = j->z,
        .c = j->moments,
        .history = j->history,
        .h = &j->report->hparams};
}

er_status er_job_solve(er_job *j) {
    er_status rc = er_job_read_history(j);
    er_apply a = er_job_apply(j);
    if (rc == ER_OK) rc = er_apply_room(&a.max_tokens, j->dev, &j->arch, &a);
    if (j->o->deterministic) a.max_tokens = er_apply_tokens(j->dev);  // whatever is free at the moment
    if (rc == ER_OK) rc = er_apply_edits(&j->report->spread, j->m, &a);
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

er_status er_job_write(er_job *j) {
    er_status rc = ER_OK;
    const er_hparams *h = &j->report->hparams;
    er_edited_tensor edits[ER_MAX_EDIT_LAYERS] = {0};
    void *bytes[ER_MAX_EDIT_LAYERS] = {0};
    char missing[512];
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
    ER_TRY(er_output_commit(j->output));
    j->report->write_seconds = er_clock() - start;
    er_info("written     %s", j->o->out);
out:
    for (size_t i = 0; i < h->n_layers; i++) free(bytes[i]);
    (void)snprintf(missing, sizeof missing, "%s is not made", j->o->out);
    return er_interrupted_in(rc, "write", missing);
}
