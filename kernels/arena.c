#include "kernels/arena.h"

#include <stdlib.h>
#include <string.h>

static er_status remember(er_arena *a, void *p, size_t bytes, bool host) {
    if (a->count == a->capacity) {
        size_t capacity = a->capacity ? 2 * a->capacity : 32;
        er_arena_block *more = realloc(a->block, capacity * sizeof *more);
        if (!more) return er_fail(ER_ENOMEM, "%zu buffers", capacity);
        a->block = more;
        a->capacity = capacity;
    }
    a->block[a->count++] = (er_arena_block){p, bytes, host};
    return ER_OK;
}

static void give_back(const er_arena *a, void *p, bool host) {
    if (host) a->dev->op->release_host(a->dev, p);
    else a->dev->op->release(a->dev, p);
}

static er_status take(er_arena *a, void *slot, size_t count, size_t element, bool host) {
    size_t bytes = 0, *sum = host ? &a->host_bytes : &a->bytes;
    void *p = NULL;
    if (__builtin_mul_overflow(count, element, &bytes) || bytes > SIZE_MAX - *sum)
        return er_fail(ER_ENOMEM, "%zu elements of %zu bytes", count, element);
    if (a->dev) {
        size_t least = bytes ? bytes : element;
        er_status rc =
            host ? a->dev->op->alloc_host(a->dev, &p, least) : a->dev->op->alloc(a->dev, &p, least);
        if (rc == ER_OK && (rc = remember(a, p, bytes, host)) != ER_OK) give_back(a, p, host);
        if (rc != ER_OK) return rc;
    }
    *sum += bytes;
    memcpy(slot, &p, sizeof p);
    return ER_OK;
}

er_status er_arena_take(er_arena *a, void *slot, size_t count, size_t element) {
    return take(a, slot, count, element, false);
}
er_status er_arena_take_host(er_arena *a, void *slot, size_t count, size_t element) {
    return take(a, slot, count, element, true);
}

void er_arena_release(er_arena *a) {
    if (a->host_bytes && a->dev) (void)a->dev->op->sync(a->dev);
    while (a->count) {
        a->count--;
        give_back(a, a->block[a->count].p, a->block[a->count].host);
    }
    free(a->block);
    *a = (er_arena){.dev = a->dev};
}
