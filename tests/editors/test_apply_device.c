// What the spread asks of its device: every call failing in turn gives that failure and leaves nothing
// behind; it takes what it said it would, once; it waits as often for many micro-batches as for one; and
// states that do not fit on the device give the same edit.
#include "engine/editors/apply.h"
#include "io/base/log.h"
#include "tests/support/faults.h"
#include "tests/support/letter_requests.h"

static er_device_ops counted, watched;  // the failing table, and what looks closer at some of its ops
static size_t waits, edits, allocs_before_edit, allocs;
static size_t live, most, room;  // bytes on the device; what `memory` tells, 0: the truth
static size_t live_host;         // allocations of alloc_host

typedef struct block {
    void *at;
    size_t bytes;
} block;
static block blocks[256];

static er_status f_alloc(er_device *d, void **out, size_t bytes) {
    er_status rc = counted.alloc(d, out, bytes);
    if (rc != ER_OK) return rc;
    size_t i = 0;
    while (i < 256 && blocks[i].at) i++;
    assert_true(i < 256);
    blocks[i] = (block){*out, bytes};
    allocs++;
    live += bytes;
    if (live > most) most = live;
    return ER_OK;
}
static void f_release(er_device *d, void *p) {
    for (size_t i = 0; p && i < 256; i++)
        if (blocks[i].at == p) live -= blocks[i].bytes, blocks[i] = (block){0};
    counted.release(d, p);
}
static er_status f_alloc_host(er_device *d, void **out, size_t bytes) {
    er_status rc = counted.alloc_host(d, out, bytes);
    live_host += rc == ER_OK;
    return rc;
}
static void f_release_host(er_device *d, void *p) {
    live_host -= p != NULL;
    counted.release_host(d, p);
}
static er_status f_memory(er_device *d, size_t *available, size_t *total) {
    er_status rc = counted.memory(d, available, total);
    *available = room ? room : (size_t)1 << 40;
    return rc;
}
static er_status f_download(er_device *d, void *dst, const void *src, size_t bytes) {
    waits++;
    return counted.download(d, dst, src, bytes);
}
static er_status f_sync(er_device *d) {
    waits++;
    return counted.sync(d);
}
static er_status f_event_wait(er_device *d, unsigned mark) {
    waits++;
    return counted.event_wait(d, mark);
}
static er_status f_weight_add(er_device *d, er_weight *w, const double *dw, er_weight_change *change) {
    if (!edits++) allocs_before_edit = allocs;
    return counted.weight_add(d, w, dw, change);
}

// ---- an edit ----

typedef struct edit {
    lettered x;
    er_second_moment *c[2];
    float *z;
    void *weight[2];  // as they were
    size_t max_tokens, d, o;
    double *dw;  // [2, o, d] of the last attempt
    size_t seen;
} edit;

static void watch_device(er_device *d) {
    counted = watched = faults_ops(d->op);
    watched.alloc = f_alloc, watched.release = f_release;
    watched.alloc_host = f_alloc_host, watched.release_host = f_release_host, watched.memory = f_memory;
    watched.download = f_download, watched.sync = f_sync, watched.event_wait = f_event_wait;
    watched.weight_add = f_weight_add;
}

static void edit_open(edit *e, const char *name, bool per_row, size_t max_tokens) {
    uint64_t seed = 5;
    *e = (edit){.max_tokens = max_tokens};
    lettered_open(&e->x, name, true, letter_facts);
    er_hparams *h = &e->x.h;
    h->layers[0] = 0, h->layers[1] = 2, h->n_layers = 2, h->lambda = 0.3, h->key_per_prompt = per_row;
    size_t d = e->d = e->x.m->arch.d_ff, o = e->o = e->x.m->arch.hidden, n = e->x.requests->count * o;
    double *c = calloc(d * d, sizeof *c);
    e->z = malloc(n * sizeof *e->z);
    e->dw = malloc(2 * o * d * sizeof *e->dw);
    assert_true(c && e->z && e->dw);
    for (size_t i = 0; i < d; i++) c[i * d + i] = 1 + test_uniform(&seed) / 2;
    for (size_t i = 0; i < n; i++) e->z[i] = (float)test_uniform(&seed);
    for (size_t l = 0; l < 2; l++) {
        const er_block *b = &e->x.m->block[h->layers[l]];
        OK(er_second_moment_create(&e->c[l], e->x.dev, d));
        OK(e->x.dev->op->upload(e->x.dev, e->c[l]->sum, c, d * d * sizeof *c));
        e->c[l]->count = 1;
        assert_non_null(e->weight[l] = malloc(b->down_tensor->bytes));
        OK(e->x.dev->op->weight_read(e->x.dev, b->down, e->weight[l]));
    }
    free(c);
    watch_device(e->x.dev);
}

static void edit_close(edit *e) {
    for (size_t l = 0; l < 2; l++) er_second_moment_free(e->x.dev, e->c[l]), free(e->weight[l]);
    free(e->z);
    free(e->dw);
    lettered_close(&e->x);
}

static void see(void *ctx, size_t layer, const double *keys, const double *current, const double *dw,
    size_t n, size_t d, size_t o) {
    edit *e = ctx;
    (void)layer, (void)keys, (void)current, (void)n;
    memcpy(e->dw + e->seen++ * o * d, dw, o * d * sizeof *dw);
}

// One spread on the weights as they were; whatever comes of it, nothing of the device's is kept.
static er_status attempt(edit *e, size_t failing, bool observed) {
    er_apply_report r;
    er_device *dev = e->x.dev;
    for (size_t l = 0; l < 2; l++)
        OK(faults.real->weight_set(dev, e->x.m->block[e->x.h.layers[l]].down, e->weight[l]));
    faults.calls = 0, faults.fail_at = failing;
    waits = edits = allocs = allocs_before_edit = live = most = e->seen = 0;
    dev->op = &watched;
    er_status rc = er_apply_edits(&r, e->x.m,
        &(er_apply){.requests = e->x.requests,
            .z = e->z,
            .c = e->c,
            .h = &e->x.h,
            .max_tokens = e->max_tokens,
            .observer = observed ? &(er_apply_observer){see, e} : NULL});
    dev->op = faults.real;
    assert_int_equal(live, 0);
    assert_int_equal(live_host, 0);
    return rc;
}

static void walk(const char *name, bool per_row, size_t told) {
    edit e;
    size_t n = 1;
    edit_open(&e, name, per_row, 64);
    room = told;
    for (;; n++) {
        er_status rc = attempt(&e, n, true);
        if (rc == ER_OK) break;
        assert_int_equal(rc, ER_EDEVICE);
        if (n > 5000) fail_msg("no end of calls");
    }
    // Host memory is let go behind a last wait each, whatever comes of that.
    assert_in_range(faults.calls, n - 1, n - 1 + (told ? 3 : 1));
    assert_true(n > 200);
    room = 0;
    edit_close(&e);
}

static void every_call_may_fail(void **state) {
    (void)state;
    for (int per_row = 0; per_row < 2; per_row++) {
        walk("gpt2_prefixed", per_row, 0);
        walk("gpt2_prefixed", per_row, 1);  // nothing fits: states in host memory
        walk("llama_bias_sharded", per_row, 0);
    }
}

// What was taken in the end, and none of it behind the first edit.
static void takes_what_it_said(void **state) {
    (void)state;
    const size_t sizes[] = {1, 64, 4096};
    for (size_t i = 0; i < 6; i++) {
        edit e;
        size_t said = 0;
        edit_open(&e, "gpt2_prefixed", i % 2 == 0, sizes[i / 2]);
        OK(er_apply_bytes(&said, &e.x.m->arch,
            &(er_apply){.requests = e.x.requests, .h = &e.x.h, .max_tokens = e.max_tokens}));
        OK(attempt(&e, 0, false));
        BELOW(fabs((double)said - (double)most), 0.02 * (double)most);
        assert_int_equal(edits, 2);
        assert_int_equal(allocs, allocs_before_edit);
        e.x.h.lambda = 0;  // the d x d form, which these few keys make singular
        if (!e.x.h.key_per_prompt) {
            OK(er_apply_bytes(&said, &e.x.m->arch,
                &(er_apply){.requests = e.x.requests, .h = &e.x.h, .max_tokens = e.max_tokens}));
            assert_int_equal(attempt(&e, 0, false), ER_ENUMERIC);
            BELOW(fabs((double)said - (double)most), 0.02 * (double)most);
        }
        edit_close(&e);
    }
}

static void waits_do_not_grow_with_chunks(void **state) {
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        edit few, many;
        room = i / 2;
        edit_open(&few, "gpt2_prefixed", i % 2 == 0, 4096);
        OK(attempt(&few, 0, false));
        size_t waited = waits, called = faults.calls;
        edit_close(&few);
        edit_open(&many, "gpt2_prefixed", i % 2 == 0, 1);
        OK(attempt(&many, 0, false));
        assert_true(faults.calls > 4 * called);
        assert_int_equal(waits, waited);
        // A layer: how far it has come, and the solve. Then how far all of them have, and before host memory
        // is let go.
        if (!room) assert_int_equal(waits, 2 * 2 + 2);
        edit_close(&many);
        room = 0;
    }
}

static double distance(const double *a, const double *b, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) d += (a[i] - b[i]) * (a[i] - b[i]), s += b[i] * b[i];
    return sqrt(d / s);
}

static void states_in_host_memory(void **state) {
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        edit a, b;
        size_t max_tokens = i < 2 ? 64 : 4096;
        edit_open(&a, "llama_bias_sharded", i % 2 == 0, max_tokens);
        OK(attempt(&a, 0, true));
        size_t on_device = most;
        edit_open(&b, "llama_bias_sharded", i % 2 == 0, max_tokens);
        room = 1;
        OK(attempt(&b, 0, true));
        assert_true(most < on_device);
        BELOW(distance(b.dw, a.dw, 2 * a.o * a.d), 1e-6);
        room = 0;
        edit_close(&a);
        edit_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_may_fail),
        cmocka_unit_test(takes_what_it_said), cmocka_unit_test(waits_do_not_grow_with_chunks),
        cmocka_unit_test(states_in_host_memory)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
