// Every device call of loading, of a run's creation and of a block forward and backward fails in turn: the
// code comes up untouched and nothing is leaked (the sanitizer build sees to that).
#include "tests/model/golden.h"

static const er_device_ops *real;
static size_t calls, fail_at;  // the fail_at-th call fails; 0: none does

#define COUNTED                                                                                              \
    if (++calls == fail_at) return er_fail(ER_EDEVICE, "call %zu", calls)

static er_status f_alloc(er_device *d, void **out, size_t bytes) {
    COUNTED;
    return real->alloc(d, out, bytes);
}
static er_status f_upload(er_device *d, void *dst, const void *src, size_t bytes) {
    COUNTED;
    return real->upload(d, dst, src, bytes);
}
static er_status f_sync(er_device *d) {
    COUNTED;
    return real->sync(d);
}
static er_status f_copy(er_device *d, void *dst, const void *src, size_t bytes) {
    COUNTED;
    return real->copy(d, dst, src, bytes);
}
static er_status f_weight_create(er_device *d, er_weight **out, const er_weight_spec *spec) {
    COUNTED;
    return real->weight_create(d, out, spec);
}
static er_status f_norm(er_device *d, const er_norm_args *a, float *y, float *stats) {
    COUNTED;
    return real->norm(d, a, y, stats);
}
static er_status f_norm_backward(
    er_device *d, const er_norm_args *a, float *dx, const float *dy, const float *stats) {
    COUNTED;
    return real->norm_backward(d, a, dx, dy, stats);
}
static er_status f_qk_norm(er_device *d, const er_qk_norm_args *a, float *x) {
    COUNTED;
    return real->qk_norm(d, a, x);
}
static er_status f_qk_norm_backward(er_device *d, const er_qk_norm_args *a, float *dy, const float *x) {
    COUNTED;
    return real->qk_norm_backward(d, a, dy, x);
}
static er_status f_clip(er_device *d, float *x, float limit, size_t n) {
    COUNTED;
    return real->clip(d, x, limit, n);
}
static er_status f_clip_backward(er_device *d, float *dy, const float *x, float limit, size_t n) {
    COUNTED;
    return real->clip_backward(d, dy, x, limit, n);
}
static er_status f_linear(
    er_device *d, float *y, const float *x, const er_weight *w, const float *b, size_t m, float beta) {
    COUNTED;
    return real->linear(d, y, x, w, b, m, beta);
}
static er_status f_linear_backward(
    er_device *d, float *dx, const float *dy, const er_weight *w, size_t m, float beta) {
    COUNTED;
    return real->linear_backward(d, dx, dy, w, m, beta);
}
static er_status f_rope(er_device *d, const er_rope_args *a, float *x, bool inverse) {
    COUNTED;
    return real->rope(d, a, x, inverse);
}
static er_status f_attention(er_device *d, const er_attention *a, float *out, float *lse) {
    COUNTED;
    return real->attention(d, a, out, lse);
}
static er_status f_attention_backward(
    er_device *d, const er_attention *a, float *dqkv, const float *dout, const float *out, const float *lse) {
    COUNTED;
    return real->attention_backward(d, a, dqkv, dout, out, lse);
}
static er_status f_kv_store(er_device *d, const er_kv_store_args *a) {
    COUNTED;
    return real->kv_store(d, a);
}
static er_status f_activation(
    er_device *d, er_act_kind k, bool gated, float *a, const float *u, size_t tokens, size_t d_ff) {
    COUNTED;
    return real->activation(d, k, gated, a, u, tokens, d_ff);
}
static er_status f_activation_backward(er_device *d, er_act_kind k, bool gated, float *du, const float *da,
    const float *u, size_t tokens, size_t d_ff) {
    COUNTED;
    return real->activation_backward(d, k, gated, du, da, u, tokens, d_ff);
}

static er_device_ops faulty;

static void arm(size_t n) { calls = 0, fail_at = n; }

static int setup(void **state) {
    int bad = golden_setup(state);
    if (bad) return bad;
    real = golden_dev->op;
    faulty = *real;
    faulty.alloc = f_alloc, faulty.upload = f_upload, faulty.sync = f_sync, faulty.copy = f_copy;
    faulty.weight_create = f_weight_create, faulty.norm = f_norm, faulty.norm_backward = f_norm_backward;
    faulty.qk_norm = f_qk_norm, faulty.qk_norm_backward = f_qk_norm_backward;
    faulty.clip = f_clip, faulty.clip_backward = f_clip_backward;
    faulty.linear = f_linear, faulty.linear_backward = f_linear_backward, faulty.rope = f_rope;
    faulty.attention = f_attention, faulty.attention_backward = f_attention_backward,
    faulty.kv_store = f_kv_store;
    faulty.activation = f_activation, faulty.activation_backward = f_activation_backward;
    return 0;
}

static int teardown(void **state) {
    golden_dev->op = real;
    return golden_teardown(state);
}

// Walks until the whole of `attempt` succeeds; what failed before must have failed with the injected code.
static size_t walk(er_status (*attempt)(void *), void *arg) {
    size_t n = 1;
    golden_dev->op = &faulty;
    for (;; n++) {
        arm(n);
        er_status rc = attempt(arg);
        if (rc == ER_OK) break;
        assert_int_equal(rc, ER_EDEVICE);
        if (n > 2000) fail_msg("no end of calls");
    }
    golden_dev->op = real;
    assert_true(calls == n - 1);
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
    er_kv *kv = NULL;
    er_run *r = NULL;
    er_status rc = er_run_create(&r, m, 9, 2, true);
    if (rc == ER_OK) rc = er_kv_create(&kv, m, 0, 2, 5);
    er_kv_free(kv);
    er_run_free(r);
    return rc;
}

static void creating(void **state) {
    (void)state;
    golden g;
    golden_open(&g, "llama_gqa");
    assert_int_equal(walk(create, g.m), 6 + 10 + 2);
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
    er_kv *kv = NULL;
    pass p = {
        .r = golden_run(&g, g.tokens, g.rows, true), .x = keep_dev(g.tokens * g.hidden * sizeof(float))};
    er_batch rows = golden_rows(&g);
    rows.store_at = all_tokens(g.tokens);
    OK(er_kv_create(&kv, g.m, 0, 3, g.tokens));
    keep_tape(&p.tape, &g.m->arch, g.tokens);
    OK(er_run_begin(p.r, &rows, kv));
    OK(er_run_embed(p.r, p.x));
    g.m->arch.parallel_residual = parallel;
    size_t n = walk(there_and_back, &p);
    er_run_free(p.r);
    er_kv_free(kv);
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
