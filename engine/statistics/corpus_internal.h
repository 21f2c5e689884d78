// Inside engine/statistics/: the rows of texts whose digests are part of a key.
#ifndef ER_STATISTICS_CORPUS_H
#define ER_STATISTICS_CORPUS_H
#include "engine/statistics.h"

// As er_corpus_rows. `digest` [paths], or NULL: EIO when a text is no longer the one it was taken of.
er_status er_corpus_rows_of(er_sequences **out, const er_model *m, const char *const *paths,
    char (*digest)[65], size_t n_paths, size_t tokens, size_t row_tokens, uint64_t seed);
#endif
