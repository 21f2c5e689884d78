// What a job will take, before it starts: counted FLOPs and bytes, and the GEMM rate of this machine.
#ifndef ER_ESTIMATE_H
#define ER_ESTIMATE_H
#include "engine/prompts.h"

typedef struct er_estimate {
    double flops;  // values stage, all steps used
    double rate;   // FLOP/s of a GEMM in this model's shape, measured in a fraction of a second
    double weights, batch, facts, solve, bytes;  // bytes; `bytes` is their sum
} er_estimate;
er_status er_estimate_job(er_estimate *out, er_device *dev, const er_arch *a, const er_requests *requests,
    const er_hparams *h, size_t batch_tokens, double weight_bytes, er_dtype stored);
// FLOP/s of one GEMM [512, hidden] x [d_ff, hidden]^T with weights stored as `stored`, over about 0.2 s.
er_status er_estimate_gemm_rate(double *rate, er_device *dev, const er_arch *a, er_dtype stored);
// Bytes that weights of `weight_bytes` take with the copies that the device makes of them.
double er_estimate_weights(
    const er_device *dev, const er_arch *a, const er_hparams *h, double weight_bytes, er_dtype stored);
// Bytes of the solve stage, the statistics among them.
double er_estimate_solve(const er_arch *a, const er_hparams *h);
#endif
