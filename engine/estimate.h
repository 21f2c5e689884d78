// What a job will take, before it starts: bytes, counted by the arenas that its stages take their buffers
// from, and FLOPs with the GEMM rate of this machine.
#ifndef ER_ESTIMATE_H
#define ER_ESTIMATE_H
#include "engine/prompts.h"

typedef struct er_memory_plan {  // bytes of the device
    size_t weights;              // with the copies of them that the device computes on
    size_t
        // second moments of all edited layers; on a GPU they wait on the host where room is short
        statistics;
    // Beside those, in turn: the pass over text that finds the statistics (none when they are cached), the
    // optimisation of the target values, the walk over the layers. What a device's own solvers and GEMMs take
    // is counted with the values alone.
    size_t pass, values, solve;
    size_t batch_tokens;  // a step of the values
} er_memory_plan;
size_t er_memory_peak(const er_memory_plan *p);  // weights, statistics and the largest stage

typedef struct er_estimate {
    double flops;  // values stage, all steps used
    double rate;   // FLOP/s of a GEMM in this model's shape, measured in a fraction of a second
} er_estimate;
er_status er_estimate_job(er_estimate *out, er_device *dev, const er_arch *a, const er_requests *requests,
    const er_hparams *h, er_dtype stored);
// FLOP/s of one GEMM [512, hidden] x [d_ff, hidden]^T with weights stored as `stored`, over about 0.2 s.
er_status er_estimate_gemm_rate(double *rate, er_device *dev, const er_arch *a, er_dtype stored);
#endif
