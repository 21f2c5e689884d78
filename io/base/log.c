#include "io/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include "io/base/log_internal.h"
#include "io/base/warnings.h"

static _Atomic(int) current_level = ER_LOG_INFO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

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
