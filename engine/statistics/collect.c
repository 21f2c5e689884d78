// Sums of several layers where the device cannot hold all of them at once.
#include "engine/statistics.h"
#include "engine/statistics/ranks_internal.h"

enum { CPU_BATCH = 2048, GPU_BATCH = 8192 };

// What a pass of `batch` tokens takes beside weights and sums; the second term is the 16-bit copy of its
// keys.
static size_t pass_bytes(const er_arch *a, size_t batch) {
    return er_statistics_pass_bytes(a, batch) + 2 * batch * a->d_ff;
}

static size_t longest_row(const er_sequences *rows) {
    size_t longest = 1;
    for (size_t r = 0; r < rows->rows; r++)
        if (er_sequences_length(rows, r) > longest) longest = er_sequences_length(rows, r);
    return longest;
}

size_t er_statistics_batch(const er_device *dev, const er_sequences *rows, size_t wanted) {
    size_t longest = longest_row(rows), batch = wanted ? wanted : dev->is_async ? GPU_BATCH : CPU_BATCH;
    return batch > longest ? batch : longest;
}

// The batch of the pass, no larger than the text, and how many of the `left` sums the device holds beside it:
// all of them, but for large keys on a small card.
static er_status plan(
    size_t *batch, size_t *sums, size_t left, er_model *m, const er_sequences *rows, size_t wanted) {
    size_t available = 0, total = 0, own = m->arch.d_ff * m->arch.d_ff * sizeof(double),
           longest = longest_row(rows);
    *batch = er_statistics_batch(m->dev, rows, wanted);
    if (*batch > rows->tokens) *batch = rows->tokens;
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

// Layers first .. first + *n - 1, as many as there is room for, each of which gets the sum of this rank's
// rows.
static er_status collect_some(er_second_moment **out, size_t *n, size_t first, er_model *m,
    const size_t *layers, size_t n_layers, const er_sequences *rows, size_t batch_tokens, double *flops) {
    er_status rc = ER_OK;
    double part = 0;
    size_t batch = 0;
    *n = 1;
    ER_TRY(er_second_moment_evict(m->dev, out, first, m->arch.d_ff * m->arch.d_ff * sizeof(double)));
    ER_TRY(plan(&batch, n, n_layers - first, m, rows, batch_tokens));
    for (size_t i = first; i < first + *n; i++)
        ER_TRY(er_second_moment_create(&out[i], m->dev, m->arch.d_ff));
    ER_TRY(er_statistics_rows(out + first, m, layers + first, *n, rows, batch, &part));
    *flops += part;
out:
    return rc;
}

// Ranks may take their layers in different portions, but they add up one layer after the other.
er_status er_statistics_collect(er_second_moment **out, er_model *m, const size_t *layers, size_t n_layers,
    const er_sequences *rows, size_t batch_tokens, const er_comm *comm, er_statistics_done done, void *ctx,
    double *flops) {
    er_status rc = ER_OK, mine = ER_OK;
    const er_comm *c = comm ? comm : er_comm_self();
    for (size_t i = 0; i < n_layers; i++) out[i] = NULL;
    *flops = 0;
    for (size_t first = 0, n = 0; first < n_layers; first += n) {
        n = 1;
        if (mine == ER_OK)
            mine = collect_some(out, &n, first, m, layers, n_layers, rows, batch_tokens, flops);
        for (size_t i = first; i < first + n; i++) {
            ER_TRY(er_comm_agree(c, mine, NULL));
            ER_TRY(er_statistics_sum(out[i], m->dev, c));
            if (done) mine = done(ctx, i, out[i]);
            if (mine == ER_OK && first + n < n_layers) mine = er_second_moment_offload(m->dev, out[i]);
        }
    }
    rc = er_comm_agree(c, mine, NULL);
out:
    if (rc != ER_OK) er_statistics_free(out, n_layers, m->dev);
    return rc;
}
