// The pass that gathers keys and states: shared prefixes and micro-batches of any size change nothing in an
// edit, and a layout holds every row once.
#include "engine/keys/hidden_pass.h"

#include "io/base/log.h"
#include "tests/editors/whole_rows.h"

// Without template indices every row runs whole: the same edit.
static void same_without_sharing(bool per_row) {
    static const size_t layers[] = {0, 1, 2};
    fixture f, g;
    seen a = {0}, b = {0};
    er_apply_report r, q;
    open_case(&f, "gpt2_prefixed", true, 3, layers);
    open_case(&g, "gpt2_prefixed", true, 3, layers);
    f.x.h.key_per_prompt = g.x.h.key_per_prompt = per_row;
    a.requests = b.requests = f.n;
    size_t behind = 0;
    for (size_t u = 0; u < g.n; u++)
        for (size_t i = 0; i < g.x.requests->at[u].n_rows; i++) {
            behind += g.x.requests->at[u].row[i].template_index >= 0;
            g.x.requests->at[u].row[i].template_index = -1;
        }
    assert_true(behind > g.n);
    OK(er_apply_edits(&r, f.x.m,
        &(er_apply){.requests = f.x.requests,
            .z = f.z,
            .c = f.c,
            .h = &f.x.h,
            .observer = &(er_apply_observer){see, &a}}));
    OK(er_apply_edits(&q, g.x.m,
        &(er_apply){.requests = g.x.requests,
            .z = g.z,
            .c = g.c,
            .h = &g.x.h,
            .observer = &(er_apply_observer){see, &b}}));
    assert_true(r.flops < q.flops);
    for (size_t i = 0; i < 3; i++) {
        if (!per_row) BELOW(distance(a.keys[i], b.keys[i], f.n * f.d), SAME);
        BELOW(distance(a.current[i], b.current[i], f.n * f.o), SAME);
        BELOW(distance(a.dw[i], b.dw[i], f.o * f.d), 10 * SAME);
    }
    NEAR(r.residual_left, q.residual_left, SAME);
    unsee(&a);
    unsee(&b);
    close_case(&f);
    close_case(&g);
}
static void test_shared_prefixes(void **state) {
    (void)state;
    same_without_sharing(false);
    same_without_sharing(true);
}

// Every request's weighted mean key at `layer`, and its bare row's output, through the carried states.
static void carried(
    fixture *f, const er_microbatches *l, er_hidden_pass *c, size_t layer, double *keys, double *current) {
    er_device *dev = f->x.dev;
    void *key = NULL, *state = NULL;
    float *host = malloc(l->most_rows * MAX_D * sizeof *host);
    assert_non_null(host);
    OK(dev->op->alloc(dev, &key, l->most_rows * f->d * sizeof(float)));
    OK(dev->op->alloc(dev, &state, l->most_rows * f->o * sizeof(float)));
    memset(keys, 0, f->n * f->d * sizeof *keys);
    if (layer < 2) OK(er_hidden_pass_prefill_shared(c, layer, false));
    for (size_t i = l->n_prefix_groups; i < l->n_microbatches; i++) {
        size_t row = l->microbatch[i].first - l->shared, n = l->microbatch[i].rows;
        bool bare = i < l->n_prefix_groups + l->n_base;
        OK(er_hidden_pass_load(c, i));
        if (layer < 2) {
            OK(er_hidden_pass_run_to_key(c, layer, key));
            OK(dev->op->download(dev, host, key, n * f->d * sizeof *host));
            for (size_t r = 0; r < n; r++)
                for (size_t j = 0; j < f->d; j++)
                    keys[(size_t)l->request[row + r] * f->d + j] +=
                        (double)l->weight[row + r] * (double)host[r * f->d + j];
        }
        if (!bare) continue;
        if (layer < 2) OK(er_hidden_pass_finish_layer(c, layer, state));
        else OK(er_hidden_pass_run_to_end(c, layer, state));
        OK(dev->op->download(dev, host, state, n * f->o * sizeof *host));
        for (size_t j = 0; j < n * f->o; j++) current[row * f->o + j] = (double)host[j];
    }
    dev->op->release(dev, key);
    dev->op->release(dev, state);
    free(host);
}

// The shared row that stands at `prefix` in the cache.
static const er_microbatch_row *shared_row(const er_microbatches *l, er_kv_range prefix) {
    for (size_t i = 0; i < l->shared; i++)
        if (l->row[i].store.at == prefix.at && l->row[i].n == prefix.n) return &l->row[i];
    return NULL;
}

// What a layout promises: every row in one micro-batch, behind a shared one where it continues it, none too
// long.
static void check_layout(const fixture *f, const er_microbatches *l, size_t max_tokens) {
    size_t at = 0, first = 0, cached = 0;
    assert_int_equal(l->requests, f->n);
    assert_int_equal(l->rows, f->rows);
    assert_true(l->shared > 0 && l->cached > 0);
    for (size_t i = 0; i < l->n_microbatches; i++) {
        const er_microbatch *k = &l->microbatch[i];
        assert_int_equal(k->at, at);
        assert_int_equal(k->first, first);
        assert_true(k->rows > 0 && (k->tokens <= max_tokens || k->rows == 1));
        assert_true(k->tokens <= l->most_tokens && k->rows <= l->most_rows);
        size_t own = 0;
        for (size_t r = 0; r < k->rows; r++) {
            size_t row = first + r;
            const er_microbatch_row *x = &l->row[row];
            own += x->n;
            assert_int_equal(i < l->n_prefix_groups, row < l->shared);
            if (row < l->shared) {  // one behind the other in the cache
                assert_int_equal(x->store.at, cached);
                assert_int_equal(x->store.n, x->n);
                assert_int_equal(x->prefix.n, 0);
                cached += x->n;
                continue;
            }
            assert_int_equal(x->store.n, 0);
            bool base = row - l->shared < l->requests;
            assert_int_equal(base, i < l->n_prefix_groups + l->n_base);
            if (base) assert_int_equal(l->request[row - l->shared], row - l->shared);
            const er_request *u = &f->x.requests->at[l->request[row - l->shared]];
            const er_microbatch_row *g = shared_row(l, x->prefix);
            bool found = false;
            for (size_t q = base ? 0 : 1; q < (base ? 1 : u->n_rows); q++) {
                const er_prompt *from = &u->row[q];
                size_t skip = x->prefix.n;
                found =
                    found || (from->n_labels && skip + x->n == from->subject_last + 1 &&
                                 (!skip || (g && !memcmp(from->token, g->token, skip * sizeof(int32_t)))) &&
                                 !memcmp(from->token + skip, x->token, x->n * sizeof(int32_t)));
            }
            assert_true(found);
        }
        assert_int_equal(own, k->tokens);
        at += k->tokens, first += k->rows;
    }
    assert_int_equal(at, l->tokens);
    assert_int_equal(first, l->shared + l->rows);
    assert_int_equal(cached, l->cached);
}

// Chunks of any size pass the same states.
static void test_chunks(void **state) {
    (void)state;
    static const size_t layers[] = {0, 1}, sizes[] = {1, 40, 65, 4096};
    fixture f;
    open_case(&f, "llama_gqa", true, 2, layers);
    double *keys = zeros(f.n * f.d), *current = zeros(f.n * f.o), *slow_k = zeros(f.n * f.d);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        er_microbatches *l = NULL;
        er_hidden_pass *c = NULL;
        OK(er_microbatches_create(&l, f.x.requests, sizes[i]));
        check_layout(&f, l, sizes[i]);
        OK(er_hidden_pass_create(&c, f.x.m, l, 1));
        for (size_t layer = 0; layer < 2; layer++) {
            carried(&f, l, c, layer, keys, current);
            slow_keys(&f.s, layer, slow_k);
            BELOW(distance(keys, slow_k, f.n * f.d), SAME);
            BELOW(distance(current, f.start, f.n * f.o), SAME);
            OK(er_hidden_pass_step_layer(c, layer));
        }
        carried(&f, l, c, 2, keys, current);
        BELOW(distance(current, f.start, f.n * f.o), SAME);
        er_hidden_pass_free(c);
        er_microbatches_free(l);
    }
    free(keys);
    free(current);
    free(slow_k);
    close_case(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared_prefixes), cmocka_unit_test(test_chunks)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
