#include "tests/support/ref_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- norms ----

static void moments(er_norm_kind kind, const double *x, size_t n, double eps, double *mean, double *inv_std) {
    double m = 0, v = 0;
    for (size_t i = 0; i < n && kind == ER_LAYER_NORM; i++) m += x[i] / (double)n;
    for (size_t i = 0; i < n; i++) v += (x[i] - m) * (x[i] - m) / (double)n;
    *mean = m;
    *inv_std = 1 / sqrt(v + eps);
}

void ref_norm(er_norm_kind kind, double *y, const double *x, const double *w, const double *b, double eps,
    size_t tokens, size_t hidden) {
    for (size_t t = 0; t < tokens; t++, x += hidden, y += hidden) {
        double mean, r;
        moments(kind, x, hidden, eps, &mean, &r);
        for (size_t i = 0; i < hidden; i++) y[i] = (x[i] - mean) * r * w[i] + (b ? b[i] : 0);
    }
}

void ref_norm_backward(er_norm_kind kind, double *dx, const double *dy, const double *x, const double *w,
    double eps, size_t tokens, size_t hidden) {
    for (size_t t = 0; t < tokens; t++, x += hidden, dx += hidden, dy += hidden) {
        double mean, r;
        moments(kind, x, hidden, eps, &mean, &r);
        // The Jacobian entry by entry: d xhat_j / d x_i = r ([i = j] - [layer norm] / n - xhat_i xhat_j / n).
        for (size_t i = 0; i < hidden; i++) {
            dx[i] = 0;
            for (size_t j = 0; j < hidden; j++) {
                double one = (i == j ? 1.0 : 0.0) - (kind == ER_LAYER_NORM ? 1.0 / (double)hidden : 0);
                dx[i] += dy[j] * w[j] * r * (one - (x[i] - mean) * r * (x[j] - mean) * r / (double)hidden);
            }
        }
    }
}

// ---- linear maps and products ----

void ref_linear(
    double *y, const double *x, const double *w, const double *b, size_t m, size_t d_out, size_t d_in) {
    for (size_t t = 0; t < m; t++)
        for (size_t o = 0; o < d_out; o++) {
            double sum = b ? b[o] : 0;
            for (size_t i = 0; i < d_in; i++) sum += x[t * d_in + i] * w[o * d_in + i];
            y[t * d_out + o] = sum;
        }
}

void ref_linear_backward(double *dx, const double *dy, const double *w, size_t m, size_t d_out, size_t d_in) {
    for (size_t t = 0; t < m; t++)
        for (size_t i = 0; i < d_in; i++) {
            double sum = 0;
            for (size_t o = 0; o < d_out; o++) sum += dy[t * d_out + o] * w[o * d_in + i];
            dx[t * d_in + i] = sum;
        }
}

void ref_gemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, double alpha, const double *a,
    size_t lda, const double *b, size_t ldb, double beta, double *c, size_t ldc) {
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t p = 0; p < k; p++)
                sum +=
                    (trans_a ? a[p * lda + i] : a[i * lda + p]) * (trans_b ? b[j * ldb + p] : b[p * ldb + j]);
            c[i * ldc + j] = alpha * sum + (beta != 0 ? beta * c[i * ldc + j] : 0);
        }
}

// ---- activations ----

double ref_act(er_act_kind kind, double x) {
    const double c = sqrt(2 / acos(-1.0));
    switch (kind) {
    case ER_GELU_NEW:
        return 0.5 * x * (1 + tanh(c * (x + 0.044715 * x * x * x)));
    case ER_GELU_ERF:
        return 0.5 * x * erfc(-x / sqrt(2));
    case ER_SILU:
        return x / (1 + exp(-x));
    case ER_RELU:
        return x > 0 ? x : 0;
    }
    return 0;
}

double ref_act_slope(er_act_kind kind, double x) {
    const double pi = acos(-1.0), c = sqrt(2 / pi);
    double t, s;
    switch (kind) {
    case ER_GELU_NEW:
        t = tanh(c * (x + 0.044715 * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
    case ER_GELU_ERF:
        return 0.5 * erfc(-x / sqrt(2)) + x * exp(-x * x / 2) / sqrt(2 * pi);
    case ER_SILU:
        s = 1 / (1 + exp(-x));
        return s * (1 + x * (1 - s));
    case ER_RELU:
        return x > 0 ? 1 : 0;
    }
    return 0;
}

void ref_activation(er_act_kind kind, bool gated, double *a, const double *u, size_t tokens, size_t d_ff) {
    size_t ld = gated ? 2 * d_ff : d_ff;
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < d_ff; i++)
            a[t * d_ff + i] = ref_act(kind, u[t * ld + i]) * (gated ? u[t * ld + d_ff + i] : 1);
}

void ref_activation_backward(
    er_act_kind kind, bool gated, double *du, const double *da, const double *u, size_t tokens, size_t d_ff) {
    size_t ld = gated ? 2 * d_ff : d_ff;
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < d_ff; i++) {
            double g = da[t * d_ff + i], x = u[t * ld + i];
            du[t * ld + i] = g * ref_act_slope(kind, x) * (gated ? u[t * ld + d_ff + i] : 1);
            if (gated) du[t * ld + d_ff + i] = g * ref_act(kind, x);
        }
}

// ---- positions and attention ----

void ref_rope(er_rope_style style, double *x, size_t ld, const int32_t *pos, const double *table, size_t rot,
    size_t tokens, size_t heads, size_t head_dim, bool inverse) {
    if (style == ER_ROPE_NONE) return;
    for (size_t t = 0; t < tokens; t++)
        for (size_t h = 0; h < heads; h++)
            for (size_t j = 0; j < rot / 2; j++) {
                double *head = x + t * ld + h * head_dim;
                double *a = style == ER_ROPE_HALF ? head + j : head + 2 * j,
                       *b = style == ER_ROPE_HALF ? head + j + rot / 2 : a + 1;
                double c = table[(size_t)pos[t] * rot + j],
                       s = table[(size_t)pos[t] * rot + rot / 2 + j] * (inverse ? -1 : 1);
                double turned = *a * c - *b * s;
                *b = *b * c + *a * s;
                *a = turned;
            }
}

// Key (what = 0) or value (1) number j of row r as seen by query head h: first the prefix, then the row's
// own.
static const double *kv(const ref_attention_in *a, size_t r, size_t h, size_t j, int what) {
    size_t g = h / (a->heads / a->kv_heads), kv_dim = a->kv_heads * a->head_dim;
    size_t prefix = a->prefix_len ? (size_t)a->prefix_len[r] : 0;
    if (j < prefix)
        return (what ? a->prefix_v : a->prefix_k) + ((size_t)a->prefix_at[r] + j) * kv_dim + g * a->head_dim;
    size_t t = (size_t)a->row_start[r] + j - prefix;
    return a->qkv + t * a->ld_qkv + a->heads * a->head_dim + (what ? kv_dim : 0) + g * a->head_dim;
}

// Probabilities of the query of token t (row r), head h over keys 0..*n-1; zero where not visible. Returns
// the log denominator.
static double probabilities(const ref_attention_in *a, size_t r, size_t t, size_t h, double *p, size_t *n) {
    size_t prefix = a->prefix_len ? (size_t)a->prefix_len[r] : 0, i = prefix + t - (size_t)a->row_start[r];
    double top = -HUGE_VAL, sum = 0;
    *n = i + 1;
    for (size_t j = 0; j <= i; j++) {
        p[j] = 0;
        for (size_t c = 0; c < a->head_dim; c++)
            p[j] += a->scale * a->qkv[t * a->ld_qkv + h * a->head_dim + c] * kv(a, r, h, j, 0)[c];
        if (a->window && i - j >= a->window) p[j] = -HUGE_VAL;
        top = fmax(top, p[j]);
    }
    for (size_t j = 0; j <= i; j++) sum += exp(p[j] - top);
    for (size_t j = 0; j <= i; j++) p[j] = exp(p[j] - top) / sum;
    return top + log(sum);
}

static double *room(const ref_attention_in *a) {
    size_t most = 0;
    for (size_t r = 0; r < a->rows; r++) {
        size_t n =
            (size_t)(a->row_start[r + 1] - a->row_start[r]) + (a->prefix_len ? (size_t)a->prefix_len[r] : 0);
        most = n > most ? n : most;
    }
    double *p = calloc(2 * most + 1, sizeof *p);
    if (!p) abort();
    return p;
}

void ref_attention(const ref_attention_in *a, double *out, double *lse) {
    double *p = room(a);
    for (size_t r = 0; r < a->rows; r++)
        for (size_t t = (size_t)a->row_start[r]; t < (size_t)a->row_start[r + 1]; t++)
            for (size_t h = 0; h < a->heads; h++) {
                size_t n = 0;
                double l = probabilities(a, r, t, h, p, &n), *o = out + (t * a->heads + h) * a->head_dim;
                if (lse) lse[t * a->heads + h] = l;
                for (size_t c = 0; c < a->head_dim; c++) {
                    o[c] = 0;
                    for (size_t j = 0; j < n; j++) o[c] += p[j] * kv(a, r, h, j, 1)[c];
                }
            }
    free(p);
}

void ref_attention_backward(const ref_attention_in *a, double *dqkv, const double *dout) {
    double *p = room(a);
    size_t hd = a->head_dim, width = (a->heads + 2 * a->kv_heads) * hd;
    for (size_t t = 0; t < a->tokens; t++) memset(dqkv + t * a->ld_qkv, 0, width * sizeof *dqkv);
    for (size_t r = 0; r < a->rows; r++)
        for (size_t t = (size_t)a->row_start[r]; t < (size_t)a->row_start[r + 1]; t++)
            for (size_t h = 0; h < a->heads; h++) {
                size_t n = 0, prefix = a->prefix_len ? (size_t)a->prefix_len[r] : 0,
                       g = h / (a->heads / a->kv_heads);
                (void)probabilities(a, r, t, h, p, &n);
                double *dp = p + n, mean = 0;
                const double *go = dout + (t * a->heads + h) * hd, *q = a->qkv + t * a->ld_qkv + h * hd;
                for (size_t j = 0; j < n; j++) {
                    dp[j] = 0;
                    for (size_t c = 0; c < hd; c++) dp[j] += go[c] * kv(a, r, h, j, 1)[c];
                    mean += p[j] * dp[j];
                }
                for (size_t j = 0; j < n; j++) {
                    double ds = p[j] * (dp[j] - mean) * a->scale;
                    for (size_t c = 0; c < hd; c++)
                        dqkv[t * a->ld_qkv + h * hd + c] += ds * kv(a, r, h, j, 0)[c];
                    if (j < prefix) continue;
                    double *dk =
                        dqkv + ((size_t)a->row_start[r] + j - prefix) * a->ld_qkv + (a->heads + g) * hd;
                    for (size_t c = 0; c < hd; c++)
                        dk[c] += ds * q[c], dk[a->kv_heads * hd + c] += p[j] * go[c];
                }
            }
    free(p);
}

// ---- losses and the optimiser ----

void ref_log_softmax(double *y, const double *x, size_t rows, size_t vocab) {
    for (size_t r = 0; r < rows; r++) {
        double top = -HUGE_VAL, sum = 0;
        for (size_t i = 0; i < vocab; i++) top = fmax(top, x[r * vocab + i]);
        for (size_t i = 0; i < vocab; i++) sum += exp(x[r * vocab + i] - top);
        for (size_t i = 0; i < vocab; i++) y[r * vocab + i] = x[r * vocab + i] - top - log(sum);
    }
}

double ref_label_nll(const double *logits, size_t vocab, size_t label, double *gradient) {
    double top = -HUGE_VAL, sum = 0;
    for (size_t i = 0; i < vocab; i++) top = fmax(top, logits[i]);
    for (size_t i = 0; i < vocab; i++) sum += exp(logits[i] - top);
    for (size_t i = 0; gradient && i < vocab; i++)
        gradient[i] = exp(logits[i] - top) / sum - (i == label ? 1 : 0);
    return log(sum) + top - logits[label];
}

double ref_kl(const double *logits, const double *reference, size_t vocab, double *gradient) {
    double *log_p = malloc(vocab * sizeof *log_p), kl = 0;
    if (!log_p) abort();
    ref_log_softmax(log_p, logits, 1, vocab);
    for (size_t i = 0; i < vocab; i++) kl += exp(log_p[i]) * (log_p[i] - reference[i]);
    for (size_t i = 0; gradient && i < vocab; i++)
        gradient[i] = exp(log_p[i]) * (log_p[i] - reference[i] - kl);
    free(log_p);
    return kl;
}

static double norm2(const double *x, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += x[i] * x[i];
    return sqrt(s);
}

double ref_delta_step(ref_delta *s, const double *grad, double data_loss, int *done) {
    double size = norm2(s->delta, s->hidden), z2 = s->z0_norm * s->z0_norm;
    double total = data_loss + s->decay * size / z2;
    *done = total < s->stop || s->step == (int32_t)s->steps - 1;
    if (*done) return total;
    s->step++;
    for (size_t i = 0; i < s->hidden; i++) {
        double g = grad[i] + (size > 0 ? s->decay * s->delta[i] / (size * z2) : 0);
        s->m[i] = 0.9 * s->m[i] + 0.1 * g;
        s->v[i] = 0.999 * s->v[i] + 0.001 * g * g;
        double mean = s->m[i] / (1 - pow(0.9, s->step)), var = s->v[i] / (1 - pow(0.999, s->step));
        s->delta[i] -= s->lr * mean / (sqrt(var) + 1e-8);
    }
    size = norm2(s->delta, s->hidden);
    for (size_t i = 0; size > s->clamp * s->z0_norm && i < s->hidden; i++)
        s->delta[i] *= s->clamp * s->z0_norm / size;
    return total;
}
