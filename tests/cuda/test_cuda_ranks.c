// Ranks with a GPU each, NCCL between them: sums of device memory, a rank that fails, one that is killed, and
// every call failing once. On a machine with one GPU the ranks share it (each says that it is another host).
#include "tests/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "kernels/comm/device_sum.h"
#include "kernels/comm/local.h"

#pragma weak shim_fail_at
#pragma weak shim_calls
#pragma weak shim_leaks
void shim_fail_at(long n);
long shim_calls(void);
int shim_leaks(void);

typedef er_status body(er_comm *, er_device *);
static long fails_at;  // the call of rank 1 that fails; 0: none

// The exit code of `run` in `size` ranks; what rank 0 says goes to stderr unless `quiet`.
static int among(size_t size, bool quiet, body *run) {
    er_wire wire;
    er_comm *c = NULL;
    er_device *d = NULL;
    const char *how = "";
    char host[32];
    int code;
    OK(er_local_ranks(&wire, &code, size, 20));
    if (code >= 0) return code;
    (void)snprintf(host, sizeof host, "rank-%zu", wire.rank);
    (void)setenv("NCCL_HOSTID", host, 1);
    er_device_options o = {.kind = "cuda", .memory_limit = (size_t)1 << 28};
    er_status rc = er_comm_over(&c, &wire, (er_comm_waits){0});
    if (rc != ER_OK) _exit(99);
    rc = er_comm_agree(c, er_device_open(&d, &o), "stopped");
    if (fails_at && c->rank == 1) shim_fail_at(fails_at);
    if (rc == ER_OK) rc = er_comm_join(c, d, &how);
    if (rc == ER_OK && strcmp(how, "NCCL") != 0)
        rc = er_comm_failed(c, er_fail(ER_EFORMAT, "sums go by %s", how));
    if (rc == ER_OK) rc = run(c, d);
    if ((rc != ER_OK && c->rank == 0 && !quiet) || rc == ER_EFORMAT)
        (void)fprintf(stderr, "%s\n", er_last_error());
    if (fails_at && c->rank == 1) shim_fail_at(0);
    er_comm_close(c);
    er_device_close(d);
    code = er_exit_code(rc);
    if (shim_leaks && shim_leaks() != 0) code = 98;
    _exit(code);
}

static double number(size_t rank, size_t i) {
    uint64_t seed = rank * 7919 + i;
    return test_uniform(&seed) * pow(2, (double)(i % 40) - 20);
}

static er_status sum_of(er_comm *c, er_device *d, size_t n) {
    er_status rc = ER_OK;
    void *x = NULL;
    double *host = malloc(n * sizeof *host), *others = malloc(c->size * n * sizeof *others);
    size_t bytes[16];
    if (!host || !others) ER_FAIL(ER_ENOMEM, "numbers");
    for (size_t i = 0; i < n; i++) host[i] = number(c->rank, i);
    ER_TRY(d->op->alloc(d, &x, n * sizeof *host));
    ER_TRY(d->op->upload(d, x, host, n * sizeof *host));
    ER_TRY(er_comm_sum_f64(c, d, x, n));
    ER_TRY(d->op->download(d, host, x, n * sizeof *host));
    for (size_t i = 0; i < n; i++) {
        double s = 0, size = 0;
        for (size_t r = 0; r < c->size; r++) s += number(r, i), size += fabs(number(r, i));
        if (!(fabs(host[i] - s) <= 1e-15 * size))
            ER_FAIL(ER_EFORMAT, "%zu of %zu: %.17g, %.17g", i, n, host[i], s);
    }
    for (size_t r = 0; r < c->size; r++) bytes[r] = n * sizeof *host;
    ER_TRY(er_comm_gather(c, others, host, bytes));
    for (size_t r = 0; r < c->size; r++)
        if (memcmp(others + r * n, host, n * sizeof *host) != 0) ER_FAIL(ER_EFORMAT, "ranks differ");
out:
    if (rc != ER_OK) rc = er_comm_failed(c, rc);
    if (x) d->op->release(d, x);
    free(host);
    free(others);
    return rc;
}

static er_status sums(er_comm *c, er_device *d) {
    static const size_t lengths[] = {1, 7, 32768, 32769, 100003};
    er_status rc = ER_OK;
    for (size_t i = 0; rc == ER_OK && i < sizeof lengths / sizeof *lengths; i++)
        rc = sum_of(c, d, lengths[i]);
    return rc == ER_OK ? er_comm_barrier(c) : rc;
}

static void test_sums(void **state) {
    (void)state;
    for (size_t size = 1; size <= 4; size++) assert_int_equal(among(size, false, sums), 0);
}

static er_status one_fails(er_comm *c, er_device *d) {
    if (c->rank == 1)
        return er_comm_agree(c, er_fail(ER_ENUMERIC, "layer 3: not positive definite"), "stopped");
    er_status rc = sum_of(c, d, 1000);
    return rc == ER_ENUMERIC && strstr(er_last_error(), "rank 1: layer 3") ? rc : ER_OK;
}

static void test_one_fails(void **state) {
    (void)state;
    double start = er_clock();
    assert_int_equal(among(3, true, one_fails), er_exit_code(ER_ENUMERIC));
    BELOW(er_clock() - start, 20);
}

static er_status one_is_killed(er_comm *c, er_device *d) {
    for (int i = 0;; i++) {
        if (c->rank == 1 && i == 3) (void)raise(SIGKILL);
        er_status rc = sum_of(c, d, 1000);
        if (rc != ER_OK) return strstr(er_last_error(), "rank 1: was killed by signal 9") ? rc : ER_OK;
    }
}

static void test_one_is_killed(void **state) {
    (void)state;
    double start = er_clock();
    assert_int_equal(among(3, true, one_is_killed), 69);
    BELOW(er_clock() - start, 20);
}

static er_status two_sums(er_comm *c, er_device *d) {
    er_status rc = sum_of(c, d, 40000);
    if (rc == ER_OK) rc = sum_of(c, d, 3);
    if (rc != ER_OK || !fails_at) return rc;
    // Still to fail: the last call was too early.
    return er_comm_agree(
        c, c->rank == 1 && shim_calls() < fails_at ? er_fail(ER_ECONFIG, "all calls") : ER_OK, NULL);
}

// Whatever call of CUDA or NCCL fails on one rank, all end, with nothing left. Polls come in any number, so
// the count of calls differs from run to run.
static void test_every_call_fails(void **state) {
    (void)state;
    if (!shim_fail_at) skip();
    int code = 0;
    for (fails_at = 1; fails_at < 400; fails_at++) {
        code = among(2, true, two_sums);
        if (code == er_exit_code(ER_ECONFIG)) break;
        if (code != 0 && code != 69 && code != 1) fail_msg("call %ld: exit code %d", fails_at, code);
    }
    assert_int_equal(code, er_exit_code(ER_ECONFIG));
    assert_true(fails_at > 20);
    fails_at = 0;
}

// In a process of its own: a context of CUDA does not survive a fork.
static bool there_is_a_gpu(void) {
    int how = 0;
    pid_t child = fork();
    if (child == 0) {
        er_device *d = NULL;
        er_device_options o = {.kind = "cuda", .memory_limit = (size_t)1 << 28};
        er_status rc = er_device_open(&d, &o);
        er_device_close(d);
        _exit(rc != ER_OK);
    }
    return waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

int main(void) {
    if (!there_is_a_gpu()) {
        (void)puts("skipped: no GPU");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_one_fails),
        cmocka_unit_test(test_one_is_killed),
        cmocka_unit_test(test_every_call_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
