// Every transport does the same: ranks as threads and ranks as processes, and one rank alone.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "io/base/log.h"
#include "kernels/comm/local.h"
#include "tests/support/thread_comm.h"
#include "tests/test.h"

// What a rank does with its communicator; 0 when all was as it should be, else the line.
typedef int (*part)(const er_comm *c);
#define WANT(x)                                                                                              \
    do {                                                                                                     \
        if (!(x)) {                                                                                          \
            (void)fprintf(stderr, "rank %zu, line %d: %s; '%s'\n", c->rank, __LINE__, #x, er_last_error());  \
            return __LINE__;                                                                                 \
        }                                                                                                    \
    } while (0)
#define ENDS(call, status, words) WANT((call) == (status) && strstr(er_last_error(), words))

typedef struct thread_part {
    part does;
    const er_comm *comm;
    int failed;
} thread_part;

static void *run_thread(void *ctx) {
    thread_part *p = ctx;
    p->failed = p->does(p->comm);
    return NULL;
}

static void by_threads(part does, size_t size, double seconds) {
    const er_comm *comm[THREAD_RANKS];
    thread_comms *t = NULL;
    thread_part p[THREAD_RANKS];
    pthread_t thread[THREAD_RANKS];
    OK(thread_comms_create(&t, comm, size, seconds));
    for (size_t r = 0; r < size; r++) {
        p[r] = (thread_part){does, comm[r], 0};
        assert_int_equal(pthread_create(&thread[r], NULL, run_thread, &p[r]), 0);
    }
    for (size_t r = 0; r < size; r++) assert_int_equal(pthread_join(thread[r], NULL), 0);
    for (size_t r = 0; r < size; r++) assert_int_equal(p[r].failed, 0);
    thread_comms_free(t);
}

// Each rank leaves its result + 1 in memory that all share, for some are killed and some outlive their
// parent.
static _Atomic(int) *result;

static void share_results(void) {
    size_t bytes = THREAD_RANKS * sizeof *result;
    result = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(result != MAP_FAILED);
    for (size_t r = 0; r < THREAD_RANKS; r++) atomic_store(&result[r], 0);
}

static void result_is_good(size_t rank) {
    for (int i = 0; i < 1000 && atomic_load(&result[rank]) == 0; i++) (void)usleep(10000);
    assert_int_equal(atomic_load(&result[rank]), 1);
}

// In children of a child, so that this process never forks with threads.
static void by_processes(part does, size_t size, double seconds, size_t killed) {
    share_results();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        er_wire wire;
        er_comm *c = NULL;
        int code = -1;
        if (er_local_ranks(&wire, &code, size, 25) != ER_OK) _exit(2);
        if (code >= 0) _exit(0);  // the parent of the ranks, when all have ended
        if (er_comm_over(&c, &wire, (er_comm_waits){.longest = seconds}) != ER_OK) _exit(2);
        atomic_store(&result[c->rank], does(c) + 1);
        er_comm_close(c);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (size_t r = 0; r < size; r++)
        if (r != killed) result_is_good(r);
    (void)munmap((void *)result, THREAD_RANKS * sizeof *result);
}
enum { NOBODY = THREAD_RANKS };

// ---- what goes well ----

enum { MANY = 300000 };  // more than a piece

static int sums_and_parts(const er_comm *c) {
    double *x = malloc(MANY * sizeof *x);
    for (size_t i = 0; i < MANY; i++) x[i] = (double)(i + 1) / (double)(c->rank + 3);
    WANT(er_comm_sum_host(c, x, MANY) == ER_OK);
    for (size_t i = 0; i < MANY; i++) {
        double want = (double)(i + 1) / 3;  // in rank order
        for (size_t r = 1; r < c->size; r++) want += (double)(i + 1) / (double)(r + 3);
        WANT(x[i] == want);
    }
    // Parts of 0, 100000, 200000 ... bytes.
    size_t bytes[64], total = 0, at = 0;
    for (size_t r = 0; r < c->size; r++) bytes[r] = r * 100000, total += bytes[r];
    char *own = malloc(bytes[c->rank] + 1), *all = malloc(total + 1);
    memset(own, 'a' + (int)c->rank, bytes[c->rank]);
    WANT(er_comm_gather(c, all, own, bytes) == ER_OK);
    for (size_t r = 0; r < c->size; r++)
        for (size_t i = 0; i < bytes[r]; i++) WANT(all[at++] == 'a' + (char)r);
    free(all);
    // The same where only the owner knows how many.
    void *got = NULL;
    size_t sizes[64];
    WANT(er_comm_collect(c, &got, sizes, own, bytes[c->rank]) == ER_OK);
    WANT(memcmp(sizes, bytes, c->size * sizeof *bytes) == 0);
    for (size_t r = 0, i = 0; r < c->size; i += bytes[r++])
        WANT(bytes[r] == 0 || ((char *)got)[i + bytes[r] - 1] == 'a' + (char)r);
    free(got);
    free(own);
    free(x);
    return 0;
}

static int words(const er_comm *c) {
    for (size_t from = 0; from < c->size; from++) {
        char x[32];
        (void)snprintf(x, sizeof x, "of rank %zu", c->rank);
        WANT(er_comm_broadcast(c, x, sizeof x, from) == ER_OK);
        WANT(x[8] == '0' + (char)from);
        char *said = c->rank == from ? strdup("told by its owner") : NULL;
        size_t n = said ? strlen(said) + 1 : 0;
        WANT(er_comm_tell(c, (void **)&said, &n, from) == ER_OK);
        WANT(n == 18 && strcmp(said, "told by its owner") == 0);
        free(said);
        WANT(!er_comm_is_raised(c));
        WANT(er_comm_barrier(c) == ER_OK);
    }
    return 0;
}

static void test_what_goes_well(void **state) {
    (void)state;
    assert_int_equal(sums_and_parts(er_comm_self()), 0);
    assert_int_equal(words(er_comm_self()), 0);
    for (size_t size = 1; size <= 5; size += 2) {
        by_threads(sums_and_parts, size, 60);
        by_threads(words, size, 60);
        by_processes(sums_and_parts, size, 60, NOBODY);
        by_processes(words, size, 60, NOBODY);
    }
}

// ---- what does not ----

static int one_fails(const er_comm *c) {
    er_status mine = c->rank == 1 ? er_fail(ER_ENUMERIC, "layer 3 is odd") : ER_OK;
    ENDS(er_comm_agree(c, mine, "stopped"), ER_ENUMERIC, "rank 1: layer 3 is odd");
    // From then on nobody waits for anybody.
    if (c->rank == 2) return 0;
    ENDS(er_comm_agree(c, ER_OK, "stopped"), ER_ENUMERIC, "rank 1: layer 3 is odd");
    double x = 1;
    ENDS(er_comm_sum_host(c, &x, 1), ER_ENUMERIC, "layer 3");
    return 0;
}

static int failure_outranks_a_stop(const er_comm *c) {
    er_status mine = c->rank == 0   ? er_fail(ER_EINTERRUPTED, "interrupted in solve: half")
                     : c->rank == 1 ? er_fail(ER_EIO, "disk full")
                                    : er_fail(ER_ENOMEM, "no room");
    ENDS(er_comm_agree(c, mine, NULL), ER_EIO, "rank 1: disk full");
    return 0;
}

static int all_fail_alike(const er_comm *c) {
    WANT(er_comm_agree(c, er_fail(ER_ENOENT, "m: no such folder"), NULL) == ER_ENOENT);
    WANT(strcmp(er_last_error(), "m: no such folder") == 0);
    return 0;
}

// A rank that fails in front of a collective ends it for those that wait there.
static int fails_elsewhere(const er_comm *c) {
    double x = 1;
    if (c->rank == 1) {
        ENDS(er_comm_agree(c, er_fail(ER_ENOMEM, "no room for keys"), NULL), ER_ENOMEM, "no room for keys");
    } else {
        ENDS(er_comm_sum_host(c, &x, 1), ER_ENOMEM, "rank 1: no room for keys");
        ENDS(er_comm_agree(c, ER_ENOMEM, NULL), ER_ENOMEM, "rank 1: no room for keys");
    }
    return 0;
}

static int another_collective(const er_comm *c) {
    double x[3] = {0};
    ENDS(er_comm_sum_host(c, x, c->rank == 2 ? 2 : 3), ER_EARG, "rank 2 in sum of 2");
    return 0;
}

static int never_comes(const er_comm *c) {
    if (c->rank == 1) {
        (void)usleep(2500000);
        return 0;
    }
    double x = 1;
    ENDS(er_comm_sum_host(c, &x, 1), ER_EDEVICE, "in sum for rank 1");
    return 0;
}

static int alarm_is_heard(const er_comm *c) {
    if (c->rank == 0) er_comm_raise(c);
    double until = er_clock() + 20;
    while (!er_comm_is_raised(c) && er_clock() < until) (void)usleep(1000);
    WANT(er_comm_is_raised(c));
    return 0;
}

static void test_what_does_not(void **state) {
    (void)state;
    static const part parts[] = {
        one_fails, failure_outranks_a_stop, all_fail_alike, fails_elsewhere, another_collective};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        by_threads(parts[i], 3, 60);
        if (parts[i] != another_collective) by_processes(parts[i], 3, 60, NOBODY);  // test_wire has it
    }
    by_threads(alarm_is_heard, 3, 60);
    by_processes(alarm_is_heard, 3, 60, NOBODY);
    by_threads(never_comes, 3, 1);
    by_processes(never_comes, 3, 1, NOBODY);
}

// A killed process is noticed at once, in a collective and out of one, and named by all.
static int is_killed(const er_comm *c) {
    double x = 1, from = er_clock();
    WANT(er_comm_sum_host(c, &x, 1) == ER_OK);
    if (c->rank == 2) (void)raise(SIGKILL);
    if (c->rank == 0)
        while (!er_comm_is_raised(c) && er_clock() < from + 20) (void)usleep(1000);
    ENDS(er_comm_sum_host(c, &x, 1), ER_EDEVICE, "rank 2: was killed by signal 9");
    ENDS(er_comm_agree(c, ER_OK, NULL), ER_EDEVICE, "rank 2: was killed by signal 9");
    WANT(er_clock() - from < 10);
    return 0;
}

static void test_killed(void **state) {
    (void)state;
    by_processes(is_killed, 4, 60, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_goes_well),
        cmocka_unit_test(test_what_does_not), cmocka_unit_test(test_killed)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
