// The running sum of one layer: S = sum k k^T in fp64 and the number of rows.
#include "covariance/covariance.h"
#include <stdlib.h>

er_status er_moment_create(er_moment **out, er_device *dev, size_t dim) {
    er_status rc = ER_OK;
    er_moment *m = NULL;
    void *sum = NULL;
    if (dim == 0 || dim > SIZE_MAX / sizeof(double) / dim)
        ER_FAIL(ER_EARG, "second moment: %zu is no key size", dim);
    if (!(m = calloc(1, sizeof *m))) ER_FAIL(ER_ENOMEM, "second moment: %zu bytes", sizeof *m);
    m->dim = dim;
    ER_TRY(dev->op->alloc(dev, &sum, dim * dim * sizeof(double)));
    m->sum = sum;
    ER_TRY(dev->op->zero(dev, NULL, m->sum, dim * dim * sizeof(double)));
    *out = m, m = NULL;
out:
    er_moment_free(dev, m);
    return rc;
}

void er_moment_free(er_device *dev, er_moment *m) {
    if (!m) return;
    if (m->sum) dev->op->release(dev, m->sum);
    free(m);
}

er_status er_moment_update(
    er_device *dev, er_stream *s, er_moment *m, const float *keys, float *scratch, size_t tokens) {
    if (tokens == 0) return ER_OK;
    er_status rc = dev->op->moment_add(dev, s, m->sum, keys, scratch, tokens, m->dim);
    if (rc == ER_OK) m->count += tokens;
    return rc;
}

er_status er_moment_finish(er_device *dev, er_stream *s, er_moment *m) {
    return dev->op->symmetrise(dev, s, m->sum, m->dim);
}
