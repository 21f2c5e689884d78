// Losses over the vocabulary, and the optimiser's step.
#include "benchmarks/ops/ops.h"

enum { LABELS_A_FACT = 7, RING = 32 };  // six prompts and a KL row a fact

static void run_loss(void *p, size_t turn) {
    (void)turn;
    bench_must(bench.dev->op->label_loss(bench.dev, p));
}

static double log_sum(field f, size_t from, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp(bench_at(f, from + i));
    return log(sum);
}

// The reference of the KL rows is no distribution, which the formula does not mind.
static check check_loss(const er_label_loss *l, field f, field ref, const int32_t *label, const int32_t *kl) {
    check c = {0, 0};
    for (size_t s = 0; s < LABELS_A_FACT; s++) {
        size_t r = LABELS_A_FACT * bench_pick(l->rows / LABELS_A_FACT) + s, at = r * l->vocab;
        double log_z = log_sum(f, at, l->vocab), want = 0;
        if (label[r] >= 0) want = log_z - bench_at(f, at + (size_t)label[r]);
        else
            for (size_t i = 0; i < l->vocab; i++) {
                double log_p = bench_at(f, at + i) - log_z;
                want += exp(log_p) * (log_p - bench_at(ref, (size_t)kl[r] * l->vocab + i));
            }
        bench_compare(&c, bench_got(l->loss, r), want);
    }
    return c;
}

void bench_label_loss(size_t rows, size_t vocab) {
    if (!bench_wants("label_loss")) return;
    size_t facts = rows / LABELS_A_FACT + 1;
    field f = bench_field(5), ref = bench_field(5), w = bench_field(1);
    int32_t *label = bench_host(rows * 4), *kl = bench_host(rows * 4);
    for (size_t r = 0; r < rows; r++) {
        label[r] = r % LABELS_A_FACT == LABELS_A_FACT - 1 ? -1 : (int32_t)bench_pick(vocab);
        kl[r] = (int32_t)(r / LABELS_A_FACT);
    }
    er_label_loss l = {rows, vocab, bench_field_room(f, rows * vocab), bench_upload(label, rows * 4),
        bench_upload(kl, rows * 4), bench_field_room(ref, facts * vocab), bench_field_room(w, rows),
        bench_room(rows * 4), bench_room(rows * 4), true};
    run_loss(&l, 0);
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu rows, vocabulary %zu", rows, vocab);
    bench_report(&(bench_case){.op = "label_loss",
        .shape = shape,
        .bytes = 8.0 * (double)(rows * vocab) + 4.0 * (double)(rows / LABELS_A_FACT * vocab),
        .c = check_loss(&l, f, ref, label, kl),
        .bound = 1e-5,
        .run = run_loss,
        .data = &l});
    const void *all[] = {l.logits, l.label, l.kl_ref, l.reference, l.weight, l.loss, l.hit};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_release(all[i]);
    free(label), free(kl);
    bench_field_free(f), bench_field_free(ref), bench_field_free(w);
}

// ---- log-softmax ----

typedef struct softmax {
    float *x, *y;
    size_t rows, vocab;
} softmax;
static void run_softmax(void *p, size_t turn) {
    (void)turn;
    softmax *s = p;
    bench_must(bench.dev->op->log_softmax(bench.dev, s->y, s->x, s->rows, s->vocab));
}

void bench_log_softmax(size_t rows, size_t vocab) {
    if (!bench_wants("log_softmax")) return;
    field f = bench_field(5);
    softmax s = {bench_field_room(f, rows * vocab), bench_room(rows * vocab * 4), rows, vocab};
    run_softmax(&s, 0);
    check c = {0, 0};
    for (int k = 0; k < 4; k++) {
        size_t at = bench_pick(rows) * vocab;
        double log_z = log_sum(f, at, vocab);
        for (int j = 0; j < SAMPLES / 4; j++) {
            size_t i = at + bench_pick(vocab);
            bench_compare(&c, bench_got(s.y, i), bench_at(f, i) - log_z);
        }
    }
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu rows, vocabulary %zu", rows, vocab);
    bench_report(&(bench_case){.op = "log_softmax",
        .shape = shape,
        .bytes = 8.0 * (double)(rows * vocab),
        .c = c,
        .bound = 1e-6,
        .run = run_softmax,
        .data = &s});
    bench_release(s.x), bench_release(s.y), bench_field_free(f);
}

// ---- the optimiser's step ----

// The smallest op of a step: on a GPU it takes another of RING sets of slots each turn, or its cache would
// serve them.
typedef struct stepper {
    er_delta_step set[RING];
    size_t sets;
} stepper;
static void run_step(void *p, size_t turn) {
    stepper *s = p;
    bench_must(bench.dev->op->delta_step(bench.dev, &s->set[turn % s->sets]));
}

void bench_delta_step(size_t slots, size_t hidden) {
    if (!bench_wants("delta_step")) return;
    size_t n = slots * hidden, losses = slots * LABELS_A_FACT;
    field delta = bench_field(0.1), grad = bench_field(1), loss = bench_field(1);
    int32_t *start = bench_host((slots + 1) * 4);
    float *norm = bench_host(slots * 4);
    for (size_t i = 0; i <= slots; i++) start[i] = (int32_t)(i * LABELS_A_FACT);
    for (size_t i = 0; i < slots; i++) norm[i] = 50 + (float)(i % 7);
    stepper s = {.sets = bench.dev->is_async ? RING : 1};
    for (size_t k = 0; k < s.sets; k++)  // stop: never below; steps: never the last
        s.set[k] = (er_delta_step){slots, hidden, 1000000, 1e-3f, 0.5f, 0.75f, -1e9f,
            bench_field_room(delta, n), bench_room(n * 4), bench_room(n * 4), bench_field_room(grad, n),
            bench_upload(norm, slots * 4), bench_field_room(loss, losses), bench_field_room(loss, losses),
            bench_upload(start, (slots + 1) * 4), bench_room(slots * 4), bench_room(slots * 4),
            bench_room(slots * 4)};
    run_step(&s, 0);
    check c = {0, 0};
    for (int k = 0; k < 8; k++) {
        size_t i = bench_pick(slots);
        double total = 0, square = 0, z = (double)norm[i];
        for (size_t j = i * LABELS_A_FACT; j < (i + 1) * LABELS_A_FACT; j++)
            total += bench_at(loss, j) * bench_at(loss, j);
        for (size_t j = 0; j < hidden; j++)
            square += bench_at(delta, i * hidden + j) * bench_at(delta, i * hidden + j);
        bench_compare(&c, bench_got(s.set[0].total, i), total + 0.5 * sqrt(square) / (z * z));
    }
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu slots x %zu", slots, hidden);
    bench_report(&(bench_case){.op = "delta_step",
        .shape = shape,
        .bytes = 28.0 * (double)n,
        .c = c,
        .bound = 1e-6,
        .run = run_step,
        .data = &s});
    for (size_t k = 0; k < s.sets; k++) {
        const er_delta_step *d = &s.set[k];
        const void *all[] = {d->delta, d->m, d->v, d->grad, d->z0_norm, d->loss, d->weight, d->loss_start,
            d->step, d->total, d->done};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_release(all[i]);
    }
    free(start), free(norm);
    bench_field_free(delta), bench_field_free(grad), bench_field_free(loss);
}
