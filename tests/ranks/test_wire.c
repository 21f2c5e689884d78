// Ranks as forked processes: collectives against sums and copies made by hand, and every way in which a rank
// may leave the others.
#include "tests/test.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "kernels/comm/local.h"
#include "tests/support/rank_bodies.h"

enum { MOST = 8 };
typedef struct seen {  // by one rank, for the parent to look at
    er_status status;
    char message[1000];
    double seconds;
    int speaks;
} seen;
static seen *all;  // [MOST], shared

static int setup(void **state) {
    (void)state;
    all = mmap(NULL, MOST * sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return all == MAP_FAILED;
}

// Runs `body` in `size` ranks. What it returns is kept in all[]; the exit code is that of the status.
static int among(size_t size, er_comm_waits waits, double grace, er_status (*body)(const er_comm *)) {
    er_wire wire;
    int code;
    memset(all, 0, MOST * sizeof *all);
    OK(er_local_ranks(&wire, &code, size, grace));
    if (code >= 0) return code;
    er_comm *c;
    if (er_comm_over(&c, &wire, waits) != ER_OK) _exit(99);
    seen *s = &all[c->rank];
    double start = er_clock();
    s->status = body(c);
    s->seconds = er_clock() - start;
    (void)snprintf(s->message, sizeof s->message, "%s", s->status == ER_OK ? "" : er_last_error());
    s->speaks = er_comm_speaks(c);
    code = er_exit_code(s->status);
    er_comm_close(c);
    _exit(code);
}

static void test_collectives(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 5, 8};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int code = among(sizes[i], (er_comm_waits){0}, 20, rank_every_collective);
        for (size_t r = 0; r < sizes[i]; r++)
            if (all[r].status != ER_OK) fail_msg("%zu ranks, rank %zu: %s", sizes[i], r, all[r].message);
        assert_int_equal(code, 0);
    }
}

static void all_end_with(size_t size, er_status status, const char *words, double within) {
    for (size_t r = 0; r < size; r++) {
        if (all[r].status != status) fail_msg("rank %zu: %d, %s", r, (int)all[r].status, all[r].message);
        if (!strstr(all[r].message, words)) fail_msg("rank %zu: '%s' lacks '%s'", r, all[r].message, words);
        BELOW(all[r].seconds, within);
    }
}

static void test_failure_of_one(void **state) {
    (void)state;
    assert_int_equal(among(4, (er_comm_waits){0}, 20, rank_fails_while_others_sum), er_exit_code(ER_EFORMAT));
    all_end_with(4, ER_EFORMAT, "rank 1: line 3: no subject", 5);
    assert_true(all[0].speaks && !all[1].speaks);
}

static void test_failure_of_all(void **state) {
    (void)state;
    assert_int_equal(among(3, (er_comm_waits){0}, 20, rank_all_fail), er_exit_code(ER_ENOENT));
    all_end_with(3, ER_ENOENT, "facts.jsonl: no such file", 5);
    assert_null(strstr(all[0].message, "rank"));  // nobody is singled out
}

static void test_killed(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(among(4, (er_comm_waits){0}, 20, rank_dies), 69);
        for (size_t r = 0; r < 4; r++)
            if (r != 2) {
                if (all[r].status != ER_EDEVICE || !strstr(all[r].message, "rank 2: was killed by signal 9"))
                    fail_msg("round %d, rank %zu: %d %s", i, r, (int)all[r].status, all[r].message);
                BELOW(all[r].seconds, 5);
            }
    }
}

static void test_hung(void **state) {
    (void)state;
    double start = er_clock();
    assert_int_equal(among(3, (er_comm_waits){.silence = 2.5}, 3, rank_hangs), 69);
    BELOW(er_clock() - start, 30);
    assert_int_equal(all[0].status, ER_EDEVICE);
    assert_non_null(strstr(all[0].message, "rank 1 has given no sign of life"));
    assert_non_null(strstr(all[0].message, "in sum"));
}

// A job that is suspended as a whole takes nobody for hung.
static void test_suspended(void **state) {
    (void)state;
    assert_int_equal(among(3, (er_comm_waits){.silence = 2.5}, 20, rank_is_suspended), 0);
}

// Rank 0 cannot say it: the lowest that can does.
static er_status first_hangs(const er_comm *c) {
    if (c->rank == 0) (void)raise(SIGSTOP);
    return er_comm_barrier(c);
}

static void test_first_hung(void **state) {
    (void)state;
    assert_int_equal(among(3, (er_comm_waits){.silence = 2}, 3, first_hangs), 69);
    assert_non_null(strstr(all[1].message, "rank 0 has given no sign of life"));
    assert_true(all[1].speaks && !all[2].speaks);
}

static void test_waits_have_an_end(void **state) {
    (void)state;
    assert_int_equal(among(2, (er_comm_waits){.longest = 1}, 20, rank_comes_late), 69);
    all_end_with(2, ER_EDEVICE, "rank 0: waited 1 s in agree for rank 1", 5);
    assert_int_equal(among(2, (er_comm_waits){.longest = 20}, 20, rank_comes_late), 0);
}

static void test_lengths_that_differ(void **state) {
    (void)state;
    assert_int_equal(among(2, (er_comm_waits){0}, 20, rank_disagrees), 69);
    assert_true(strstr(all[0].message, "sends 72 bytes") || strstr(all[0].message, "sends 64 bytes"));
}

static void test_signals_are_handed_on(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) _exit(among(3, (er_comm_waits){0}, 20, rank_stops_with_all));
    (void)usleep(700000);
    assert_int_equal(kill(child, SIGUSR1), 0);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 75);
    all_end_with(3, ER_EINTERRUPTED, "after a layer", 5);
}

static void test_alarm(void **state) {
    (void)state;
    assert_int_equal(among(3, (er_comm_waits){0}, 20, rank_works_until_raised), er_exit_code(ER_EIO));
    all_end_with(3, ER_EIO, "rank 0: disk full", 5);
}

static void test_an_end_out_of_turn(void **state) {
    (void)state;
    assert_int_equal(among(2, (er_comm_waits){0}, 20, rank_leaves_early), 69);
    assert_non_null(strstr(all[0].message, "rank 1: has closed its end"));
}

static void test_sizes(void **state) {
    (void)state;
    er_wire wire;
    int code;
    FAILS(er_local_ranks(&wire, &code, 17, 1), ER_EARG, "17 ranks");
    FAILS(er_local_ranks(&wire, &code, 0, 1), ER_EARG, "0 ranks");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collectives),
        cmocka_unit_test(test_failure_of_one),
        cmocka_unit_test(test_failure_of_all),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_hung),
        cmocka_unit_test(test_suspended),
        cmocka_unit_test(test_first_hung),
        cmocka_unit_test(test_waits_have_an_end),
        cmocka_unit_test(test_lengths_that_differ),
        cmocka_unit_test(test_signals_are_handed_on),
        cmocka_unit_test(test_alarm),
        cmocka_unit_test(test_an_end_out_of_turn),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
