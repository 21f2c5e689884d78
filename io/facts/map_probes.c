// The parts of a fact that only evaluation reads: what is wrong with them is left out, and that is said.
#include <stdlib.h>
#include <string.h>
#include "io/facts/map.h"

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
