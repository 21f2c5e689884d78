// Key dimensions that no token of the statistics ever used, which ReLU networks have by the thousands. Their
// rows of the sum are zero, and no factor of it exists.
#include <stdlib.h>
#include "covariance/covariance.h"

// Entry i of the diagonal of a [n, n] is entry at[i] of it.
static er_status diagonal_of(double *out, er_device *dev, const double *a, const int32_t *at, size_t n) {
    er_status rc = ER_OK;
    void *index = NULL, *picked = NULL;
    ER_TRY(dev->op->alloc(dev, &index, n * sizeof *at));
    ER_TRY(dev->op->alloc(dev, &picked, n * sizeof *out));
    ER_TRY(dev->op->upload(dev, index, at, n * sizeof *at));
    // A double is a row of two floats to an op that only copies.
    ER_TRY(dev->op->gather_rows(dev, picked, (const float *)(const void *)a, index, n, 2));
    ER_TRY(dev->op->download(dev, out, picked, n * sizeof *out));
out:
    if (index) dev->op->release(dev, index);
    if (picked) dev->op->release(dev, picked);
    return rc;
}

static er_status add_on_diagonal(er_device *dev, double *a, const int32_t *at, size_t n, float value) {
    er_status rc = ER_OK;
    void *index = NULL, *scale = NULL, *one = NULL;
    float *host = malloc(n * sizeof *host);
    if (!host) ER_FAIL(ER_ENOMEM, "%zu floats", n);
    ER_TRY(dev->op->alloc(dev, &index, n * sizeof *at));
    ER_TRY(dev->op->alloc(dev, &scale, n * sizeof *host));
    ER_TRY(dev->op->alloc(dev, &one, n * sizeof *host));
    ER_TRY(dev->op->upload(dev, index, at, n * sizeof *at));
    for (size_t i = 0; i < n; i++) host[i] = 1;
    ER_TRY(dev->op->upload(dev, one, host, n * sizeof *host));
    for (size_t i = 0; i < n; i++) host[i] = value;
    ER_TRY(dev->op->upload(dev, scale, host, n * sizeof *host));
    ER_TRY(dev->op->scaled_scatter(dev, a, one, scale, index, n, 1));
    ER_TRY(dev->op->sync(dev));
out:
    if (index) dev->op->release(dev, index);
    if (scale) dev->op->release(dev, scale);
    if (one) dev->op->release(dev, one);
    free(host);
    return rc;
}

// The dead dimensions, as entries of the sum, and the mean of the others.
static size_t find_dead(int32_t *at, float *mean, const double *diagonal, size_t n) {
    size_t found = 0;
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        total += diagonal[i];
        if (!(diagonal[i] > 0)) at[found++] = (int32_t)(i * n + i);
    }
    if (found == n) return 0;
    *mean = (float)(total / (double)(n - found));
    return found;
}

er_status er_second_moment_fill_dead(er_device *dev, er_second_moment *m, size_t *dead) {
    er_status rc = ER_OK;
    size_t n = m->dim, found = 0;
    float mean = 0;
    double *diagonal = NULL;
    int32_t *at = NULL;
    *dead = 0;
    if (n > 46340) goto out;  // entries are counted in 32 bits
    diagonal = malloc(n * sizeof *diagonal), at = malloc(n * sizeof *at);
    if (!diagonal || !at) ER_FAIL(ER_ENOMEM, "a diagonal of %zu", n);
    for (size_t i = 0; i < n; i++) at[i] = (int32_t)(i * n + i);
    if (m->sum) ER_TRY(diagonal_of(diagonal, dev, m->sum, at, n));
    else
        for (size_t i = 0; i < n; i++) diagonal[i] = m->offloaded[at[i]];
    found = find_dead(at, &mean, diagonal, n);
    if (!found) goto out;
    if (m->sum) ER_TRY(add_on_diagonal(dev, m->sum, at, found, mean));
    for (size_t i = 0; m->offloaded && i < found; i++) m->offloaded[at[i]] += (double)mean;
    m->filled = (double)mean * (double)found;
    *dead = found;
out:
    free(diagonal), free(at);
    return rc;
}
