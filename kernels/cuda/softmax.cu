// Softmax over the vocabulary: log-probabilities, and the losses of the value optimisation with their
// gradients; equations as in kernels/cpu/softmax.c. A block a row. The row is read two to four times, the
// later ones from cache.
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/device.cuh"

template <int V> static __device__ float row_max(const float *x, size_t n) {
    float top = -INFINITY;
    ER_IN_BLOCK(i, n, V) {
        er_pack<float, V> v = er_load<V>(x + i);
        for (int k = 0; k < V; k++) top = fmaxf(top, v.at[k]);
    }
    return er_block_max(top);
}

template <int V> static __device__ double row_sum_exp(const float *x, float top, size_t n) {
    float sum = 0;
    ER_IN_BLOCK(i, n, V) {
        er_pack<float, V> v = er_load<V>(x + i);
        for (int k = 0; k < V; k++) sum += expf(v.at[k] - top);
    }
    return er_block_sum((double)sum);
}

template <int V> static __global__ void k_log_softmax(float *y, const float *x, size_t rows, size_t vocab) {
    ER_BLOCK_ROW(r, rows) {
        const float *row = x + r * vocab;
        float top = row_max<V>(row, vocab), log_sum = (float)log(row_sum_exp<V>(row, top, vocab));
        ER_IN_BLOCK(i, vocab, V) {
            er_pack<float, V> v = er_load<V>(row + i);
            for (int k = 0; k < V; k++) v.at[k] = (v.at[k] - top) - log_sum;
            er_store<V>(y + r * vocab + i, v);
        }
    }
}

template <int V>
static __device__ void label_row(const er_label_loss &l, size_t r, float *x, float top, double sum) {
    size_t label = (size_t)l.label[r];
    bool known = label < l.vocab;
    float at_label = known ? x[label] : NAN;  // read by all before the barriers, overwritten after them
    float before = 0;
    ER_IN_BLOCK(i, known ? label : 0, 1) before += x[i] == top ? 1.0f : 0.0f;
    bool first = er_block_sum((double)before) == 0;  // of equal maxima the first is the argmax
    if (threadIdx.x == 0) {
        l.loss[r] = (float)(log(sum) - ((double)at_label - (double)top));
        if (l.hit) l.hit[r] = at_label >= top && first;
    }
    if (!l.want_grad) return;
    float weight = known ? l.weight[r] : NAN, scale = (float)((double)weight / sum);
    ER_IN_BLOCK(i, l.vocab, V) {
        er_pack<float, V> v = er_load<V>(x + i);
        for (int k = 0; k < V; k++) v.at[k] = scale * expf(v.at[k] - top) - (i + k == label ? weight : 0.0f);
        er_store<V>(x + i, v);
    }
}

// A zero probability adds nothing, whatever the reference says of it.
template <int V>
static __device__ void kl_row(const er_label_loss &l, size_t r, float *x, float top, double sum) {
    bool known = l.kl_ref && l.reference && l.kl_ref[r] >= 0;
    const float *log_q = known ? l.reference + (size_t)l.kl_ref[r] * l.vocab : x;
    float log_sum = (float)log(sum), part = known ? 0.0f : NAN;
    ER_IN_BLOCK(i, l.vocab, V) {
        er_pack<float, V> v = er_load<V>(x + i), q = er_load<V>(log_q + i);
        for (int k = 0; k < V; k++) {
            float log_p = (v.at[k] - top) - log_sum, p = expf(log_p);
            part += p == 0.0f ? 0.0f : p * (log_p - q.at[k]);
        }
    }
    float loss = (float)er_block_sum((double)part), weight = known ? l.weight[r] : NAN;
    if (threadIdx.x == 0) {
        l.loss[r] = loss;
        if (l.hit) l.hit[r] = 0;
    }
    if (!l.want_grad) return;
    ER_IN_BLOCK(i, l.vocab, V) {
        er_pack<float, V> v = er_load<V>(x + i), q = er_load<V>(log_q + i);
        for (int k = 0; k < V; k++) {
            float log_p = (v.at[k] - top) - log_sum, p = expf(log_p);
            v.at[k] = known && p == 0.0f ? 0.0f : weight * p * (log_p - q.at[k] - loss);
        }
        er_store<V>(x + i, v);
    }
}

template <int V> static __global__ void k_label_loss(er_label_loss l) {
    ER_BLOCK_ROW(r, l.rows) {
        float *x = l.logits + r * l.vocab, top = row_max<V>(x, l.vocab);
        double sum = row_sum_exp<V>(x, top, l.vocab);
        if (l.label[r] >= 0) label_row<V>(l, r, x, top, sum);
        else kl_row<V>(l, r, x, top, sum);
    }
}

er_status er_cuda_log_softmax(er_device *d, float *y, const float *x, size_t rows, size_t vocab) {
    if (!rows || !vocab) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    if (vocab % 4 == 0 && er_aligned(y, x))
        return ER_LAUNCHED(ER_LAUNCH_BLOCKS((k_log_softmax<4>), rows, vocab, 4, at, y, x, rows, vocab));
    return ER_LAUNCHED(ER_LAUNCH_BLOCKS((k_log_softmax<1>), rows, vocab, 1, at, y, x, rows, vocab));
}

er_status er_cuda_label_loss(er_device *d, const er_label_loss *l) {
    if (!l->rows || !l->vocab) return ER_OK;
    cudaStream_t at = er_cuda_stream(d);
    if (l->vocab % 4 == 0 && er_aligned(l->logits, l->reference))
        return ER_LAUNCHED(ER_LAUNCH_BLOCKS((k_label_loss<4>), l->rows, l->vocab, 4, at, *l));
    return ER_LAUNCHED(ER_LAUNCH_BLOCKS((k_label_loss<1>), l->rows, l->vocab, 1, at, *l));
}
