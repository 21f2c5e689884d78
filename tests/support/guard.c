#include "tests/support/guard.h"

#include <float.h>
#include "tests/test.h"

#define FENCE ((size_t)64)
#define MOST 256

static struct {
    char *at;
    size_t bytes;
} live[MOST];
static size_t n_live;

void *guard_alloc(er_device *d, size_t bytes) {
    void *p = NULL;
    assert_true(n_live < MOST);
    OK(d->op->alloc(d, &p, bytes + 2 * FENCE));
    char *fill = malloc(bytes + 2 * FENCE);
    assert_non_null(fill);
    memset(fill, 0xa5, bytes + 2 * FENCE);
    memset(fill + FENCE, 0xff, bytes);
    OK(d->op->upload(d, p, fill, bytes + 2 * FENCE));
    OK(d->op->sync(d));
    free(fill);
    live[n_live].at = p;
    live[n_live++].bytes = bytes;
    return (char *)p + FENCE;
}

void *guard_put(er_device *d, const void *host, size_t bytes) {
    void *p = guard_alloc(d, bytes);
    OK(d->op->upload(d, p, host, bytes));
    OK(d->op->sync(d));
    return p;
}

void guard_get(er_device *d, void *host, const void *dev, size_t bytes) {
    OK(d->op->download(d, host, dev, bytes));
}

void guard_end(er_device *d) {
    for (size_t i = 0; i < n_live; i++) {
        unsigned char fence[FENCE];
        for (int side = 0; side < 2; side++) {
            OK(d->op->download(d, fence, live[i].at + (side ? FENCE + live[i].bytes : 0), FENCE));
            for (size_t j = 0; j < FENCE; j++)
                if (fence[j] != 0xa5)
                    fail_msg("buffer %zu of %zu bytes: byte %zu %s it was overwritten", i, live[i].bytes, j,
                        side ? "after" : "before");
        }
        d->op->release(d, live[i].at);
    }
    n_live = 0;
}

double *test_doubles(uint64_t *seed, size_t n, double scale) {
    double *x = malloc((n ? n : 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = (double)(float)(test_uniform(seed) * scale);
    return x;
}

float *test_narrow(const double *x, size_t n) {
    float *y = malloc((n ? n : 1) * sizeof *y);
    assert_non_null(y);
    for (size_t i = 0; i < n; i++) y[i] = (float)x[i];
    return y;
}

float *guard_put_narrow(er_device *d, const double *x, size_t n) {
    float *host = test_narrow(x, n), *dev = guard_put(d, host, n * sizeof *host);
    free(host);
    return dev;
}

double guard_error(er_device *d, const float *dev, const double *expected, size_t n) {
    if (!n) return 0;
    float *host = malloc(n * sizeof *host);
    assert_non_null(host);
    guard_get(d, host, dev, n * sizeof *host);
    double e = test_rel_error(host, expected, n) / (double)FLT_EPSILON;
    free(host);
    return e;
}
