#include "engine/targets/pool_internal.h"

#include <stdlib.h>
#include <string.h>

er_status er_pool_create(er_pool *p, size_t room, size_t most) {
    *p = (er_pool){.room = room, .most = most};
    if (!(p->range = malloc((most + 1) * sizeof *p->range))) return er_fail(ER_ENOMEM, "%zu places", most);
    return ER_OK;
}

void er_pool_free(er_pool *p) {
    free(p->range);
    *p = (er_pool){0};
}

bool er_pool_take(er_pool *p, size_t *at, size_t length, size_t owner) {
    size_t i = 0, end = 0;
    *at = 0;
    if (!length) return true;
    for (; i < p->count && p->range[i].at - end < length; i++) end = p->range[i].at + p->range[i].length;
    if (p->count == p->most || (i == p->count && p->room - end < length)) return false;
    memmove(&p->range[i + 1], &p->range[i], (p->count - i) * sizeof *p->range);
    p->range[i] = (er_range){end, length, owner};
    p->count++;
    *at = end;
    return true;
}

void er_pool_release(er_pool *p, size_t owner) {
    for (size_t i = 0; i < p->count; i++) {
        if (p->range[i].owner != owner) continue;
        p->count--;
        memmove(&p->range[i], &p->range[i + 1], (p->count - i) * sizeof *p->range);
        return;
    }
}
