// The traces by which lambda is chosen.
#include "engine/solve/lambda.h"

enum { KEY_BLOCK = 128 };

size_t er_traces_workspace(size_t d) { return 2 * d + 1; }

er_status er_traces_begin(double *workspace, er_device *dev, size_t d) {
    const double one = 1;
    return dev->op->upload(dev, workspace + 2 * d, &one, sizeof one);
}

// out [n] = the diagonal of a [n, n]. Its entries lie n + 1 apart: a column of that stride, times 1.
static er_status diagonal(double *out, const double *one, er_device *dev, const double *a, size_t n) {
    return dev->op->gemm_f64(
        dev, &(er_gemm_args){n, 1, 1, 1.0, {a, n + 1, false}, {one, 1, false}, 0.0, out, 1});
}

// The diagonal of K K^T from its blocks along it, for the whole of it may be more work than the solve.
static er_status of_keys(
    double *out, double *block, const double *one, er_device *dev, const double *keys, size_t n, size_t d) {
    er_status rc = ER_OK;
    for (size_t at = 0; at < d; at += KEY_BLOCK) {
        size_t width = d - at < KEY_BLOCK ? d - at : KEY_BLOCK;
        ER_TRY(dev->op->syrk_f64(dev, width, n, 1.0, keys + at, d, 0.0, block));
        ER_TRY(diagonal(out + at, one, dev, block, width));
    }
out:
    return rc;
}

er_status er_traces_queue(double *host, double *workspace, er_device *dev, const er_second_moment *c,
    double *kk, const double *keys, size_t n) {
    er_status rc = ER_OK;
    size_t d = c->dim;
    const double *one = workspace + 2 * d;
    ER_TRY(diagonal(workspace, one, dev, c->sum, d));
    ER_TRY(
        keys ? of_keys(workspace + d, kk, one, dev, keys, n, d) : diagonal(workspace + d, one, dev, kk, d));
    ER_TRY(dev->op->download_async(dev, host, workspace, 2 * d * sizeof *host));
out:
    return rc;
}

void er_lambda_from_traces(
    double *lambda, double *ratio, const double *host, const er_second_moment *c, const er_hparams *h) {
    double moment = 0, keys = 0;
    for (size_t i = 0; i < c->dim; i++) {
        moment += host[i];
        keys += host[c->dim + i];
    }
    moment = (moment - c->filled) / (double)c->count;  // what was measured
    *lambda = h->trace_ratio > 0 && moment > 0 && keys > 0 ? h->trace_ratio * keys / moment : h->lambda;
    *ratio = keys > 0 ? *lambda * moment / keys : 0;
}
