// What is cached is taken, the rest computed in one pass and kept.
#include "engine/statistics.h"
#include <stdlib.h>
#include <string.h>
#include "engine/statistics/corpus_internal.h"
#include "engine/statistics/ranks_internal.h"
#include "engine/statistics/sequences_cache_internal.h"
#include "engine/generate/decode_batch.h"
#include "io/base/clock.h"
#include "io/base/file_kind.h"
#include "io/base/log.h"

#define FORMAT_VERSION "errata-covariance-1"

// ---- what a sum depends on ----

static void fill_defaults(er_statistics_options *o, const er_model *m) {
    size_t most = er_model_positions(m);
    if (!o->tokens) o->tokens = 10 * m->arch.d_ff;
    if (!o->row_tokens) o->row_tokens = o->n_corpus ? 512 : 128;
    if (o->row_tokens > most) o->row_tokens = most;
}

static er_sample_options sampling(const er_statistics_options *o, const er_model *m) {
    er_sample_options s = {.tokens = o->tokens, .row_tokens = o->row_tokens, .seed = o->seed};
    er_sample_defaults(&s, m);
    return s;
}

static void add_number(er_digest *d, uint64_t x) { er_digest_add(d, &x, sizeof x); }

// Of the text: weights, tokenizer, precision (the sampled text and the keys depend on it), files or sampling
// settings, sizes.
// `file` [n_corpus] gets the files' own.
static er_status text_digest(char hex[65], char (*file)[65], er_model *m, const er_statistics_options *o) {
    er_status rc = ER_OK;
    er_digest *d = NULL;
    char part[65];
    ER_TRY(er_corpus_check(o->corpus, o->n_corpus));
    ER_TRY(er_digest_new(&d));
    er_digest_add_str(d, FORMAT_VERSION);
    ER_TRY(er_checkpoint_digest(m->checkpoint, part));
    er_digest_add_str(d, part);
    er_digest_add_str(d, er_tokenizer_digest(m->tokenizer));
    add_number(d, (uint64_t)m->dev->precision);
    add_number(d, o->tokens);
    add_number(d, o->row_tokens);
    add_number(d, o->seed);
    add_number(d, o->n_corpus);
    for (size_t i = 0; i < o->n_corpus; i++) {
        ER_TRY(er_file_digest(file[i], o->corpus[i]));
        er_digest_add_str(d, file[i]);
    }
    if (o->n_corpus == 0) {
        er_sample_options s = sampling(o, m);
        er_digest_add(d, &s.temperature, sizeof s.temperature);
        er_digest_add(d, &s.top_p, sizeof s.top_p);
        int32_t ends[2];  // these may come from other files than the tokenizer's
        er_end_ids(ends, m);
        for (int i = 0; i < 2; i++) add_number(d, (uint64_t)(int64_t)ends[i]);
        add_number(d, (uint64_t)(int64_t)er_tokenizer_bos(m->tokenizer));
    }
    er_digest_hex(d, hex);
out:
    er_digest_free(d);
    return rc;
}

// Sums depend on the batches only through rounding, so batch_tokens is no part of it.
static er_status layer_digest(char hex[65], const char *text, size_t layer) {
    er_digest *d = NULL;
    er_status rc = er_digest_new(&d);
    if (rc != ER_OK) return rc;
    er_digest_add_str(d, text);
    add_number(d, layer);
    er_digest_hex(d, hex);
    er_digest_free(d);
    return ER_OK;
}

// ---- cache ----

bool er_cache_failure(er_status rc) { return rc == ER_EIO || rc == ER_EOUTPUT; }

// A failure to keep something for later jobs is this job's only where that is what it is for.
static er_status forgive(er_status rc, const er_statistics_options *o, bool *lost) {
    if (o->must_keep || !er_cache_failure(rc)) return rc;
    if (!*lost) er_warn("%s; nothing more is kept in %s for later jobs", er_last_error(), o->cache_dir);
    *lost = true;
    return ER_OK;
}

static er_status find_cached(er_second_moment **out, size_t *found, er_model *m, const size_t *layers,
    size_t n_layers, const er_statistics_options *o, const char *text) {
    *found = 0;
    for (size_t i = 0; i < n_layers; i++) {
        char hex[65];
        er_status rc = layer_digest(hex, text, layers[i]);
        if (rc == ER_OK)
            rc = er_second_moment_evict(m->dev, out, i, m->arch.d_ff * m->arch.d_ff * sizeof(double));
        if (rc == ER_OK) rc = er_second_moment_cache_get(&out[i], m->dev, o->cache_dir, hex, m->arch.d_ff);
        if (rc == ER_OK) (*found)++;
        if (rc == ER_EFORMAT || rc == ER_EIO)
            er_warn("%s; layer %zu is computed anew", er_last_error(), layers[i]);
        else if (rc != ER_OK && rc != ER_ENOENT) return rc;
    }
    return ER_OK;
}

er_status er_statistics_lookup(er_second_moment **out, size_t *found, er_model *m, const size_t *layers,
    size_t n_layers, const er_statistics_options *options) {
    er_statistics_options o = *options;
    char text[65];
    for (size_t i = 0; i < n_layers; i++) out[i] = NULL;
    *found = 0;
    if (!o.cache_dir) return ER_OK;
    fill_defaults(&o, m);
    char(*file)[65] = calloc(o.n_corpus + 1, sizeof *file);
    er_status rc = file ? text_digest(text, file, m, &o) : er_fail(ER_ENOMEM, "%zu texts", o.n_corpus);
    if (rc == ER_OK) rc = find_cached(out, found, m, layers, n_layers, &o, text);
    if (rc != ER_OK) er_statistics_free(out, n_layers, m->dev);
    free(file);
    return rc;
}

void er_statistics_free(er_second_moment **moments, size_t n_layers, er_device *dev) {
    for (size_t i = 0; i < n_layers; i++) er_second_moment_free(dev, moments[i]), moments[i] = NULL;
}

// ---- the text ----

// Sampled text is kept too: it costs more than the pass, and another choice of layers wants the same.
static er_status sampled_rows(
    er_sequences **out, er_model *m, const er_statistics_options *o, const char *digest, bool *lost) {
    er_sample_options s = sampling(o, m);
    er_status rc = o->cache_dir
                       ? er_sequences_cache_get(out, o->cache_dir, digest, m->arch.vocab, s.row_tokens)
                       : ER_ENOENT;
    if (rc == ER_EFORMAT || rc == ER_EIO) er_warn("%s; sampled anew", er_last_error());
    else if (rc != ER_ENOENT) return rc;
    er_sequences *t = NULL;
    if ((rc = er_sample_text(&t, m, &s)) == ER_OK && o->cache_dir)
        rc = forgive(er_sequences_cache_put(t, o->cache_dir, digest), o, lost);
    if (rc == ER_OK) *out = t, t = NULL;
    er_sequences_free(t);
    return rc;
}

er_status er_statistics_count(size_t *tokens, er_model *m, const er_statistics_options *options) {
    er_statistics_options o = *options;
    er_sequences *rows = NULL;
    fill_defaults(&o, m);
    er_status rc = er_corpus_rows(&rows, m, o.corpus, o.n_corpus, o.tokens, o.row_tokens, o.seed);
    for (size_t i = 0; rc == ER_OK && i < o.n_corpus; i++) er_text_warn(o.corpus[i]);
    if (rc == ER_OK) *tokens = rows->tokens;
    er_sequences_free(rows);
    return rc;
}

// ---- all of it ----

typedef struct er_missing {
    er_second_moment **moment;
    size_t *layer, *place;  // place: in the caller's list
    size_t count;
    er_model *m;
    const er_statistics_options *o;
    const char *text;
    bool *lost;
} er_missing;

static er_status list_missing(
    er_missing *w, er_second_moment *const *out, const size_t *layers, size_t n_layers) {
    w->moment = calloc(n_layers + 1, sizeof *w->moment);
    w->layer = calloc(n_layers + 1, sizeof *w->layer);
    w->place = calloc(n_layers + 1, sizeof *w->place);
    if (!w->moment || !w->layer || !w->place) return er_fail(ER_ENOMEM, "%zu layers", n_layers);
    for (size_t i = 0; i < n_layers; i++)
        if (!out[i]) w->place[w->count] = i, w->layer[w->count++] = layers[i];
    return ER_OK;
}

static er_status keep(void *ctx, size_t i, const er_second_moment *moment) {
    const er_missing *w = ctx;
    char hex[65];
    if (!w->o->cache_dir || *w->lost) return ER_OK;
    er_status rc = layer_digest(hex, w->text, w->layer[i]);
    return rc == ER_OK
               ? forgive(er_second_moment_cache_put(moment, w->m->dev, w->o->cache_dir, hex), w->o, w->lost)
               : rc;
}

// What the cache has, as rank 0 finds it. *file [n_corpus] gets the digests of the texts there.
static er_status take_cached(er_second_moment **out, er_statistics_report *said, char text[65],
    char (**file)[65], er_model *m, const size_t *layers, size_t n_layers, const er_statistics_options *o) {
    er_status rc = ER_OK;
    if (o->cache_dir && o->comm->rank == 0) {
        er_cache_sweep(o->cache_dir);
        if (!(*file = calloc(o->n_corpus + 1, sizeof **file)))
            rc = er_fail(ER_ENOMEM, "%zu texts", o->n_corpus);
        if (rc == ER_OK) rc = text_digest(text, *file, m, o);
        if (rc == ER_OK) rc = find_cached(out, &said->cached, m, layers, n_layers, o, text);
    }
    ER_TRY(er_comm_agree(o->comm, rc, NULL));
    ER_TRY(er_statistics_tell(out, n_layers, m->dev, m->arch.d_ff, o->comm));
    said->cached = 0;
    for (size_t i = 0; i < n_layers; i++) said->cached += out[i] != NULL;
out:
    return rc;
}

static er_status read_rows(er_sequences **rows, er_model *m, const er_statistics_options *o, const char *text,
    char (*file)[65], bool *lost) {
    if (o->n_corpus == 0) return sampled_rows(rows, m, o, text, lost);
    er_status rc =
        er_corpus_rows_of(rows, m, o->corpus, file, o->n_corpus, o->tokens, o->row_tokens, o->seed);
    if (rc != ER_OK || o->counted) return rc;
    for (size_t i = 0; i < o->n_corpus; i++) er_text_warn(o->corpus[i]);
    if ((*rows)->tokens < o->tokens)
        er_warn("%s%s: %zu tokens, the budget is %zu", o->corpus[0], o->n_corpus > 1 ? " and others" : "",
            (*rows)->tokens, o->tokens);
    return ER_OK;
}

// The rows as rank 0 reads or samples them, so that they depend on no number of ranks; then this rank's part.
static er_status take_rows(er_sequences **rows, er_statistics_report *said, er_model *m,
    const er_statistics_options *o, const char *text, char (*file)[65]) {
    er_status rc = ER_OK;
    er_sequences *own = NULL;
    if (o->comm->rank == 0) rc = read_rows(rows, m, o, text, file, &said->lost);
    ER_TRY(er_comm_agree(o->comm, rc, NULL));
    ER_TRY(er_sequences_tell(rows, o->comm));
    said->tokens = (*rows)->tokens, said->rows = (*rows)->rows;
    if (o->comm->size == 1) return ER_OK;
    size_t batch = o->whole_batches ? er_statistics_batch(m->dev, *rows, o->batch_tokens) : 0;
    rc = er_sequences_share(&own, *rows, batch, o->comm);
    ER_TRY(er_comm_agree(o->comm, rc, NULL));
    er_sequences_free(*rows);
    *rows = own, own = NULL;
out:
    er_sequences_free(own);
    return rc;
}

static er_status run_missing(
    er_second_moment **out, size_t n_layers, er_missing *w, const er_sequences *rows, double *flops) {
    er_status rc = ER_OK;
    er_model *m = w->m;
    const er_comm *c = w->o->comm;
    size_t own = m->arch.d_ff * m->arch.d_ff;  // a sum and the pass's fp32 square; cached sums make room
    rc = er_second_moment_evict(m->dev, out, n_layers, own * (sizeof(double) + sizeof(float)));
    ER_TRY(er_comm_agree(c, rc, NULL));
    ER_TRY(er_statistics_collect(
        w->moment, m, w->layer, w->count, rows, w->o->batch_tokens, c, c->rank == 0 ? keep : NULL, w, flops));
    for (size_t i = 0; i < w->count; i++) out[w->place[i]] = w->moment[i];
    ER_TRY(er_comm_sum_host(c, flops, 1));
out:
    return rc;
}

er_status er_statistics(er_second_moment **out, er_model *m, const size_t *layers, size_t n_layers,
    const er_statistics_options *options, er_statistics_report *report) {
    er_status rc = ER_OK;
    er_statistics_options o = *options;
    er_statistics_report said = {0};
    er_sequences *rows = NULL;
    er_missing want = {0};
    char text[65] = "", (*file)[65] = NULL;
    double start;
    for (size_t i = 0; i < n_layers; i++) out[i] = NULL;
    if (!o.comm) o.comm = er_comm_self();
    fill_defaults(&o, m);
    ER_TRY(take_cached(out, &said, text, &file, m, layers, n_layers, &o));
    ER_TRY(er_comm_agree(o.comm, list_missing(&want, out, layers, n_layers), NULL));
    if ((said.computed = want.count) > 0) {
        start = er_clock();
        ER_TRY(take_rows(&rows, &said, m, &o, text, file));
        said.text_seconds = er_clock() - start, start = er_clock();
        want.m = m, want.o = &o, want.text = text, want.lost = &said.lost;
        ER_TRY(run_missing(out, n_layers, &want, rows, &said.flops));
        said.pass_seconds = er_clock() - start;
    }
    if (report) *report = said;
out:
    if (rc != ER_OK) er_statistics_free(out, n_layers, m->dev);
    er_sequences_free(rows);
    free(want.place);
    free(want.moment);
    free(want.layer);
    free(file);
    return rc;
}
