// What the subcommands share. Results go to stdout, everything else to stderr; exit codes are those of
// er_exit_code().
#ifndef ER_CLI_H
#define ER_CLI_H
#include <getopt.h>
#include <stdbool.h>
#include "engine/errata.h"
#include "io/warnings.h"

int er_cmd_edit(int argc, char **argv);
int er_cmd_check(int argc, char **argv);
int er_cmd_cov(int argc, char **argv);
int er_cmd_eval(int argc, char **argv);
int er_cmd_ask(int argc, char **argv);
int er_cmd_diff(int argc, char **argv);

// Prints "errata: <last error>" (with the place in the source under -v) and returns the exit code.
int er_cli_fail(er_status rc);
// "errata edit: <what>", a hint to --help, exit code 2.
int er_cli_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// What the command has warned of so far: for `--json`.
const er_warnings *er_cli_warnings(void);

// Values of options; on misuse they print and return false. Sizes may end in K, M or G (powers of 1024).
bool er_cli_size(size_t *out, const char *command, const char *option, const char *text);
bool er_cli_real(double *out, const char *command, const char *option, const char *text);

// Options of every command that opens a model.
typedef struct er_cli_common {
    er_device_options device;
    bool json;
} er_cli_common;
enum { CLI_DEVICE = 1000, CLI_PRECISION, CLI_THREADS, CLI_MEMORY, CLI_JSON, CLI_HELP, CLI_FIRST };
#define ER_CLI_COMMON_OPTIONS                                                                                \
    {"device", required_argument, NULL, CLI_DEVICE}, {"precision", required_argument, NULL, CLI_PRECISION},  \
        {"threads", required_argument, NULL, CLI_THREADS},                                                   \
        {"memory-limit", required_argument, NULL, CLI_MEMORY}, {"json", no_argument, NULL, CLI_JSON},        \
        {"help", no_argument, NULL, CLI_HELP}, {"quiet", no_argument, NULL, 'q'}, {                          \
        "verbose", no_argument, NULL, 'v'                                                                    \
    }
#define ER_CLI_COMMON_HELP                                                                                   \
    "  --device auto|cpu|cuda    where to compute (auto)\n"                                                  \
    "  --precision fp32|bf16     GEMM inputs and weights; accumulation and states are fp32 (fp32). A GPU\n"    \
    "                            has fp16 and tf32 too\n"                                                      \
    "  --threads N               CPU threads (all)\n"                                                        \
    "  --memory-limit BYTES      such as 16G (what the machine has)\n"                                       \
    "  --json                    the result as JSON on stdout\n"                                             \
    "  -q, --quiet               warnings and errors only\n"                                                 \
    "  -v, --verbose             say more, and where in the source an error arose\n"                         \
    "  --help\n"
// 1: the option was a common one and is taken; 0: not one of them; -1: misuse, already reported.
int er_cli_take_common(er_cli_common *c, const char *command, int option, const char *value);
#endif
