#include "engine/estimate.h"

#include <stdlib.h>
#include "io/base/clock.h"

er_status er_estimate_gemm_rate(double *rate, er_device *d, const er_arch *a, er_dtype stored) {
    er_status rc = ER_OK;
    enum { M = 512 };
    size_t n = a->d_ff, k = a->hidden;
    er_weight *w = NULL;
    void *x = NULL, *y = NULL;
    float *host = calloc(n * k, sizeof *host);
    if (!host) ER_FAIL(ER_ENOMEM, "%zu floats", n * k);
    er_weight_spec spec = {.bytes = host, .dtype = stored, .d_out = n, .d_in = k};
    ER_TRY(d->op->weight_create(d, &w, &spec));
    ER_TRY(d->op->alloc(d, &x, M * k * sizeof(float)));
    ER_TRY(d->op->alloc(d, &y, M * n * sizeof(float)));
    ER_TRY(d->op->zero(d, x, M * k * sizeof(float)));
    ER_TRY(d->op->linear(d, y, x, w, NULL, M, 0));
    double start = er_clock(), runs = 0;
    while (er_clock() - start < 0.2 && runs < 1000) {
        ER_TRY(d->op->linear(d, y, x, w, NULL, M, 0));
        ER_TRY(d->op->sync(d));
        runs++;
    }
    *rate = runs * 2.0 * M * (double)n * (double)k / (er_clock() - start);
out:
    if (w) d->op->weight_free(d, w);
    d->op->release(d, x);
    d->op->release(d, y);
    free(host);
    return rc;
}

// What the device keeps beside the stored weights: backward only above the z layer.
static double copies(const er_device *dev, const er_arch *a, size_t above, er_dtype stored) {
    double layer = er_arch_layer_flops(a) / 2, head = er_arch_head_flops(a) / 2;  // a multiply-add per weight
    double forward = (double)dev->op->weight_copy_bits(dev, stored, false) / 8;
    double backward = (double)dev->op->weight_copy_bits(dev, stored, true) / 8;
    return forward * ((double)a->layers * layer + head) + backward * ((double)above * layer + head);
}

double er_estimate_weights(
    const er_device *dev, const er_arch *a, const er_hparams *h, double weight_bytes, er_dtype stored) {
    return weight_bytes + copies(dev, a, a->layers - 1 - h->layers[h->n_layers - 1], stored);
}

double er_estimate_solve(const er_arch *a, const er_hparams *h) {
    return 8.0 * (double)a->d_ff * ((double)a->d_ff * (double)(h->n_layers + 2) + (double)a->hidden * 2);
}

er_status er_estimate_job(er_estimate *out, er_device *dev, const er_arch *a, const er_requests *requests,
    const er_hparams *h, size_t batch_tokens, double weight_bytes, er_dtype stored) {
    size_t z = h->layers[h->n_layers - 1], above = a->layers - 1 - z;
    er_estimate e = {.weights = er_estimate_weights(dev, a, h, weight_bytes, stored)};
    double layer = er_arch_layer_flops(a), head = er_arch_head_flops(a), f = sizeof(float),
           hidden = (double)a->hidden * f;
    double carried = 0, n = (double)requests->count;
    for (size_t i = 0; i < requests->count; i++) {
        double suffix = 0, prefix = 0, labels = 1;
        for (size_t r = 0; r < requests->at[i].n_rows; r++) {
            const er_prompt *row = &requests->at[i].row[r];
            prefix += (double)row->subject_last;
            suffix += (double)(row->length - row->subject_last);
            labels += (double)row->n_labels;
            if (row->n_labels) carried += (double)row->subject_last + 1;
        }
        double once = (prefix + suffix) * layer * (double)(z + 1) + prefix * layer * (double)above;
        e.flops += once + 2.0 * (double)h->steps * (suffix * layer * (double)above + labels * head);
    }
    double t = (double)(batch_tokens ? batch_tokens : 1024),
           qkv = (double)((a->heads + 2 * a->kv_heads) * a->head_dim);
    double tape = t * f *
                  (2.0 * (double)a->hidden + qkv + (double)(a->heads * a->head_dim) +
                      (double)a->d_ff * (a->gated ? 2 : 1));
    e.batch = tape * (double)above + t / 4 * (double)a->vocab * f;
    e.facts = carried * hidden + n * hidden + n * 8 * ((double)a->d_ff * 2 + (double)a->hidden * 4);
    e.solve = er_estimate_solve(a, h);
    e.bytes = e.weights + e.batch + e.facts + e.solve;
    er_status rc = er_estimate_gemm_rate(&e.rate, dev, a, stored);
    if (rc == ER_OK) *out = e;
    return rc;
}
