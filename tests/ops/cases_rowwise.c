// Cases of ops that act on one token at a time.
#include "tests/ops/cases.h"

// ---- norms ----

typedef struct norm_case {
    er_norm_args a;
    float *y, *stats, *dx;
    const float *dy;
} norm_case;
static void call_norm(void *p, size_t turn) {
    (void)turn;
    norm_case *c = p;
    op_must(ops.dev->op->norm(ops.dev, &c->a, c->y, c->stats));
}
static void call_norm_backward(void *p, size_t turn) {
    (void)turn;
    norm_case *c = p;
    op_must(ops.dev->op->norm_backward(ops.dev, &c->a, c->dx, c->dy, c->stats));
}

// |mean| / std: what subtracting the mean loses. A single column is all eps: its gradient is a difference of
// equals times 1/sqrt(eps) = 316.
static double condition(const double *x, size_t width) {
    double mean = 0, var = 1e-5;
    for (size_t i = 0; i < width; i++) mean += x[i] / (double)width;
    for (size_t i = 0; i < width; i++) var += (x[i] - mean) * (x[i] - mean) / (double)width;
    return width == 1 ? 316 : fabs(mean) / sqrt(var);
}

void op_norm(er_norm_kind kind, bool bias, double offset, size_t tokens, size_t width) {
    if (!op_wants("norm norm_backward")) return;
    size_t n = tokens * width;
    op_field x = op_field_make(n, 2), w = op_field_make(width, 1), b = op_field_make(width, 1),
             dy = op_field_make(n, 1), dx = op_field_make(n, 1);
    for (size_t i = 0; i < x.period; i++) x.block[i] = (float)((double)x.block[i] + offset);
    norm_case c = {{kind, tokens, width, op_field_put(x, n), op_field_put(w, width),
                       bias ? op_field_put(b, width) : NULL, 1e-5f},
        op_room(n * 4), op_room(tokens * 8), op_field_put(dx, n), op_field_put(dy, n)};
    op_result there = {.op = "norm", .bytes = 8 * (double)n, .call = call_norm, .data = &c}, back = there;
    back.op = "norm_backward", back.bytes = 16 * (double)n, back.call = call_norm_backward;
    call_norm(&c, 0), call_norm_backward(&c, 0);
    double worst = width == 1 ? 316 : 0, *w_all = op_row(w, 0, width), *b_all = op_row(b, 0, width),
           *want = op_host(width * sizeof *want);
    for (size_t k = 0; k < op_count(tokens); k++) {
        size_t at = op_chosen(tokens, k) * width;
        double *row = op_row(x, at, width), *dx_row = op_row(dx, at, width);
        ref_norm(kind, want, row, w_all, bias ? b_all : NULL, (double)1e-5f, 1, width);
        op_compare(&there.e, c.y + at, want, width);
        ref_norm_backward(kind, want, op_row(dy, at, width), row, w_all, (double)1e-5f, 1, width);
        for (size_t i = 0; i < width; i++) want[i] += dx_row[i];
        op_compare(&back.e, c.dx + at, want, width);
        if (width) worst = fmax(worst, condition(row, width));
    }
    there.bound = EPS * (8 + 4 * worst), back.bound = 2 * there.bound;
    (void)snprintf(there.shape, sizeof there.shape, "%s%s, %zu x %zu",
        kind == ER_LAYER_NORM ? "layer" : "rms", offset != 0 ? " off centre" : "", tokens, width);
    memcpy(back.shape, there.shape, sizeof back.shape);
    op_report(&there), op_report(&back);
    c.stats = NULL;  // may be absent
    if (!ops.samples) call_norm(&c, 0);
    op_end();
}

typedef struct qk_case {
    er_qk_norm_args a;
    float *x, *dx;
    const float *raw;
} qk_case;
static void call_qk_norm(void *p, size_t turn) {
    (void)turn;
    qk_case *c = p;
    op_must(ops.dev->op->qk_norm(ops.dev, &c->a, c->x));
}
static void call_qk_norm_backward(void *p, size_t turn) {
    (void)turn;
    qk_case *c = p;
    op_must(ops.dev->op->qk_norm_backward(ops.dev, &c->a, c->dx, c->raw));
}

// Heads of rows that go on behind them, against the norm of each head as a row of its own.
void op_qk_norm(er_norm_kind kind, bool bias, size_t tokens, size_t heads, size_t head_dim, size_t behind) {
    if (!op_wants("qk_norm qk_norm_backward")) return;
    size_t ld = heads * head_dim + behind, n = tokens * ld, wide = heads * head_dim;
    op_field x = op_field_make(n, 2), w = op_field_make(wide, 1), b = op_field_make(wide, 1),
             d = op_field_make(n, 1);
    qk_case c = {{kind, tokens, heads, head_dim, ld, op_field_put(w, wide),
                     bias ? op_field_put(b, wide) : NULL, 1e-5f},
        op_field_put(x, n), op_field_put(d, n), op_field_put(x, n)};
    op_result there = {.op = "qk_norm",
                  .bytes = 8 * (double)(tokens * wide),
                  .bound = 8 * EPS,
                  .call = call_qk_norm,
                  .data = &c},
              back = there;
    back.op = "qk_norm_backward", back.bytes *= 1.5, back.bound = 16 * EPS, back.call = call_qk_norm_backward;
    call_qk_norm(&c, 0), call_qk_norm_backward(&c, 0);
    double *w_all = op_row(w, 0, wide), *b_all = op_row(b, 0, wide);
    for (size_t k = 0; k < op_count(tokens); k++) {
        size_t row = op_chosen(tokens, k) * ld;
        double *in = op_row(x, row, ld), *y = op_row(x, row, ld), *dy = op_row(d, row, ld),
               *dx = op_row(d, row, ld);
        for (size_t h = 0; h < wide; h += head_dim) {
            ref_norm(kind, y + h, in + h, w_all + h, bias ? b_all + h : NULL, (double)1e-5f, 1, head_dim);
            ref_norm_backward(kind, dx + h, dy + h, in + h, w_all + h, (double)1e-5f, 1, head_dim);
        }
        op_compare(&there.e, c.x + row, y, ld);
        op_compare(&back.e, c.dx + row, dx, ld);
    }
    (void)snprintf(there.shape, sizeof there.shape, "%s, %zu x %zu heads of %zu",
        kind == ER_LAYER_NORM ? "layer" : "rms", tokens, heads, head_dim);
    memcpy(back.shape, there.shape, sizeof back.shape);
    op_report(&there), op_report(&back);
    op_end();
}

typedef struct row_norm_case {
    float *out;
    const float *x;
    size_t rows, width;
} row_norm_case;
static void call_row_norm(void *p, size_t turn) {
    (void)turn;
    row_norm_case *c = p;
    op_must(ops.dev->op->row_norm(ops.dev, c->out, c->x, c->rows, c->width));
}

void op_row_norm(size_t rows, size_t width) {
    if (!op_wants("row_norm")) return;
    op_field x = op_field_make(rows * width, 3);
    row_norm_case c = {op_room(rows * 4), op_field_put(x, rows * width), rows, width};
    op_result r = {.op = "row_norm",
        .bytes = 4 * (double)(rows * width),
        .bound = EPS,
        .call = call_row_norm,
        .data = &c};
    call_row_norm(&c, 0);
    for (size_t k = 0; k < op_count(rows); k++) {
        size_t row = op_chosen(rows, k);
        double sum = 0;
        for (size_t i = 0; i < width; i++) sum += op_at(x, row * width + i) * op_at(x, row * width + i);
        sum = sqrt(sum);
        op_compare(&r.e, c.out + row, &sum, 1);
    }
    (void)snprintf(r.shape, sizeof r.shape, "%zu x %zu", rows, width);
    op_report(&r);
    op_end();
}

// ---- activations ----

typedef struct act_case {
    er_act_kind kind;
    bool gated;
    float *a, *du;
    const float *u, *da;
    size_t tokens, d_ff;
} act_case;
static void call_act(void *p, size_t turn) {
    (void)turn;
    act_case *c = p;
    op_must(ops.dev->op->activation(ops.dev, c->kind, c->gated, c->a, c->u, c->tokens, c->d_ff));
}
static void call_act_backward(void *p, size_t turn) {
    (void)turn;
    act_case *c = p;
    op_must(
        ops.dev->op->activation_backward(ops.dev, c->kind, c->gated, c->du, c->da, c->u, c->tokens, c->d_ff));
}

void op_activation(er_act_kind kind, bool gated, size_t tokens, size_t d_ff) {
    static const char *const names[] = {"gelu_new", "gelu_erf", "silu", "relu"};
    if (!op_wants("activation activation_backward")) return;
    size_t n = tokens * d_ff, ld = gated ? 2 * d_ff : d_ff, n_u = tokens * ld;
    op_field u = op_field_make(n_u, 6), da = op_field_make(n, 1);
    act_case c = {kind, gated, op_room(n * 4), op_room(n_u * 4), op_field_put(u, n_u), op_field_put(da, n),
        tokens, d_ff};
    op_result there = {.op = "activation",
                  .bytes = 4 * (double)(n_u + n),
                  .bound = 4 * EPS,
                  .call = call_act,
                  .data = &c},
              back = there;
    back.op = "activation_backward", back.bytes = 4 * (double)(2 * n_u + n), back.bound = 6 * EPS,
    back.call = call_act_backward;
    call_act(&c, 0), call_act_backward(&c, 0);
    // In the tails the argument of e^x sets the error; where all elements are few, all may be there.
    if (n < 16) there.bound *= 3, back.bound *= 3;
    double *want = op_host(ld * sizeof *want);
    for (size_t k = 0; k < op_count(tokens); k++) {
        size_t t = op_chosen(tokens, k);
        double *row = op_row(u, t * ld, ld);
        ref_activation(kind, gated, want, row, 1, d_ff);
        op_compare(&there.e, c.a + t * d_ff, want, d_ff);
        ref_activation_backward(kind, gated, want, op_row(da, t * d_ff, d_ff), row, 1, d_ff);
        op_compare(&back.e, c.du + t * ld, want, ld);
    }
    (void)snprintf(
        there.shape, sizeof there.shape, "%s%s, %zu x %zu", names[kind], gated ? " gated" : "", tokens, d_ff);
    memcpy(back.shape, there.shape, sizeof back.shape);
    op_report(&there), op_report(&back);
    op_end();
}

// ---- rotary positions ----

enum { POSITIONS = 64 };
typedef struct rope_case {
    er_rope_args a;
    float *x;
    bool inverse;
} rope_case;
static void call_rope(void *p, size_t turn) {
    (void)turn;
    rope_case *c = p;
    op_must(ops.dev->op->rope(ops.dev, &c->a, c->x, c->inverse));
}

// In place: turning again and again changes no length. There and back again is the identity.
void op_rope(er_rope_style style, bool inverse, size_t tokens, size_t heads, size_t head_dim, size_t rot,
    size_t behind) {
    static const char *const names[] = {"none", "half", "pairs"};
    if (!op_wants("rope")) return;
    size_t ld = heads * head_dim + behind, n = tokens * ld;
    op_field x = op_field_make(n, 2);
    float *table = op_host(POSITIONS * rot * sizeof *table);
    double *wide = op_host(POSITIONS * rot * sizeof *wide);
    int32_t *pos = op_host(tokens * sizeof *pos);
    for (size_t p = 0; p < POSITIONS; p++)
        for (size_t j = 0; j < rot; j++) {
            double angle = (double)p / pow(1e4, 2 * (double)(j % (rot / 2)) / (double)rot);
            wide[p * rot + j] = (double)(table[p * rot + j] = (float)(j < rot / 2 ? cos(angle) : sin(angle)));
        }
    for (size_t t = 0; t < tokens; t++) pos[t] = (int32_t)((op_uniform() + 1) / 2 * POSITIONS);
    rope_case c = {{style, tokens, heads, head_dim, rot, ld, op_put(pos, tokens * sizeof *pos),
                       op_put(table, POSITIONS * rot * sizeof *table)},
        op_field_put(x, n), inverse};
    op_result r = {.op = "rope",
                  .bytes = 8 * (double)(tokens * heads * rot),
                  .bound = 2 * EPS,
                  .call = call_rope,
                  .data = &c},
              back = r;
    call_rope(&c, 0);
    for (size_t k = 0; k < op_count(tokens); k++) {
        size_t t = op_chosen(tokens, k);
        double *want = op_row(x, t * ld, ld);
        ref_rope(style, want, ld, pos + t, wide, rot, 1, heads, head_dim, inverse);
        op_compare(&r.e, c.x + t * ld, want, ld);
    }
    (void)snprintf(r.shape, sizeof r.shape, "%s %zu of %zu, %zu x %zu heads%s", names[style], rot, head_dim,
        tokens, heads, inverse ? ", back" : "");
    op_report(&r);
    if (!ops.samples) {
        c.inverse = !inverse, back.bound = 3 * EPS;
        call_rope(&c, 0);
        op_compare(&back.e, c.x, op_row(x, 0, n), n);
        (void)snprintf(
            back.shape, sizeof back.shape, "there and back, %s %zu of %zu", names[style], rot, head_dim);
        op_report(&back);
    }
    op_end();
}
