// What a job will take, before it starts: counted FLOPs and bytes, and the GEMM rate of this machine.
#ifndef ER_ESTIMATE_H
#define ER_ESTIMATE_H
#include "engine/prompts.h"

typedef struct er_estimate {
    double flops;  // values stage, all steps used
    double rate;   // FLOP/s of a GEMM in this model's shape, measured in a fraction of a second
    double weights, batch, facts, solve, bytes;  // bytes; `bytes` is their sum
} er_estimate;
er_status er_estimate_job(er_estimate *out, er_device *dev, const er_arch *a, const er_units *units,
    const er_hparams *h, size_t batch_tokens, double weight_bytes);
#endif
