// The state of one record's reading: its refusal, its notes, its keys.
#include "io/facts/map.h"

#include <stdarg.h>
#include <stdio.h>

bool er_map_refuse(er_map *m, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (!m->reason[0]) (void)vsnprintf(m->reason, ER_FACTS_REASON, fmt, ap);
    va_end(ap);
    return false;
}

bool er_map_no_memory(er_map *m) {
    m->no_memory = true;
    return er_map_refuse(m, "memory is out");
}

bool er_map_note(er_map *m, bool booked) { return booked || er_map_no_memory(m); }

const cJSON *er_map_get(const cJSON *object, const char *key) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    return v && !cJSON_IsNull(v) ? v : NULL;
}

const cJSON *er_map_first_of(const cJSON *v) {
    while (cJSON_IsArray(v)) v = v->child;
    return v && !cJSON_IsNull(v) ? v : NULL;
}
