#include "tests/support/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FENCE ((size_t)64)
#define MOST 512
#define BLOCK ((size_t)1 << 20)

static struct {
    char *at;
    size_t bytes;
} live[MOST];
static size_t n_live;

static void end_program(const char *message) {
    (void)fprintf(stderr, "%s\n", message);
    exit(1);
}

static void (*failed)(const char *) = end_program;

void guard_on_failure(void (*handler)(const char *message)) { failed = handler; }

static void must(er_status rc) {
    if (rc != ER_OK) failed(er_last_error());
}

// 0xff for `bytes` from `at` on: a block from the host, and that over and over.
static void fill(er_device *d, char *at, size_t bytes) {
    static char block[BLOCK];
    size_t have = bytes < BLOCK ? bytes : BLOCK;
    memset(block, 0xff, have);
    must(d->op->upload(d, at, block, have));
    for (size_t more; have < bytes; have += more) {
        more = have < bytes - have ? have : bytes - have;
        must(d->op->copy(d, at + have, at, more));
    }
}

void *guard_alloc(er_device *d, size_t bytes) {
    void *p = NULL;
    char fence[FENCE];
    if (n_live == MOST) failed("too many guarded buffers");
    must(d->op->alloc(d, &p, bytes + 2 * FENCE));
    memset(fence, 0xa5, FENCE);
    must(d->op->upload(d, p, fence, FENCE));
    must(d->op->upload(d, (char *)p + FENCE + bytes, fence, FENCE));
    fill(d, (char *)p + FENCE, bytes);
    must(d->op->sync(d));
    live[n_live].at = p;
    live[n_live++].bytes = bytes;
    return (char *)p + FENCE;
}

void *guard_put(er_device *d, const void *host, size_t bytes) {
    void *p = guard_alloc(d, bytes);
    must(d->op->upload(d, p, host, bytes));
    must(d->op->sync(d));
    return p;
}

void guard_get(er_device *d, void *host, const void *dev, size_t bytes) {
    must(d->op->download(d, host, dev, bytes));
}

void guard_end(er_device *d) {
    for (size_t i = 0; i < n_live; i++) {
        unsigned char fence[FENCE];
        for (int side = 0; side < 2; side++) {
            must(d->op->download(d, fence, live[i].at + (side ? FENCE + live[i].bytes : 0), FENCE));
            for (size_t j = 0; j < FENCE; j++)
                if (fence[j] != 0xa5) {
                    char message[128];
                    (void)snprintf(message, sizeof message,
                        "buffer %zu of %zu bytes: byte %zu %s it was overwritten", i, live[i].bytes, j,
                        side ? "after" : "before");
                    failed(message);
                }
        }
        d->op->release(d, live[i].at);
    }
    n_live = 0;
}
