#include "io/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "io/log_private.h"
#include "io/status.h"
#include "io/warnings.h"

static _Atomic(int) current_level = ER_LOG_INFO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile sig_atomic_t stop_signals;

void er_log_set_level(er_log_level level) { atomic_store(&current_level, (int)level); }
er_log_level er_log_get_level(void) { return (er_log_level)atomic_load(&current_level); }

void er_log_lock(void) { pthread_mutex_lock(&lock); }
void er_log_unlock(void) { pthread_mutex_unlock(&lock); }

static void say(er_log_level level, const char *prefix, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static void say(er_log_level level, const char *prefix, const char *fmt, va_list ap) {
    if (er_log_get_level() < level) return;
    er_log_lock();
    er_progress_hide();
    (void)fputs(prefix, stderr);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    er_progress_show();
    (void)fflush(stderr);
    er_log_unlock();
}

#define SAY(level, prefix)                                                                                   \
    do {                                                                                                     \
        va_list ap;                                                                                          \
        va_start(ap, fmt);                                                                                   \
        say(level, prefix, fmt, ap);                                                                         \
        va_end(ap);                                                                                          \
    } while (0)
void er_warn(const char *fmt, ...) {
    va_list kept;
    va_start(kept, fmt);
    er_warnings_keep(fmt, kept);
    va_end(kept);
    SAY(ER_LOG_WARN, "warning: ");
}
void er_info(const char *fmt, ...) { SAY(ER_LOG_INFO, ""); }
void er_debug(const char *fmt, ...) { SAY(ER_LOG_DEBUG, ""); }

// ---- signals ----

static void on_stop(int sig) {
    (void)sig;
    if (stop_signals)
        _exit(er_exit_code(ER_EINTERRUPTED));  // the second one: only temporary files are left behind
    stop_signals = 1;
}

void er_signals_install(void) {
    static const int stops[] = {SIGINT, SIGTERM, SIGUSR1};
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_handler = on_stop;
    act.sa_flags = SA_RESTART;
    sigemptyset(&act.sa_mask);
    // While one is handled the others wait, so that two at once count as two.
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) sigaddset(&act.sa_mask, stops[i]);
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) (void)sigaction(stops[i], &act, NULL);
}

bool er_stop_requested(void) { return stop_signals != 0; }
