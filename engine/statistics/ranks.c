#include "engine/statistics/ranks_internal.h"

#include <stdlib.h>

// ---- rows ----

static er_status from_parts(
    er_sequences **out, const int32_t *token, size_t tokens, const size_t *start, size_t rows) {
    er_sequences *t = NULL;
    er_status rc = er_sequences_new(&t);
    for (size_t r = 0; rc == ER_OK && r < rows; r++)
        rc = start[r + 1] <= tokens
                 ? er_sequences_add(t, token + start[r], start[r + 1] - start[r])
                 : er_fail(ER_EFORMAT, "row %zu ends at token %zu of %zu", r, start[r + 1], tokens);
    if (rc == ER_OK) *out = t;
    else er_sequences_free(t);
    return rc;
}

er_status er_sequences_tell(er_sequences **rows, const er_comm *c) {
    er_status rc = ER_OK;
    er_sequences *t = *rows;
    void *token = t ? t->token : NULL, *start = t ? t->start : NULL;
    size_t token_bytes = t ? t->tokens * sizeof(int32_t) : 0,
           start_bytes = t ? (t->rows + 1) * sizeof(size_t) : 0;
    if (c->size == 1) return ER_OK;
    ER_TRY(er_comm_tell(c, &token, &token_bytes, 0));
    ER_TRY(er_comm_tell(c, &start, &start_bytes, 0));
    if (c->rank)
        rc = from_parts(rows, token, token_bytes / sizeof(int32_t), start, start_bytes / sizeof(size_t) - 1);
    rc = er_comm_agree(c, rc, NULL);
out:
    if (c->rank) {
        free(token);
        free(start);
    }
    return rc;
}

// The row behind the batch that begins with row `first`.
static size_t batch_end(const er_sequences *t, size_t first, size_t batch) {
    size_t r = first;
    while (r < t->rows && t->start[r + 1] - t->start[first] <= batch) r++;
    return r > first ? r : first + 1;
}

// Rows *from .. *to - 1: this rank's share of the batches.
static void whole_batches(size_t *from, size_t *to, const er_sequences *t, size_t batch, const er_comm *c) {
    size_t n = 0, first = 0, count = 0, r = 0;
    for (size_t at = 0; at < t->rows; at = batch_end(t, at, batch)) n++;
    er_comm_share(c, n, &first, &count);
    for (size_t b = 0; b < first; b++) r = batch_end(t, r, batch);
    *from = r;
    for (size_t b = 0; b < count; b++) r = batch_end(t, r, batch);
    *to = r;
}

er_status er_sequences_share(er_sequences **own, const er_sequences *all, size_t batch, const er_comm *c) {
    size_t first = 0, count = 0, from = 0, to = 0;
    if (batch) {
        whole_batches(&from, &to, all, batch, c);
        return from_parts(own, all->token, all->tokens, all->start + from, to - from);
    }
    er_comm_share(c, all->tokens, &first, &count);
    while (from < all->rows && all->start[from] < first) from++;
    for (to = from; to < all->rows && all->start[to] < first + count; to++) {}
    return from_parts(own, all->token, all->tokens, all->start + from, to - from);
}

// ---- sums ----

er_status er_statistics_sum(er_second_moment *m, er_device *dev, const er_comm *c) {
    er_status rc = ER_OK;
    double count = (double)m->count;
    if (c->size == 1) return ER_OK;
    ER_TRY(er_comm_sum_f64(c, dev, m->sum, m->dim * m->dim));
    ER_TRY(er_comm_sum_host(c, &count, 1));
    m->count = (uint64_t)count;
out:
    return rc;
}

enum { PIECE = 1 << 22 };  // numbers told at a time: 32 MB

static er_status tell_numbers(er_second_moment *m, er_device *dev, double *piece, const er_comm *c) {
    er_status rc = ER_OK;
    for (size_t at = 0, n = m->dim * m->dim; at < n; at += PIECE) {
        size_t part = n - at < PIECE ? n - at : PIECE, bytes = part * sizeof *piece;
        double *from = m->sum ? piece : m->offloaded + at;  // rank 0's may have left the device
        if (c->rank == 0 && m->sum) ER_TRY(dev->op->download(dev, piece, m->sum + at, bytes));
        ER_TRY(er_comm_broadcast(c, from, bytes, 0));
        if (c->rank) ER_TRY(dev->op->upload(dev, m->sum + at, piece, bytes));
    }
out:
    return rc;
}

static er_status tell_one(er_second_moment **m, er_device *dev, size_t dim, double *piece, const er_comm *c) {
    er_status rc = c->rank ? er_second_moment_create(m, dev, dim) : ER_OK;
    double told[2] = {0};
    ER_TRY(er_comm_agree(c, rc, NULL));
    if (c->rank == 0) told[0] = (double)(*m)->count, told[1] = (*m)->filled;
    ER_TRY(er_comm_broadcast(c, told, sizeof told, 0));
    (*m)->count = (uint64_t)told[0], (*m)->filled = told[1];
    ER_TRY(tell_numbers(*m, dev, piece, c));
out:
    return rc;
}

er_status er_statistics_tell(
    er_second_moment **moments, size_t n_layers, er_device *dev, size_t dim, const er_comm *c) {
    er_status rc = ER_OK;
    size_t all = dim * dim, room = all < PIECE ? all : PIECE;
    double *piece = NULL;
    bool *there = NULL;
    if (c->size == 1) return ER_OK;
    if (!(piece = malloc(room * sizeof *piece)) || !(there = calloc(n_layers + 1, sizeof *there)))
        rc = er_fail(ER_ENOMEM, "statistics on their way between ranks");
    ER_TRY(er_comm_agree(c, rc, NULL));
    for (size_t i = 0; i < n_layers; i++) there[i] = moments[i] != NULL;
    ER_TRY(er_comm_broadcast(c, there, n_layers * sizeof *there, 0));
    for (size_t i = 0; i < n_layers; i++) {
        if (!there[i]) continue;
        if (c->rank) ER_TRY(er_second_moment_evict(dev, moments, i, all * sizeof(double)));
        ER_TRY(tell_one(&moments[i], dev, dim, piece, c));
    }
out:
    free(piece);
    free(there);
    return rc;
}
