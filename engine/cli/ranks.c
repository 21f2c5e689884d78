// The ranks of `errata edit`: one process for each of --devices, or those that mpirun or srun has started.
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli/cli_internal.h"
#include "engine/cli/terminal.h"
#include "io/base/log.h"
#include "kernels/comm/local.h"
#include "kernels/comm/mpi.h"

enum { NAME = 16, GRACE = 30 };  // seconds that ranks have to end once one has failed

static struct {
    er_comm *comm;  // NULL: one rank alone
    char device[ER_LOCAL_RANKS][NAME];
    size_t n;  // of --devices; 0: not given
} ranks;

const er_comm *er_cli_comm(void) { return ranks.comm ? ranks.comm : er_comm_self(); }
bool er_cli_speaks(void) { return !ranks.comm || er_comm_speaks(ranks.comm); }

static const char *devices_option(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "--devices=", 10)) return argv[i] + 10;
        if (!strcmp(argv[i], "--devices")) return i + 1 < argc ? argv[i + 1] : "";
    }
    return NULL;
}

static bool add_devices(const char *kind, unsigned long from, unsigned long to) {
    for (unsigned long i = from; i <= to; i++) {
        if (ranks.n == ER_LOCAL_RANKS) return false;
        (void)snprintf(ranks.device[ranks.n++], NAME, kind, i);
    }
    return true;
}

// "0-7", "0,2", "cuda:0,cuda:1", "cpu,cpu".
static bool parse_devices(const char *list) {
    char text[256];
    if (snprintf(text, sizeof text, "%s", list) >= (int)sizeof text) return false;
    for (char *item = text, *next = NULL; item; item = next) {
        char *end = NULL;
        if ((next = strchr(item, ','))) *next++ = 0;
        if (!strcmp(item, "cpu")) {
            if (!add_devices("cpu", 0, 0)) return false;
            continue;
        }
        if (!strncmp(item, "cuda:", 5)) item += 5;
        if (*item < '0' || *item > '9') return false;
        unsigned long from = strtoul(item, &end, 10), to = from;
        if (*end == '-' && end[1] >= '0' && end[1] <= '9') to = strtoul(end + 1, &end, 10);
        if (*end || to < from || to > 9999 || !add_devices("cuda:%lu", from, to)) return false;
    }
    return ranks.n > 0;
}

// Where errata_mpi.so may lie: beside the program, and where it is installed.
static er_status join_mpi(er_wire *wire, size_t launched, const char *variable) {
    char beside[PATH_MAX], installed[PATH_MAX + 32];
    ssize_t n = readlink("/proc/self/exe", beside, sizeof beside - 1);
    beside[n > 0 ? n : 0] = 0;
    char *slash = strrchr(beside, '/');
    if (slash) *slash = 0;
    (void)snprintf(installed, sizeof installed, "%s/../lib/errata", beside);
    const char *const folders[] = {beside, installed, NULL};
    er_status rc = er_mpi_wire(wire, folders);
    if (rc != ER_OK || wire->size == launched) return rc;
    size_t joined = wire->size;
    wire->op->close(wire->self, 1);
    return er_fail(ER_ENODEVICE,
        "%s says %zu ranks, MPI joined %zu: the launcher is of another MPI than errata_mpi.so", variable,
        launched, joined);
}

int er_cli_ranks_begin(int argc, char **argv) {
    const char *list = devices_option(argc, argv), *variable = "";
    size_t launched = er_mpi_launched(&variable);
    er_wire wire = {0};
    er_status rc = ER_OK;
    int code = -1;
    if (!list && launched == 1) return -1;
    if (list && launched > 1)
        return er_cli_usage(
            "edit", "--devices, and %s says that this is one of %zu ranks", variable, launched);
    if (list && !parse_devices(list))
        return er_cli_usage("edit", "--devices '%s' is no list such as 0-7, 0,2 or cpu,cpu, of at most %d",
            list, (int)ER_LOCAL_RANKS);
    rc = list ? er_local_ranks(&wire, &code, ranks.n, GRACE) : join_mpi(&wire, launched, variable);
    if (rc == ER_OK && code >= 0) return code;  // the parent: its ranks have ended
    if (rc == ER_OK) rc = er_comm_over(&ranks.comm, &wire, (er_comm_waits){0});
    if (rc != ER_OK) return er_cli_fail(rc);
    if (ranks.comm->rank) er_terminal_quiet();
    return -1;
}

void er_cli_ranks_device(er_device_options *o) {
    if (!ranks.comm) return;
    er_comm_local(ranks.comm, &o->local_rank, &o->local_size);
    if (!ranks.n) return;
    const char *mine = ranks.device[ranks.comm->rank];
    size_t same = 0;
    for (size_t i = 0; i < ranks.n; i++) same += !strcmp(ranks.device[i], mine);
    o->kind = mine, o->local_rank = 0, o->local_size = same;
    cpu_set_t set;
    size_t cores = sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
    if (!strcmp(mine, "cpu") && !o->threads) o->threads = cores > same ? (int)(cores / same) : 1;
}

void er_cli_ranks_end(void) {
    er_comm_close(ranks.comm);
    ranks.comm = NULL;
}
