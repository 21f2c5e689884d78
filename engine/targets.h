// Target values: for every request (one subject's edit) the vector z that the z layer's output should be at
// the subject's last token.
//
//     z = z0 + delta
//     delta = argmin  sum_rows w_row NLL(targets) + kl KL(p || p0) + decay |delta| / |z0|^2,
//             |delta| <= clamp |z0|
//
// by Adam: MEMIT eq. 16 with the weight decay, the KL term and the clamp of the authors' code. All requests
// are optimised at once in slots of one packed batch. Nothing is computed twice that delta cannot change:
// layers 0..z and the keys and values of positions before the subject run once per request, each step runs
// only layers above z on positions from the subject's last token on, and logits exist only where a label is.
#ifndef ER_TARGETS_H
#define ER_TARGETS_H
#include "engine/forward.h"
#include "engine/prompts.h"

typedef struct er_target_z {  // what one request's optimisation ended with; borrowed during the sink call
    const float *z;           // [hidden]
    float z0_norm, delta_norm;
    const float *loss;  // [n_loss] total loss before each step, the last one included
    size_t n_loss;
} er_target_z;

// Called once per request that is wanted, as it finishes, in no particular order. A failure ends the run.
typedef er_status (*er_target_sink)(void *ctx, size_t request, const er_target_z *v);

typedef struct er_targets_options {
    size_t batch_tokens;  // suffix tokens per step; 0: 1024
    const bool *have;     // [requests] those that need no z any more, or NULL
    bool deterministic;  // batches fixed by the input alone: a resumed run repeats an unbroken one to the bit
} er_targets_options;

typedef struct er_targets_stats {
    size_t requests;  // optimised now
    size_t losses;    // evaluations of a request's loss, summed
    size_t batches;   // forward passes over a packed batch
    size_t slots, batch_tokens;
    double flops;  // GEMM FLOPs of the whole stage, counted
    double seconds;
    size_t failed;  // after ENUMERIC: the request whose loss is not finite
} er_targets_stats;

// Device bytes of the whole stage with steps of `batch_tokens`, counted by the arena that it takes them from.
// Weights are not among them.
size_t er_targets_bytes(
    const er_arch *a, const er_requests *requests, const er_hparams *h, size_t batch_tokens);

// The batch for a device: `wanted`, or where that is 0 the largest that fits the `available` bytes, on a GPU
// beside a GEMM's workspaces (at most 1,024 on a CPU, where larger ones only leave the cache). *need gets its
// bytes. ENOMEM, with *batch and *need of the last one looked at, when not even the smallest, or not the
// wanted one, fits; never for a CPU without a memory limit.
er_status er_targets_batch(size_t *batch, size_t *need, const er_device *dev, const er_arch *a,
    const er_requests *requests, const er_hparams *h, size_t wanted, size_t available);

// group [requests]: in which batch, counted from 0, a deterministic run of `batch_tokens` optimises each
// request. Returns how many there are. Ranks share a deterministic run by its batches: each request then
// meets the same company on any number of them.
size_t er_targets_groups(size_t *group, const er_requests *requests, size_t batch_tokens);

// Where memory does not suffice the batch is halved, down to the longest request's, and a warning says so; a
// deterministic run fails instead. EINTERRUPTED once er_stop_requested(): requests already given to the sink
// are finished.
er_status er_targets_optimise(er_targets_stats *stats, er_model *m, const er_requests *requests,
    const er_hparams *h, const er_targets_options *options, er_target_sink sink, void *ctx);
#endif
