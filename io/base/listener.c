#include "io/base/listener.h"

static er_listener silent = {.level = ER_LOG_INFO};
static er_listener *of_process = &silent;
static _Thread_local er_listener *of_thread;

er_listener *er_listener_now(void) { return of_thread ? of_thread : of_process; }

er_listener *er_listener_set(er_listener *l) {
    er_listener *before = of_thread;
    of_thread = l;
    return before;
}

void er_listener_set_process(er_listener *l) { of_process = l; }
