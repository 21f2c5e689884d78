// Places for ranges of different length in one buffer: first fit. The buffer itself is the caller's.
#ifndef ER_POOL_H
#define ER_POOL_H
#include <stdbool.h>
#include <stddef.h>
#include "io/base/status.h"

typedef struct er_range {
    size_t at, length, owner;
} er_range;

typedef struct er_pool {
    size_t room, most, count;
    er_range *range;  // [count] of [most], ascending
} er_pool;

er_status er_pool_create(er_pool *p, size_t room, size_t most);  // `most` ranges at a time
void er_pool_free(er_pool *p);
// A range of `length`; false when no gap is as long, or `most` are taken. A length of 0 needs no place and is
// not kept.
bool er_pool_take(er_pool *p, size_t *at, size_t length, size_t owner);
void er_pool_release(er_pool *p, size_t owner);
#endif
