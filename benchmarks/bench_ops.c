// bench_ops [--json] [--threads N] [--precision fp32|bf16] [--seconds S] [--cpu-time] [--only OP]
// --cpu-time counts processor time instead of time of day: for one thread on a machine that is not quiet.
// Every costly op of the device at the shapes of real jobs: each answer is checked at sampled places against
// loops in double precision before it is timed; exit 1 when one is wrong. Rates are shares of the best GEMM
// rate of the same run.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "kernels/device.h"

enum { RUNS = 20, SAMPLES = 200 };
static er_device *dev;
static bool json, cpu_time;
static const char *only;
static double seconds_each = 0.3, ceiling;
static uint64_t seed = 1;
static int wrong;

static double now(void) {
    struct timespec t;
    (void)clock_gettime(cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double uniform(void) {  // [-1, 1)
    uint64_t z = (seed += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1;
}

static size_t pick(size_t n) { return (size_t)((uniform() + 1) / 2 * (double)n); }

static void must(er_status rc) {
    if (rc == ER_OK) return;
    (void)fprintf(stderr, "bench_ops: %s\n", er_last_error());
    exit(1);
}

static void *room(size_t bytes) {
    void *p = NULL;
    must(dev->op->alloc(dev, &p, bytes));
    must(dev->op->zero(dev, NULL, p, bytes));
    return p;
}

static float *numbers(size_t n, double scale, float **host) {
    float *h = malloc(n * sizeof *h), *d = room(n * sizeof *d);
    if (!h) exit(1);
    for (size_t i = 0; i < n; i++) h[i] = (float)(uniform() * scale);
    must(dev->op->upload(dev, NULL, d, h, n * sizeof *h));
    if (host) *host = h;
    else free(h);
    return d;
}

static float *fetch(const float *d, size_t n) {
    float *h = malloc(n * sizeof *h);
    if (!h) exit(1);
    must(dev->op->download(dev, NULL, h, d, n * sizeof *h));
    return h;
}

// Sampled norm-wise error against the bound; counts the wrong ones.
typedef struct check {
    double off, size;
} check;
static void compare(check *c, double got, double want) {
    c->off += (got - want) * (got - want);
    c->size += want * want;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef void action(void *);

static void report(const char *op, const char *shape, double flops, double bytes, check c, double bound,
    action *run, void *data) {
    double error = sqrt(c.off / (c.size + 1e-300)), times[1000];
    bool good = error <= bound;
    if (only && !strstr(op, only)) return;
    if (!good) wrong = 1;
    size_t n = 0;
    run(data);
    for (double start = now(); n < 1000 && (n < RUNS || now() - start < seconds_each); n++) {
        double t = now();
        run(data);
        must(dev->op->sync(dev, NULL));
        times[n] = now() - t;
    }
    qsort(times, n, sizeof *times, by_value);
    double gflops = flops / times[0] * 1e-9, gbytes = bytes / times[0] * 1e-9;
    if (gflops > ceiling) ceiling = gflops;
    if (json)
        (void)printf("{\"op\":\"%s\",\"shape\":\"%s\",\"ms\":%.5f,\"median_ms\":%.5f,\"gflops\":%.2f,"
                     "\"gbytes\":%.2f,\"error\":%.3g,\"ok\":%s}\n",
            op, shape, times[0] * 1e3, times[n / 2] * 1e3, gflops, gbytes, error, good ? "true" : "false");
    else
        (void)printf("%-18s %-34s %9.3f %9.3f %9.1f %8.1f %6.1f  %.1e%s\n", op, shape, times[0] * 1e3,
            times[n / 2] * 1e3, gflops, gbytes, ceiling > 0 ? 100 * gflops / ceiling : 0, error,
            good ? "" : "  WRONG");
    (void)fflush(stdout);
}

// ---- linear maps ----

typedef struct linear {
    er_weight *w;
    float *x, *y;
    size_t m;
} linear;
static void run_forward(void *p) {
    linear *l = p;
    must(dev->op->linear(dev, NULL, l->y, l->x, l->w, NULL, l->m, 0));
}
static void run_backward(void *p) {
    linear *l = p;
    must(dev->op->linear_backward(dev, NULL, l->x, l->y, l->w, l->m, 0));
}

static void bench_linear(size_t m, size_t d_out, size_t d_in, er_dtype t) {
    float *host_w, *host_x, *host_y;
    float *scratch = numbers(d_out * d_in, 1, &host_w);
    dev->op->release(dev, scratch);
    void *bytes = malloc(d_out * d_in * 4);
    if (!bytes) exit(1);
    er_from_f32(bytes, host_w, t, d_out * d_in);
    er_to_f32(host_w, bytes, t, d_out * d_in);
    linear l = {.m = m, .x = numbers(m * d_in, 1, &host_x), .y = numbers(m * d_out, 1, &host_y)};
    must(dev->op->weight_create(dev, &l.w, &(er_weight_spec){bytes, t, d_out, d_in, false, false}));
    double flops = 2 * (double)m * (double)d_out * (double)d_in,
           bound = dev->precision == ER_BF16_COMPUTE ? 0x1p-7 : 1e-6;
    double traffic =
        4.0 * (double)(m * (d_out + d_in)) + (double)(d_out * d_in) * (double)er_dtype_bits(t) / 8;
    char shape[64];
    for (int back = 0; back < 2; back++) {
        check c = {0, 0};
        // The gradient first needs y as it was: run forward last.
        if (back) run_forward(&l);
        else run_backward(&l);
        float *got = back ? fetch(l.y, m * d_out) : fetch(l.x, m * d_in), *now_x = fetch(l.x, m * d_in);
        for (int s = 0; s < SAMPLES; s++) {
            size_t r = pick(m), col = pick(back ? d_out : d_in);
            double sum = 0;
            if (back)
                for (size_t i = 0; i < d_in; i++)
                    sum += (double)now_x[r * d_in + i] * (double)host_w[col * d_in + i];
            else
                for (size_t o = 0; o < d_out; o++)
                    sum += (double)host_y[r * d_out + o] * (double)host_w[o * d_in + col];
            compare(&c, (double)got[r * (back ? d_out : d_in) + col], sum);
        }
        (void)snprintf(shape, sizeof shape, "%s m %zu out %zu in %zu", er_dtype_name(t), m, d_out, d_in);
        report(back ? "linear" : "linear_backward", shape, flops, traffic, c, bound,
            back ? run_forward : run_backward, &l);
        free(got), free(now_x);
    }
    dev->op->weight_free(dev, l.w);
    dev->op->release(dev, l.x), dev->op->release(dev, l.y);
    free(host_w), free(host_x), free(host_y), free(bytes);
}

// ---- attention ----

typedef struct attend {
    er_attention a;
    float *out, *lse, *dout, *dqkv;
} attend;
static void run_attention(void *p) {
    attend *t = p;
    must(dev->op->attention(dev, NULL, &t->a, t->out, t->lse));
}
static void run_attention_backward(void *p) {
    attend *t = p;
    must(dev->op->attention_backward(dev, NULL, &t->a, t->dqkv, t->dout, t->out, t->lse));
}

// `rows` rows of `own` tokens behind `prefix` cached ones each, in one shared cache.
static void bench_attention(
    size_t rows, size_t own, size_t prefix, size_t heads, size_t kv_heads, size_t hd) {
    size_t tokens = rows * own, ld = (heads + 2 * kv_heads) * hd, kv = kv_heads * hd;
    float *qkv, *pk, *pv;
    int32_t *start = malloc((rows + 1) * 4), *at = calloc(rows, 4), *len = malloc(rows * 4);
    if (!start || !at || !len) exit(1);
    for (size_t r = 0; r <= rows; r++) start[r] = (int32_t)(r * own);
    for (size_t r = 0; r < rows; r++) len[r] = (int32_t)prefix;
    int32_t *dev_start = room((rows + 1) * 4), *dev_at = room(rows * 4), *dev_len = room(rows * 4);
    must(dev->op->upload(dev, NULL, dev_start, start, (rows + 1) * 4));
    must(dev->op->upload(dev, NULL, dev_at, at, rows * 4));
    must(dev->op->upload(dev, NULL, dev_len, len, rows * 4));
    attend t = {.a = {tokens, rows, heads, kv_heads, hd, ld, numbers(tokens * ld, 1, &qkv),
                    numbers((prefix + 1) * kv, 1, &pk), numbers((prefix + 1) * kv, 1, &pv), dev_start, dev_at,
                    dev_len, (float)(1 / sqrt((double)hd)), 0},
        .out = room(tokens * heads * hd * 4),
        .lse = room(tokens * heads * 4),
        .dout = numbers(tokens * heads * hd, 1, NULL),
        .dqkv = room(tokens * ld * 4)};
    run_attention(&t);
    float *got = fetch(t.out, tokens * heads * hd);
    check c = {0, 0};
    double *p = malloc((prefix + own) * sizeof *p);
    if (!p) exit(1);
    for (int s = 0; s < SAMPLES; s++) {
        size_t tok = pick(tokens), h = pick(heads), col = pick(hd), row = tok / own,
               g = h / (heads / kv_heads), i = prefix + tok % own;
        double sum = 0, value = 0;
        for (size_t j = 0; j <= i; j++) {
            const float *k =
                j < prefix ? pk + j * kv + g * hd : qkv + (row * own + j - prefix) * ld + (heads + g) * hd;
            const float *v = j < prefix ? pv + j * kv + g * hd : k + kv;
            double score = 0;
            for (size_t d = 0; d < hd; d++)
                score += (double)qkv[tok * ld + h * hd + d] * (double)k[d] / sqrt((double)hd);
            sum += exp(score), value += exp(score) * (double)v[col];
        }
        compare(&c, (double)got[(tok * heads + h) * hd + col], value / sum);
    }
    double keys = (double)own * (double)prefix + (double)own * ((double)own + 1) / 2,
           flops = 4 * (double)rows * keys * (double)(heads * hd);
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu x %zu after %zu, %zu/%zu heads %zu", rows, own, prefix, heads,
        kv_heads, hd);
    report("attention", shape, flops, 4.0 * (double)(tokens * (ld + heads * hd)), c, 1e-5, run_attention, &t);
    report("attention_backward", shape, 2.5 * flops, 8.0 * (double)(tokens * (ld + heads * hd)), c, 1e-5,
        run_attention_backward, &t);
    dev->op->release(dev, (float *)t.a.qkv), dev->op->release(dev, (float *)t.a.prefix_k),
        dev->op->release(dev, (float *)t.a.prefix_v);
    dev->op->release(dev, t.out), dev->op->release(dev, t.lse), dev->op->release(dev, t.dout),
        dev->op->release(dev, t.dqkv);
    dev->op->release(dev, dev_start), dev->op->release(dev, dev_at), dev->op->release(dev, dev_len);
    free(qkv), free(pk), free(pv), free(start), free(at), free(len), free(got), free(p);
}

// ---- losses ----

static void run_loss(void *p) { must(dev->op->label_loss(dev, NULL, p)); }

static void bench_loss(size_t rows, size_t vocab) {
    float *host;
    int32_t *label = malloc(rows * 4), *dev_label = room(rows * 4), *dev_kl = room(rows * 4);
    if (!label) exit(1);
    for (size_t r = 0; r < rows; r++)
        label[r] = r % 7 == 6 ? -1 : (int32_t)pick(vocab);  // six prompts and a KL row a fact
    must(dev->op->upload(dev, NULL, dev_label, label, rows * 4));
    er_label_loss l = {rows, vocab, numbers(rows * vocab, 5, &host), dev_label, dev_kl,
        numbers(vocab, 5, NULL), numbers(rows, 1, NULL), room(rows * 4), room(rows * 4), true};
    run_loss(&l);
    float *got = fetch(l.loss, rows);
    check c = {0, 0};
    for (int s = 0; s < 6; s++) {
        size_t r = 7 * pick(rows / 7) + (size_t)s;
        double sum = 0;
        for (size_t i = 0; i < vocab; i++) sum += exp((double)host[r * vocab + i]);
        compare(&c, (double)got[r], log(sum) - (double)host[r * vocab + (size_t)label[r]]);
    }
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu rows, vocabulary %zu", rows, vocab);
    report("label_loss", shape, 0, 8.0 * (double)(rows * vocab), c, 1e-5, run_loss, &l);
    dev->op->release(dev, l.logits), dev->op->release(dev, (float *)l.reference),
        dev->op->release(dev, (float *)l.weight);
    dev->op->release(dev, l.loss), dev->op->release(dev, l.hit), dev->op->release(dev, dev_label),
        dev->op->release(dev, dev_kl);
    free(host), free(label), free(got);
}

// ---- token-wise ops ----

typedef struct rowwise {
    float *x, *y, *w, *stats, *dy;
    size_t tokens, width;
    er_act_kind kind;
} rowwise;
static void run_act(void *p) {
    rowwise *r = p;
    must(dev->op->activation(dev, NULL, r->kind, true, r->y, r->x, r->tokens, r->width));
}
static void run_act_backward(void *p) {
    rowwise *r = p;
    must(dev->op->activation_backward(dev, NULL, r->kind, true, r->dy, r->y, r->x, r->tokens, r->width));
}
static void run_norm(void *p) {
    rowwise *r = p;
    must(dev->op->norm(dev, NULL, ER_RMS_NORM, r->y, r->stats, r->x, r->w, NULL, 1e-5f, r->tokens, r->width));
}
static void run_norm_backward(void *p) {
    rowwise *r = p;
    must(dev->op->norm_backward(
        dev, NULL, ER_RMS_NORM, r->dy, r->y, r->x, r->w, r->stats, r->tokens, r->width));
}

static void bench_rowwise(size_t tokens, size_t width) {
    static const char *const names[] = {"gelu_new", "gelu_erf", "silu", "relu"};
    float *x;
    rowwise r = {numbers(2 * tokens * width, 4, &x), room(tokens * width * 4), numbers(width, 1, NULL),
        room(tokens * 8), room(2 * tokens * width * 4), tokens, width, ER_SILU};
    char shape[64];
    double n = (double)(tokens * width);
    for (int k = 0; k < 3; k++) {
        r.kind = (er_act_kind)k;
        run_act(&r);
        float *got = fetch(r.y, tokens * width);
        check c = {0, 0};
        for (int s = 0; s < SAMPLES; s++) {
            size_t t = pick(tokens), i = pick(width);
            double u = (double)x[2 * t * width + i], up = (double)x[(2 * t + 1) * width + i], g = u;
            if (k == 0) g = u / 2 * (1 + tanh(sqrt(2 / acos(-1.0)) * (u + 0.044715 * u * u * u)));
            if (k == 1) g = u / 2 * erfc(-u / sqrt(2));
            if (k == 2) g = u / (1 + exp(-u));
            compare(&c, (double)got[t * width + i], g * up);
        }
        free(got);
        (void)snprintf(shape, sizeof shape, "%s gated, %zu x %zu", names[k], tokens, width);
        report("activation", shape, 0, 12 * n, c, 1e-6, run_act, &r);
        report("act_backward", shape, 0, 20 * n, c, 1e-6, run_act_backward, &r);
    }
    run_norm(&r);
    float *got = fetch(r.y, width), *w = fetch(r.w, width);
    check c = {0, 0};
    double square = 1e-5;
    for (size_t i = 0; i < width; i++) square += (double)x[i] * (double)x[i] / (double)width;
    for (size_t i = 0; i < width; i++)
        compare(&c, (double)got[i], (double)x[i] / sqrt(square) * (double)w[i]);
    (void)snprintf(shape, sizeof shape, "rms, %zu x %zu", tokens, width);
    report("norm", shape, 0, 8 * n, c, 1e-6, run_norm, &r);
    report("norm_backward", shape, 0, 16 * n, c, 1e-6, run_norm_backward, &r);
    dev->op->release(dev, r.x), dev->op->release(dev, r.y), dev->op->release(dev, r.w),
        dev->op->release(dev, r.stats);
    dev->op->release(dev, r.dy);
    free(x), free(got), free(w);
}

// ---- moments and the solve ----

typedef struct solve {
    float *x, *scratch;
    double *sum, *a, *b;
    size_t tokens, n, rhs;
} solve;
static void run_moment(void *p) {
    solve *s = p;
    must(dev->op->moment_add(dev, NULL, s->sum, s->x, s->scratch, s->tokens, s->n));
}
static void run_potrf(void *p) {
    solve *s = p;
    must(dev->op->copy(dev, NULL, s->a, s->sum, s->n * s->n * 8));
    must(dev->op->potrf(dev, NULL, s->a, s->n));
}
static void run_potrs(void *p) {
    solve *s = p;
    must(dev->op->potrs(dev, NULL, s->a, s->n, s->b, s->rhs));
}
static void run_gemm(void *p) {
    solve *s = p;
    must(dev->op->gemm_f64(
        dev, NULL, true, false, s->n, s->n, s->rhs, 1, s->b, s->n, s->b, s->n, 0, s->a, s->n));
}

static void bench_solve(size_t tokens, size_t n, size_t rhs) {
    float *x;
    solve s = {numbers(tokens * n, 1, &x), room(n * n * 4), room(n * n * 8), room(n * n * 8),
        room(n * rhs * 8), tokens, n, rhs};
    double flops = (double)tokens * (double)n * (double)n, cube = (double)n * (double)n * (double)n;
    run_moment(&s);
    double *sum = malloc(n * n * 8), *b = malloc(n * rhs * 8), *back = malloc(n * rhs * 8);
    if (!sum || !b || !back) exit(1);
    must(dev->op->download(dev, NULL, sum, s.sum, n * n * 8));
    check c = {0, 0};
    for (int k = 0; k < SAMPLES; k++) {
        size_t i = pick(n), j = pick(n);
        double want = 0;
        for (size_t t = 0; t < tokens; t++) want += (double)x[t * n + i] * (double)x[t * n + j];
        compare(&c, sum[i * n + j], want);
    }
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu tokens, %zu columns", tokens, n);
    report("moment_add", shape, flops, 16 * (double)(n * n), c, 1e-6, run_moment, &s);

    must(dev->op->zero(dev, NULL, s.sum, n * n * 8));
    run_moment(&s);
    must(dev->op->add_diagonal(dev, NULL, s.sum, n, (double)tokens));
    for (size_t i = 0; i < n * rhs; i++) b[i] = uniform();
    must(dev->op->upload(dev, NULL, s.b, b, n * rhs * 8));
    run_potrf(&s), run_potrs(&s);
    must(dev->op->download(dev, NULL, back, s.b, n * rhs * 8));
    c = (check){0, 0};
    for (size_t i = 0; i < n; i++) {  // row i of A x of the last right-hand side
        double want = 0;
        for (size_t j = 0; j < n; j++)
            want += (sum[i * n + j] + (i == j ? (double)tokens : 0)) * back[(rhs - 1) * n + j];
        compare(&c, want, b[(rhs - 1) * n + i]);
    }
    (void)snprintf(shape, sizeof shape, "%zu rows", n);
    report("potrf", shape, cube / 3, 8 * (double)(n * n), c, 1e-10, run_potrf, &s);
    (void)snprintf(shape, sizeof shape, "%zu rows, %zu sides", n, rhs);
    report("potrs", shape, 2 * (double)(n * n) * (double)rhs, 8 * (double)(n * n), c, 1e-10, run_potrs, &s);
    must(dev->op->upload(dev, NULL, s.b, b, n * rhs * 8));
    run_gemm(&s);
    must(dev->op->download(dev, NULL, sum, s.a, n * n * 8));
    c = (check){0, 0};
    for (int k = 0; k < SAMPLES; k++) {
        size_t i = pick(n), j = pick(n);
        double want = 0;
        for (size_t r = 0; r < rhs; r++) want += b[r * n + i] * b[r * n + j];
        compare(&c, sum[i * n + j], want);
    }
    report("gemm_f64", shape, 2 * (double)(n * n) * (double)rhs, 8 * (double)(n * n), c, 1e-12, run_gemm, &s);
    dev->op->release(dev, s.x), dev->op->release(dev, s.scratch), dev->op->release(dev, s.sum),
        dev->op->release(dev, s.a);
    dev->op->release(dev, s.b);
    free(x), free(sum), free(b), free(back);
}

static int usage(const char *what) {
    (void)fprintf(stderr,
        "bench_ops: %s\nusage: bench_ops [--json] [--threads N] [--precision fp32|bf16] [--seconds S] "
        "[--cpu-time] [--only OP]\n",
        what);
    return 2;
}

int main(int argc, char **argv) {
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--json")) json = true;
        else if (!strcmp(argv[i], "--cpu-time")) cpu_time = true;
        else if (!strcmp(argv[i], "--only") && value) only = argv[++i];
        else if (!strcmp(argv[i], "--threads") && value) o.threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--seconds") && value) seconds_each = atof(argv[++i]);
        else if (!strcmp(argv[i], "--precision") && value)
            o.precision = strcmp(argv[++i], "bf16") ? ER_FP32 : ER_BF16_COMPUTE;
        else return usage(argv[i]);
    }
    must(er_device_open(&dev, &o));
    if (!json)
        (void)printf("# %s\n%-18s %-34s %9s %9s %9s %8s %6s  %s\n", dev->name, "op", "shape", "ms", "median",
            "GFLOP/s", "GB/s", "% best", "error");
    // A SmolLM2-135M batch of 32 facts of 26 suffix tokens, 7 label rows each; then GPT-2 small, whose
    // weights are fp32.
    const size_t maps[][2] = {{960, 576}, {576, 576}, {3072, 576}, {576, 1536}},
                 gpt2[][2] = {{2304, 768}, {768, 768}, {3072, 768}, {768, 3072}};
    for (size_t i = 0; i < 4; i++)
        for (size_t m = 64; m <= 1024; m = m < 256 ? 256 : m < 832 ? 832 : m + 192)
            bench_linear(m, maps[i][0], maps[i][1], ER_BF16);
    bench_linear(224, 49152, 576, ER_BF16);
    for (size_t i = 0; i < 4; i++) bench_linear(832, gpt2[i][0], gpt2[i][1], ER_F32);
    bench_linear(832, 3072, 576, ER_F16);
    bench_attention(208, 4, 8, 9, 3, 64);
    bench_attention(8, 1024, 0, 9, 3, 64);
    bench_attention(208, 4, 8, 12, 12, 64);
    bench_loss(224, 49152);
    bench_rowwise(832, 1536);
    bench_rowwise(832, 576);
    bench_solve(4096, 1536, 576);
    er_device_close(dev);
    if (wrong) (void)fprintf(stderr, "bench_ops: wrong answers\n");
    return wrong;
}
