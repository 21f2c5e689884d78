// One rank under an MPI launcher: does what the argument says and tells on stdout what became of it. Run by
// test_mpi.sh.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/comm/mpi.h"
#include "tests/support/rank_bodies.h"

static const struct {
    const char *name;
    er_status (*run)(const er_comm *);
    er_comm_waits waits;
} bodies[] = {
    {"every_collective", rank_every_collective, {0, 0}},
    {"fails_while_others_sum", rank_fails_while_others_sum, {0, 0}},
    {"all_fail", rank_all_fail, {0, 0}},
    {"dies", rank_dies, {0, 0}},
    {"hangs", rank_hangs, {2.5, 0}},
    {"comes_late", rank_comes_late, {0, 1}},
    {"stops_with_all", rank_stops_with_all, {0, 0}},
    {"works_until_raised", rank_works_until_raised, {0, 0}},
};

int main(int argc, char **argv) {
    er_wire wire;
    er_comm *c = NULL;
    const char *variable = "";
    size_t launched = er_mpi_launched(&variable);
    for (size_t i = 0; argc == 2 && i < sizeof bodies / sizeof *bodies; i++) {
        if (strcmp(argv[1], bodies[i].name) != 0) continue;
        er_status rc = er_mpi_wire(&wire, NULL);
        if (rc == ER_OK) rc = er_comm_over(&c, &wire, bodies[i].waits);
        if (rc != ER_OK) {
            (void)printf("no rank: %s\n", er_last_error());
            return er_exit_code(rc);
        }
        rc = bodies[i].run(c);
        if (launched > 1 && launched != c->size) rc = er_fail(ER_EFORMAT, "%s said %zu", variable, launched);
        size_t local, on_it;
        er_comm_local(c, &local, &on_it);
        (void)printf("rank %zu of %zu, %zu of %zu here: %d %s\n", c->rank, c->size, local, on_it,
            er_exit_code(rc), rc == ER_OK ? "" : er_last_error());
        (void)fflush(stdout);
        er_comm_close(c);
        return er_exit_code(rc);
    }
    return 2;
}
