// The values stage against the GEMM rate of the same machine, in the same run: achieved / limit from counted
// FLOPs.
//
//     bench_targets MODEL FACTS [--precision bf16] [--threads N] [--limit N] [--steps N] [--batch-tokens N]
//
// Prints one line of JSON. The rate is that of a plain GEMM in the model's MLP shape with weights of the
// stored type.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "engine/cli/terminal.h"
#include "engine/estimate.h"
#include "engine/targets.h"
#include "io/base/log.h"

typedef struct bench {
    er_device_options device;
    er_facts_options facts;
    size_t steps, batch_tokens;
} bench;

static er_status drop(void *ctx, size_t request, const er_target_z *v) {
    (void)request;
    *(double *)ctx += (double)v->loss[v->n_loss - 1];
    return ER_OK;
}

static er_status run(const bench *b, const char *dir, const char *path) {
    er_status rc = ER_OK;
    er_device *dev = NULL;
    er_facts *facts = NULL;
    er_model *m = NULL;
    er_templates *t = NULL;
    er_requests *requests = NULL;
    er_hparams h = {0};
    er_model_options mo = {0};
    er_targets_stats s = {0};
    er_targets_options vo = {.batch_tokens = b->batch_tokens};
    struct rusage usage;
    double before = 0, after = 0, loss = 0;
    ER_TRY(er_device_open(&dev, &b->device));
    ER_TRY(er_facts_read(&facts, path, &b->facts));
    ER_TRY(er_model_open(&m, dev, dir, &mo));
    ER_TRY(er_hparams_resolve(&h, &m->arch, "reference"));
    if (b->steps) h.steps = b->steps;
    ER_TRY(er_templates_builtin(&t, h.n_prefixes));
    ER_TRY(er_requests_build(&requests, facts, m, &h, t));
    er_dtype stored = m->block[0].down_tensor->dtype;
    ER_TRY(er_estimate_gemm_rate(&before, dev, &m->arch, stored));
    ER_TRY(er_targets_optimise(&s, m, requests, &h, &vo, drop, &loss));
    ER_TRY(er_estimate_gemm_rate(&after, dev, &m->arch, stored));
    double limit = before > after ? before : after, rate = s.flops / s.seconds;
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf(
        "{\"device\":\"%s\",\"hidden\":%zu,\"layers\":%zu,\"facts\":%zu,\"losses\":%zu,\"seconds\":%.3f,"
        "\"seconds_per_fact\":%.4f,\"gflop_per_fact\":%.1f,\"gflops\":%.1f,\"gemm_gflops\":%.1f,\"achieved\":"
        "%.3f,"
        "\"mean_final_loss\":%.4f,\"peak_mb\":%.0f}\n",
        dev->name, m->arch.hidden, m->arch.layers, s.requests, s.losses, s.seconds,
        s.seconds / (double)s.requests, s.flops / (double)s.requests * 1e-9, rate * 1e-9, limit * 1e-9,
        rate / limit, loss / (double)s.requests, (double)usage.ru_maxrss / 1024);
out:
    er_requests_free(requests);
    er_templates_free(t);
    er_model_free(m);
    er_facts_free(facts);
    er_device_close(dev);
    return rc;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"precision", required_argument, NULL, 'p'},
        {"threads", required_argument, NULL, 't'}, {"limit", required_argument, NULL, 'l'},
        {"steps", required_argument, NULL, 's'}, {"batch-tokens", required_argument, NULL, 'b'}, {0}};
    bench b = {.device = ER_DEVICE_OPTIONS_DEFAULT, .facts = {.limit = 64}};
    int o = 0;
    er_terminal_listen();
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) switch (o) {
        case 'p':
            b.device.precision = strcmp(optarg, "bf16") ? ER_FP32 : ER_BF16_COMPUTE;
            break;
        case 't':
            b.device.threads = atoi(optarg);
            break;
        case 'l':
            b.facts.limit = strtoul(optarg, NULL, 10);
            break;
        case 's':
            b.steps = strtoul(optarg, NULL, 10);
            break;
        case 'b':
            b.batch_tokens = strtoul(optarg, NULL, 10);
            break;
        default:
            return 2;
        }
    if (argc - optind != 2) {
        (void)fprintf(stderr,
            "usage: bench_targets MODEL FACTS [--precision bf16] [--threads N] [--limit N] [--steps N]\n");
        return 2;
    }
    er_log_set_level(ER_LOG_WARN);
    er_status rc = run(&b, argv[optind], argv[optind + 1]);
    if (rc != ER_OK) (void)fprintf(stderr, "bench_targets: %s\n", er_last_error());
    return er_exit_code(rc);
}
