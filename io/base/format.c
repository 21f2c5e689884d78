// Text into new memory, and the system's words for errno.
#include "io/base/format.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *er_errno_text(int e) {
    static _Thread_local char text[128], space[128];
    (void)snprintf(text, sizeof text, "%s", strerror_r(e, space, sizeof space));
    if (text[0] && islower((unsigned char)text[1])) text[0] = (char)tolower((unsigned char)text[0]);
    return text;
}

char *er_format(const char *fmt, ...) {
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0) s = NULL;
    va_end(ap);
    return s;
}
