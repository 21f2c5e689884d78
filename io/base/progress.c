#include <stdlib.h>
#include "io/base/clock.h"
#include "io/base/listener.h"
#include "io/base/log.h"

struct er_progress {
    er_progress_event event;
    double began;
};

static er_progress mute;  // stands for all that memory had no room for; nothing is ever stored in it

static void tell(er_progress *p, er_progress_phase phase) {
    const er_listener *l = er_listener_now();
    if (!l->progress) return;
    p->event.phase = phase;
    p->event.seconds = phase == ER_PROGRESS_BEGIN ? 0 : er_clock() - p->began;
    l->progress(l->progress_user, &p->event);
}

er_progress *er_progress_begin(const char *stage, size_t total, const char *unit) {
    er_progress *p = malloc(sizeof *p);
    if (!p) return &mute;
    *p = (er_progress){.event = {.stage = stage, .unit = unit, .total = total}, .began = er_clock()};
    tell(p, ER_PROGRESS_BEGIN);
    return p;
}

void er_progress_update(er_progress *p, size_t done) {
    if (p == &mute) return;
    p->event.done = done;
    tell(p, ER_PROGRESS_UPDATE);
}

void er_progress_end(er_progress *p) {
    if (p == &mute) return;
    tell(p, ER_PROGRESS_END);
    free(p);
}
