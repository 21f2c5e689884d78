// Losses over the vocabulary and the optimiser step.
#include <float.h>
#include "tests/ops/checks.h"

void test_log_softmax(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_vocab); i++)
        for (int in_place = 0; in_place < 2; in_place++)
            op_log_softmax(cases_vocab[i].rows, cases_vocab[i].vocab, in_place);
}

void test_label_loss(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES(cases_vocab); i++) {
        const case_vocab *c = &cases_vocab[i];
        op_label_loss(c->rows, c->vocab, 1, true, true);
        op_label_loss(c->rows, c->vocab, 15, true, false);
        op_label_loss(c->rows, c->vocab, 15, false, true);
    }
    op_label_loss(17, 33, 15, true, true);
    op_label_loss(2, 1023, 400, true, true);  // e^400 overflows, e^-400 vanishes
}

// Equal maxima: the first wins. A confident row: the loss is 0 to fp32, the gradient vanishes.
void test_label_edges(void **state) {
    (void)state;
    float x[8] = {1, 3, 3, -2, 90, -90, -90, -90}, loss[3], grad[8], w[2] = {1, 1};
    int32_t hit[3];
    float *logits = guard_put(dev, x, sizeof x), *dev_loss = guard_alloc(dev, 8);
    int32_t label[2] = {2, 0}, *dev_hit = guard_alloc(dev, 8), *dev_label = guard_put(dev, label, 8);
    er_label_loss l = {2, 4, logits, dev_label, NULL, NULL, guard_put(dev, w, 8), dev_loss, dev_hit, true};
    OK(dev->op->label_loss(dev, &l));
    guard_get(dev, hit, dev_hit, 8), guard_get(dev, loss, dev_loss, 8),
        guard_get(dev, grad, logits, sizeof grad);
    assert_int_equal(hit[0], 0);
    assert_int_equal(hit[1], 1);
    NEAR(loss[1], 0, 0);
    for (size_t i = 4; i < 8; i++) NEAR(grad[i], 0, 1e-30);
    float bad[4] = {1, NAN, 0, 2};
    l.logits = guard_put(dev, bad, sizeof bad), l.rows = 1, l.want_grad = false;
    OK(dev->op->label_loss(dev, &l));
    guard_get(dev, loss, dev_loss, 4);
    assert_true(isnan(loss[0]));
    guard_end(dev);
}

void test_loss_oracle(void **state) {
    (void)state;
    enum { V = 7 };
    uint64_t seed = 9;
    double *x = test_doubles(&seed, V, 3), *other = test_doubles(&seed, V, 3), ref[V], grad[2][V];
    ref_log_softmax(ref, other, 1, V);
    (void)ref_label_nll(x, V, 4, grad[0]);
    (void)ref_kl(x, ref, V, grad[1]);
    for (size_t i = 0; i < V; i++) {
        double keep = x[i], h = 1e-6;
        x[i] = keep + h;
        double up[2] = {ref_label_nll(x, V, 4, NULL), ref_kl(x, ref, V, NULL)};
        x[i] = keep - h;
        double down[2] = {ref_label_nll(x, V, 4, NULL), ref_kl(x, ref, V, NULL)};
        x[i] = keep;
        for (int k = 0; k < 2; k++) NEAR((up[k] - down[k]) / (2 * h), grad[k][i], 1e-8);
    }
    // KL of a distribution with itself is nothing, and has no slope.
    ref_log_softmax(ref, x, 1, V);
    NEAR(ref_kl(x, ref, V, grad[1]), 0, 1e-15);
    for (size_t i = 0; i < V; i++) NEAR(grad[1][i], 0, 1e-15);
    free(x), free(other);
}

// ---- the optimiser ----

void test_delta_step(void **state) {
    (void)state;
    static const size_t shapes[][2] = {{0, 8}, {1, 1}, {3, 33}, {5, 128}, {7, 577}};
    for (size_t i = 0; i < N_CASES(shapes); i++) op_delta_step(shapes[i][0], shapes[i][1]);
}

// Many rounds: slots that are new, near their end, empty or good enough.
enum { SLOTS = 6, HIDDEN = 37, EMPTY = 3 };

void test_delta_rounds(void **state) {
    (void)state;
    uint64_t seed = 21;
    const int32_t start[SLOTS + 1] = {0, 2, 3, 3, 3, 5, 9}, step0[SLOTS] = {0, 3, 0, -1, 9, 0};
    size_t n = SLOTS * HIDDEN;
    double *delta = test_doubles(&seed, n, 0.3), *m = test_doubles(&seed, n, 0),
           *v = test_doubles(&seed, n, 0);
    double *weight = test_doubles(&seed, 9, 1), z0[SLOTS] = {2, 0.5, 1.5, 1, 2, 3};
    for (size_t i = 0; i < HIDDEN; i++)
        delta[i] = delta[2 * HIDDEN + i] = delta[5 * HIDDEN + i] = 0;  // new facts
    ref_delta ref[SLOTS];
    for (size_t s = 0; s < SLOTS; s++)
        ref[s] = (ref_delta){HIDDEN, 10, 0.1, 0.4, 0.75, 0.05, z0[s], delta + s * HIDDEN, m + s * HIDDEN,
            v + s * HIDDEN, step0[s]};
    float *dev_delta = guard_put_narrow(dev, delta, n), *dev_m = guard_put_narrow(dev, m, n),
          *dev_v = guard_put_narrow(dev, v, n);
    float *total = guard_alloc(dev, SLOTS * 4), got_total[SLOTS], *dev_grad = guard_alloc(dev, n * 4),
          *dev_loss = guard_alloc(dev, 36);
    int32_t *step = guard_put(dev, step0, sizeof step0), *done = guard_alloc(dev, SLOTS * 4), got_done[SLOTS],
            got_step[SLOTS];
    er_delta_step p = {SLOTS, HIDDEN, 10, 0.1f, 0.4f, 0.75f, 0.05f, dev_delta, dev_m, dev_v, dev_grad,
        guard_put_narrow(dev, z0, SLOTS), dev_loss, guard_put_narrow(dev, weight, 9),
        guard_put(dev, start, sizeof start), step, total, done};
    for (int round = 0; round < 12; round++) {
        double *grad = test_doubles(&seed, n, 0.5), *loss = test_doubles(&seed, 9, 1), expected[SLOTS] = {0};
        float *host = test_narrow(grad, n), host_loss[9];
        int expected_done[SLOTS] = {0};
        for (size_t i = 0; i < 9; i++)
            loss[i] = fabs(loss[i]) + 0.5, weight[i] = fabs(weight[i]), host_loss[i] = (float)loss[i];
        OK(dev->op->upload(dev, dev_grad, host, n * 4));
        OK(dev->op->upload(dev, dev_loss, host_loss, sizeof host_loss));
        float host_weight[9];
        for (size_t i = 0; i < 9; i++) host_weight[i] = (float)weight[i];
        OK(dev->op->upload(dev, (float *)(uintptr_t)p.weight, host_weight, sizeof host_weight));
        OK(dev->op->delta_step(dev, &p));
        for (size_t s = 0; s < SLOTS; s++) {
            double data = 0;
            for (int32_t i = start[s]; i < start[s + 1]; i++) data += weight[i] * (double)host_loss[i];
            if (s != EMPTY) expected[s] = ref_delta_step(&ref[s], grad + s * HIDDEN, data, &expected_done[s]);
        }
        guard_get(dev, got_total, total, sizeof got_total), guard_get(dev, got_done, done, sizeof got_done);
        guard_get(dev, got_step, step, sizeof got_step);
        for (size_t s = 0; s < SLOTS; s++) {
            NEAR(got_total[s], expected[s], 8 * (double)FLT_EPSILON * (fabs(expected[s]) + 1));
            assert_int_equal(got_done[s], expected_done[s]);
            assert_int_equal(got_step[s], ref[s].step);
        }
        // fp32 state against fp64 state: the difference of a step is lr times a few eps, and it adds up over
        // the rounds.
        BELOW(guard_error(dev, dev_delta, delta, n), 10 * (round + 1));
        BELOW(guard_error(dev, dev_m, m, n), 10 * (round + 1));
        free(grad), free(loss), free(host);
    }
    guard_end(dev);
    free(delta), free(m), free(v), free(weight);
}

// By hand: the first Adam step of any gradient is lr * sign; the clamp then brings |delta| to clamp * |z0|; a
// loss below `stop` and the last step leave delta as it is.
void test_delta_by_hand(void **state) {
    (void)state;
    float zero[8] = {0}, grad[8] = {3, -4, 0, 0, 3, -4, 0, 0}, z0[2] = {1, 10}, loss[2] = {2, 0.01f},
          one[2] = {1, 1}, got[8], total[2];
    int32_t start[3] = {0, 1, 2}, step[2] = {0, 0}, done[2];
    float *delta = guard_put(dev, zero, sizeof zero), *dev_total = guard_alloc(dev, 8);
    int32_t *dev_step = guard_put(dev, step, 8), *dev_done = guard_alloc(dev, 8);
    er_delta_step p = {2, 4, 25, 0.5f, 0.5f, 0.2f, 0.05f, delta, guard_put(dev, zero, sizeof zero),
        guard_put(dev, zero, sizeof zero), guard_put(dev, grad, sizeof grad), guard_put(dev, z0, 8),
        guard_put(dev, loss, 8), guard_put(dev, one, 8), guard_put(dev, start, 12), dev_step, dev_total,
        dev_done};
    OK(dev->op->delta_step(dev, &p));
    guard_get(dev, got, delta, sizeof got), guard_get(dev, done, dev_done, 8),
        guard_get(dev, total, dev_total, 8);
    double side = 0.2 / sqrt(2);
    NEAR(got[0], -side, 1e-6);
    NEAR(got[1], side, 1e-6);
    NEAR(got[2], 0, 0);
    for (size_t i = 4; i < 8; i++) NEAR(got[i], 0, 0);
    assert_int_equal(done[0], 0), assert_int_equal(done[1], 1);
    NEAR(total[0], 2, 1e-6);
    NEAR(total[1], 0.01, 1e-7);
    // Second evaluation: |delta| = 0.2, so the decay term is 0.5 * 0.2 / 1; with steps = 2 it is the last,
    // and evaluates only.
    p.steps = 2;
    OK(dev->op->delta_step(dev, &p));
    guard_get(dev, got, delta, sizeof got), guard_get(dev, done, dev_done, 8),
        guard_get(dev, total, dev_total, 8);
    NEAR(total[0], 2.1, 1e-6);
    NEAR(got[0], -side, 1e-6);
    assert_int_equal(done[0], 1);
    guard_end(dev);
}
