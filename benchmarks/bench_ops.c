// bench_ops [--device cpu|cuda] [--precision fp32|bf16|fp16|tf32] [--json] [--threads N] [--seconds S]
// [--cpu-time] [--only OP] Every costly op of the device at the shapes of real jobs: each answer is checked
// at sampled places against loops in double precision before it is timed; exit 1 when one is wrong, 69
// without the device. Rates are shares of the copy and of the best products of the same run. --cpu-time
// counts processor time instead of time of day: for one thread on a machine that is not quiet.
#include "benchmarks/ops/ops.h"
#include "engine/cli/terminal.h"

// ---- shapes of a CPU's jobs ----

// A SmolLM2-135M batch of 32 facts of 26 suffix tokens, 7 label rows each; then GPT-2 small, whose weights
// are fp32.
static void cpu_shapes(void) {
    static const size_t maps[][2] = {{960, 576}, {576, 576}, {3072, 576}, {576, 1536}},
                        gpt2[][2] = {{2304, 768}, {768, 768}, {3072, 768}, {768, 3072}};
    static const size_t suffix[] = {4}, document[] = {1024};
    for (size_t i = 0; i < 4; i++)
        for (size_t m = 64; m <= 1024; m = m < 256 ? 256 : m < 832 ? 832 : m + 192)
            bench_linear(m, maps[i][0], maps[i][1], ER_BF16);
    bench_linear(224, 49152, 576, ER_BF16);
    for (size_t i = 0; i < 4; i++) bench_linear(832, gpt2[i][0], gpt2[i][1], ER_F32);
    bench_linear(832, 3072, 576, ER_F16);
    bench_attention((bench_rows){suffix, 1, 208, 8}, (bench_heads){9, 3, 64});
    bench_attention((bench_rows){document, 1, 8, 0}, (bench_heads){9, 3, 64});
    bench_attention((bench_rows){suffix, 1, 208, 8}, (bench_heads){12, 12, 64});
    bench_rope(ER_ROPE_HALF, 64, 832, (bench_heads){9, 3, 64});
    bench_label_loss(224, 49152);
    bench_log_softmax(32, 49152);
    bench_delta_step(32, 576);
    for (size_t width = 1536; width; width = width > 576 ? 576 : 0) {
        for (er_act_kind kind = ER_GELU_NEW; kind <= ER_SILU; kind++)
            bench_activation(kind, true, 832, width);
        bench_norm(ER_RMS_NORM, 832, width);
    }
    bench_norm(ER_LAYER_NORM, 832, 768);
    bench_rows_moved(832, 576);
    bench_rows_f64(2048, 1536, 576);
    bench_weight_add(576, 1536, ER_BF16);
    bench_solve(4096, 1536, 576);
}

// ---- shapes of a GPU's jobs ----

typedef struct model {
    size_t hidden, d_ff, vocab, rot;
    bench_heads heads;
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
enum { TOKENS = 8192, FACTS = 317, LABELS = 7 * FACTS, ROWS = 1977, PREFIX = 4 };
static void model_shapes(const model *m) {
    static const size_t suffix[] = {1, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6, 8}, document[] = {512};
    size_t fused = (m->heads.heads + 2 * m->heads.kv_heads) * m->heads.width,
           up = m->gated ? 2 * m->d_ff : m->d_ff;
    bench_linear(TOKENS, fused, m->hidden, m->stored);
    bench_linear(TOKENS, m->hidden, m->hidden, m->stored);
    bench_linear(TOKENS, up, m->hidden, m->stored);
    bench_linear(TOKENS, m->hidden, m->d_ff, m->stored);
    bench_linear(LABELS, m->vocab, m->hidden, m->stored);
    bench_attention((bench_rows){suffix, sizeof suffix / sizeof *suffix, ROWS, PREFIX}, m->heads);
    bench_attention((bench_rows){document, 1, 16, 0}, m->heads);
    bench_rope(m->rope, m->rot, TOKENS, m->heads);
    bench_activation(m->act, m->gated, TOKENS, m->d_ff);
    bench_norm(m->norm, TOKENS, m->hidden);
    bench_label_loss(LABELS, m->vocab);
    bench_log_softmax(FACTS, m->vocab);
    bench_weight_add(m->hidden, m->d_ff, m->stored);
}

static void gpu_shapes(void) {
    model_shapes(&gpt_j);
    model_shapes(&llama_3_8b);
    bench_delta_step(FACTS, 4096);
    bench_rows_moved(TOKENS, 4096);
    bench_rows_f64(TOKENS, 16384, 4096);
    bench_solve(TOKENS, 16384, 4096);
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

int main(int argc, char **argv) {
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    o.kind = "cpu";
    er_terminal_listen();
    bench.seconds_each = 0.2;
    if (!parse(&o, argc, argv)) return 2;
    er_status rc = er_device_open(&bench.dev, &o);
    if (rc) (void)fprintf(stderr, "bench_ops: %s\n", er_last_error());
    if (rc) return rc == ER_EDEVICE ? 69 : 1;
    if (!bench.json)
        (void)printf("# %s, %s\n%-18s %-38s %9s %9s %9s %9s %8s %6s %6s  %s\n", bench.dev->name,
            er_precision_name(bench.dev->precision), "op", "shape", "ms", "median", "mean", "GFLOP/s", "GB/s",
            "% gemm", "% copy", "error");
    bench_ceilings();
    if (bench.dev->is_async) gpu_shapes();
    else cpu_shapes();
    er_device_close(bench.dev);
    if (bench.wrong) (void)fprintf(stderr, "bench_ops: wrong answers\n");
    return bench.wrong;
}
