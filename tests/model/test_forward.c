// The forward pass against Hugging Face: states, keys and logits of packed rows, rows alone, and rows that
// continue a cached prefix. Bound 2e-5: both sides compute in fp32 and sum in their own order.
#include "tests/model/golden.h"

#define BOUND 2e-5

static void packed_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        golden g;
        golden_open(&g, models[i]);
        const er_arch *a = &g.m->arch;
        size_t T = g.tokens;
        er_run *r = golden_run(&g, T + 3, false);
        er_batch rows = golden_rows(&g);
        float *x = keep_dev(T * g.hidden * sizeof(float));
        OK(er_run_begin(r, &rows, NULL));
        OK(er_run_embed(r, x));
        for (size_t l = 0; l < a->layers; l++) {
            char name[32];
            OK(er_run_layer_to_key(r, l, x, NULL));
            (void)snprintf(name, sizeof name, "key.%zu", l);
            BELOW(rel(to_host(r->act, T * a->d_ff), golden_f32(&g, name, T * a->d_ff), T * a->d_ff), BOUND);
            OK(er_run_layer_finish(r, l, x));
            (void)snprintf(name, sizeof name, "state.%zu", l);
            BELOW(rel(to_host(x, T * g.hidden), golden_f32(&g, name, T * g.hidden), T * g.hidden), BOUND);
        }
        double flops = (double)T * (double)a->layers * er_arch_layer_flops(a);
        NEAR(r->flops, flops, 0.5);
        float *logits = logits_at(r, x, all_tokens(T), T);
        BELOW(rel(logits, golden_f32(&g, "logits", T * g.vocab), T * g.vocab), BOUND);
        NEAR(r->flops, flops + (double)T * er_arch_head_flops(a), 0.5);
        golden_close(&g);
    }
}

static void run_layers(er_run *r, float *x) {
    OK(er_run_embed(r, x));
    for (size_t l = 0; l < r->model->arch.layers; l++) OK(er_run_layer(r, l, x, NULL));
}

static void one_row_at_a_time(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        golden g;
        golden_open(&g, models[i]);
        er_run *r = golden_run(&g, g.tokens, false);
        const float *want = golden_f32(&g, "logits", g.tokens * g.vocab);
        for (size_t row = 0; row < g.rows; row++) {
            size_t first = (size_t)g.start[row], n = (size_t)g.start[row + 1] - first;
            int32_t start[2] = {0, (int32_t)n};
            er_batch b = pack_rows(g.token + first, start, 1, NULL, NULL, NULL);
            float *x = keep_dev(n * g.hidden * sizeof(float));
            OK(er_run_begin(r, &b, NULL));
            run_layers(r, x);
            BELOW(rel(logits_at(r, x, all_tokens(n), n), want + first * g.vocab, n * g.vocab), BOUND);
        }
        golden_close(&g);
    }
}

// The golden rows cut in two at `cut` tokens: first parts are stored at cache positions of their own (7 apart
// from the start, in reverse order of rows), second parts continue them.
typedef struct split {
    int32_t first[64], second[64];   // tokens of either part, as packed token numbers
    int32_t start1[16], start2[16];  // their row_start
    int32_t at[16], len[16];         // of the first ones in the cache
    size_t n1, n2;
} split;

static split split_rows(const golden *g, int32_t cut) {
    split s = {0};
    int32_t cache = 7;
    for (size_t row = 0; row < g->rows; row++) {
        int32_t n = g->start[row + 1] - g->start[row], c = n < cut ? n : cut;
        for (int32_t t = 0; t < n; t++) {
            if (t < c) s.first[s.n1++] = g->start[row] + t;
            else s.second[s.n2++] = g->start[row] + t;
        }
        s.start1[row + 1] = (int32_t)s.n1, s.start2[row + 1] = (int32_t)s.n2;
        s.len[row] = c;
    }
    for (size_t row = g->rows; row-- > 0; cache += s.len[row]) s.at[row] = cache;
    return s;
}

static int32_t *pick(const int32_t *from, const int32_t *index, size_t n) {
    int32_t *out = keep_host(n * sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = from[index[i]];
    return out;
}

static void compare_picked(const golden *g, const float *logits, const int32_t *index, size_t n) {
    const float *want = golden_f32(g, "logits", g->tokens * g->vocab);
    float *picked = keep_host(n * g->vocab * sizeof *picked);
    for (size_t i = 0; i < n; i++)
        memcpy(picked + i * g->vocab, want + (size_t)index[i] * g->vocab, g->vocab * sizeof *want);
    BELOW(rel(logits, picked, n * g->vocab), BOUND);
}

static void cached_prefixes(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++)
        for (int32_t cut = 1; cut < 18; cut += 5) {
            golden g;
            golden_open(&g, models[i]);
            split s = split_rows(&g, cut);
            er_kv *kv = golden_kv(&g, 0, g.m->arch.layers, g.tokens + 9);
            er_run *r = golden_run(&g, g.tokens, false);
            float *x = keep_dev(g.tokens * g.hidden * sizeof(float));
            er_batch b1 = pack_rows(pick(g.token, s.first, s.n1), s.start1, g.rows, NULL, NULL, s.at);
            OK(er_run_begin(r, &b1, kv));
            run_layers(r, x);
            compare_picked(&g, logits_at(r, x, all_tokens(s.n1), s.n1), s.first, s.n1);
            er_batch b2 = pack_rows(pick(g.token, s.second, s.n2), s.start2, g.rows, s.at, s.len, NULL);
            OK(er_run_begin(r, &b2, kv));
            run_layers(r, x);
            compare_picked(&g, logits_at(r, x, all_tokens(s.n2), s.n2), s.second, s.n2);
            golden_close(&g);
        }
}

// Both parts in one batch: a layer stores before it attends, so the second parts find the first ones' keys.
static void prefix_of_the_same_batch(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        golden g;
        golden_open(&g, models[i]);
        split s = split_rows(&g, 4);
        int32_t index[128], start[33] = {0}, store[32], at[32] = {0}, len[32] = {0};
        memcpy(index, s.first, s.n1 * sizeof *index);
        memcpy(index + s.n1, s.second, s.n2 * sizeof *index);
        for (size_t row = 0; row < g.rows; row++) {
            start[row + 1] = s.start1[row + 1];
            start[g.rows + row + 1] = (int32_t)s.n1 + s.start2[row + 1];
            store[row] = s.at[row], store[g.rows + row] = -1;
            at[g.rows + row] = s.at[row], len[g.rows + row] = s.len[row];
        }
        er_kv *kv = golden_kv(&g, 0, g.m->arch.layers, g.tokens + 9);
        er_run *r = golden_run(&g, g.tokens, false);
        float *x = keep_dev(g.tokens * g.hidden * sizeof(float));
        er_batch b = pack_rows(pick(g.token, index, g.tokens), start, 2 * g.rows, at, len, store);
        OK(er_run_begin(r, &b, kv));
        run_layers(r, x);
        compare_picked(&g, logits_at(r, x, all_tokens(g.tokens), g.tokens), index, g.tokens);
        golden_close(&g);
    }
}

static void impossible_batches(void **state) {
    (void)state;
    golden g;
    golden_open(&g, "llama_gqa");
    er_run *r = golden_run(&g, 4, false);
    er_kv *kv = golden_kv(&g, 1, 2, 5), beyond;
    int32_t token[65] = {1, 2, 3, 4, 5}, start[] = {0, 2, 4}, all[] = {0, 5}, long_row[] = {0, 65};
    float *x = keep_dev(5 * g.hidden * sizeof(float));
    er_batch b = pack_rows(token, start, 2, NULL, NULL, NULL);
    OK(er_run_begin(r, &b, NULL));
    FAILS(er_run_layer(r, 3, x, NULL), ER_EARG, "layer 3 of 3");
    FAILS(er_run_layer_backward(r, 0, x, NULL), ER_EARG, "without it");
    b = pack_rows(token, all, 1, NULL, NULL, NULL);
    FAILS(er_run_begin(r, &b, NULL), ER_EARG, "5 tokens; the run holds 4");
    token[2] = 139;
    b = pack_rows(token, start, 2, NULL, NULL, NULL);
    FAILS(er_run_begin(r, &b, NULL), ER_EARG, "token 2 has id 139; the embedding has 139 rows");
    token[2] = -1;
    b = pack_rows(token, start, 2, NULL, NULL, NULL);
    FAILS(er_run_begin(r, &b, NULL), ER_EARG, "has id -1");
    token[2] = 3;
    b = pack_rows(token, start, 2, (int32_t[]){0, 0}, (int32_t[]){0, 63}, NULL);
    FAILS(er_run_begin(r, &b, NULL), ER_EARG, "63 positions of a cache of 0");
    FAILS(er_run_begin(golden_run(&g, 65, false),
              &(er_batch[]){pack_rows(token, long_row, 1, NULL, NULL, NULL)}[0], NULL),
        ER_EARG, "token 64 stands at position 64; the model has 64");
    b = pack_rows(token, start, 2, (int32_t[]){0, 4}, (int32_t[]){0, 2}, NULL);
    FAILS(er_run_begin(r, &b, kv), ER_EARG, "6 positions of a cache of 5");
    b = pack_rows(token, start, 2, (int32_t[]){0, 0}, (int32_t[]){0, 2}, NULL);
    OK(er_run_begin(r, &b, kv));
    FAILS(er_run_layer(r, 0, x, NULL), ER_EARG, "layer 0: rows continue a prefix that is not cached");
    b = pack_rows(token, start, 2, NULL, NULL, (int32_t[]){-1, 4});
    FAILS(er_run_begin(r, &b, kv), ER_EARG, "6 positions of a cache of 5");
    FAILS(er_kv_take(&beyond, &kept_runs, &g.m->arch, 2, 2, 5), ER_EARG, "layers");
    golden_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_rows),
        cmocka_unit_test(one_row_at_a_time),
        cmocka_unit_test(cached_prefixes),
        cmocka_unit_test(prefix_of_the_same_batch),
        cmocka_unit_test(impossible_batches),
    };
    return cmocka_run_group_tests(tests, golden_setup, golden_teardown);
}
