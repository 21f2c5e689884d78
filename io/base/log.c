#include "io/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/base/listener.h"
#include "io/base/warnings.h"

void er_log_set_level(er_log_level level) { atomic_store(&er_listener_now()->level, (int)level); }
er_log_level er_log_get_level(void) { return (er_log_level)atomic_load(&er_listener_now()->level); }

static void say(er_log_level level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void say(er_log_level level, const char *fmt, va_list ap) {
    const er_listener *l = er_listener_now();
    char brief[512], *whole = NULL;
    va_list again;
    if (er_log_get_level() < level || !l->log) return;
    va_copy(again, ap);
    int length = vsnprintf(brief, sizeof brief, fmt, ap);
    // Where memory is out the first half of a line is better than none.
    if (length >= (int)sizeof brief && vasprintf(&whole, fmt, again) < 0) whole = NULL;
    va_end(again);
    l->log(l->log_user, level, whole ? whole : brief);
    free(whole);
}

#define SAY(level)                                                                                           \
    do {                                                                                                     \
        va_list ap;                                                                                          \
        va_start(ap, fmt);                                                                                   \
        say(level, fmt, ap);                                                                                 \
        va_end(ap);                                                                                          \
    } while (0)
void er_warn(const char *fmt, ...) {
    va_list kept;
    va_start(kept, fmt);
    er_warnings_keep(fmt, kept);
    va_end(kept);
    SAY(ER_LOG_WARN);
}
void er_info(const char *fmt, ...) { SAY(ER_LOG_INFO); }
void er_debug(const char *fmt, ...) { SAY(ER_LOG_DEBUG); }
