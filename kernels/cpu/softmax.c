// Softmax over the vocabulary: log-probabilities, and the losses of the value optimisation with their
// gradients.
//   label row  loss = -log p(label)                        d/dlogit_i = weight (p_i - [i = label])
//   KL row     loss = sum_i p_i (log p_i - log q_i)        d/dlogit_i = weight p_i ((log p_i - log q_i) -
//   loss)
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"

#include <math.h>

#define SPAN 128  // sums run in fp32 over a span and in fp64 over the spans

ER_CLONES static float row_max(const float *x, size_t n) {
    float top = -INFINITY;
#pragma omp simd reduction(max : top)
    for (size_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    return top;
}

ER_CLONES static double sum_exp(const float *x, float shift, size_t n) {
    double total = 0;
    for (size_t at = 0; at < n; at += SPAN) {
        size_t end = at + SPAN < n ? at + SPAN : n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = at; i < end; i++) sum += vm_exp(x[i] - shift);
        total += (double)sum;
    }
    return total;
}

ER_CLONES static void subtract_row(float *y, const float *x, float shift, float log_sum, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = (x[i] - shift) - log_sum;
}

// As sum_exp, leaving the exponentials in x: they are the gradient but for a factor.
ER_CLONES static double replace_exp(float *x, float shift, size_t n) {
    double total = 0;
    for (size_t at = 0; at < n; at += SPAN) {
        size_t end = at + SPAN < n ? at + SPAN : n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = at; i < end; i++) {
            x[i] = vm_exp(x[i] - shift);
            sum += x[i];
        }
        total += (double)sum;
    }
    return total;
}

ER_CLONES static void scale_row(float *x, float factor, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

// sum p (log p - log q). A zero probability adds nothing, whatever q is.
ER_CLONES static double kl_sum(const float *x, const float *log_q, float shift, float log_sum, size_t n) {
    double total = 0;
    for (size_t at = 0; at < n; at += SPAN) {
        size_t end = at + SPAN < n ? at + SPAN : n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = at; i < end; i++) {
            float log_p = (x[i] - shift) - log_sum, p = vm_exp(log_p);
            sum += p == 0.0f ? 0.0f : p * (log_p - log_q[i]);
        }
        total += (double)sum;
    }
    return total;
}

ER_CLONES static void kl_gradient(
    float *x, const float *log_q, float shift, float log_sum, float loss, float weight, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float log_p = (x[i] - shift) - log_sum, p = vm_exp(log_p);
        x[i] = p == 0.0f ? 0.0f : weight * p * (log_p - log_q[i] - loss);
    }
}

er_status er_cpu_log_softmax(er_device *d, float *y, const float *x, size_t rows, size_t vocab) {
#pragma omp parallel for num_threads(d->threads) if (rows > 1)
    for (size_t r = 0; r < rows; r++) {
        float top = row_max(x + r * vocab, vocab);
        float log_sum = (float)log(sum_exp(x + r * vocab, top, vocab));
        subtract_row(y + r * vocab, x + r * vocab, top, log_sum, vocab);
    }
    return ER_OK;
}

// The first of equal maxima is the argmax.
static bool is_argmax(const float *x, size_t label, float top) {
    if (!(x[label] >= top)) return false;
    for (size_t i = 0; i < label; i++)
        if (x[i] == top) return false;
    return true;
}

static void label_row(const er_label_loss *l, size_t r, float *x, float top) {
    size_t label = (size_t)l->label[r];
    double at_label = (double)x[label] - (double)top;
    if (l->hit) l->hit[r] = is_argmax(x, label, top);
    double sum = l->want_grad ? replace_exp(x, top, l->vocab) : sum_exp(x, top, l->vocab);
    l->loss[r] = (float)(log(sum) - at_label);
    if (!l->want_grad) return;
    scale_row(x, (float)((double)l->weight[r] / sum), l->vocab);
    x[label] -= l->weight[r];
}

static void kl_row(const er_label_loss *l, size_t r, float *x, float top) {
    const float *log_q = l->reference + (size_t)l->kl_ref[r] * l->vocab;
    float log_sum = (float)log(sum_exp(x, top, l->vocab));
    if (l->hit) l->hit[r] = 0;
    l->loss[r] = (float)kl_sum(x, log_q, top, log_sum, l->vocab);
    if (l->want_grad) kl_gradient(x, log_q, top, log_sum, l->loss[r], l->weight[r], l->vocab);
}

er_status er_cpu_label_loss(er_device *d, const er_label_loss *l) {
    for (size_t r = 0; r < l->rows; r++) {
        if (l->label[r] >= 0 && (size_t)l->label[r] >= l->vocab)
            return er_fail(
                ER_EARG, "label %d of row %zu is outside the vocabulary of %zu", l->label[r], r, l->vocab);
        if (l->label[r] < 0 && (!l->kl_ref || !l->reference))
            return er_fail(ER_EARG, "row %zu is a KL row without a reference", r);
    }
#pragma omp parallel for num_threads(d->threads) schedule(dynamic) if (l->rows > 1)
    for (size_t r = 0; r < l->rows; r++) {
        float *x = l->logits + r * l->vocab, top = row_max(x, l->vocab);
        if (l->label[r] < 0) kl_row(l, r, x, top);
        else label_row(l, r, x, top);
    }
    return ER_OK;
}
