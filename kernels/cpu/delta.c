// One step of every slot of the value optimisation. Few numbers (slots x hidden), so plain loops; norms and
// totals in fp64.
//   total = sum weight * loss + decay |delta| / |z0|^2
//   gradient of the decay term: decay delta / (|delta| |z0|^2), taken as 0 at delta = 0
//   Adam: m = .9 m + .1 g, v = .999 v + .001 g^2, delta -= lr (m / (1 - .9^t)) / (sqrt(v / (1 - .999^t)) +
//   1e-8)
#include "kernels/cpu/cpu.h"

#include <math.h>

static double length(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static void adam(const er_delta_step *p, size_t slot, double decay_slope) {
    const double b1 = 0.9, b2 = 0.999, t = (double)p->step[slot] + 1;
    const double rate = (double)p->lr / (1 - pow(b1, t)), root = sqrt(1 - pow(b2, t));
    float *delta = p->delta + slot * p->hidden, *m = p->m + slot * p->hidden, *v = p->v + slot * p->hidden;
    const float *grad = p->grad + slot * p->hidden;
    for (size_t i = 0; i < p->hidden; i++) {
        double g = (double)grad[i] + decay_slope * (double)delta[i];
        double mi = b1 * (double)m[i] + (1 - b1) * g, vi = b2 * (double)v[i] + (1 - b2) * g * g;
        m[i] = (float)mi;
        v[i] = (float)vi;
        delta[i] = (float)((double)delta[i] - rate * mi / (sqrt(vi) / root + 1e-8));
    }
}

static void step_slot(const er_delta_step *p, size_t slot) {
    float *delta = p->delta + slot * p->hidden;
    double size = length(delta, p->hidden), z0 = (double)p->z0_norm[slot], total = 0;
    for (int32_t i = p->loss_start[slot]; i < p->loss_start[slot + 1]; i++)
        total += (double)p->weight[i] * (double)p->loss[i];
    if (size > 0) total += (double)p->decay * size / (z0 * z0);
    p->total[slot] = (float)total;
    p->done[slot] = total < (double)p->stop || (size_t)p->step[slot] + 1 >= p->steps;
    if (p->done[slot]) return;

    adam(p, slot, size > 0 ? (double)p->decay / (size * z0 * z0) : 0);
    p->step[slot]++;
    double bound = (double)p->clamp * z0;
    size = length(delta, p->hidden);
    if (size > bound)
        for (size_t i = 0; i < p->hidden; i++) delta[i] = (float)((double)delta[i] * (bound / size));
}

er_status er_cpu_delta_step(er_device *d, const er_delta_step *p) {
#pragma omp parallel for num_threads(d->threads) if (p->slots * p->hidden > 1 << 13)
    for (size_t slot = 0; slot < p->slots; slot++) {
        if (p->step[slot] >= 0) {
            step_slot(p, slot);
        } else {
            p->total[slot] = 0;
            p->done[slot] = 0;
        }
    }
    return ER_OK;
}
