// What the value optimisation takes of the device, before it takes it.
#include "engine/values/slots.h"

size_t er_values_bytes(const er_arch *a, const er_units *units, const er_hparams *h, size_t batch_tokens) {
    er_slots_size z;
    er_slots_measure(&z, units, batch_tokens);
    return er_slots_bytes(&z, a, h->layers[h->n_layers - 1]);
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
