// How much the covariance weighs against a layer's keys:
//
//     lambda = trace_ratio tr(K K^T) / tr(C)
//
// Only the diagonals leave the device, behind whatever else the solve waits for.
#ifndef ER_LAMBDA_H
#define ER_LAMBDA_H
#include "covariance/covariance.h"
#include "engine/hparams.h"

size_t er_traces_workspace(size_t d);  // doubles of `workspace` on the device
// Once, before anything is queued.
er_status er_traces_begin(double *workspace, er_device *dev, size_t d);
// Queues the diagonals of c's sum and of K K^T to `host` [2 d], of alloc_host, which is filled after the next
// wait. `keys` NULL: K K^T is `kk` [d, d]. Else it is that of keys [n, d], and `kk` is overwritten.
er_status er_traces_queue(double *host, double *workspace, er_device *dev, const er_second_moment *c,
    double *kk, const double *keys, size_t n);
// The lambda that `h` asks for, and tr(lambda C) / tr(K K^T), which is 0 without keys. Where a trace is not
// above 0, the lambda of `h` as it stands.
void er_lambda_from_traces(
    double *lambda, double *ratio, const double *host, const er_second_moment *c, const er_hparams *h);
#endif
