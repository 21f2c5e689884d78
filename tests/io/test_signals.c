// What signals do to a program that installed the thread that takes them: each case in a child of its own.
#include "tests/io/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include "io/base/log.h"
#include "io/base/partial.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { REACHED = 42, NOT_SEEN = 2, WRONG = 3, SIGNALLED = 1000 };

// The exit status, or SIGNALLED and the signal that ended it.
static int status_of(void (*body)(int), int arg) {
    int status = 0;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(60);  // a test that hangs is a test that failed
        body(arg);
        _exit(WRONG);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : SIGNALLED + WTERMSIG(status);
}

static void nap(long milliseconds) {
    struct timespec t = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

static bool soon_requested(void) {
    for (int i = 0; i < 5000 && !er_stop_requested(); i++) nap(1);
    return er_stop_requested();
}

static void send(int signal_number) {
    if (kill(getpid(), signal_number) != 0) _exit(WRONG);
}

static void one(int signal_number) {
    er_signals_install();
    if (er_stop_requested()) _exit(WRONG);
    send(signal_number);
    _exit(soon_requested() ? REACHED : NOT_SEEN);
}

static void test_one(void **state) {
    (void)state;
    static const int each[] = {SIGINT, SIGTERM, SIGUSR1, SIGHUP, SIGXCPU};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        assert_int_equal(status_of(one, each[i]), REACHED);
}

// Busy without a system call, and deaf.
static void busy(int second) {
    er_signals_install();
    send(SIGINT);
    if (!soon_requested()) _exit(NOT_SEEN);
    pid_t parent = getpid();
    if (fork() == 0) {
        nap(second == SIGINT ? 400 : 20);
        (void)kill(parent, second);
        _exit(0);
    }
    for (volatile unsigned long i = 0;; i++) continue;
}

static void both_at_once(int unused) {
    (void)unused;
    er_signals_install();
    sigset_t both;  // no thread of ours is to take the first before the second is there
    sigfillset(&both);
    (void)sigprocmask(SIG_BLOCK, &both, NULL);
    send(SIGINT);
    send(SIGTERM);
    nap(60000);
}

// timeout(1) signals the process, then its group.
static void twice_in_a_moment(int unused) {
    (void)unused;
    er_signals_install();
    send(SIGTERM);
    if (!soon_requested()) _exit(NOT_SEEN);
    send(SIGTERM);
    nap(50);
    _exit(REACHED);
}

static void test_two(void **state) {
    (void)state;
    assert_int_equal(status_of(busy, SIGINT), 75);
    assert_int_equal(status_of(busy, SIGTERM), 75);
    assert_int_equal(status_of(both_at_once, 0), 75);
    assert_int_equal(status_of(twice_in_a_moment, 0), REACHED);
}

// A terminal that goes away says so more than once: that is not impatience.
static void repeated(int signal_number) {
    er_signals_install();
    for (int i = 0; i < 5; i++) send(signal_number), nap(5);
    send(SIGTERM);
    nap(20);
    _exit(er_stop_requested() ? REACHED : NOT_SEEN);
}

static void test_repeated(void **state) {
    (void)state;
    assert_int_equal(status_of(repeated, SIGHUP), REACHED);
    assert_int_equal(status_of(repeated, SIGXCPU), REACHED);
}

static void ignored(int signal_number) {
    struct sigaction now;
    (void)signal(signal_number, SIG_IGN);
    er_signals_install();
    send(signal_number);
    nap(30);
    if (sigaction(signal_number, NULL, &now) != 0 || now.sa_handler != SIG_IGN) _exit(WRONG);
    if (er_stop_requested()) _exit(NOT_SEEN);
    send(SIGTERM);
    _exit(soon_requested() ? REACHED : NOT_SEEN);
}

static void test_ignored_stay_ignored(void **state) {
    (void)state;
    assert_int_equal(status_of(ignored, SIGHUP), REACHED);  // nohup
    assert_int_equal(status_of(ignored, SIGINT), REACHED);  // a script's background job
}

// Sent between the mask and the thread, which is where main() starts the program again.
static void early(int signal_number) {
    er_signals_block();
    send(signal_number);
    nap(5);
    er_signals_install();
    _exit(soon_requested() ? REACHED : NOT_SEEN);
}

static void twice(int signal_number) {
    er_signals_install();
    er_signals_install();
    send(signal_number);
    if (!soon_requested()) _exit(NOT_SEEN);
    nap(20);
#ifdef __SANITIZE_THREAD__  // which allows no thread after the fork of a program with threads
    _exit(REACHED);
#endif
    if (fork() == 0) {
        er_stop_clear();
        er_signals_install();  // a child has no thread until it asks for one
        send(signal_number);
        _exit(soon_requested() ? REACHED : NOT_SEEN);
    }
    int status = 0;
    _exit(wait(&status) > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : WRONG);
}

static void test_early_and_twice(void **state) {
    (void)state;
    assert_int_equal(status_of(early, SIGTERM), REACHED);
    assert_int_equal(status_of(twice, SIGTERM), REACHED);
}

// Threads that are older than the mask would otherwise die of the signal, and the program with them.
static void *older(void *unused) {
    (void)unused;
    for (;;) nap(1000);
    return NULL;
}

static void with_older_thread(int signal_number) {
    pthread_t t;
    if (pthread_create(&t, NULL, older, NULL) != 0) _exit(WRONG);
    er_signals_install();
    send(signal_number);
    if (!soon_requested()) _exit(NOT_SEEN);
    nap(400);
    send(signal_number);
    nap(5000);
}

static void *mask_of(void *out) {
    (void)pthread_sigmask(SIG_BLOCK, NULL, out);
    return NULL;
}

static void later_threads(int signal_number) {
    pthread_t t;
    sigset_t mask;
    er_signals_install();
    if (pthread_create(&t, NULL, mask_of, &mask) != 0 || pthread_join(t, NULL) != 0) _exit(WRONG);
    if (sigismember(&mask, SIGTSTP) || sigismember(&mask, SIGCONT) || sigismember(&mask, SIGQUIT))
        _exit(WRONG);
    _exit(sigismember(&mask, signal_number) == 1 ? REACHED : NOT_SEEN);
}

static void test_threads(void **state) {
    (void)state;
    assert_int_equal(status_of(with_older_thread, SIGTERM), 75);
    assert_int_equal(status_of(later_threads, SIGINT), REACHED);
    assert_int_equal(status_of(later_threads, SIGHUP), REACHED);
}

static void stopped_and_continued(int unused) {
    (void)unused;
    er_signals_install();
    pid_t child = getpid();
    if (fork() == 0) {
        nap(50);
        (void)kill(child, SIGCONT);
        _exit(0);
    }
    send(SIGTSTP);
    nap(20);
    if (er_stop_requested()) _exit(WRONG);
    send(SIGTERM);
    _exit(soon_requested() ? REACHED : NOT_SEEN);
}

static void broken_pipe(int unused) {
    (void)unused;
    int ends[2];
    er_signals_install();
    if (pipe(ends) != 0 || close(ends[0]) != 0) _exit(WRONG);
    _exit(write(ends[1], "x", 1) == -1 && errno == EPIPE ? REACHED : NOT_SEEN);
}

static void file_limit(int unused) {
    (void)unused;
    struct rlimit r = {.rlim_cur = 4, .rlim_max = 4};
    er_signals_install();
    int fd = open(in_scratch("limited"), O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || setrlimit(RLIMIT_FSIZE, &r) != 0 || write(fd, "1234", 4) != 4) _exit(WRONG);
    _exit(write(fd, "5", 1) == -1 && errno == EFBIG ? REACHED : NOT_SEEN);
}

static void test_other_signals(void **state) {
    (void)state;
    assert_int_equal(status_of(stopped_and_continued, 0), REACHED);
    assert_int_equal(status_of(broken_pipe, 0), REACHED);
    assert_int_equal(status_of(file_limit, 0), REACHED);
}

#ifndef SANITIZED  // which need address space of their own
static void no_thread(int signal_number) {
    struct rlimit none = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
    er_log_set_level(ER_LOG_QUIET);
    if (setrlimit(RLIMIT_AS, &none) != 0) _exit(WRONG);
    er_signals_install();
    send(signal_number);
    nap(5000);
}

static void test_no_thread(void **state) {
    (void)state;
    assert_int_equal(status_of(no_thread, SIGTERM), SIGNALLED + SIGTERM);
}
#endif

// ---- the second signal leaves nothing behind ----

static void make_unfinished(int *fd, char **temp, er_output **o) {
    if (er_temp_create(fd, temp, in_scratch("box/one.npz")) != ER_OK) _exit(WRONG);
    if (er_output_begin(o, in_scratch("box/out"), false) != ER_OK) _exit(WRONG);
    if (er_output_write(*o, "a", "bytes", 5) != ER_OK) _exit(WRONG);
}

static void unfinished(int unused) {
    (void)unused;
    int fd = -1;
    char *temp = NULL;
    er_output *o = NULL;
    make_unfinished(&fd, &temp, &o);
    er_signals_install();
    send(SIGTERM);
    if (!soon_requested()) _exit(NOT_SEEN);
    send(SIGUSR1);
    for (;;) {  // a writer that goes on meanwhile
        static int n;
        char name[32];
        (void)snprintf(name, sizeof name, "file-%d", n++);
        (void)er_output_write(o, name, "more", 4);
    }
}

static void finished(int unused) {
    (void)unused;
    int fd = -1;
    char *temp = NULL;
    er_output *o = NULL;
    make_unfinished(&fd, &temp, &o);
    if (er_temp_publish(fd, temp, in_scratch("box/one.npz")) != ER_OK) _exit(WRONG);
    if (er_output_commit(o) != ER_OK) _exit(WRONG);
    free(temp);
    er_output_free(o);
    er_signals_install();
    send(SIGTERM);
    if (!soon_requested()) _exit(NOT_SEEN);
    send(SIGUSR1);
    nap(5000);
}

static void test_nothing_left(void **state) {
    (void)state;
    OK(er_mkdirs(in_scratch("box")));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(status_of(unfinished, 0), 75);
        assert_int_equal(count_entries(in_scratch("box")), 0);
    }
    assert_int_equal(status_of(finished, 0), 75);  // and takes nothing away that is finished
    assert_int_equal(count_entries(in_scratch("box")), 2);
    file_holds(in_scratch("box/out/a"), "bytes", 5);
}

static void after_finish(int unused) {
    (void)unused;
    er_signals_install();
    er_signals_finish();
    send(SIGTERM);
    if (!soon_requested()) _exit(NOT_SEEN);
    send(SIGTERM);
    nap(50);
    _exit(REACHED);
}

static void test_finish(void **state) {
    (void)state;
    assert_int_equal(status_of(after_finish, 0), REACHED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_two),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_ignored_stay_ignored),
        cmocka_unit_test(test_early_and_twice),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_other_signals),
#ifndef SANITIZED
        cmocka_unit_test(test_no_thread),
#endif
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_finish),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
