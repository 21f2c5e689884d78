// From one parsed record to one fact, and the checks that every format shares.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/facts/map.h"

static size_t occurrences(const char *s, const char *what) {
    size_t n = 0;
    for (; (s = strstr(s, what)) != NULL; s += strlen(what)) n++;
    return n;
}

static bool same_look(const char *a, const char *b) {
    er_found found;
    size_t n = strlen(a);
    return er_facts_find(&found, a, b) && found.count && found.begin == 0 && found.end == n;
}

static bool check(er_map *m) {
    er_fact *f = &m->fact;
    size_t n = occurrences(f->prompt, "{}");
    if (n == 0) return er_map_refuse(m, "'prompt' has no {} for the subject");
    if (n > 1) return er_map_refuse(m, "'prompt' has %zu {}, one is for the subject", n);
    if (strstr(f->subject, "{}")) return er_map_refuse(m, "'subject' holds {}");
    if (er_look_has_control(f->subject, false))
        return er_map_refuse(m, "'subject' holds a control character");
    if (er_look_has_control(f->target + strspn(f->target, " \t\r\n"), false))
        return er_map_refuse(m, "'target' holds a control character");
    if (er_look_has_control(f->prompt, true)) return er_map_refuse(m, "'prompt' holds a control character");
    if (f->old && er_look_is_blank(f->old)) free(f->old), f->old = NULL;
    if (f->old && same_look(f->target, f->old)) {
        if (!er_map_note(
                m, er_notes_add(m->notes, NULL, "the old target is the new one, which asks for no change")))
            return false;
        free(f->old), f->old = NULL;
    }
    return !same_look(f->subject, f->target) ||
           er_map_note(m, er_notes_add(m->notes, NULL, "subject and target are the same"));
}

static bool read_id(er_map *m, char **id, const cJSON *record) {
    const cJSON *v = er_map_get(record, "id");
    char number[32];
    if (!v) v = er_map_get(record, "case_id");
    if (!v) return true;
    if (cJSON_IsString(v)) {
        const char *s = v->valuestring + strspn(v->valuestring, " \t\r\n");
        size_t n = strlen(s);
        while (n && strchr(" \t\r\n", s[n - 1])) n--;
        if (n && !(*id = strndup(s, n))) return er_map_no_memory(m);
        if (*id && er_look_has_control(*id, false)) return er_map_refuse(m, "'id' holds a control character");
        return true;
    }
    if (!cJSON_IsNumber(v)) return er_map_refuse(m, "'id' is %s, not a string or number", er_json_kind(v));
    (void)snprintf(number, sizeof number, "%.17g", v->valuedouble);
    return (*id = strdup(number)) != NULL || er_map_no_memory(m);
}

er_status er_facts_map(er_fact *out, char **id, er_notes *notes, char reason[ER_FACTS_REASON],
    er_facts_format f, const cJSON *record, const er_facts_options *options) {
    er_map m = {.options = options, .reason = reason, .notes = notes};
    reason[0] = '\0';
    *id = NULL;
    if (read_id(&m, id, record) && er_map_space(&m, &m.fact.space, er_map_get(record, "space"), "space") &&
        er_map_format(&m, f, record) && check(&m)) {
        *out = m.fact;
        return ER_OK;
    }
    er_fact_clear(&m.fact);
    return m.no_memory ? er_fail(ER_ENOMEM, "a fact's strings") : ER_OK;
}
