// Sums of several layers where the device cannot hold all of them at once.
#include "engine/statistics.h"

enum { CPU_BATCH = 2048, GPU_BATCH = 8192 };

// What a pass of `batch` tokens takes beside weights and sums; the second term is the 16-bit copy of its keys.
static size_t pass_bytes(const er_arch *a, size_t batch) {
    return er_statistics_pass_bytes(a, batch) + 2 * batch * a->d_ff;
}

// The batch of the pass, no larger than the text, and how many of the `left` sums the device holds beside it:
// all of them, but for large keys on a small card.
static er_status plan(
    size_t *batch, size_t *sums, size_t left, er_model *m, const er_sequences *rows, size_t wanted) {
    size_t available = 0, total = 0, own = m->arch.d_ff * m->arch.d_ff * sizeof(double), longest = 1;
    for (size_t r = 0; r < rows->rows; r++)
        if (er_sequences_length(rows, r) > longest) longest = er_sequences_length(rows, r);
    *batch = wanted ? wanted : m->dev->is_async ? GPU_BATCH : CPU_BATCH;
    if (*batch > rows->tokens) *batch = rows->tokens;
    if (*batch < longest) *batch = longest;
    *sums = left;
    if (!m->dev->is_async) return ER_OK;
    er_status rc = m->dev->op->memory(m->dev, &available, &total);
    if (rc != ER_OK) return rc;
    while (pass_bytes(&m->arch, *batch) + own > available && *batch > longest)
        *batch = *batch / 2 > longest ? *batch / 2 : longest;
    size_t beside = pass_bytes(&m->arch, *batch),
           most = available > beside + own ? (available - beside) / own : 1;
    if (most < left) *sums = most;
    return ER_OK;
}

er_status er_statistics_collect(er_second_moment **out, er_model *m, const size_t *layers, size_t n_layers,
    const er_sequences *rows, size_t batch_tokens, er_statistics_done done, void *ctx, double *flops) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < n_layers; i++) out[i] = NULL;
    *flops = 0;
    for (size_t first = 0, n = 0; first < n_layers; first += n) {
        double part = 0;
        size_t batch = 0;
        ER_TRY(er_second_moment_evict(m->dev, out, first, m->arch.d_ff * m->arch.d_ff * sizeof(double)));
        ER_TRY(plan(&batch, &n, n_layers - first, m, rows, batch_tokens));
        for (size_t i = first; i < first + n; i++)
            ER_TRY(er_second_moment_create(&out[i], m->dev, m->arch.d_ff));
        ER_TRY(er_statistics_rows(out + first, m, layers + first, n, rows, batch, &part));
        *flops += part;
        for (size_t i = first; i < first + n; i++) {
            if (done) ER_TRY(done(ctx, i, out[i]));
            if (first + n < n_layers) ER_TRY(er_second_moment_offload(m->dev, out[i]));
        }
    }
out:
    if (rc != ER_OK) er_statistics_free(out, n_layers, m->dev);
    return rc;
}
