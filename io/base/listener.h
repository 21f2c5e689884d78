// Who hears the jobs of a thread: their log lines, their progress, and whether they are to stop. A job runs
// on the thread that called it and says everything there, so each thread has one listener at a time; threads
// that were given none share that of the process, which hears nothing until a program sets one of its own.
#ifndef ER_LISTENER_H
#define ER_LISTENER_H
#include <stdatomic.h>
#include "io/base/log.h"

typedef struct er_listener {
    _Atomic(int) level;  // er_log_level; lines above it are not made
    void (*log)(
        void *user, er_log_level level, const char *line);  // no newline, no "warning: "; NULL: nobody
    void *log_user;
    void (*progress)(void *user, const er_progress_event *event);  // NULL: nobody
    void *progress_user;
    _Atomic(int) stop;  // not 0: jobs of its threads end with EINTERRUPTED
} er_listener;

er_listener *er_listener_now(void);  // of the calling thread, or the process; never NULL
// For the calling thread from here on; NULL: the process's. Returns what was set before, NULL too, to be put
// back. Borrowed.
er_listener *er_listener_set(er_listener *l);
// For all threads without one of their own; before the first of them begins. Borrowed for good.
void er_listener_set_process(er_listener *l);
#endif
