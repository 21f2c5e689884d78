// Sums of several layers where the device cannot hold all of them at once.
#include "engine/covary.h"

// How many more sums the device holds beside what a pass needs: all of them, but for large keys on a small
// card.
static er_status group_size(size_t *out, size_t left, er_model *m) {
    size_t available = 0, total = 0, own = m->arch.inner * m->arch.inner * sizeof(double);
    er_status rc = m->dev->op->memory(m->dev, &available, &total);
    if (rc != ER_OK) return rc;
    size_t beside = own / 2 + total / 8, most = available > beside + own ? (available - beside) / own : 1;
    *out = !m->dev->runs_behind || most > left ? left : most;
    return ER_OK;
}

er_status er_covary_collect(er_moment **out, er_model *m, const size_t *layers, size_t n_layers,
    const er_token_rows *rows, size_t batch_tokens, er_covary_done done, void *ctx, double *flops) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < n_layers; i++) out[i] = NULL;
    *flops = 0;
    for (size_t first = 0, n = 0; first < n_layers; first += n) {
        double part = 0;
        ER_TRY(er_moment_make_room(m->dev, out, first, m->arch.inner * m->arch.inner * sizeof(double)));
        ER_TRY(group_size(&n, n_layers - first, m));
        for (size_t i = first; i < first + n; i++) ER_TRY(er_moment_create(&out[i], m->dev, m->arch.inner));
        ER_TRY(er_covary_rows(out + first, m, layers + first, n, rows, batch_tokens, &part));
        *flops += part;
        for (size_t i = first; i < first + n; i++) {
            if (done) ER_TRY(done(ctx, i, out[i]));
            if (first + n < n_layers) ER_TRY(er_moment_park(m->dev, out[i]));
        }
    }
out:
    if (rc != ER_OK) er_covary_free(out, n_layers, m->dev);
    return rc;
}
