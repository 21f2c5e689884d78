#include "io/base/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "io/base/listener.h"
#include "io/base/log.h"
#include "io/base/os.h"
#include "io/base/status.h"
#include "io/base/unfinished.h"

_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "er_stop_request() is for signal handlers too");

static _Atomic(int) stop;
static _Atomic(int) demands;      // signals that count: the second one exits
static _Atomic(int) last_signal;  // that counted as a demand, and when
static _Atomic(long long) last_ms;
static _Atomic(bool) blocked;
static _Atomic(int) thread_of;  // process whose thread takes the signals

void er_stop_request(void) { atomic_store(&stop, 1); }
void er_stop_clear(void) { atomic_store(&stop, 0); }

static _Thread_local bool (*watch)(void *ctx);
static _Thread_local void *watch_ctx;

void er_stop_watch(bool (*asked)(void *ctx), void *ctx) { watch = asked, watch_ctx = ctx; }
bool er_stop_requested(void) {
    return atomic_load(&stop) != 0 || atomic_load(&er_listener_now()->stop) != 0 ||
           (watch && watch(watch_ctx));
}

er_status er_stop_check(const char *what) {
    return er_stop_requested() ? er_fail(ER_EINTERRUPTED, "%s", what) : ER_OK;
}

er_status er_interrupted_in(er_status rc, const char *stage, const char *said) {
    static const char named[] = "interrupted in ";
    char words[512];
    if (rc != ER_EINTERRUPTED || (!said && strncmp(er_last_error(), named, sizeof named - 1) == 0)) return rc;
    (void)snprintf(words, sizeof words, "%s", said ? said : er_last_error());
    return er_fail(rc, "%s%s: %s", named, stage, words);
}

static const struct {
    int number;
    bool counts;
} stops[] = {{SIGINT, true}, {SIGTERM, true}, {SIGUSR1, true}, {SIGHUP, false}, {SIGXCPU, false}};
enum { STOPS = sizeof stops / sizeof *stops };

// timeout(1) and batch systems send a signal to the process and to its group, so that it comes twice within
// microseconds: the same signal within this time is the same demand.
#define ONE_DEMAND_MS 300

static long long now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// true: it is time to go.
static bool take(int signal_number) {
    er_stop_request();
    for (size_t i = 0; i < STOPS; i++) {
        if (stops[i].number != signal_number || !stops[i].counts) continue;
        long long now = now_ms(), before = atomic_exchange(&last_ms, now);
        bool again =
            atomic_exchange(&last_signal, signal_number) == signal_number && now - before < ONE_DEMAND_MS;
        return !again && atomic_fetch_add(&demands, 1) > 0;
    }
    return false;
}

// Of threads that are older than the mask, such as those that a BLAS starts when it is loaded.
static void on_stop(int signal_number) {
    if (take(signal_number)) _exit(er_exit_code(ER_EINTERRUPTED));
}

static void stop_set(sigset_t *set) {
    sigemptyset(set);
    for (size_t i = 0; i < STOPS; i++) {
        struct sigaction now;
        if (sigaction(stops[i].number, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            (void)sigaddset(set, stops[i].number);
    }
}

static void *take_signals(void *unused) {
    (void)unused;
    sigset_t set;
    int signal_number = 0;
    stop_set(&set);
    while (sigwait(&set, &signal_number) == 0)
        if (take(signal_number)) {
            er_unfinished_remove();
            _exit(er_exit_code(ER_EINTERRUPTED));
        }
    return NULL;
}

static void handle(const sigset_t *set, void (*handler)(int)) {
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_handler = handler;
    act.sa_flags = SA_RESTART;
    sigfillset(&act.sa_mask);
    for (size_t i = 0; i < STOPS; i++)
        if (sigismember(set, stops[i].number) == 1) (void)sigaction(stops[i].number, &act, NULL);
}

// The thread takes nothing but what it waits for.
static int start_thread(void) {
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, before;
    int failed = pthread_attr_init(&attr);
    if (failed) return failed;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&thread, &attr, take_signals, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attr);
    return failed;
}

void er_signals_block(void) {
    sigset_t set;
    stop_set(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    atomic_store(&blocked, true);
}

bool er_signals_blocked(void) { return atomic_load(&blocked); }

void er_signals_install(void) {
    sigset_t set;
    if (atomic_exchange(&thread_of, (int)getpid()) == (int)getpid()) return;
    atomic_store(&demands, 0);
    atomic_store(&last_signal, 0);
    er_signals_block();
    stop_set(&set);
    handle(&set, on_stop);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    int failed = start_thread();
    if (!failed) return;
    handle(&set, SIG_DFL);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    atomic_store(&blocked, false);
    er_warn("no thread to take signals: %s: one of them ends the job at once, and what is unfinished stays",
        er_errno_text(failed));
}

void er_signals_finish(void) { er_unfinished_hold(); }
