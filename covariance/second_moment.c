// The running sum of one layer: S = sum k k^T in fp64 and the number of rows.
#include "covariance/covariance.h"
#include <stdlib.h>

er_status er_second_moment_create(er_second_moment **out, er_device *dev, size_t dim) {
    er_status rc = ER_OK;
    er_second_moment *m = NULL;
    void *sum = NULL;
    if (dim == 0 || dim > SIZE_MAX / sizeof(double) / dim)
        ER_FAIL(ER_EARG, "second moment: %zu is no key size", dim);
    if (!(m = calloc(1, sizeof *m))) ER_FAIL(ER_ENOMEM, "second moment: %zu bytes", sizeof *m);
    m->dim = dim;
    ER_TRY(dev->op->alloc(dev, &sum, dim * dim * sizeof(double)));
    m->sum = sum;
    ER_TRY(dev->op->zero(dev, m->sum, dim * dim * sizeof(double)));
    *out = m, m = NULL;
out:
    er_second_moment_free(dev, m);
    return rc;
}

void er_second_moment_free(er_device *dev, er_second_moment *m) {
    if (!m) return;
    if (m->sum) dev->op->release(dev, m->sum);
    free(m->offloaded);
    free(m);
}

er_status er_second_moment_update(
    er_device *dev, er_second_moment *m, const float *keys, float *scratch, size_t tokens) {
    if (tokens == 0) return ER_OK;
    er_status rc = dev->op->syrk_accumulate(dev, m->sum, keys, scratch, tokens, m->dim);
    if (rc == ER_OK) m->count += tokens;
    return rc;
}

er_status er_second_moment_finish(er_device *dev, er_second_moment *m) {
    return dev->op->symmetrise(dev, m->sum, m->dim);
}

er_status er_second_moment_offload(er_device *dev, er_second_moment *m) {
    er_status rc = ER_OK;
    size_t bytes = m->dim * m->dim * sizeof *m->sum;
    double *host = m->offloaded;
    if (!m->sum) return ER_OK;
    if (!host) {
        if (!(host = malloc(bytes)))
            return er_fail(ER_ENOMEM, "%zu bytes for a second moment off the device", bytes);
        rc = dev->op->download(dev, host, m->sum, bytes);
        if (rc != ER_OK) {
            free(host);
            return rc;
        }
        m->offloaded = host;
    }
    dev->op->release(dev, m->sum);
    m->sum = NULL;
    return ER_OK;
}

er_status er_second_moment_restore(er_device *dev, er_second_moment *m) {
    size_t bytes = m->dim * m->dim * sizeof *m->sum;
    void *p = NULL;
    if (m->sum) return ER_OK;
    er_status rc = dev->op->alloc(dev, &p, bytes);
    if (rc != ER_OK) return rc;
    rc = dev->op->upload(dev, p, m->offloaded, bytes);
    if (rc == ER_OK) m->sum = p;
    else dev->op->release(dev, p);
    return rc;
}

void er_second_moment_changed(er_second_moment *m) {
    free(m->offloaded);
    m->offloaded = NULL;
}

er_status er_second_moment_evict(er_device *dev, er_second_moment *const *moments, size_t n, size_t bytes) {
    if (!dev->is_async) return ER_OK;  // a CPU's memory is the host's
    for (size_t i = 0; i < n; i++) {
        size_t available = 0, total = 0;
        er_status rc = dev->op->memory(dev, &available, &total);
        if (rc != ER_OK) return rc;
        if (available >= bytes + total / 4) return ER_OK;
        if (moments[i] && (rc = er_second_moment_offload(dev, moments[i])) != ER_OK) return rc;
    }
    return ER_OK;
}
