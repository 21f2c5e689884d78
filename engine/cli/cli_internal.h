// What the subcommands share. Results go to stdout, everything else to stderr; exit codes are those of
// er_exit_code().
#ifndef ER_CLI_H
#define ER_CLI_H
#include <getopt.h>
#include <stdbool.h>
#include "io/base/json_write.h"
#include "io/base/warnings.h"
#include "kernels/comm/comm.h"
#include "kernels/device.h"

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

// ---- ranks.c ----

// Before the first thread: makes the ranks of `errata edit` by --devices, or joins those of an MPI launcher.
// -1: go on, as one of them or alone; else the exit code, also in the parent of local ranks, whose work is
// done then.
int er_cli_ranks_begin(int argc, char **argv);
const er_comm *er_cli_comm(void);
// Does this rank print results and failures?
bool er_cli_speaks(void);
// The device that this rank takes, and whom it shares it with.
void er_cli_ranks_device(er_device_options *o);
void er_cli_ranks_end(void);

// Values of options; on misuse they print and return false. Sizes may end in K, M or G (powers of 1024).
bool er_cli_size(size_t *out, const char *command, const char *option, const char *text);
// The same within least .. most.
bool er_cli_count(
    size_t *out, const char *command, const char *option, const char *text, size_t least, size_t most);
// Of --seed: 1 .. 2^53 - 1, exact as a number of JSON.
bool er_cli_seed(size_t *out, const char *command, const char *text);
bool er_cli_real(double *out, const char *command, const char *option, const char *text);

// The next option, as getopt_long(): its code with its value in optarg, -1 behind the last. CLI_DONE: help is
// printed, or misuse reported, and *code is the exit code. A value that is empty or looks like an option is
// misuse; an option with a value that is given twice, and is none of `repeated` (codes, 0 at the end; may be
// NULL), is told of: the last counts.
int er_cli_next(int *code, const char *command, const char *help, const struct option *options,
    const int *repeated, int argc, char **argv);

// stdin, stdout and stderr are open from here on, if only for nothing: a file opened later cannot get their
// place.
void er_cli_hold_standard_files(void);
// From here on a reader of stdout or stderr that leaves, and a limit on file sizes, are errors of a write,
// not signals.
void er_cli_outlive_readers(void);
// The last thing of main(): what was printed has arrived, or 74 and why. A reader that left early (`| head
// -1`) ends the program as the signal would have.
int er_cli_finish(int code);
// A result on stdout.
er_status er_cli_print_json(const cJSON *root, const er_json_writer *w, const char *what);

// Options of every command that opens a model.
typedef struct er_cli_common {
    er_device_options device;
    bool json;
} er_cli_common;
enum { CLI_DEVICE = 1000, CLI_PRECISION, CLI_THREADS, CLI_MEMORY, CLI_JSON, CLI_HELP, CLI_DONE, CLI_FIRST };
#define ER_CLI_COMMON_OPTIONS                                                                                \
    {"device", required_argument, NULL, CLI_DEVICE}, {"precision", required_argument, NULL, CLI_PRECISION},  \
        {"threads", required_argument, NULL, CLI_THREADS},                                                   \
        {"memory-limit", required_argument, NULL, CLI_MEMORY}, {"json", no_argument, NULL, CLI_JSON},        \
        {"help", no_argument, NULL, CLI_HELP}, {"quiet", no_argument, NULL, 'q'}, {                          \
        "verbose", no_argument, NULL, 'v'                                                                    \
    }
#define ER_CLI_COMMON_HELP                                                                                   \
    "  --device NAME             where to compute: auto, cpu, cuda, cuda:N (auto)\n"                         \
    "  --precision fp32|bf16     GEMM inputs and weights; accumulation and states are fp32 (fp32). A GPU\n"  \
    "                            has fp16 and tf32 too\n"                                                    \
    "  --threads N               CPU threads (one a processor; at most four times as many, or 16)\n"         \
    "  --memory-limit BYTES      such as 16G (what the machine has); the device takes no more than that\n"   \
    "  --json                    the result as JSON on stdout\n"                                             \
    "  -q, --quiet               warnings and errors only\n"                                                 \
    "  -v, --verbose             say more, and where in the source an error arose\n"                         \
    "  --help\n"
// 1: the option was a common one and is taken; 0: not one of them; -1: misuse, already reported.
int er_cli_take_common(er_cli_common *c, const char *command, int option, const char *value);
#endif
