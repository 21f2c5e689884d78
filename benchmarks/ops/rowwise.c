// Activations, norms and rotary positions.
#include "benchmarks/ops/ops.h"

typedef struct rowwise {
    float *x, *y, *dy, *dx, *w, *b, *stats;
    size_t tokens, width;
    er_act_kind act;
    er_norm_kind norm;
    bool gated;
} rowwise;

static void release(const rowwise *r) {
    const void *all[] = {r->x, r->y, r->dy, r->dx, r->w, r->b, r->stats};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_release(all[i]);
}

// ---- activations ----

static void run_act(void *p, size_t turn) {
    (void)turn;
    rowwise *r = p;
    bench_must(bench.dev->op->activation(bench.dev, r->act, r->gated, r->y, r->x, r->tokens, r->width));
}
static void run_act_backward(void *p, size_t turn) {
    (void)turn;
    rowwise *r = p;
    bench_must(bench.dev->op->activation_backward(
        bench.dev, r->act, r->gated, r->dx, r->dy, r->x, r->tokens, r->width));
}

static double act(er_act_kind kind, double u) {
    switch (kind) {
    case ER_GELU_NEW:
        return u / 2 * (1 + tanh(sqrt(2 / acos(-1.0)) * (u + 0.044715 * u * u * u)));
    case ER_GELU_ERF:
        return u / 2 * erfc(-u / sqrt(2));
    case ER_SILU:
        return u / (1 + exp(-u));
    case ER_RELU:
        return u > 0 ? u : 0;
    }
    return (double)NAN;
}
// By differences: 1e-10 in double, far below what is asked of fp32.
static double act_slope(er_act_kind kind, double u) {
    return (act(kind, u + 1e-5) - act(kind, u - 1e-5)) / 2e-5;
}

static void check_act(const rowwise *r, field x, field dy, check *forward, check *backward) {
    for (int s = 0; s < SAMPLES; s++) {
        size_t t = bench_pick(r->tokens), i = bench_pick(r->width), ld = r->width * (r->gated ? 2 : 1);
        double u = bench_at(x, t * ld + i), up = r->gated ? bench_at(x, t * ld + r->width + i) : 1,
               d = bench_at(dy, t * r->width + i);
        bench_compare(forward, bench_got(r->y, t * r->width + i), act(r->act, u) * up);
        bench_compare(backward, bench_got(r->dx, t * ld + i), d * up * act_slope(r->act, u));
        if (r->gated) bench_compare(backward, bench_got(r->dx, t * ld + r->width + i), d * act(r->act, u));
    }
}

void bench_activation(er_act_kind kind, bool gated, size_t tokens, size_t width) {
    static const char *const names[] = {"gelu_new", "gelu_erf", "silu", "relu"};
    if (!bench_wants("activation act_backward")) return;
    size_t n = tokens * width, wide = gated ? 2 * n : n;
    field x = bench_field(4), dy = bench_field(1);
    rowwise r = {.x = bench_field_room(x, wide),
        .y = bench_room(n * 4),
        .dy = bench_field_room(dy, n),
        .dx = bench_room(wide * 4),
        .tokens = tokens,
        .width = width,
        .act = kind,
        .gated = gated};
    run_act(&r, 0), run_act_backward(&r, 0);
    check forward = {0, 0}, backward = {0, 0};
    check_act(&r, x, dy, &forward, &backward);
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%s%s, %zu x %zu", names[kind], gated ? " gated" : "", tokens, width);
    bench_report(&(bench_case){.op = "activation",
        .shape = shape,
        .bytes = 4 * (double)(wide + n),
        .c = forward,
        .bound = 1e-6,
        .run = run_act,
        .data = &r});
    bench_report(&(bench_case){.op = "act_backward",
        .shape = shape,
        .bytes = 4 * (double)(2 * wide + n),
        .c = backward,
        .bound = 1e-6,
        .run = run_act_backward,
        .data = &r});
    release(&r), bench_field_free(x), bench_field_free(dy);
}

// ---- norms ----

static void run_norm(void *p, size_t turn) {
    (void)turn;
    rowwise *r = p;
    bench_must(bench.dev->op->norm(
        bench.dev, &(er_norm_args){r->norm, r->tokens, r->width, r->x, r->w, r->b, 1e-5f}, r->y, r->stats));
}
static void run_norm_backward(void *p, size_t turn) {
    (void)turn;
    rowwise *r = p;
    bench_must(bench.dev->op->norm_backward(bench.dev,
        &(er_norm_args){r->norm, r->tokens, r->width, r->x, r->w, r->b, 1e-5f}, r->dx, r->dy, r->stats));
}

// One row whole: y = h w + b with h = (x - mean) / std, and dx = (g - mean(g) - h mean(g h)) / std with g =
// dy w.
static void check_row(const rowwise *r, field x, field w, field dy, check *forward, check *backward) {
    size_t at = bench_pick(r->tokens) * r->width;
    double n = (double)r->width, mean = 0, square = 0, g_mean = 0, gh_mean = 0;
    bool centred = r->norm == ER_LAYER_NORM;
    for (size_t i = 0; centred && i < r->width; i++) mean += bench_at(x, at + i) / n;
    for (size_t i = 0; i < r->width; i++)
        square += (bench_at(x, at + i) - mean) * (bench_at(x, at + i) - mean) / n;
    double scale = 1 / sqrt(square + 1e-5);
    for (size_t i = 0; i < r->width; i++) {
        double g = bench_at(dy, at + i) * bench_at(w, i);
        g_mean += centred ? g / n : 0;
        gh_mean += g * (bench_at(x, at + i) - mean) * scale / n;
    }
    for (int s = 0; s < SAMPLES / 4; s++) {
        size_t i = bench_pick(r->width);
        double h = (bench_at(x, at + i) - mean) * scale, g = bench_at(dy, at + i) * bench_at(w, i);
        bench_compare(forward, bench_got(r->y, at + i), h * bench_at(w, i) + (r->b ? bench_at(w, i) : 0));
        bench_compare(backward, bench_got(r->dx, at + i), scale * (g - g_mean - h * gh_mean));
    }
}

void bench_norm(er_norm_kind kind, size_t tokens, size_t width) {
    if (!bench_wants("norm_backward")) return;
    size_t n = tokens * width;
    field x = bench_field(4), w = bench_field(1), dy = bench_field(1);
    rowwise r = {.x = bench_field_room(x, n),
        .y = bench_room(n * 4),
        .dy = bench_field_room(dy, n),
        .dx = bench_room(n * 4),
        .w = bench_field_room(w, width),
        .stats = bench_room(tokens * 8),
        .tokens = tokens,
        .width = width,
        .norm = kind};
    if (kind == ER_LAYER_NORM) r.b = bench_field_room(w, width);
    run_norm(&r, 0), run_norm_backward(&r, 0);
    check forward = {0, 0}, backward = {0, 0};
    for (int s = 0; s < 4; s++) check_row(&r, x, w, dy, &forward, &backward);
    char shape[64];
    (void)snprintf(
        shape, sizeof shape, "%s, %zu x %zu", kind == ER_LAYER_NORM ? "layer" : "rms", tokens, width);
    bench_report(&(bench_case){.op = "norm",
        .shape = shape,
        .bytes = 8 * (double)n,
        .c = forward,
        .bound = 1e-6,
        .run = run_norm,
        .data = &r});
    bench_report(&(bench_case){.op = "norm_backward",
        .shape = shape,
        .bytes = 16 * (double)n,
        .c = backward,
        .bound = 1e-6,
        .run = run_norm_backward,
        .data = &r});
    release(&r), bench_field_free(x), bench_field_free(w), bench_field_free(dy);
}

// ---- rotary positions ----

enum { POSITIONS = 64 };
typedef struct turner {
    er_rope_style style;
    float *x, *table;
    int32_t *pos;
    size_t ld, rot, tokens, heads, width;
} turner;
static void run_rope(void *p, size_t turn) {
    (void)turn;
    turner *r = p;
    bench_must(bench.dev->op->rope(bench.dev,
        &(er_rope_args){r->style, r->tokens, r->heads, r->width, r->rot, r->ld, r->pos, r->table}, r->x,
        false));
}

static check check_rope(const turner *r, field x, const float *table) {
    check c = {0, 0};
    for (int s = 0; s < SAMPLES; s++) {
        size_t t = bench_pick(r->tokens), head = bench_pick(r->heads), j = bench_pick(r->rot / 2);
        size_t a = r->style == ER_ROPE_HALF ? j : 2 * j,
               b = r->style == ER_ROPE_HALF ? j + r->rot / 2 : 2 * j + 1;
        size_t at = t * r->ld + head * r->width;
        const float *turn = table + t % POSITIONS * r->rot;
        double cosine = (double)turn[j], sine = (double)turn[r->rot / 2 + j];
        double x0 = bench_at(x, at + a), x1 = bench_at(x, at + b);
        bench_compare(&c, bench_got(r->x, at + a), x0 * cosine - x1 * sine);
        bench_compare(&c, bench_got(r->x, at + b), x1 * cosine + x0 * sine);
    }
    return c;
}

// q and k of fused rows, in place; turning again and again changes no length.
void bench_rope(er_rope_style style, size_t rot, size_t tokens, bench_heads h) {
    if (!bench_wants("rope")) return;
    size_t ld = (h.heads + 2 * h.kv_heads) * h.width;
    field x = bench_field(1);
    float *table = bench_host(POSITIONS * rot * 4);
    int32_t *pos = bench_host(tokens * 4);
    for (size_t p = 0; p < POSITIONS; p++)
        for (size_t j = 0; j < rot / 2; j++) {
            double angle = (double)p * pow(10000, -2.0 * (double)j / (double)rot);
            table[p * rot + j] = (float)cos(angle), table[p * rot + rot / 2 + j] = (float)sin(angle);
        }
    for (size_t t = 0; t < tokens; t++) pos[t] = (int32_t)(t % POSITIONS);
    turner r = {style, bench_field_room(x, tokens * ld), bench_upload(table, POSITIONS * rot * 4),
        bench_upload(pos, tokens * 4), ld, rot, tokens, h.heads + h.kv_heads, h.width};
    run_rope(&r, 0);
    check c = check_rope(&r, x, table);
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%s %zu of %zu, %zu x %zu heads",
        style == ER_ROPE_HALF ? "half" : "pairs", rot, h.width, tokens, r.heads);
    bench_report(&(bench_case){.op = "rope",
        .shape = shape,
        .bytes = 8 * (double)(tokens * r.heads * rot),
        .c = c,
        .bound = 1e-6,
        .run = run_rope,
        .data = &r});
    bench_release(r.x), bench_release(r.table), bench_release(r.pos);
    free(table), free(pos), bench_field_free(x);
}
