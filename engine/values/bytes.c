// What the value optimisation takes of the device, before it takes it.
#include "engine/values/slots.h"

size_t er_values_bytes(const er_arch *a, const er_units *units, const er_hparams *h, size_t batch_tokens) {
    er_slots_size z;
    er_slots_measure(&z, units, batch_tokens);
    size_t f = sizeof(float), row = a->hidden * f, z_layer = h->layers[h->n_layers - 1],
           above = a->layers - 1 - z_layer, kv = a->kv_heads * a->head_dim * f;
    size_t tape_row =
        (2 * a->hidden + er_arch_qkv_rows(a) + a->heads * a->head_dim + a->heads + 4 + er_arch_up_rows(a)) *
        f;
    size_t bytes = er_run_bytes(a, z.run_tokens, z.cap_rows, true);
    bytes += 2 * above * (z.prefix_room + 1) * kv;
    bytes += above * z.cap_tokens * tape_row;
    bytes += z.state_room * row + 5 * z.count * row + z.count * (a->vocab + 5) * f;
    bytes += 2 * z.run_tokens * row + z.run_tokens * f + z.cap_rows * row;
    bytes += z.cap_labels * (a->vocab * f + 3 * row + 8 * f);
    return bytes + (z.cap_tokens + 2 * z.cap_rows) * f;
}

enum { CPU_BATCH = 1024, GPU_BATCH = 8192, LEAST_BATCH = 128 };

// Beside the batch: the 16-bit copy of a GEMM's inputs (activations, or the gradient of the logits),
// workspaces, what fragmentation costs. What the device needs for weights of another type, or of the host, it
// has taken already.
static size_t beside(const er_arch *a, const er_units *units, size_t batch) {
    er_slots_size z;
    er_slots_measure(&z, units, batch);
    size_t wide = a->inner > er_arch_qkv_rows(a) ? a->inner : er_arch_qkv_rows(a),
           inputs = 2 * z.run_tokens * (a->gated ? 2 * a->inner : wide), logits = 2 * z.cap_labels * a->vocab;
    return (inputs > logits ? inputs : logits) + ((size_t)256 << 20);
}

er_status er_values_batch(size_t *batch, size_t *need, const er_device *dev, const er_arch *a,
    const er_units *units, const er_hparams *h, size_t wanted, size_t available) {
    *batch = wanted ? wanted : dev->runs_behind ? GPU_BATCH : CPU_BATCH;
    *need = er_values_bytes(a, units, h, *batch) + beside(a, units, *batch);
    if (!dev->runs_behind) return ER_OK;
    while (*need > available && !wanted && *batch / 2 >= LEAST_BATCH) {
        *batch /= 2;
        *need = er_values_bytes(a, units, h, *batch) + beside(a, units, *batch);
    }
    if (*need <= available) return ER_OK;
    return er_fail(ER_ENOMEM,
        "the values stage takes %.2f GB with %zu tokens a step; the device has %.2f GB left beside the "
        "weights",
        (double)*need * 1e-9, *batch, (double)available * 1e-9);
}
