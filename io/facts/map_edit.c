// The parts of a fact that the edit needs: a record without them is refused.
#include <string.h>
#include "io/facts/chars.h"
#include "io/facts/map.h"

static const char *needed(er_map *m, const cJSON *v, const char *name) {
    char q[64];
    size_t at = 0;
    if (!v) er_map_refuse(m, "'%s' is missing", name);
    else if (!cJSON_IsString(v)) er_map_refuse(m, "'%s' is %s, not a string", name, er_json_kind(v));
    else if (!er_look_is_blank(v->valuestring)) return v->valuestring;
    else if (!*v->valuestring) er_map_refuse(m, "'%s' is empty", name);
    else
        er_map_refuse(m, "'%s' is empty: nothing in it can be seen, it begins with %s", name,
            er_char_name(q, er_char_next(v->valuestring, strlen(v->valuestring), &at)));
    return NULL;
}

bool er_map_name(er_map *m, char **out, const cJSON *object, const char *key, const char *name) {
    const char *s = needed(m, er_map_get(object, key), name);
    return s && er_look_name(m, out, s, name);
}

bool er_map_prompt(er_map *m, char **out, const cJSON *object, const char *key, const char *name) {
    const char *s = needed(m, er_map_get(object, key), name);
    return s && er_look_prompt(m, out, s, name);
}

bool er_map_target(er_map *m, const cJSON *v, const char *name) {
    const char *s = needed(m, v, name);
    return s && er_look_target(m, &m->fact.target, &m->fact.space, s, name);
}

bool er_map_relation(er_map *m, const cJSON *v, const char *name) {
    er_notes none = {0}, *said = m->notes;
    if (!v) return true;
    if (!cJSON_IsString(v)) return er_map_refuse(m, "'%s' is %s, not a string", name, er_json_kind(v));
    if (er_look_is_blank(v->valuestring)) return true;  // none
    m->notes = &none;                                   // a label is no text that a model reads
    bool ok = er_look_name(m, &m->fact.relation, v->valuestring, name);
    m->notes = said;
    er_notes_clear(&none);
    return ok;
}

bool er_map_space(er_map *m, er_space *out, const cJSON *v, const char *name) {
    if (!v) return true;
    if (!cJSON_IsBool(v)) return er_map_refuse(m, "'%s' is %s, not true or false", name, er_json_kind(v));
    *out = cJSON_IsTrue(v) ? ER_SPACE_ALWAYS : ER_SPACE_NEVER;
    return true;
}
