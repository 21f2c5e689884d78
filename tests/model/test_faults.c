// Every device call of loading, of a run's creation and of a block forward and backward fails in turn: the
// code comes up untouched and nothing is leaked (the sanitizer build sees to that).
#include "tests/model/golden.h"
#include "tests/support/faults.h"

static er_device_ops failing;

static int setup(void **state) {
    int bad = golden_setup(state);
    if (bad) return bad;
    failing = faults_ops(golden_dev->op);
    return 0;
}

static int teardown(void **state) {
    golden_dev->op = faults.real;
    return golden_teardown(state);
}

// Walks until the whole of `attempt` succeeds; what failed before must have failed with the injected code.
static size_t walk(er_status (*attempt)(void *), void *arg) {
    size_t n = 1;
    golden_dev->op = &failing;
    for (;; n++) {
        faults.calls = 0, faults.fail_at = n;
        er_status rc = attempt(arg);
        if (rc == ER_OK) break;
        assert_int_equal(rc, ER_EDEVICE);
        if (n > 2000) fail_msg("no end of calls");
    }
    golden_dev->op = faults.real;
    assert_true(faults.calls == n - 1);
    return n - 1;
}

static er_status load(void *dir) {
    er_model *m = NULL;
    er_status rc = er_model_load(&m, golden_dev, dir, NULL);
    assert_true((rc == ER_OK) == (m != NULL));
    er_model_free(m);
    return rc;
}

static void loading(void **state) {
    (void)state;
    char dir[512];
    (void)snprintf(dir, sizeof dir, "%s", GOLDEN_DIR "llama_bias_sharded");
    // A block is 4 weights and 6 vectors of 3 calls each; outside: embedding, head, final norm, rotary table.
    assert_int_equal(walk(load, dir), 3 * (4 + 6 * 3) + 2 + 2 * 3);
}

static er_status create(void *model) {
    er_model *m = model;
    er_arena memory = {.dev = m->dev};
    er_batch b;
    er_kv kv;
    er_run r = {.model = m};
    er_status rc = er_run_take(&r, &memory, &m->arch, 9, true);
    if (rc == ER_OK) rc = er_kv_take(&kv, &memory, &m->arch, 0, 2, 5);
    if (rc == ER_OK) rc = er_batch_take(&b, &memory, 9, 2);
    m->dev->op = faults.real;  // the wait behind it is not counted
    er_arena_release(&memory);
    m->dev->op = &failing;
    return rc;
}

static void creating(void **state) {
    (void)state;
    golden g;
    golden_open(&g, "llama_gqa");
    assert_int_equal(walk(create, g.m), 10 + 2 + 2);  // a batch: on the device and pinned
    golden_close(&g);
}

typedef struct pass {
    er_run *r;
    float *x;
    er_tape tape;
} pass;

static er_status there_and_back(void *arg) {
    pass *p = arg;
    er_status rc = er_run_layer(p->r, 1, p->x, &p->tape);
    return rc == ER_OK ? er_run_layer_backward(p->r, 1, p->x, &p->tape) : rc;
}

// Layer 1 of `model` there and back, as wired by `parallel`.
static size_t calls_of_block(const char *model, bool parallel) {
    golden g;
    golden_open(&g, model);
    er_kv *kv = golden_kv(&g, 0, 3, g.tokens);
    pass p = {.r = golden_run(&g, g.tokens, true), .x = keep_dev(g.tokens * g.hidden * sizeof(float))};
    er_batch rows = pack_rows(g.token, g.start, g.rows, NULL, NULL, g.start);
    keep_tape(&p.tape, &g.m->arch, g.tokens);
    OK(er_run_begin(p.r, &rows, kv));
    OK(er_run_embed(p.r, p.x));
    g.m->arch.parallel_residual = parallel;
    size_t n = walk(there_and_back, &p);
    golden_close(&g);
    return n;
}

static void one_block(void **state) {
    (void)state;
    // Forward: copies of x and x_mid, 2 norms, 4 products, rotation, store, attention, activation.
    // Backward: 4 products, activation, attention, rotation, 2 norms.
    assert_int_equal(calls_of_block("llama_gqa", false), 12 + 9);
    assert_int_equal(calls_of_block("llama_gqa", true), 11 + 9);
    // Head norms: a copy and 2 norms forward; those and a rotation again on the way back, and 2 gradients.
    assert_int_equal(calls_of_block("qwen3_gqa", false), 12 + 3 + 9 + 4 + 2);
    // Clipping: a copy and one more forward; those and a rotation again, and its gradient.
    assert_int_equal(calls_of_block("olmo_clipped", false), 12 + 2 + 9 + 3 + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading),
        cmocka_unit_test(creating),
        cmocka_unit_test(one_block),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
