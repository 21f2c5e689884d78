// What the value optimisation takes of the device, before it takes it.
#include "engine/targets/z_slots_internal.h"

static er_arena measured(
    const er_arch *a, const er_requests *requests, const er_hparams *h, size_t batch_tokens) {
    er_z_slots_size z;
    er_z_slots s = {.above = a->layers - 1 - h->layers[h->n_layers - 1]};
    er_arena counted = {0};
    er_z_slots_measure(&z, requests, batch_tokens);
    (void)er_z_slots_take_memory(&s, &counted, a, &z);
    return counted;
}

size_t er_targets_bytes(
    const er_arch *a, const er_requests *requests, const er_hparams *h, size_t batch_tokens) {
    return measured(a, requests, h, batch_tokens).bytes;
}

enum { CPU_BATCH = 1024, GPU_BATCH = 8192, LEAST_BATCH = 128 };

// Beside the batch, on a GPU: the 16-bit copy of a GEMM's inputs (activations, or the gradient of the
// logits), workspaces, what fragmentation costs. What the device needs for weights of another type, or of the
// host, it has taken already.
static size_t beside(const er_arch *a, const er_requests *requests, size_t batch) {
    er_z_slots_size z;
    er_z_slots_measure(&z, requests, batch);
    size_t wide = a->d_ff > er_arch_qkv_rows(a) ? a->d_ff : er_arch_qkv_rows(a),
           inputs = 2 * z.run_tokens * (a->gated ? 2 * a->d_ff : wide), logits = 2 * z.cap_labels * a->vocab;
    return (inputs > logits ? inputs : logits) + ((size_t)256 << 20);
}

er_status er_targets_batch(size_t *batch, size_t *need, const er_device *dev, const er_arch *a,
    const er_requests *requests, const er_hparams *h, size_t wanted, size_t available) {
    for (*batch = wanted ? wanted : dev->is_async ? GPU_BATCH : CPU_BATCH;; *batch /= 2) {
        er_arena counted = measured(a, requests, h, *batch);
        // A CPU's host memory is its own.
        *need = counted.bytes + (dev->is_async ? beside(a, requests, *batch) : counted.host_bytes);
        if (*need <= available || (!dev->is_async && !dev->memory_bound)) return ER_OK;
        if (wanted || *batch / 2 < LEAST_BATCH) break;
    }
    return er_fail(ER_ENOMEM,
        "the values stage takes %.2f GB with %zu tokens a step; the device has %.2f GB left beside the "
        "weights",
        (double)*need * 1e-9, *batch, (double)available * 1e-9);
}
