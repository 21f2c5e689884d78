// What ranks do in the tests of their wires: every collective, and every way to leave the others.
#include "tests/support/rank_bodies.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/base/signals.h"
#include "tests/test.h"

enum { MOST = 8 };

static double number(size_t rank, size_t i) {
    uint64_t seed = rank * 7919 + i;
    return test_uniform(&seed) * pow(2, (double)(i % 40) - 20);
}

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) return er_fail(ER_EFORMAT, "%d: %s", __LINE__, #condition);                        \
    } while (0)

static er_status sums_of(const er_comm *c, size_t n) {
    double *x = malloc((n + 1) * sizeof *x);
    MUST(x != NULL);
    for (size_t i = 0; i < n; i++) x[i] = number(c->rank, i);
    er_status rc = er_comm_sum_host(c, x, n);
    for (size_t i = 0; rc == ER_OK && i < n; i++) {
        double s = 0;
        for (size_t r = 0; r < c->size; r++) s += number(r, i);
        if (memcmp(&s, &x[i], sizeof s) != 0)
            rc = er_fail(ER_EFORMAT, "sum %zu of %zu: %g, %g", i, n, x[i], s);
    }
    free(x);
    return rc;
}

er_status rank_every_collective(const er_comm *c) {
    static const size_t lengths[] = {0, 1, 2, 7, 511, 4096, 4097, 100003, (1 << 20) + 5};
    er_status rc = ER_OK;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) ER_TRY(sums_of(c, lengths[i]));
    for (size_t from = 0; from < c->size; from++) {
        char words[300000];
        memset(words, c->rank == from ? 'a' + (int)from : 0, sizeof words);
        ER_TRY(er_comm_broadcast(c, words, sizeof words, from));
        for (size_t i = 0; i < sizeof words; i++) MUST(words[i] == 'a' + (int)from);
    }
    size_t bytes[MOST], own = c->rank == 1 ? 0 : 1000 * c->rank + 3;
    char mine[MOST * 1000 + 3];
    memset(mine, 'A' + (int)c->rank, sizeof mine);
    char *parts = NULL;
    ER_TRY(er_comm_collect(c, (void **)&parts, bytes, mine, own));
    for (size_t r = 0, at = 0; r < c->size; at += bytes[r++]) {
        MUST(bytes[r] == (r == 1 ? 0 : 1000 * r + 3));
        for (size_t i = 0; i < bytes[r]; i++) MUST(parts[at + i] == 'A' + (int)r);
    }
    free(parts);
    MUST(!er_comm_is_raised(c));
    ER_TRY(er_comm_agree(c, ER_OK, "stopped"));
    ER_TRY(er_comm_barrier(c));
out:
    return rc;
}

er_status rank_fails_while_others_sum(const er_comm *c) {
    double x[20000] = {0};
    if (c->rank != 1) return er_comm_sum_host(c, x, 20000);
    (void)usleep(200000);
    return er_comm_agree(c, er_fail(ER_EFORMAT, "line 3: no subject"), "stopped");
}

er_status rank_all_fail(const er_comm *c) {
    er_status rc = er_comm_agree(c, er_fail(ER_ENOENT, "facts.jsonl: no such file"), "stopped");
    char again[200];
    (void)snprintf(again, sizeof again, "%s", er_last_error());
    MUST(er_comm_barrier(c) == rc && !strcmp(again, er_last_error()));  // at once, and the same
    return rc;
}

static er_status sums_for_ever(const er_comm *c) {
    double x[5000] = {0};
    er_status rc = ER_OK;
    while (rc == ER_OK) rc = er_comm_sum_host(c, x, 5000);
    return rc;
}

er_status rank_dies(const er_comm *c) {
    if (c->rank == 2) {
        struct timespec t = {.tv_nsec = (long)(getpid() * 7919L % 40) * 1000000};
        pid_t me = getpid();
        if (fork() == 0) {
            (void)nanosleep(&t, NULL);
            (void)kill(me, SIGKILL);
            _exit(0);
        }
    }
    return sums_for_ever(c);
}

er_status rank_hangs(const er_comm *c) {
    if (c->rank == 1) (void)raise(SIGSTOP);
    return sums_for_ever(c);
}

er_status rank_comes_late(const er_comm *c) {
    if (c->rank == 1) (void)sleep(3);
    er_status rc = er_comm_barrier(c);  // which rank 0 has left, though its part of it lies there
    return rc == ER_OK ? er_comm_barrier(c) : rc;
}

er_status rank_disagrees(const er_comm *c) {
    double x[9] = {0};
    return er_comm_sum_host(c, x, c->rank == 1 ? 9 : 8);
}

er_status rank_stops_with_all(const er_comm *c) {
    er_signals_block();
    er_signals_install();
    er_status rc = ER_OK;
    for (int i = 0; i < 1000 && rc == ER_OK; i++) {
        (void)usleep(10000);
        rc = er_comm_agree(c, ER_OK, "after a layer");
    }
    return rc;
}

er_status rank_works_until_raised(const er_comm *c) {
    if (c->rank == 0) {
        (void)usleep(100000);
        return er_comm_agree(c, er_fail(ER_EIO, "disk full"), "stopped");
    }
    for (int i = 0; i < 1000; i++) {  // work without a collective
        (void)usleep(10000);
        if (er_comm_is_raised(c)) return er_comm_agree(c, ER_OK, "stopped");
    }
    return ER_OK;
}

er_status rank_leaves_early(const er_comm *c) { return c->rank == 1 ? ER_OK : er_comm_barrier(c); }

er_status rank_is_suspended(const er_comm *c) {
    pid_t me = getpid();
    double x[100] = {0};
    if (fork() == 0) {
        (void)usleep(500000 + 100000 * (unsigned)c->rank);
        (void)kill(me, SIGSTOP);
        (void)usleep(4000000);
        (void)kill(me, SIGCONT);
        _exit(0);
    }
    er_status rc = ER_OK;
    for (int i = 0; i < 200 && rc == ER_OK; i++) {
        (void)usleep(10000);
        rc = er_comm_sum_host(c, x, 100);
    }
    return rc;
}
