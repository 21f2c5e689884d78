#include "engine/estimate.h"

#include <stdlib.h>
#include "io/base/clock.h"
#include "kernels/arena.h"

er_status er_estimate_gemm_rate(double *rate, er_device *d, const er_arch *a, er_dtype stored) {
    er_status rc = ER_OK;
    enum { M = 512 };
    size_t n = a->d_ff, k = a->hidden;
    er_weight *w = NULL;
    er_arena memory = {.dev = d};
    float *x = NULL, *y = NULL, *host = calloc(n * k, sizeof *host);
    if (!host) ER_FAIL(ER_ENOMEM, "%zu floats", n * k);
    er_weight_spec spec = {.bytes = host, .dtype = stored, .d_out = n, .d_in = k};
    ER_TRY(d->op->weight_create(d, &w, &spec));
    ER_TRY(er_arena_take(&memory, &x, M * k, sizeof *x));
    ER_TRY(er_arena_take(&memory, &y, M * n, sizeof *y));
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
    er_arena_release(&memory);
    free(host);
    return rc;
}

er_status er_estimate_job(er_estimate *out, er_device *dev, const er_arch *a, const er_requests *requests,
    const er_hparams *h, er_dtype stored) {
    size_t z = h->layers[h->n_layers - 1], above = a->layers - 1 - z;
    er_estimate e = {0};
    double layer = er_arch_layer_flops(a), head = er_arch_head_flops(a);
    for (size_t i = 0; i < requests->count; i++) {
        double suffix = 0, prefix = 0, labels = 1;
        for (size_t r = 0; r < requests->at[i].n_rows; r++) {
            const er_prompt *row = &requests->at[i].row[r];
            prefix += (double)row->subject_last;
            suffix += (double)(row->length - row->subject_last);
            labels += (double)row->n_labels;
        }
        double once = (prefix + suffix) * layer * (double)(z + 1) + prefix * layer * (double)above;
        e.flops += once + 2.0 * (double)h->steps * (suffix * layer * (double)above + labels * head);
    }
    er_status rc = er_estimate_gemm_rate(&e.rate, dev, a, stored);
    if (rc == ER_OK) *out = e;
    return rc;
}
