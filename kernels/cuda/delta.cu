// One step of every slot of the value optimisation; equations as in kernels/cpu/delta.c. A block a slot,
// state in fp32, everything between loading and storing it in fp64: these are few numbers.
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/device.cuh"

static __device__ double square_in_block(const float *x, size_t n) {
    double sum = 0;
    ER_IN_BLOCK(i, n, 1) sum += (double)x[i] * (double)x[i];
    return er_block_sum(sum);
}

// Threads keep to their own elements of delta, m and v throughout, so those need no barrier.
static __device__ void adam(const er_delta_step &p, size_t slot, int32_t step, double decay_slope) {
    const double b1 = 0.9, b2 = 0.999, t = (double)step + 1;
    const double rate = (double)p.lr / (1 - pow(b1, t)), root = sqrt(1 - pow(b2, t));
    float *delta = p.delta + slot * p.hidden, *m = p.m + slot * p.hidden, *v = p.v + slot * p.hidden;
    const float *grad = p.grad + slot * p.hidden;
    ER_IN_BLOCK(i, p.hidden, 1) {
        double g = (double)grad[i] + decay_slope * (double)delta[i];
        double mi = b1 * (double)m[i] + (1 - b1) * g, vi = b2 * (double)v[i] + (1 - b2) * g * g;
        m[i] = (float)mi;
        v[i] = (float)vi;
        delta[i] = (float)((double)delta[i] - rate * mi / (sqrt(vi) / root + 1e-8));
    }
}

static __device__ void step_slot(const er_delta_step &p, size_t slot, int32_t step) {
    float *delta = p.delta + slot * p.hidden;
    size_t first = (size_t)p.loss_start[slot], rows = (size_t)p.loss_start[slot + 1] - first;
    double z0 = (double)p.z0_norm[slot], total = 0, square = 0;
    ER_IN_BLOCK(i, rows, 1) total += (double)p.weight[first + i] * (double)p.loss[first + i];
    ER_IN_BLOCK(i, p.hidden, 1) square += (double)delta[i] * (double)delta[i];
    er_block_sum2(&total, &square);
    double size = sqrt(square);
    if (size > 0) total += (double)p.decay * size / (z0 * z0);
    bool done = total < (double)p.stop || (size_t)step + 1 >= p.steps;  // the same for all threads
    if (threadIdx.x == 0) {
        p.total[slot] = (float)total;
        p.done[slot] = done;
        if (!done) p.step[slot] = step + 1;
    }
    if (done) return;

    adam(p, slot, step, size > 0 ? (double)p.decay / (size * z0 * z0) : 0);
    double bound = (double)p.clamp * z0;
    size = sqrt(square_in_block(delta, p.hidden));
    if (size > bound) ER_IN_BLOCK(i, p.hidden, 1) delta[i] = (float)((double)delta[i] * (bound / size));
}

static __global__ void k_delta_step(er_delta_step p) {
    ER_BLOCK_ROW(slot, p.slots) {
        int32_t step = p.step[slot];  // read by all before the barriers of step_slot, written after the first
        if (step >= 0) {
            step_slot(p, slot, step);
        } else if (threadIdx.x == 0) {  // an empty slot
            p.total[slot] = 0;
            p.done[slot] = 0;
        }
    }
}

er_status er_cuda_delta_step(er_device *d, const er_delta_step *p) {
    if (!p->slots) return ER_OK;
    return ER_LAUNCHED(ER_LAUNCH(k_delta_step, er_blocks(p->slots, 1), ER_BLOCK, er_cuda_stream(d), *p));
}
