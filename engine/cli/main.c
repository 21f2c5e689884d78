// errata: subcommands, and the few things they share.
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli/cli_internal.h"
#include "engine/cli/terminal.h"
#include "engine/errata.h"
#include "io/base/log.h"

static const struct {
    const char *name, *what;
    int (*run)(int, char **);
} commands[] = {
    {"edit", "edit facts into a model: the main job", er_cmd_edit},
    {"check", "validate model, facts and settings; estimate memory and time; write nothing", er_cmd_check},
    {"eval", "score facts on a model, before and after: metrics.json, report.html", er_cmd_eval},
    {"ask", "continue a prompt, to look at an edit by eye", er_cmd_ask},
    {"cov", "collect, import or export covariances", er_cmd_cov},
    {"diff", "what changed between two checkpoints, per layer", er_cmd_diff},
};

static er_warnings *warnings;
const er_warnings *er_cli_warnings(void) { return warnings; }

int er_cli_fail(er_status rc) {
    if (!er_cli_speaks()) return er_exit_code(rc);  // another rank says it
    const char *next = rc == ER_EINTERRUPTED ? "; run it again to go on" : "";
    (void)fprintf(stderr, "errata: %s%s\n", er_last_error(), next);
    if (er_log_get_level() >= ER_LOG_DEBUG)
        (void)fprintf(stderr, "errata: raised at %s\n", er_last_error_place());
    return er_exit_code(rc);
}

int er_cli_usage(const char *command, const char *fmt, ...) {
    if (!er_cli_speaks()) return 2;  // another rank says it
    va_list ap;
    va_start(ap, fmt);
    (void)fprintf(stderr, "errata %s: ", command);
    (void)vfprintf(stderr, fmt, ap);
    (void)fprintf(stderr, "; see errata %s --help\n", command);
    va_end(ap);
    return 2;
}

bool er_cli_real(double *out, const char *command, const char *option, const char *text) {
    char *end = NULL;
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v) || isspace((unsigned char)*text)) {
        (void)er_cli_usage(command, "%s '%s' is not a number", option, text);
        return false;
    }
    *out = v;
    return true;
}

bool er_cli_size(size_t *out, const char *command, const char *option, const char *text) {
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : *end == 'T' ? 40 : 0;
    if (shift) end++;
    if (*text < '0' || *text > '9' || *end || errno || v > (SIZE_MAX >> shift)) {
        (void)er_cli_usage(command, "%s '%s' is not a whole number", option, text);
        return false;
    }
    *out = (size_t)v << shift;
    return true;
}

static int take_precision(er_cli_common *c, const char *command, const char *value) {
    if (er_precision_parse(&c->device.precision, value)) return 1;
    (void)er_cli_usage(command, "--precision '%s' is none of fp32, bf16, fp16, tf32", value);
    return -1;
}

int er_cli_take_common(er_cli_common *c, const char *command, int option, const char *value) {
    size_t n = 0;
    switch (option) {
    case CLI_DEVICE:
        c->device.kind = value;
        return 1;
    case CLI_PRECISION:
        return take_precision(c, command, value);
    case CLI_THREADS:
        if (!er_cli_count(&n, command, "--threads", value, 1, INT_MAX)) return -1;
        c->device.threads = (int)n;  // the device knows how many make sense
        return 1;
    case CLI_MEMORY:
        return er_cli_count(&c->device.memory_limit, command, "--memory-limit", value, 1, SIZE_MAX) ? 1 : -1;
    case CLI_JSON:
        c->json = true;
        return 1;
    case 'q':
        er_log_set_level(ER_LOG_WARN);
        return 1;
    case 'v':
        er_log_set_level(ER_LOG_DEBUG);
        return 1;
    default:
        return 0;
    }
}

static void help(FILE *to) {
    (void)fprintf(to,
        "errata " ERRATA_VERSION ": edit tens of thousands of facts in a language model in one job\n\n"
        "usage: errata COMMAND [OPTIONS]\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        (void)fprintf(to, "  %-6s %s\n", commands[i].name, commands[i].what);
    (void)fprintf(to,
        "\nerrata COMMAND --help lists a command's options.\n"
        "exit codes: 0 done, 1 failed, 2 usage, 65 bad input, 66 missing input, 69 no device,\n"
        "            70 numerical refusal, 73 output in the way or not to be made, 74 input/output error\n"
        "            or an input that changed during the job,\n"
        "            75 interrupted (run it again to go on), 78 bad configuration\n");
}

// libgomp's threads spin between parallel regions; where cores are shared that costs many times the work
// itself. It reads its environment before main, so the only way to say "wait briefly, then sleep" is to say
// it and start again.
static void wait_politely(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    if (setenv("GOMP_SPINCOUNT", "10000", 1) == 0)
        (void)execv("/proc/self/exe", argv);  // comes back only on failure
}

// Nothing is half made at this point: products are computed before outputs begin, and the value store is
// written record by record.
static void exception_nobody_catches(void) {
    const char *name = er_cpu_exception_name();
    bool memory = strcmp(name, "St9bad_alloc") == 0 || !*name;
    (void)fprintf(
        stderr, "errata: oneDNN: %s%s\n", memory ? "out of memory" : "exception ", memory ? "" : name);
    _exit(er_exit_code(ER_ENOMEM));
}

static int run(size_t command, int argc, char **argv) {
    er_cli_outlive_readers();  // looks at what SIGPIPE was
    if (!strcmp(argv[1], "edit")) {
        int ended = er_cli_ranks_begin(argc - 1, argv + 1);
        if (ended >= 0) return ended;
    }
    er_signals_install();
    (void)er_cpu_on_exception(exception_nobody_catches);
    if (er_warnings_begin(&warnings) != ER_OK) return er_cli_fail(ER_ENOMEM);
    int code = commands[command].run(argc - 1, argv + 1);
    er_warnings_end(warnings);
    warnings = NULL;
    er_cli_ranks_end();
    return code;
}

static int start(int argc, char **argv) {
    if (argc < 2) {
        help(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        help(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version")) {
        (void)puts("errata " ERRATA_VERSION);
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name)) {
            er_signals_block();  // before the exec too: a signal then waits for the new program
            wait_politely(argv);
            return run(i, argc, argv);
        }
    (void)fprintf(stderr, "errata: no command '%s'; see errata --help\n", argv[1]);
    return 2;
}

int main(int argc, char **argv) {
    er_cli_hold_standard_files();
    er_terminal_listen();
    int code = er_cli_finish(start(argc, argv));
    er_signals_finish();
    return code;
}
