// A golden model, what Hugging Face computes on it (scripts/make_golden_models.py), and device memory that
// frees itself.
#ifndef ER_TEST_GOLDEN_H
#define ER_TEST_GOLDEN_H
#include "engine/forward.h"
#include "tests/test.h"

#define GOLDEN_DIR TEST_DATA "/golden/models/"
#define MAX_KEPT 256

static const char *const models[] = {"gpt2_prefixed", "gpt2_bare_f16", "llama_gqa", "llama_tied_bf16",
    "llama_bias_sharded", "qwen2_gqa", "qwen2_window_yarn", "mistral_window", "mistral_wide_heads",
    "gptj_f16", "gptj_sharded", "neox_parallel", "neox_sequential", "opt_f16", "opt_unbiased", "qwen3_gqa",
    "qwen3_tied_bias", "phi3_window", "phi3_longrope", "gpt2_scaled", "smollm3_every_fourth",
    "smollm3_window", "stablelm_biased", "stablelm_normed", "granite_tied", "granite_biased", "gpt_neo_f16",
    "gpt_neo_sharded", "phi_f16", "phi_normed", "falcon_multi_query", "falcon_grouped", "falcon_one_norm",
    "falcon_sequential", "starcoder2_window", "starcoder2_unbiased", "olmo_plain", "olmo_clipped",
    "gemma_head_alone", "gemma_biased", "cohere_tied", "cohere_biased"};
enum { MODELS = sizeof models / sizeof models[0] };

static er_device *golden_dev;
static void *kept_dev[MAX_KEPT], *kept_host[MAX_KEPT];
static size_t n_kept_dev, n_kept_host;

typedef struct golden {
    er_model *m;
    er_checkpoint *e;
    size_t tokens, rows, hidden, vocab;
    const int32_t *token, *start;
    int32_t *pos;
} golden;

static inline void *keep_host(size_t bytes) {
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p || n_kept_host == MAX_KEPT) fail_msg("out of host memory or places");
    return kept_host[n_kept_host++] = p;
}
// Memory filled with NaN patterns: whatever an op fails to write shows.
static inline void *keep_dev(size_t bytes) {
    void *p = NULL, *nan = keep_host(bytes);
    memset(nan, 0xff, bytes);
    OK(golden_dev->op->alloc(golden_dev, &p, bytes ? bytes : 1));
    OK(golden_dev->op->upload(golden_dev, p, nan, bytes));
    OK(golden_dev->op->sync(golden_dev));
    if (n_kept_dev == MAX_KEPT) fail_msg("out of places");
    return kept_dev[n_kept_dev++] = p;
}
// The same for the buffers of an arena, from its block `first` on.
static inline void fill_nan(er_arena *a, size_t first) {
    for (size_t i = first; i < a->count; i++) {
        void *nan = keep_host(a->block[i].bytes);
        memset(nan, 0xff, a->block[i].bytes);
        OK(golden_dev->op->upload(golden_dev, a->block[i].p, nan, a->block[i].bytes));
    }
    OK(golden_dev->op->sync(golden_dev));
}
static er_arena kept_tapes, kept_runs;
static inline void keep_tape(er_tape *t, const er_arch *a, size_t tokens) {
    size_t first = kept_tapes.count;
    kept_tapes.dev = golden_dev;
    OK(er_tape_take(t, &kept_tapes, a, tokens));
    fill_nan(&kept_tapes, first);
}
static inline void *to_dev(const void *host, size_t bytes) {
    void *p = keep_dev(bytes);
    OK(golden_dev->op->upload(golden_dev, p, host, bytes));
    OK(golden_dev->op->sync(golden_dev));
    return p;
}
static inline float *to_host(const float *dev, size_t n) {
    float *p = keep_host(n * sizeof *p);
    OK(golden_dev->op->download(golden_dev, p, dev, n * sizeof *p));
    return p;
}
static inline void drop_all(void) {
    if (kept_tapes.dev) er_arena_release(&kept_tapes);
    if (kept_runs.dev) er_arena_release(&kept_runs);
    while (n_kept_dev) golden_dev->op->release(golden_dev, kept_dev[--n_kept_dev]);
    while (n_kept_host) free(kept_host[--n_kept_host]);
}
static inline int golden_setup(void **state) {
    (void)state;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    o.threads = 2;
    return er_device_open(&golden_dev, &o) == ER_OK ? 0 : -1;
}
static inline int golden_teardown(void **state) {
    (void)state;
    er_device_close(golden_dev);
    return 0;
}

// Where the stream is held divided (er_arch.residual_scale), so are states and deltas, and gradients
// multiplied.
static inline float golden_unit(const golden *g, const char *name) {
    float r = g->m->arch.residual_scale;
    if (!strncmp(name, "state.", 6) || !strcmp(name, "delta")) return 1 / r;
    return strcmp(name, "grad") != 0 ? 1 : r;
}
static inline float *golden_f32(const golden *g, const char *name, size_t expected) {
    const er_tensor *t = er_checkpoint_find(g->e, name);
    if (!t || t->elements != expected)
        fail_msg("golden '%s' is missing or not of %zu elements", name, expected);
    float *p = keep_host(expected * sizeof *p);
    OK(er_checkpoint_read_f32(g->e, t, p));
    for (size_t i = 0; i < expected; i++) p[i] *= golden_unit(g, name);
    return p;
}
static inline int32_t *golden_i32(const golden *g, const char *name, size_t *n) {
    const er_tensor *t = er_checkpoint_find(g->e, name);
    if (!t || t->dtype != ER_I32) fail_msg("golden '%s' is missing or not I32", name);
    int32_t *p = keep_host((size_t)t->bytes);
    OK(er_checkpoint_read(g->e, t, p));
    *n = (size_t)t->elements;
    return p;
}
static inline void golden_open_folder(golden *g, const char *folder) {
    char path[4096];
    size_t n;
    *g = (golden){0};
    OK(er_model_load(&g->m, golden_dev, folder, NULL));
    (void)snprintf(path, sizeof path, "%s/expected", folder);
    OK(er_checkpoint_open(&g->e, path));
    g->hidden = g->m->arch.hidden, g->vocab = g->m->arch.vocab;
    g->token = golden_i32(g, "tokens", &g->tokens);
    g->start = golden_i32(g, "row_start", &n);
    g->rows = n - 1;
    g->pos = keep_host(g->tokens * sizeof *g->pos);
    for (size_t r = 0; r < g->rows; r++)
        for (int32_t t = g->start[r]; t < g->start[r + 1]; t++) g->pos[t] = t - g->start[r];
}
static inline void golden_open(golden *g, const char *name) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s%s", GOLDEN_DIR, name);
    golden_open_folder(g, path);
}
static inline void golden_close(golden *g) {
    er_checkpoint_free(g->e);
    er_model_free(g->m);
    drop_all();
}
// Rows of consecutive tokens, split by `start`. Row r continues prefix_len[r] cached positions from
// prefix_at[r] on, and is stored from store_at[r] on unless that is negative; each of the three may be NULL.
static inline er_batch pack_rows(const int32_t *token, const int32_t *start, size_t rows,
    const int32_t *prefix_at, const int32_t *prefix_len, const int32_t *store_at) {
    er_batch b;
    kept_runs.dev = golden_dev;
    OK(er_batch_take(&b, &kept_runs, (size_t)start[rows], rows));
    for (size_t r = 0; r < rows; r++) {
        size_t n = (size_t)(start[r + 1] - start[r]);
        er_kv_range prefix = ER_NO_KV, store = ER_NO_KV;
        if (prefix_len && prefix_len[r]) prefix = (er_kv_range){(size_t)prefix_at[r], (size_t)prefix_len[r]};
        if (store_at && store_at[r] >= 0) store = (er_kv_range){(size_t)store_at[r], n};
        OK(er_batch_row(&b, token + start[r], n, prefix, store));
    }
    return b;
}
static inline er_batch golden_rows(const golden *g) {
    return pack_rows(g->token, g->start, g->rows, NULL, NULL, NULL);
}
static inline er_run *golden_run(const golden *g, size_t tokens, bool backward) {
    er_run *r = keep_host(sizeof *r);
    kept_runs.dev = golden_dev;
    *r = (er_run){.model = g->m};
    OK(er_run_take(r, &kept_runs, &g->m->arch, tokens, backward));
    return r;
}
static inline er_kv *golden_kv(const golden *g, size_t first, size_t layers, size_t capacity) {
    er_kv *kv = keep_host(sizeof *kv);
    kept_runs.dev = golden_dev;
    OK(er_kv_take(kv, &kept_runs, &g->m->arch, first, layers, capacity));
    return kv;
}

// Logits [n, vocab] on the host of rows `at` of x.
static inline float *logits_at(er_run *r, const float *x, const int32_t *at, size_t n) {
    size_t h = r->model->arch.hidden, v = r->model->arch.vocab;
    float *logits = keep_dev(n * v * sizeof(float));
    OK(er_run_head(r, logits, x, to_dev(at, n * sizeof *at), n, keep_dev(n * h * sizeof(float)),
        keep_dev(2 * n * sizeof(float)), keep_dev(n * h * sizeof(float))));
    return to_host(logits, n * v);
}
static inline const int32_t *all_tokens(size_t n) {
    int32_t *at = keep_host(n * sizeof *at);
    for (size_t i = 0; i < n; i++) at[i] = (int32_t)i;
    return at;
}
static inline double rel(const float *a, const float *b, size_t n) {
    double *wide = keep_host(n * sizeof *wide);
    for (size_t i = 0; i < n; i++) wide[i] = (double)b[i];
    return test_rel_error(a, wide, n);
}
#endif
