#include "engine/forward/batch.h"

#include <string.h>

size_t er_batch_words(size_t tokens, size_t rows) { return 3 * tokens + 4 * rows + 1; }

// What every batch has stands in front, so that what only some have need not travel.
static void lay_out(er_batch *b, size_t tokens, size_t rows) {
    b->token = b->host, b->pos = b->token + tokens, b->row_start = b->pos + tokens;
    b->last = b->row_start + rows + 1, b->prefix_at = b->last + rows, b->prefix_len = b->prefix_at + rows;
    b->store_at = b->prefix_len + rows;
}

void er_batch_bind(er_batch *b, int32_t *host, int32_t *dev, size_t tokens, size_t rows) {
    *b = (er_batch){.max_tokens = tokens, .max_rows = rows, .host = host, .dev = dev};
    if (host) er_batch_clear(b);
}

er_status er_batch_take(er_batch *b, er_arena *a, size_t tokens, size_t rows) {
    er_status rc = ER_OK;
    int32_t *host = NULL, *dev = NULL;
    ER_TRY(er_arena_take(a, &dev, er_batch_words(tokens, rows), sizeof *dev));
    ER_TRY(er_arena_take_host(a, &host, er_batch_words(tokens, rows), sizeof *host));
    er_batch_bind(b, host, dev, tokens, rows);
out:
    return rc;
}

void er_batch_clear(er_batch *b) {
    lay_out(b, b->max_tokens, b->max_rows);
    b->row_start[0] = 0;
    b->tokens = b->rows = b->longest = b->longest_prefix = b->cache_end = 0;
    b->has_store = b->uploaded = false;
}

bool er_batch_fits(const er_batch *b, size_t rows, size_t tokens) {
    return rows <= b->max_rows - b->rows && tokens <= b->max_tokens - b->tokens;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

er_status er_batch_row(er_batch *b, const int32_t *token, size_t n, er_kv_range prefix, er_kv_range store) {
    if (b->uploaded) return er_fail(ER_EARG, "a row for a batch that is on the device already");
    if (!er_batch_fits(b, 1, n))
        return er_fail(ER_EARG, "a batch of %zu tokens in %zu rows; there is room for %zu in %zu",
            b->tokens + n, b->rows + 1, b->max_tokens, b->max_rows);
    for (size_t i = 0; i < n; i++) {
        size_t t = b->tokens + i;
        b->token[t] = token[i];
        b->pos[t] = (int32_t)(prefix.n + i);
        b->store_at[t] = i < store.n ? (int32_t)(store.at + i) : -1;
    }
    b->prefix_at[b->rows] = (int32_t)prefix.at;
    b->prefix_len[b->rows] = (int32_t)prefix.n;
    b->tokens += n;
    b->last[b->rows++] = (int32_t)b->tokens - 1;
    b->row_start[b->rows] = (int32_t)b->tokens;
    b->longest = larger(b->longest, n);
    b->longest_prefix = larger(b->longest_prefix, prefix.n);
    if (prefix.n) b->cache_end = larger(b->cache_end, prefix.at + prefix.n);
    if (store.n) b->cache_end = larger(b->cache_end, store.at + store.n), b->has_store = true;
    return ER_OK;
}

// The arrays are pushed together, in the order in which they stand: none overwrites one that has not moved
// yet.
static size_t close_gaps(er_batch *b) {
    size_t t = b->tokens, r = b->rows;
    const er_batch from = *b;
    lay_out(b, t, r);
    memmove(b->pos, from.pos, t * sizeof *b->pos);
    memmove(b->row_start, from.row_start, (r + 1) * sizeof *b->row_start);
    memmove(b->last, from.last, r * sizeof *b->last);
    if (!b->longest_prefix && !b->has_store) return (size_t)(b->prefix_at - b->host);
    memmove(b->prefix_at, from.prefix_at, r * sizeof *b->prefix_at);
    memmove(b->prefix_len, from.prefix_len, r * sizeof *b->prefix_len);
    if (!b->has_store) return (size_t)(b->store_at - b->host);
    memmove(b->store_at, from.store_at, t * sizeof *b->store_at);
    return er_batch_words(t, r);
}

er_status er_batch_upload(er_batch *b, er_device *d) {
    if (b->uploaded) return ER_OK;
    size_t words = close_gaps(b);
    er_status rc = d->op->upload(d, b->dev, b->host, words * sizeof *b->host);
    b->uploaded = rc == ER_OK;
    return rc;
}
