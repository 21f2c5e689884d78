// Inside engine/statistics/: sampled text kept beside the sums it was made for, as DIR/<digest>.tokens.npz.
#ifndef ER_STATISTICS_SEQUENCES_CACHE_H
#define ER_STATISTICS_SEQUENCES_CACHE_H
#include "engine/sequences.h"

// ENOENT when absent; EFORMAT when damaged, or when an id is outside `vocab` or a row longer than
// `row_tokens`.
er_status er_sequences_cache_get(
    er_sequences **out, const char *dir, const char *digest, size_t vocab, size_t row_tokens);
er_status er_sequences_cache_put(const er_sequences *t, const char *dir, const char *digest);
#endif
