// Cases of linear maps, and of the addition to a weight.
#include "tests/ops/cases.h"

typedef struct linear_case {
    er_weight *w;
    float *y, *dx;
    const float *x, *dy, *bias;
    size_t m;
    float beta;
} linear_case;
static void call_linear(void *p, size_t turn) {
    (void)turn;
    linear_case *c = p;
    op_must(ops.dev->op->linear(ops.dev, c->y, c->x, c->w, c->bias, c->m, c->beta));
}
static void call_linear_backward(void *p, size_t turn) {
    (void)turn;
    linear_case *c = p;
    op_must(ops.dev->op->linear_backward(ops.dev, c->dx, c->dy, c->w, c->m, c->beta));
}

typedef struct maps {  // what a linear map and its gradient are made of
    op_field w, x, b, y, dx;
    size_t m, d_out, d_in;
    bool bias;
    float beta;
} maps;

// The columns that are checked of each row that is: all, or a few.
static size_t *columns_of(size_t *count, size_t n) {
    *count = ops.samples && 3 * ops.samples < n ? 3 * ops.samples : n;
    size_t *column = op_host(*count * sizeof *column);
    for (size_t i = 0; i < *count; i++)
        column[i] = *count < n ? (size_t)((op_uniform() + 1) / 2 * (double)n) : i;
    return column;
}

// A sum may be small where its parts are not, and its error is theirs.
static void differ(op_error *e, double got, double product, double bias, double before) {
    double want = product + bias + before, parts = fabs(product) + fabs(bias) + fabs(before);
    e->off += (got - want) * (got - want), e->size += parts * parts;
}

static void compare_forward(op_error *e, const maps *f, const float *y) {
    size_t n, *column = columns_of(&n, f->d_out);
    double *w = op_host(n * f->d_in * sizeof *w), *want = op_host(n * sizeof *want);
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < f->d_in; i++) w[j * f->d_in + i] = op_at(f->w, column[j] * f->d_in + i);
    for (size_t k = 0; k < op_count(f->m); k++) {
        size_t row = op_chosen(f->m, k);
        ref_linear(want, op_row(f->x, row * f->d_in, f->d_in), w, NULL, 1, n, f->d_in);
        const double *got = op_download(y + row * f->d_out, f->d_out);
        for (size_t j = 0; j < n; j++)
            differ(e, got[column[j]], want[j], f->bias ? op_at(f->b, column[j]) : 0,
                f->beta != 0 ? op_at(f->y, row * f->d_out + column[j]) : 0);
    }
}

static void compare_backward(op_error *e, const maps *f, const float *dx) {
    size_t n, *column = columns_of(&n, f->d_in);
    double *w = op_host(f->d_out * n * sizeof *w), *want = op_host(n * sizeof *want);
    for (size_t o = 0; o < f->d_out; o++)
        for (size_t j = 0; j < n; j++) w[o * n + j] = op_at(f->w, o * f->d_in + column[j]);
    for (size_t k = 0; k < op_count(f->m); k++) {
        size_t row = op_chosen(f->m, k);
        ref_linear_backward(want, op_row(f->y, row * f->d_out, f->d_out), w, 1, f->d_out, n);
        const double *got = op_download(dx + row * f->d_in, f->d_in);
        for (size_t j = 0; j < n; j++)
            differ(e, got[column[j]], want[j], 0, f->beta != 0 ? op_at(f->dx, row * f->d_in + column[j]) : 0);
    }
}

// With beta 0, y and dx begin as NaN. The gradient's input is what y begins with where beta is 1.
void op_linear(size_t m, size_t d_out, size_t d_in, er_dtype t, bool conv1d, bool bias, float beta) {
    if (!op_wants("linear linear_backward")) return;
    size_t n_x = m * d_in, n_y = m * d_out;
    maps f = {op_field_make(d_out * d_in, 1), op_field_make(n_x, 2), op_field_make(d_out, 1),
        op_field_make(n_y, 3), op_field_make(n_x, 3), m, d_out, d_in, bias, beta};
    void *bytes = op_stored(f.w, t, d_out, d_in, conv1d);
    linear_case c = {NULL, beta != 0 ? op_field_put(f.y, n_y) : op_room(n_y * 4),
        beta != 0 ? op_field_put(f.dx, n_x) : op_room(n_x * 4), op_field_put(f.x, n_x),
        op_field_put(f.y, n_y), bias ? op_field_put(f.b, d_out) : NULL, m, beta};
    op_must(ops.dev->op->weight_create(ops.dev, &c.w,
        &(er_weight_spec){.bytes = bytes, .dtype = t, .d_out = d_out, .d_in = d_in, .conv1d = conv1d}));
    op_result there = {
        .op = "linear", .of = OP_GEMM, .bound = op_product_bound(d_in), .call = call_linear, .data = &c};
    there.flops = 2 * (double)m * (double)d_out * (double)d_in;
    there.bytes = 4.0 * (double)(n_x + n_y) + (double)(d_out * d_in) * (double)er_dtype_bits(t) / 8;
    (void)snprintf(there.shape, sizeof there.shape, "%s%s m %zu out %zu in %zu", er_dtype_name(t),
        conv1d ? " conv1d" : "", m, d_out, d_in);
    op_result back = there;
    back.op = "linear_backward", back.bound = op_product_bound(d_out), back.call = call_linear_backward;
    if (op_wants("linear")) call_linear(&c, 0), compare_forward(&there.e, &f, c.y), op_report(&there);
    call_linear_backward(&c, 0), compare_backward(&back.e, &f, c.dx), op_report(&back);
    ops.dev->op->weight_free(ops.dev, c.w);
    op_end();
}

typedef struct add_case {
    er_weight *w;
    double *dw;
} add_case;
static void call_weight_add(void *p, size_t turn) {
    (void)turn;
    add_case *c = p;
    er_weight_change change;
    op_must(ops.dev->op->weight_add(ops.dev, c->w, c->dw, &change));
}

// The change is a thousandth of the weight, so that a benchmark may add it again and again.
void op_weight_add(size_t d_out, size_t d_in, er_dtype t) {
    if (!op_wants("weight_add")) return;
    size_t n = d_out * d_in, each = (size_t)er_dtype_bits(t) / 8;
    op_field w = op_field_make(n, 1), d = op_field_make(n, 1e-3);
    char *bytes = op_stored(w, t, d_out, d_in, false);
    add_case c = {NULL, op_put_f64(op_field_put(d, n), n)};
    op_must(ops.dev->op->weight_create(ops.dev, &c.w,
        &(er_weight_spec){.bytes = bytes, .dtype = t, .d_out = d_out, .d_in = d_in, .editable = true}));
    // The sum is rounded to fp32 first here and may not be there: a few differ by an ulp of the stored type.
    op_result r = {.op = "weight_add",
        .bytes = (double)n * (8 + 2 * (double)each),
        .bound = t == ER_F32 ? 1e-7 : 1e-3,
        .call = call_weight_add,
        .data = &c};
    call_weight_add(&c, 0);
    op_must(ops.dev->op->weight_read(ops.dev, c.w, bytes));
    for (size_t k = 0; k < op_count(d_out); k++)
        for (size_t i = op_chosen(d_out, k) * d_in, end = i + d_in; i < end; i++) {
            float got = 0, want = (float)(op_at(w, i) + op_at(d, i));
            char stored[8];
            er_from_f32(stored, &want, t, 1), er_to_f32(&want, stored, t, 1),
                er_to_f32(&got, bytes + i * each, t, 1);
            op_differ(&r.e, (double)got, (double)want);
        }
    (void)snprintf(r.shape, sizeof r.shape, "%s %zu x %zu", er_dtype_name(t), d_out, d_in);
    op_report(&r);
    ops.dev->op->weight_free(ops.dev, c.w);
    op_end();
}
