// The options of a command line one by one, and what is wrong with them whatever the command.
#include <stdio.h>
#include <string.h>

#include "engine/cli/cli_internal.h"
#include "io/base/log.h"

static const char *name_of(const struct option *options, int code) {
    for (; options->name; options++)
        if (options->val == code) return options->name;
    return "?";
}

static bool listed(const int *codes, int code) {
    for (; codes && *codes; codes++)
        if (*codes == code) return true;
    return false;
}

// "--out --force" would make a folder called --force. Numbers below zero are left to whoever reads the
// number.
static bool looks_like_option(const char *value) {
    return value[0] == '-' && value[1] != 0 && !strchr("0123456789.", value[1]);
}

static int refuse(const char *command, const struct option *options, int code, char **argv) {
    const char *given = argv[optind - 1];
    if (code == ':') return er_cli_usage(command, "%s needs a value", given);
    if (optopt > 0 && optopt < 256) return er_cli_usage(command, "no option '-%c'", optopt);
    if (optopt > 0) return er_cli_usage(command, "--%s takes no value", name_of(options, optopt));
    return er_cli_usage(command, "no option '%s'", given);
}

// Misuse that every option with a value may suffer; 0 when there is none.
static int check_value(
    const char *command, const struct option *options, int code, const int *repeated, char **argv) {
    static bool seen[256];  // by code - CLI_DEVICE
    const char *name = name_of(options, code);
    int at = code - CLI_DEVICE;
    if (!*optarg) return er_cli_usage(command, "--%s: the value is empty", name);
    if (optarg == argv[optind - 1] && looks_like_option(optarg))
        return er_cli_usage(command,
            "--%s needs a value, and '%s' looks like an option; what begins with a dash is given as --%s=%s",
            name, optarg, name, optarg);
    if (at < 0 || at >= (int)(sizeof seen / sizeof *seen) || listed(repeated, code)) return 0;
    if (seen[at]) er_info("--%s is given more than once; the last, %s, counts", name, optarg);
    seen[at] = true;
    return 0;
}

int er_cli_next(int *code, const char *command, const char *help, const struct option *options,
    const int *repeated, int argc, char **argv) {
    optopt = 0;
    int o = getopt_long(argc, argv, ":qv", options, NULL);
    if (o == CLI_HELP) {
        if (er_cli_speaks()) (void)fputs(help, stdout);
        *code = 0;
        return CLI_DONE;
    }
    if (o == ':' || o == '?') *code = refuse(command, options, o, argv);
    else if (o == -1 || !optarg || !(*code = check_value(command, options, o, repeated, argv))) return o;
    return CLI_DONE;
}

bool er_cli_count(
    size_t *out, const char *command, const char *option, const char *text, size_t least, size_t most) {
    size_t n = 0;
    if (!er_cli_size(&n, command, option, text)) return false;
    if (n >= least && n <= most) {
        *out = n;
        return true;
    }
    (void)er_cli_usage(command, "%s %s is not in %zu .. %zu", option, text, least, most);
    return false;
}

// A manifest keeps it as a JSON number, which is exact below 2^53.
bool er_cli_seed(size_t *out, const char *command, const char *text) {
    return er_cli_count(out, command, "--seed", text, 1, ((size_t)1 << 53) - 1);
}
