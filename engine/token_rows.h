// Rows of token ids, host memory: what is generated, sampled, or run for statistics.
#ifndef ER_TOKEN_ROWS_H
#define ER_TOKEN_ROWS_H
#include <stddef.h>
#include <stdint.h>
#include "io/status.h"

typedef struct er_token_rows {
    int32_t *token;  // [tokens]
    size_t *start;   // [rows + 1]: row r holds start[r] .. start[r+1]-1
    size_t rows, tokens;
    size_t room_rows, room_tokens;
} er_token_rows;

er_status er_token_rows_new(er_token_rows **out);
void er_token_rows_free(er_token_rows *t);
er_status er_token_rows_add(er_token_rows *t, const int32_t *token, size_t n);  // one more row
void er_token_rows_cut(er_token_rows *t, size_t tokens);  // keeps the first `tokens`, the last row cut

static inline size_t er_token_rows_length(const er_token_rows *t, size_t row) {
    return t->start[row + 1] - t->start[row];
}
static inline const int32_t *er_token_rows_at(const er_token_rows *t, size_t row) {
    return t->token + t->start[row];
}
#endif
