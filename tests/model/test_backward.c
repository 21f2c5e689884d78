// The gradient of a loss with respect to delta, added to block z's output at one token of each row: against
// Hugging Face's autograd, with and without the earlier tokens' keys and values cached, and against central
// differences of our own forward.
#include "tests/model/golden.h"

typedef struct problem {
    golden g;
    size_t z, n, n_kl;  // loss rows, KL rows among them
    const int32_t *delta_at, *at, *label;
    const float *weight, *reference, *delta, *want_grad;
    double want_loss;
} problem;

static void problem_open(problem *p, const char *model, const char *wiring) {
    char name[64];
    size_t n;
    golden_open(&p->g, model);
    p->z = (size_t)golden_i32(&p->g, "z", &n)[0];
    p->delta_at = golden_i32(&p->g, "delta_at", &n);
    p->at = golden_i32(&p->g, "at", &p->n);
    p->label = golden_i32(&p->g, "label", &n);
    p->n_kl = 0;
    for (size_t i = 0; i < p->n; i++) p->n_kl += p->label[i] < 0;
    p->weight = golden_f32(&p->g, "weight", p->n);
    p->delta = golden_f32(&p->g, "delta", p->g.rows * p->g.hidden);
    (void)snprintf(name, sizeof name, "%sreference", wiring);
    p->reference = golden_f32(&p->g, name, p->n_kl * p->g.vocab);
    (void)snprintf(name, sizeof name, "%sgrad", wiring);
    p->want_grad = golden_f32(&p->g, name, p->g.rows * p->g.hidden);
    (void)snprintf(name, sizeof name, "%sloss", wiring);
    p->want_loss = (double)golden_f32(&p->g, name, 1)[0];
}

// sum of weight * loss in double; dlogits [n, vocab] unless NULL.
static double loss_of(const problem *p, const float *logits, float *dlogits) {
    size_t v = p->g.vocab, kl = 0;
    double total = 0, *logp = keep_host(v * sizeof *logp);
    for (size_t i = 0; i < p->n; i++) {
        const float *row = logits + i * v;
        double top = (double)row[0], sum = 0, loss = 0, w = (double)p->weight[i];
        for (size_t j = 1; j < v; j++) top = fmax(top, (double)row[j]);
        for (size_t j = 0; j < v; j++) sum += exp((double)row[j] - top);
        for (size_t j = 0; j < v; j++) logp[j] = (double)row[j] - top - log(sum);
        const float *ref = p->label[i] < 0 ? p->reference + v * kl++ : NULL;
        if (ref)
            for (size_t j = 0; j < v; j++) loss += exp(logp[j]) * (logp[j] - (double)ref[j]);
        else loss = -logp[p->label[i]];
        for (size_t j = 0; dlogits && j < v; j++) {
            double q = exp(logp[j]),
                   d = ref ? q * (logp[j] - (double)ref[j] - loss) : q - ((int32_t)j == p->label[i]);
            dlogits[i * v + j] = (float)(w * d);
        }
        total += w * loss;
    }
    return total;
}

static void add_delta(const problem *p, float *x, const float *delta, const int32_t *at) {
    size_t rows = p->g.rows, h = p->g.hidden;
    OK(golden_dev->op->scatter_add_rows(
        golden_dev, x, to_dev(delta, rows * h * sizeof *delta), to_dev(at, rows * sizeof *at), rows, h));
}

// Blocks z+1 .. on x (which holds block z's output plus delta), loss, and back: the gradient at rows
// delta_at. `at` and `delta_at` count tokens of the batch in hand.
static float *gradient(
    const problem *p, er_run *r, float *x, const int32_t *at, const int32_t *delta_at, double *loss) {
    const er_device_ops *op = golden_dev->op;
    const er_arch *a = &r->model->arch;
    size_t h = p->g.hidden, v = p->g.vocab, n = p->n, rows = p->g.rows;
    er_tape tape[8];
    for (size_t l = p->z + 1; l < a->layers; l++) {
        keep_tape(&tape[l], a, r->max_tokens);
        OK(er_run_layer(r, l, x, &tape[l]));
    }
    float *logits = keep_dev(n * v * sizeof(float)), *picked = keep_dev(n * h * sizeof(float)),
          *stats = keep_dev(2 * n * sizeof(float)), *scratch = keep_dev(n * h * sizeof(float)),
          *dpicked = keep_dev(n * h * sizeof(float)), *dx = keep_dev(r->batch->tokens * h * sizeof(float)),
          *grad = keep_dev(rows * h * sizeof(float)), *dlogits = keep_host(n * v * sizeof(float));
    int32_t *index = to_dev(at, n * sizeof *at);
    OK(er_run_head(r, logits, x, index, n, picked, stats, scratch));
    *loss = loss_of(p, to_host(logits, n * v), dlogits);
    OK(er_run_head_backward(r, dpicked, to_dev(dlogits, n * v * sizeof(float)), n, picked, stats, scratch));
    OK(op->zero(golden_dev, dx, r->batch->tokens * h * sizeof(float)));
    OK(op->scatter_add_rows(golden_dev, dx, dpicked, index, n, h));
    for (size_t l = a->layers; l-- > p->z + 1;) OK(er_run_layer_backward(r, l, dx, &tape[l]));
    OK(op->gather_rows(golden_dev, grad, dx, to_dev(delta_at, rows * sizeof *delta_at), rows, h));
    return to_host(grad, rows * h);
}

static void forward_to_z(const problem *p, er_run *r, float *x) {
    OK(er_run_embed(r, x));
    for (size_t l = 0; l <= p->z; l++) OK(er_run_layer(r, l, x, NULL));
}

static void whole_rows_check(problem *p) {
    const golden *g = &p->g;
    er_run *r = golden_run(g, g->tokens + 5, true);
    er_batch rows = golden_rows(g);
    double loss = 0, layers = (double)(g->m->arch.layers - 1 - p->z);
    float *x = keep_dev(g->tokens * g->hidden * sizeof(float));
    OK(er_run_begin(r, &rows, NULL));
    forward_to_z(p, r, x);
    add_delta(p, x, p->delta, p->delta_at);
    r->flops = 0;
    const float *grad = gradient(p, r, x, p->at, p->delta_at, &loss);
    NEAR(loss, p->want_loss, 2e-5 * fabs(p->want_loss));
    BELOW(rel(grad, p->want_grad, g->rows * g->hidden), 1e-4);
    NEAR(r->flops,
        2 * ((double)g->tokens * layers * er_arch_layer_flops(&g->m->arch) +
                (double)p->n * er_arch_head_flops(&g->m->arch)),
        0.5);
}

static void whole_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        problem p;
        problem_open(&p, models[i], "");
        whole_rows_check(&p);
        golden_close(&p.g);
    }
}

// The same weights wired as parallel residual blocks, with two norms and with one.
static void parallel_residual(void **state) {
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        problem p;
        problem_open(&p, "llama_gqa", shared ? "shared." : "parallel.");
        float *norm2[8];
        er_arch *a = &p.g.m->arch;
        er_tape t;
        er_arena sequential = {0}, parallel = {0};
        OK(er_tape_take(&t, &sequential, a, 64));
        a->parallel_residual = true;
        OK(er_tape_take(&t, &parallel, a, 64));
        assert_int_equal(sequential.bytes - parallel.bytes, 64 * a->hidden * sizeof(float));
        for (size_t l = 0; l < a->layers; l++) {
            norm2[l] = p.g.m->block[l].norm2_w;
            if (shared) p.g.m->block[l].norm2_w = NULL;
        }
        whole_rows_check(&p);
        er_batch rows = golden_rows(&p.g);
        er_run *r = golden_run(&p.g, p.g.tokens, false);
        float *x = keep_dev(p.g.tokens * p.g.hidden * sizeof(float));
        OK(er_run_begin(r, &rows, NULL));
        OK(er_run_embed(r, x));
        for (size_t l = 0; l < a->layers; l++) OK(er_run_layer(r, l, x, NULL));
        const float *want =
            golden_f32(&p.g, shared ? "shared.logits" : "parallel.logits", p.g.tokens * p.g.vocab);
        BELOW(rel(logits_at(r, x, all_tokens(p.g.tokens), p.g.tokens), want, p.g.tokens * p.g.vocab), 2e-5);
        for (size_t l = 0; l < a->layers; l++) p.g.m->block[l].norm2_w = norm2[l];
        golden_close(&p.g);
    }
}

// Only tokens from delta on are run above z; what comes before lies in the cache. This is how values are
// optimised.
static void cached_prefixes(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        problem p;
        problem_open(&p, models[i], "");
        const golden *g = &p.g;
        const er_arch *a = &g->m->arch;
        er_run *r = golden_run(g, g->tokens, true);
        er_kv *kv = golden_kv(g, p.z + 1, a->layers - p.z - 1, g->tokens);
        int32_t index[64], map[64], start[16] = {0}, prefix_at[16], prefix_len[16], at[64], delta_at[16];
        size_t n = 0;
        for (size_t row = 0; row < g->rows; row++) {
            prefix_at[row] = g->start[row], prefix_len[row] = p.delta_at[row] - g->start[row];
            delta_at[row] = (int32_t)n;
            for (int32_t t = p.delta_at[row]; t < g->start[row + 1]; t++) map[t] = (int32_t)n, index[n++] = t;
            start[row + 1] = (int32_t)n;
        }
        for (size_t j = 0; j < p.n; j++) at[j] = map[p.at[j]];
        er_batch all = pack_rows(g->token, g->start, g->rows, NULL, NULL, g->start),
                 suffix = pack_rows(g->token, start, g->rows, prefix_at, prefix_len, NULL);
        float *x = keep_dev(g->tokens * g->hidden * sizeof(float)),
              *xs = keep_dev(n * g->hidden * sizeof(float));
        OK(er_run_begin(r, &all, kv));
        forward_to_z(&p, r, x);
        OK(golden_dev->op->gather_rows(golden_dev, xs, x, to_dev(index, n * sizeof *index), n, g->hidden));
        for (size_t l = p.z + 1; l < a->layers; l++) OK(er_run_layer(r, l, x, NULL));
        OK(er_run_begin(r, &suffix, kv));
        add_delta(&p, xs, p.delta, delta_at);
        double loss = 0;
        const float *grad = gradient(&p, r, xs, at, delta_at, &loss);
        NEAR(loss, p.want_loss, 2e-5 * fabs(p.want_loss));
        BELOW(rel(grad, p.want_grad, g->rows * g->hidden), 1e-4);
        golden_close(&p.g);
    }
}

// d loss / d(step along a direction), by (f(+e) - f(-e)) / 2e in fp32: the forward's rounding (1e-7 of the
// loss, over e) and the third derivative (e^2) leave about 1e-3 of the gradient's norm.
static void central_differences(void **state) {
    (void)state;
    uint64_t seed = 11;
    for (size_t i = 0; i < MODELS; i++) {
        problem p;
        problem_open(&p, models[i], "");
        const golden *g = &p.g;
        size_t n = g->rows * g->hidden, stream = g->tokens * g->hidden * sizeof(float);
        er_run *r = golden_run(g, g->tokens, true);
        er_batch rows = golden_rows(g);
        float *x0 = keep_dev(stream), *x = keep_dev(stream), *shifted = keep_host(n * sizeof *shifted);
        double loss[3], slope = 0, norm = 0, e = 5e-3;
        OK(er_run_begin(r, &rows, NULL));
        forward_to_z(&p, r, x0);
        OK(golden_dev->op->copy(golden_dev, x, x0, stream));
        add_delta(&p, x, p.delta, p.delta_at);
        const float *grad = gradient(&p, r, x, p.at, p.delta_at, &loss[0]);
        double *way = keep_host(n * sizeof *way);
        for (size_t j = 0; j < n; j++) norm += (double)grad[j] * (double)grad[j];
        norm = sqrt(norm);
        // Half along the gradient, half at random: a direction that sees every entry and has a slope worth
        // comparing.
        double size = 0;
        for (size_t j = 0; j < n; j++)
            way[j] = (double)grad[j] / norm + test_uniform(&seed) * sqrt(3.0 / (double)n);
        for (size_t j = 0; j < n; j++) size += way[j] * way[j];
        for (size_t j = 0; j < n; j++) way[j] /= sqrt(size), slope += way[j] * (double)grad[j];
        for (int side = 0; side < 2; side++) {
            for (size_t j = 0; j < n; j++)
                shifted[j] = (float)((double)p.delta[j] + (side ? e : -e) * way[j]);
            OK(golden_dev->op->copy(golden_dev, x, x0, stream));
            add_delta(&p, x, shifted, p.delta_at);
            for (size_t l = p.z + 1; l < g->m->arch.layers; l++) OK(er_run_layer(r, l, x, NULL));
            loss[1 + side] = loss_of(&p, logits_at(r, x, p.at, p.n), NULL);
        }
        NEAR((loss[2] - loss[1]) / (2 * e), slope, 2e-3 * norm);
        assert_true(slope > 0.3 * norm);
        golden_close(&p.g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_rows),
        cmocka_unit_test(parallel_residual),
        cmocka_unit_test(cached_prefixes),
        cmocka_unit_test(central_differences),
    };
    return cmocka_run_group_tests(tests, golden_setup, golden_teardown);
}
