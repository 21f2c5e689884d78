// Rows of token ids, host memory: what is generated, sampled, or run for statistics.
#ifndef ER_SEQUENCES_H
#define ER_SEQUENCES_H
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

typedef struct er_sequences {
    int32_t *token;  // [tokens]
    size_t *start;   // [rows + 1]: row r holds start[r] .. start[r+1]-1
    size_t rows, tokens;
    size_t room_rows, room_tokens;
} er_sequences;

er_status er_sequences_new(er_sequences **out);
void er_sequences_free(er_sequences *t);
er_status er_sequences_add(er_sequences *t, const int32_t *token, size_t n);  // one more row
void er_sequences_cut(er_sequences *t, size_t tokens);  // keeps the first `tokens`, the last row cut

static inline size_t er_sequences_length(const er_sequences *t, size_t row) {
    return t->start[row + 1] - t->start[row];
}
static inline const int32_t *er_sequences_at(const er_sequences *t, size_t row) {
    return t->token + t->start[row];
}
#endif
