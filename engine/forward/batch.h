// A ragged batch: rows of tokens packed without padding, each of which may continue a prefix in the cache of
// keys and values and may leave its own there. Rows are written into host memory that copies reach without a
// stop; one copy brings all of them to the device.
//
//     er_batch_take(&b, &arena, tokens, rows)        once
//     er_batch_clear(&b)
//     er_batch_row(&b, token, n, prefix, store)      for every row; er_batch_fits: is there room?
//     er_run_begin(run, &b, kv)                      uploads what is new; again for the same rows: nothing
#ifndef ER_BATCH_H
#define ER_BATCH_H
#include "kernels/arena.h"

typedef struct er_kv_range {  // positions at .. at + n - 1 of the cache; n 0: none
    size_t at, n;
} er_kv_range;
#define ER_NO_KV ((er_kv_range){0, 0})

typedef struct er_batch {
    size_t max_tokens, max_rows;
    size_t tokens, rows;
    size_t longest, longest_prefix;  // of any row: own tokens, cached ones
    size_t cache_end;                // no row reads or writes the cache at this position or behind it
    bool has_store;                  // some row leaves its keys and values in the cache
    bool uploaded;                   // what stands here stands on the device
    // Host, in one block; er_batch_dev is each one's place on the device.
    int32_t *token, *pos, *store_at;  // [tokens] store_at -1: to nowhere
    int32_t *row_start;               // [rows + 1]
    int32_t *last;                    // [rows] the row's last token; means nothing for an empty row
    int32_t *prefix_at, *prefix_len;  // [rows]
    int32_t *host, *dev;              // both blocks
} er_batch;

// `rows` rows of `tokens` tokens in all, the blocks taken from the arena.
er_status er_batch_take(er_batch *b, er_arena *a, size_t tokens, size_t rows);
// The same in blocks of the caller's, er_batch_words(tokens, rows) words each. The device's may be NULL.
size_t er_batch_words(size_t tokens, size_t rows);
void er_batch_bind(er_batch *b, int32_t *host, int32_t *dev, size_t tokens, size_t rows);

void er_batch_clear(er_batch *b);                                   // no rows
bool er_batch_fits(const er_batch *b, size_t rows, size_t tokens);  // so many more
// One more row: it continues the cached positions of `prefix`, so its first token stands at position
// prefix.n; its first store.n tokens go to `store`. EARG when there is no room, and once the batch has been
// uploaded.
er_status er_batch_row(er_batch *b, const int32_t *token, size_t n, er_kv_range prefix, er_kv_range store);
// One copy of what is in use. er_run_begin calls it.
er_status er_batch_upload(er_batch *b, er_device *d);

static inline const int32_t *er_batch_dev(const er_batch *b, const int32_t *host) {
    return b->dev + (host - b->host);
}
#endif
