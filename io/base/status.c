#include "io/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_message[1024];
static _Thread_local char last_place[128];

er_status er_fail_(const char *file, int line, er_status code, const char *fmt, ...) {
    const char *base = strrchr(file, '/');
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(last_message, sizeof last_message, fmt, ap);
    va_end(ap);
    (void)snprintf(last_place, sizeof last_place, "%s:%d", base ? base + 1 : file, line);
    return code;
}

void er_error_clear(void) { last_message[0] = last_place[0] = 0; }
const char *er_last_error(void) { return last_message; }
const char *er_last_error_place(void) { return last_place; }

int er_exit_code(er_status rc) {
    switch (rc) {
    case ER_OK:
        return 0;
    case ER_ENOMEM:
        return 1;
    case ER_EIO:
        return 74;
    case ER_ENOENT:
        return 66;
    case ER_EFORMAT:
        return 65;
    case ER_EUNSUPPORTED:
        return 65;
    case ER_EARG:
        return 2;
    case ER_ECONFIG:
        return 78;
    case ER_EOUTPUT:
        return 73;
    case ER_ENUMERIC:
        return 70;
    case ER_ENODEVICE:
    case ER_EDEVICE:
        return 69;
    case ER_EINTERRUPTED:
        return 75;
    }
    return 1;
}
