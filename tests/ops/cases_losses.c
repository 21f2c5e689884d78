// Cases of the losses over the vocabulary, and of the optimiser's step.
#include "tests/ops/cases.h"

typedef struct softmax_case {
    float *x, *y;
    size_t rows, vocab;
} softmax_case;
static void call_softmax(void *p, size_t turn) {
    (void)turn;
    softmax_case *c = p;
    op_must(ops.dev->op->log_softmax(ops.dev, c->y, c->x, c->rows, c->vocab));
}

void op_log_softmax(size_t rows, size_t vocab, bool in_place) {
    if (!op_wants("log_softmax")) return;
    op_field x = op_field_make(rows * vocab, 12);
    softmax_case c = {op_field_put(x, rows * vocab), NULL, rows, vocab};
    c.y = in_place ? c.x : op_room(rows * vocab * 4);
    op_result r = {.op = "log_softmax",
        .bytes = 8.0 * (double)(rows * vocab),
        .bound = 2 * EPS,
        .call = call_softmax,
        .data = &c};
    call_softmax(&c, 0);
    double *want = op_host(vocab * sizeof *want);
    for (size_t k = 0; k < op_count(rows); k++) {
        size_t at = op_chosen(rows, k) * vocab;
        ref_log_softmax(want, op_row(x, at, vocab), 1, vocab);
        op_compare(&r.e, c.y + at, want, vocab);
    }
    (void)snprintf(
        r.shape, sizeof r.shape, "%zu rows, vocabulary %zu%s", rows, vocab, in_place ? ", in place" : "");
    op_report(&r);
    op_end();
}

// ---- losses ----

static void call_loss(void *p, size_t turn) {
    (void)turn;
    op_must(ops.dev->op->label_loss(ops.dev, p));
}

typedef struct loss_row {
    double loss, *grad;
    bool best;  // the label is the argmax
} loss_row;

static loss_row oracle(
    op_field x, op_field ref, double weight, size_t vocab, size_t row, int32_t label, size_t kl) {
    double *logits = op_row(x, row * vocab, vocab);
    loss_row l = {0, op_host(vocab * sizeof *l.grad), label >= 0};
    if (label < 0) l.loss = ref_kl(logits, op_row(ref, kl * vocab, vocab), vocab, l.grad);
    else l.loss = ref_label_nll(logits, vocab, (size_t)label, l.grad);
    for (size_t i = 0; i < vocab; i++) {
        l.grad[i] *= weight;
        l.best = l.best && logits[i] <= logits[label];
    }
    return l;
}

// The references of the KL rows are no distributions, which the formula does not mind. A loss is a difference
// of numbers as large as the logits, so its error is taken relative to them; a gradient is a difference of
// probabilities, so its is relative to 1, times the weight.
static void compare_losses(op_error *loss, op_error *grad, const er_label_loss *l, op_field x, op_field ref,
    op_field w, const int32_t *label, const int32_t *kl, double size) {
    for (size_t k = 0; k < op_count(l->rows); k++) {
        size_t r = op_chosen(l->rows, k);
        loss_row want = oracle(x, ref, op_at(w, r), l->vocab, r, label[r], label[r] < 0 ? (size_t)kl[r] : 0);
        double got = op_download(l->loss + r, 1)[0], scale = size + fabs(want.loss) + 1;
        loss->off += (got - want.loss) * (got - want.loss), loss->size += scale * scale;
        if (l->want_grad) op_compare(grad, l->logits + r * l->vocab, want.grad, l->vocab);
        grad->size += op_at(w, r) * op_at(w, r);
        int32_t hit = 0;
        if (l->hit) op_must(ops.dev->op->download(ops.dev, &hit, l->hit + r, sizeof hit));
        if (l->hit && hit != want.best) loss->off = HUGE_VAL;
    }
}

void op_label_loss(size_t rows, size_t vocab, double size, bool want_grad, bool want_hit) {
    if (!op_wants("label_loss")) return;
    size_t n = rows * vocab, turn = rows < 14 ? 2 : 7, references = rows / turn + 1;
    op_field x = op_field_make(n, size), ref = op_field_make(references * vocab, size),
             w = op_field_make(rows, 1);
    int32_t *label = op_host(rows * sizeof *label), *kl = op_host(rows * sizeof *kl);
    for (size_t r = 0; r < rows; r++) {  // references in reverse order
        bool is_kl = r % turn == turn - 1;
        label[r] = is_kl ? -1 : (int32_t)((op_uniform() + 1) / 2 * (double)vocab);
        kl[r] = is_kl ? (int32_t)(references - 1 - r / turn) : -5;
    }
    er_label_loss l = {rows, vocab, op_field_put(x, n), op_put(label, rows * 4), op_put(kl, rows * 4),
        op_field_put(ref, references * vocab), op_field_put(w, rows), op_room(rows * 4),
        want_hit ? op_room(rows * 4) : NULL, want_grad};
    op_result r = {.op = "label_loss",
        .bytes = 8.0 * (double)n + 4.0 * (double)(references * vocab),
        .bound = 4 * EPS,
        .call = call_loss,
        .data = &l};
    op_error grad = {0, 0};
    call_loss(&l, 0);
    compare_losses(&r.e, &grad, &l, x, ref, w, label, kl, size);
    if (want_grad && op_error_of(&grad) > EPS * (4 + size)) r.e = grad;
    (void)snprintf(r.shape, sizeof r.shape, "%zu rows, vocabulary %zu, logits to %g", rows, vocab, size);
    op_report(&r);
    op_end();
}

// ---- the optimiser's step ----

// The smallest op of a step: on a GPU it takes another of its sets of slots each turn, or the cache would
// serve them.
enum { SETS = 32, LOSSES = 7 };
typedef struct delta_case {
    er_delta_step set[SETS];
    size_t sets;
} delta_case;
static void call_delta(void *p, size_t turn) {
    delta_case *c = p;
    op_must(ops.dev->op->delta_step(ops.dev, &c->set[turn % c->sets]));
}

// Steps that change every slot: none is the last, none is good enough.
void op_delta_step(size_t slots, size_t hidden) {
    if (!op_wants("delta_step")) return;
    size_t n = slots * hidden, losses = slots * LOSSES;
    op_field delta = op_field_make(n, 0.1), m = op_field_make(n, 0.1), v = op_field_make(n, 0.1),
             grad = op_field_make(n, 1), loss = op_field_make(losses, 1);
    int32_t *start = op_host((slots + 1) * 4), *step = op_host(slots * 4);
    float *z0 = op_host(slots * sizeof *z0);
    for (size_t i = 0; i < v.period; i++) v.block[i] = fabsf(v.block[i]);
    for (size_t i = 0; i <= slots; i++) start[i] = (int32_t)(i * LOSSES);
    for (size_t i = 0; i < slots; i++) z0[i] = 50 + (float)(i % 7), step[i] = (int32_t)(i % 5);
    delta_case c = {.sets = ops.samples && ops.dev->is_async ? SETS : 1};
    for (size_t k = 0; k < c.sets; k++)
        c.set[k] = (er_delta_step){slots, hidden, 1000000, 1e-3f, 0.5f, 0.75f, -1e9f, op_field_put(delta, n),
            op_field_put(m, n), op_field_put(v, n), op_field_put(grad, n), op_put(z0, slots * 4),
            op_field_put(loss, losses), op_field_put(loss, losses), op_put(start, (slots + 1) * 4),
            op_put(step, slots * 4), op_room(slots * 4), op_room(slots * 4)};
    op_result r = {
        .op = "delta_step", .bytes = 28.0 * (double)n, .bound = 10 * EPS, .call = call_delta, .data = &c};
    call_delta(&c, 0);
    for (size_t k = 0; k < op_count(slots); k++) {
        size_t s = op_chosen(slots, k);
        double data = 0, total;
        int done = 0;
        for (size_t j = s * LOSSES; j < (s + 1) * LOSSES; j++) data += op_at(loss, j) * op_at(loss, j);
        ref_delta want = {hidden, 1000000, (double)1e-3f, 0.5, 0.75, -1e9, (double)z0[s],
            op_row(delta, s * hidden, hidden), op_row(m, s * hidden, hidden), op_row(v, s * hidden, hidden),
            step[s]};
        total = ref_delta_step(&want, op_row(grad, s * hidden, hidden), data, &done);
        op_compare(&r.e, c.set[0].total + s, &total, 1);
        op_compare(&r.e, c.set[0].delta + s * hidden, want.delta, hidden);
        op_compare(&r.e, c.set[0].m + s * hidden, want.m, hidden);
        op_compare(&r.e, c.set[0].v + s * hidden, want.v, hidden);
    }
    (void)snprintf(r.shape, sizeof r.shape, "%zu slots x %zu", slots, hidden);
    op_report(&r);
    op_end();
}
