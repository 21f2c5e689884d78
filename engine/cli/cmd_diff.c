// errata diff: what changed between two checkpoints, per tensor.
#include <stdio.h>
#include <stdlib.h>

#include "engine/cli/cli_internal.h"
#include "engine/diff.h"

enum { O_RANK = CLI_FIRST };
static const struct option options[] = {{"rank", no_argument, NULL, O_RANK}, ER_CLI_COMMON_OPTIONS, {0}};
static const char help[] =
    "usage: errata diff BASE EDITED [OPTIONS]\n\n"
    "Which tensors differ between two checkpoints, and by how much. Reads the files alone.\n\n"
    "  --rank                    also the stable rank of each change\n"
    "  --json                    the result as JSON on stdout\n"
    "  -q, --quiet  -v, --verbose\n"
    "  --help\n";

static er_status print(const er_diff *d, bool as_json) {
    if (!as_json) {
        er_diff_print_table(stdout, d);
        return ER_OK;
    }
    cJSON *json = NULL;
    er_json_writer w = {0};
    er_status rc = er_diff_json(&json, d);
    if (rc == ER_OK) rc = er_warnings_add_json(er_cli_warnings(), json);
    if (rc == ER_OK) rc = er_cli_print_json(json, &w, "the difference");
    cJSON_Delete(json);
    return rc;
}

int er_cmd_diff(int argc, char **argv) {
    er_cli_common c = {.device = ER_DEVICE_OPTIONS_DEFAULT};
    er_diff_options o = {0};
    int x = 0, code = 0;
    while ((x = er_cli_next(&code, "diff", help, options, NULL, argc, argv)) != -1) {
        if (x == CLI_DONE) return code;
        if (x == O_RANK) o.rank = true;
        else if (er_cli_take_common(&c, "diff", x, optarg) < 0) return 2;
    }
    if (argc - optind != 2) return er_cli_usage("diff", "two checkpoints are needed: BASE and EDITED");
    er_diff *d = NULL;
    er_status rc = er_diff_run(&d, argv[optind], argv[optind + 1], &o);
    if (rc == ER_OK) rc = print(d, c.json);
    er_diff_free(d);
    return rc == ER_OK ? 0 : er_cli_fail(rc);
}
