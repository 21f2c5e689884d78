// bench_ops [--device cpu|cuda] [--precision fp32|bf16|fp16|tf32] [--json] [--threads N] [--seconds S]
// [--cpu-time] [--only OP]
//
// The cases of tests/ops at the shapes of real jobs: chosen rows of each answer are held against the oracle
// before it is timed; exit 1 when one is wrong, 69 without the device. Rates are shares of the copy and of
// the best products of the same run. --cpu-time counts processor time instead of time of day: for one thread
// on a machine that is not quiet.
#include "benchmarks/ops/ops.h"
#include "engine/cli/terminal.h"
#include "tests/support/guard.h"

typedef struct heads {
    size_t heads, kv_heads, width;
} heads;

static void linear(size_t m, size_t d_out, size_t d_in, er_dtype t) {
    op_linear(m, d_out, d_in, t, false, false, 0);
}

// `rows` rows with lengths of `own` in turn, each behind a cached prefix of `prefix` tokens. Long sums are a
// little less exact.
static void attend(const int *own, size_t n_own, size_t rows, int prefix, heads h) {
    int prefixes[16];
    for (size_t i = 0; i < n_own; i++) prefixes[i] = prefix;
    op_attention(&(op_batch){h.heads, h.kv_heads, h.width, 0, 0, rows, n_own, own, prefix ? prefixes : NULL},
        1 / sqrt((double)h.width), 10);
}

// q and k of fused rows.
static void rope(er_rope_style style, size_t rot, size_t tokens, heads h) {
    op_rope(style, false, tokens, h.heads + h.kv_heads, h.width, rot, h.kv_heads * h.width);
}

static void norm(er_norm_kind kind, size_t tokens, size_t width) {
    op_norm(kind, kind == ER_LAYER_NORM, 0, tokens, width);
}

enum { LABELS_A_FACT = 7, ROWS_A_REQUEST = 8 };
static void solve(size_t tokens, size_t n, size_t rhs) {
    op_syrk_accumulate(tokens, n);
    op_gemm_f64(n, n, rhs, true, false, 0, 0);
    op_syrk_f64(n, rhs, 0);
    op_cholesky(n, rhs);
}

static void rows_moved(size_t n, size_t width) {
    op_gather_rows(n, width);
    op_kv_store(n, width / 4, 0);
    op_scatter_add_rows(n, width);
}

static void rows_f64(size_t n, size_t d_ff, size_t hidden) {
    op_scaled_scatter(n, d_ff, n / ROWS_A_REQUEST, true);
    op_residual(n, hidden, n / ROWS_A_REQUEST);
}

// ---- shapes of a CPU's jobs ----

// A SmolLM2-135M batch of 32 facts of 26 suffix tokens, 7 label rows each; then GPT-2 small, whose weights
// are fp32.
static void cpu_shapes(void) {
    static const size_t maps[][2] = {{960, 576}, {576, 576}, {3072, 576}, {576, 1536}},
                        gpt2[][2] = {{2304, 768}, {768, 768}, {3072, 768}, {768, 3072}};
    static const int suffix[] = {4}, document[] = {1024};
    for (size_t i = 0; i < 4; i++)
        for (size_t m = 64; m <= 1024; m = m < 256 ? 256 : m < 832 ? 832 : m + 192)
            linear(m, maps[i][0], maps[i][1], ER_BF16);
    linear(224, 49152, 576, ER_BF16);
    for (size_t i = 0; i < 4; i++) linear(832, gpt2[i][0], gpt2[i][1], ER_F32);
    linear(832, 3072, 576, ER_F16);
    attend(suffix, 1, 208, 8, (heads){9, 3, 64});
    attend(document, 1, 8, 0, (heads){9, 3, 64});
    attend(suffix, 1, 208, 8, (heads){12, 12, 64});
    rope(ER_ROPE_HALF, 64, 832, (heads){9, 3, 64});
    op_label_loss(224, 49152, 5, true, true);
    op_log_softmax(32, 49152, false);
    op_delta_step(32, 576);
    for (size_t width = 1536; width; width = width > 576 ? 576 : 0) {
        for (er_act_kind kind = ER_GELU_NEW; kind <= ER_SILU; kind++) op_activation(kind, true, 832, width);
        norm(ER_RMS_NORM, 832, width);
    }
    norm(ER_LAYER_NORM, 832, 768);
    rows_moved(832, 576);
    rows_f64(2048, 1536, 576);
    op_weight_add(576, 1536, ER_BF16);
    solve(4096, 1536, 576);
}

// ---- shapes of a GPU's jobs ----

typedef struct model {
    size_t hidden, d_ff, vocab, rot;
    heads heads;
    er_rope_style rope;
    er_act_kind act;
    bool gated;
    er_norm_kind norm;
    er_dtype stored;
} model;
static const model gpt_j = {4096, 16384, 50400, 64, {16, 16, 256}, ER_ROPE_PAIRS, ER_GELU_NEW, false,
                       ER_LAYER_NORM, ER_F16},
                   llama_3_8b = {4096, 14336, 128256, 128, {32, 8, 128}, ER_ROPE_HALF, ER_SILU, true,
                       ER_RMS_NORM, ER_BF16};

// One step of a batch of 8,192 tokens: rows of 4.14 tokens on average, 6 + 1 rows a fact, 25.84 tokens. All
// of it is far larger than a GPU's last-level cache but for delta_step, which sees to that itself.
enum { TOKENS = 8192, FACTS = 317, LABELS = LABELS_A_FACT * FACTS, ROWS = 1977, PREFIX = 4 };
static void model_shapes(const model *m) {
    static const int suffix[] = {1, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6, 8}, document[] = {512};
    size_t fused = (m->heads.heads + 2 * m->heads.kv_heads) * m->heads.width,
           up = m->gated ? 2 * m->d_ff : m->d_ff;
    linear(TOKENS, fused, m->hidden, m->stored);
    linear(TOKENS, m->hidden, m->hidden, m->stored);
    linear(TOKENS, up, m->hidden, m->stored);
    linear(TOKENS, m->hidden, m->d_ff, m->stored);
    linear(LABELS, m->vocab, m->hidden, m->stored);
    attend(suffix, sizeof suffix / sizeof *suffix, ROWS, PREFIX, m->heads);
    attend(document, 1, 16, 0, m->heads);
    rope(m->rope, m->rot, TOKENS, m->heads);
    op_activation(m->act, m->gated, TOKENS, m->d_ff);
    norm(m->norm, TOKENS, m->hidden);
    op_label_loss(LABELS, m->vocab, 5, true, true);
    op_log_softmax(FACTS, m->vocab, false);
    op_weight_add(m->hidden, m->d_ff, m->stored);
}

static void gpu_shapes(void) {
    model_shapes(&gpt_j);
    model_shapes(&llama_3_8b);
    op_delta_step(FACTS, 4096);
    rows_moved(TOKENS, 4096);
    rows_f64(TOKENS, 16384, 4096);
    solve(TOKENS, 16384, 4096);
}

// ---- the program ----

static int usage(const char *what) {
    (void)fprintf(stderr,
        "bench_ops: %s\nusage: bench_ops [--device cpu|cuda] [--precision fp32|bf16|fp16|tf32] [--json] "
        "[--threads N] "
        "[--seconds S] [--cpu-time] [--only OP]\n",
        what);
    return 2;
}

static bool parse(er_device_options *o, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(name, "--json")) bench.json = true;
        else if (!strcmp(name, "--cpu-time")) bench.cpu_time = true;
        else {
            if (!strcmp(name, "--only") && value) bench.only = value;
            else if (!strcmp(name, "--device") && value) o->kind = value;
            else if (!strcmp(name, "--threads") && value) o->threads = atoi(value);
            else if (!strcmp(name, "--seconds") && value) bench.seconds_each = atof(value);
            else if (strcmp(name, "--precision") || !value || !er_precision_parse(&o->precision, value))
                return usage(name), false;
            i++;
        }
    }
    return true;
}

static void failed(const char *message) {
    (void)fprintf(stderr, "bench_ops: %s\n", message);
    exit(1);
}

int main(int argc, char **argv) {
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    o.kind = "cpu";
    er_terminal_listen();
    if (!parse(&o, argc, argv)) return 2;
    er_status rc = er_device_open(&ops.dev, &o);
    if (rc) (void)fprintf(stderr, "bench_ops: %s\n", er_last_error());
    if (rc) return rc == ER_EDEVICE || rc == ER_ENODEVICE ? 69 : 1;
    if (!bench.json)
        (void)printf("# %s, %s\n%-18s %-38s %9s %9s %9s %9s %8s %6s %6s  %s\n", ops.dev->name,
            er_precision_name(ops.dev->precision), "op", "shape", "ms", "median", "mean", "GFLOP/s", "GB/s",
            "% gemm", "% copy", "error");
    ops.samples = SAMPLES, ops.failed = failed;
    guard_on_failure(failed);
    bench_ceilings();
    if (ops.dev->is_async) gpu_shapes();
    else cpu_shapes();
    er_device_close(ops.dev);
    if (bench.wrong) (void)fprintf(stderr, "bench_ops: wrong answers\n");
    return bench.wrong;
}
