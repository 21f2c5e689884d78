// Inside engine/covary/: sampled text kept beside the sums it was made for, as DIR/<digest>.tokens.npz.
#ifndef ER_COVARY_ROWS_FILE_H
#define ER_COVARY_ROWS_FILE_H
#include "engine/token_rows.h"

// ENOENT when absent; EFORMAT when damaged, or when an id is outside `vocab` or a row longer than
// `row_tokens`.
er_status er_rows_file_get(
    er_token_rows **out, const char *dir, const char *digest, size_t vocab, size_t row_tokens);
er_status er_rows_file_put(const er_token_rows *t, const char *dir, const char *digest);
#endif
