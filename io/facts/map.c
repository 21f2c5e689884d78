// From one parsed record to one fact: the parts that every format has, and the checks they share.
#include "io/facts/map.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "io/facts/chars.h"
#include "io/base/json.h"

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

// ---- what the edit needs ----

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

// ---- what only evaluation reads ----

static bool leave_out(er_map *m, const char *name, const char *why, const cJSON *v) {
    return er_map_note(m, er_notes_add(m->notes, NULL, "'%s' %s%s%s: left out, only evaluation would read it",
                              name, why, v ? " " : "", v ? er_json_kind(v) : ""));
}

bool er_map_old(er_map *m, const cJSON *v, const char *name) {
    er_space space = ER_SPACE_AUTO;
    if (!v) return true;
    if (!cJSON_IsString(v)) return leave_out(m, name, "is not a string but", v);
    if (er_look_has_control(v->valuestring + strspn(v->valuestring, " \t\r\n"), true))
        return leave_out(m, name, "holds a control character", NULL);
    return er_look_target(m, &m->fact.old, &space, v->valuestring, name);
}

// All "{}" of `text` filled with the subject; malloc'd.
static char *filled(const er_map *m, const char *text) {
    size_t n = 0, subject = strlen(m->fact.subject);
    for (const char *at = text; (at = strstr(at, "{}")) != NULL; at += 2) n++;
    char *out = malloc(strlen(text) + n * subject + 1), *to = out;
    for (const char *at; out && (at = strstr(text, "{}")) != NULL; text = at + 2) {
        memcpy(to, text, (size_t)(at - text));
        memcpy(to + (at - text), m->fact.subject, subject);
        to += (size_t)(at - text) + subject;
    }
    if (out) (void)strcpy(to, text);
    return out;
}

// `v` as a prompt to ask, or NULL in *out when it is none; `about`: a "{}" in it is the fact's subject.
static bool eval_prompt(er_map *m, char **out, const cJSON *v, const char *name, bool about) {
    *out = NULL;
    if (!cJSON_IsString(v)) return leave_out(m, name, "holds", v);
    if (er_look_is_blank(v->valuestring)) return true;  // nothing to ask
    if (er_look_has_control(v->valuestring, true))
        return leave_out(m, name, "holds a control character", NULL);
    if (!strstr(v->valuestring, "{}")) return er_look_prompt(m, out, v->valuestring, name);
    if (!about || !m->fact.subject) return leave_out(m, name, "holds {}, which is for the subject", NULL);
    char *text = filled(m, v->valuestring);
    bool ok = text ? er_look_prompt(m, out, text, name) : er_map_no_memory(m);
    free(text);
    return ok;
}

bool er_map_paraphrase(er_map *m, const cJSON *v, const char *name) {
    char *text = NULL;
    if (!v) return true;
    bool ok = eval_prompt(m, &text, v, name, true);
    if (!ok || !text) return free(text), ok;
    char **grown = realloc(m->fact.paraphrases, (m->fact.n_paraphrases + 1) * sizeof *grown);
    if (!grown) return free(text), er_map_no_memory(m);
    m->fact.paraphrases = grown;
    grown[m->fact.n_paraphrases++] = text;
    return true;
}

bool er_map_paraphrases(er_map *m, const cJSON *list, const char *name) {
    const cJSON *v;
    if (!list) return true;
    if (!cJSON_IsArray(list)) return leave_out(m, name, "is not an array but", list);
    cJSON_ArrayForEach(v, list) if (!er_map_paraphrase(m, v, name)) return false;
    return true;
}

bool er_map_probe(er_map *m, er_probe_kind kind, const cJSON *prompt, const cJSON *target, const cJSON *space,
    const char *name) {
    er_probe p = {0}, *grown;
    bool neighbor = kind == ER_PROBE_NEIGHBOR;
    er_probe **at = neighbor ? &m->fact.neighbors : &m->fact.portability;
    size_t *n = neighbor ? &m->fact.n_neighbors : &m->fact.n_portability;
    if (cJSON_IsBool(space)) p.space = cJSON_IsTrue(space) ? ER_SPACE_ALWAYS : ER_SPACE_NEVER;
    if (!eval_prompt(m, &p.prompt, prompt, name, !neighbor)) goto bad;
    if (!p.prompt) return true;
    if (target && !cJSON_IsString(target)) {
        if (!leave_out(m, name, "has an answer that is", target)) goto bad;
    } else if (target && er_look_has_control(target->valuestring, true)) {
        if (!leave_out(m, name, "has an answer with a control character", NULL)) goto bad;
    } else if (target) {
        if (!er_look_target(m, &p.target, &p.space, target->valuestring, name)) goto bad;
        if (!*p.target) free(p.target), p.target = NULL;
    }
    if (!(grown = realloc(*at, (*n + 1) * sizeof *grown))) {
        (void)er_map_no_memory(m);
        goto bad;
    }
    *at = grown;
    grown[(*n)++] = p;
    return true;
bad:
    free(p.prompt);
    free(p.target);
    return false;
}

bool er_map_probes(er_map *m, er_probe_kind kind, const cJSON *list, const char *name) {
    const cJSON *v;
    if (!list) return true;
    if (!cJSON_IsArray(list)) return leave_out(m, name, "is not an array but", list);
    cJSON_ArrayForEach(v, list) {
        const cJSON *prompt = cJSON_IsObject(v) ? er_map_get(v, "prompt") : v,
                    *answer = er_map_get(v, "target");
        if (cJSON_IsObject(v) && !prompt) {
            if (!leave_out(m, name, "holds an object without 'prompt'", NULL)) return false;
            continue;
        }
        if (!answer) answer = er_map_get(v, "ground_truth");  // KnowEdit's word for it
        if (!er_map_probe(m, kind, prompt, er_map_first_of(answer), er_map_get(v, "space"), name))
            return false;
    }
    return true;
}

// {"prompt", "ground_truth"} of one string each, or of two lists of one length.
static bool parallel(er_map *m, er_probe_kind kind, const cJSON *group, const char *name) {
    const cJSON *prompt = er_map_get(group, "prompt"), *answer = er_map_get(group, "ground_truth");
    if (!cJSON_IsArray(prompt)) return er_map_probe(m, kind, prompt, er_map_first_of(answer), NULL, name);
    if (answer && (!cJSON_IsArray(answer) || cJSON_GetArraySize(answer) != cJSON_GetArraySize(prompt)))
        return leave_out(m, name, "holds lists of different lengths", NULL);
    const cJSON *a = answer ? answer->child : NULL;
    for (const cJSON *p = prompt->child; p; p = p->next, a = a ? a->next : NULL)
        if (!er_map_probe(m, kind, p, er_map_first_of(a), NULL, name)) return false;
    return true;
}

bool er_map_categories(er_map *m, er_probe_kind kind, const cJSON *groups, const char *name) {
    const cJSON *group;
    if (!groups) return true;
    if (cJSON_IsArray(groups)) return er_map_probes(m, kind, groups, name);
    if (!cJSON_IsObject(groups)) return leave_out(m, name, "is neither an object nor an array but", groups);
    if (er_map_get(groups, "prompt")) return parallel(m, kind, groups, name);
    cJSON_ArrayForEach(group, groups) {
        bool ok = cJSON_IsNull(group) ? true
                  : cJSON_IsObject(group) && er_map_get(group, "prompt") != NULL
                      ? parallel(m, kind, group, name)
                      : er_map_probes(m, kind, group, name);
        if (!ok) return false;
    }
    return true;
}

// ---- checks every format shares ----

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

void er_fact_clear(er_fact *f) {
    for (size_t i = 0; i < f->n_paraphrases; i++) free(f->paraphrases[i]);
    for (size_t i = 0; i < f->n_neighbors; i++) free(f->neighbors[i].prompt), free(f->neighbors[i].target);
    for (size_t i = 0; i < f->n_portability; i++)
        free(f->portability[i].prompt), free(f->portability[i].target);
    free(f->paraphrases);
    free(f->neighbors);
    free(f->portability);
    free(f->id);
    free(f->subject);
    free(f->prompt);
    free(f->target);
    free(f->old);
    free(f->relation);
    *f = (er_fact){0};
}
