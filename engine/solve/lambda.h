// How much the covariance weighs against a layer's keys, by tr(C) and tr(K K^T). Only diagonals leave the
// device, behind whatever else the solve waits for.
#ifndef ER_LAMBDA_H
#define ER_LAMBDA_H
#include "covariance/covariance.h"
#include "engine/hparams.h"

size_t er_traces_workspace(size_t d);  // doubles on the device
// Once, before anything is queued.
er_status er_traces_begin(double *room, er_device *dev, size_t d);
// Queues the diagonals of c's sum and of K K^T to `host` [2 d], of alloc_host, which is filled after the next
// wait. K K^T is `square` [d, d], or with `keys` [n, d] not NULL it is theirs, and `square` is overwritten.
er_status er_traces_queue(double *host, double *room, er_device *dev, const er_second_moment *c,
    double *square, const double *keys, size_t n);
// The lambda that `h` asks for, and tr(lambda C) / tr(K K^T), which is 0 without keys. Where a trace is not
// above 0, the lambda of `h` as it stands.
void er_lambda_from_traces(
    double *lambda, double *ratio, const double *host, const er_second_moment *c, const er_hparams *h);
#endif
