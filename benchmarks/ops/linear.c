// Linear maps, and the addition to a weight.
#include "benchmarks/ops/ops.h"

typedef struct linear {
    er_weight *w;
    float *x, *dy, *out;
    double *dw;
    size_t m;
} linear;
static void run_forward(void *p, size_t turn) {
    (void)turn;
    linear *l = p;
    bench_must(bench.dev->op->linear(bench.dev, l->out, l->x, l->w, NULL, l->m, 0));
}
static void run_backward(void *p, size_t turn) {
    (void)turn;
    linear *l = p;
    bench_must(bench.dev->op->linear_backward(bench.dev, l->out, l->dy, l->w, l->m, 0));
}
static void run_add(void *p, size_t turn) {
    (void)turn;
    linear *l = p;
    er_weight_change change;
    bench_must(bench.dev->op->weight_add(bench.dev, l->w, l->dw, &change));
}

static check check_linear(const linear *l, bool back, field w, field x, field dy, size_t d_out, size_t d_in) {
    check c = {0, 0};
    for (int s = 0; s < SAMPLES; s++) {
        size_t r = bench_pick(l->m), col = bench_pick(back ? d_in : d_out);
        double sum = 0;
        if (back)
            for (size_t o = 0; o < d_out; o++)
                sum += bench_at(dy, r * d_out + o) * bench_at(w, o * d_in + col);
        else
            for (size_t i = 0; i < d_in; i++) sum += bench_at(x, r * d_in + i) * bench_at(w, col * d_in + i);
        bench_compare(&c, bench_got(l->out, r * (back ? d_in : d_out) + col), sum);
    }
    return c;
}

void bench_linear(size_t m, size_t d_out, size_t d_in, er_dtype t) {
    if (!bench_wants("linear_backward")) return;
    field w = bench_field(1), x = bench_field(1), dy = bench_field(1);
    void *bytes = bench_stored(w, t, d_out * d_in);
    linear l = {.x = bench_field_room(x, m * d_in), .dy = bench_field_room(dy, m * d_out), .m = m};
    l.out = bench_room(m * (d_in > d_out ? d_in : d_out) * 4);
    bench_must(bench.dev->op->weight_create(
        bench.dev, &l.w, &(er_weight_spec){bytes, t, d_out, d_in, false, false, false}));
    free(bytes);
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%s m %zu out %zu in %zu", er_dtype_name(t), m, d_out, d_in);
    bench_case k = {.shape = shape, .best = BENCH_GEMM, .data = &l};
    k.flops = 2 * (double)m * (double)d_out * (double)d_in;
    k.bytes = 4.0 * (double)(m * (d_out + d_in)) + (double)(d_out * d_in) * (double)er_dtype_bits(t) / 8;
    for (int back = 0; back < 2; back++) {
        k.op = back ? "linear_backward" : "linear";
        k.run = back ? run_backward : run_forward;
        k.bound = bench_gemm_bound(back ? d_out : d_in);
        k.run(&l, 0);
        k.c = check_linear(&l, back, w, x, dy, d_out, d_in);
        bench_report(&k);
    }
    bench.dev->op->weight_free(bench.dev, l.w);
    bench_release(l.x), bench_release(l.dy), bench_release(l.out);
    bench_field_free(w), bench_field_free(x), bench_field_free(dy);
}

// weight_add waits, and every run adds once more: the change is a thousandth of the weight.
void bench_weight_add(size_t d_out, size_t d_in, er_dtype t) {
    if (!bench_wants("weight_add")) return;
    field w = bench_field(1), d = bench_field(1e-3);
    size_t n = d_out * d_in, each = (size_t)er_dtype_bits(t) / 8;
    void *bytes = bench_stored(w, t, n);
    float *change = bench_field_room(d, n);
    linear l = {.dw = bench_room(n * 8)};
    bench_must(bench.dev->op->cast(bench.dev, l.dw, change, n));
    bench_must(bench.dev->op->weight_create(
        bench.dev, &l.w, &(er_weight_spec){bytes, t, d_out, d_in, false, true, false}));
    run_add(&l, 0);
    bench_must(bench.dev->op->weight_read(bench.dev, l.w, bytes));
    check c = {0, 0};
    for (int s = 0; s < SAMPLES; s++) {
        size_t i = bench_pick(n);
        float got = 0, want = (float)(bench_at(w, i) + bench_at(d, i)), rounded = 0;
        char as_stored[8];
        er_from_f32(as_stored, &want, t, 1);
        er_to_f32(&rounded, as_stored, t, 1);
        er_to_f32(&got, (char *)bytes + i * each, t, 1);
        bench_compare(&c, (double)got, (double)rounded);
    }
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%s %zu x %zu", er_dtype_name(t), d_out, d_in);
    // the sum is rounded to fp32 first here and may not be there: a few differ by an ulp of the stored type
    bench_report(&(bench_case){.op = "weight_add",
        .shape = shape,
        .bytes = (double)n * (8 + 2 * (double)each),
        .c = c,
        .bound = t == ER_F32 ? 1e-7 : 1e-3,
        .run = run_add,
        .data = &l});
    bench.dev->op->weight_free(bench.dev, l.w);
    bench_release(l.dw), bench_release(change);
    free(bytes), bench_field_free(w), bench_field_free(d);
}
