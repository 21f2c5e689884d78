// From one parsed record to one fact: a small reader for each published format.
#include "io/facts/parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "io/json.h"

typedef struct map {
    const er_facts_options *options;
    er_fact fact;
    char *reason;  // [ER_FACTS_REASON]; the first one stays
    bool no_memory, repeated;
} map;

__attribute__((format(printf, 2, 3))) static bool refuse(map *m, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (!m->reason[0]) (void)vsnprintf(m->reason, ER_FACTS_REASON, fmt, ap);
    va_end(ap);
    return false;
}

static bool memory_out(map *m) {
    m->no_memory = true;
    return refuse(m, "memory is out");
}

static const cJSON *get(const cJSON *object, const char *key) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    return v && !cJSON_IsNull(v) ? v : NULL;
}

static const char *kind(const cJSON *v) {
    if (cJSON_IsString(v)) return "a string";
    if (cJSON_IsNumber(v)) return "a number";
    if (cJSON_IsBool(v)) return "true or false";
    if (cJSON_IsArray(v)) return "an array";
    if (cJSON_IsObject(v)) return "an object";
    return "null";
}

// ---- strings ----

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static char *trimmed(const char *s) {
    size_t n = strlen(s);
    while (n > 0 && is_blank(s[n - 1])) n--;
    while (n > 0 && is_blank(*s)) s++, n--;
    return strndup(s, n);
}

// Copies the trimmed string `v`; NULL stays NULL. `name` is the key, for the reason.
static bool copy(map *m, char **out, const cJSON *v, const char *name) {
    if (!v) return true;
    if (!cJSON_IsString(v)) return refuse(m, "'%s' is %s, not a string", name, kind(v));
    if (!(*out = trimmed(v->valuestring))) return memory_out(m);
    return true;
}

static bool need(map *m, char **out, const cJSON *object, const char *key, const char *name) {
    const cJSON *v = get(object, key);
    if (!v) return refuse(m, "'%s' is missing", name);
    return copy(m, out, v, name);
}

// An answer may be wrapped in lists of alternatives and aliases: the first of the first is taken, as EasyEdit
// does.
static const cJSON *first_of(const cJSON *v) {
    while (cJSON_IsArray(v)) v = v->child;
    return v && !cJSON_IsNull(v) ? v : NULL;
}

// `s` with its first `what` replaced by `with`; NULL when memory is out. `what` must occur.
static char *replaced(const char *s, const char *what, const char *with) {
    const char *at = strstr(s, what);
    size_t before = (size_t)(at - s), n = strlen(s) - strlen(what) + strlen(with) + 1;
    char *out = malloc(n);
    if (out) (void)snprintf(out, n, "%.*s%s%s", (int)before, s, with, at + strlen(what));
    return out;
}

static size_t occurrences(const char *s, const char *what) {
    size_t n = 0;
    for (; (s = strstr(s, what)) != NULL; s += strlen(what)) n++;
    return n;
}

// ---- probes and paraphrases ----

static bool add_paraphrase(map *m, const cJSON *v, const char *name) {
    char *text = NULL;
    char **grown;
    if (!copy(m, &text, v, name)) return false;
    if (!text || !*text) {
        free(text);
        return true;
    }
    if (m->fact.subject && occurrences(text, "{}") == 1) {
        char *filled = replaced(text, "{}", m->fact.subject);
        free(text);
        if (!(text = filled)) return memory_out(m);
    }
    grown = realloc(m->fact.paraphrases, (m->fact.n_paraphrases + 1) * sizeof *grown);
    if (!grown) {
        free(text);
        return memory_out(m);
    }
    m->fact.paraphrases = grown;
    grown[m->fact.n_paraphrases++] = text;
    return true;
}

static bool paraphrases(map *m, const cJSON *object, const char *key) {
    const cJSON *list = get(object, key), *v;
    if (!list) return true;
    if (!cJSON_IsArray(list)) return refuse(m, "'%s' is %s, not an array", key, kind(list));
    cJSON_ArrayForEach(v, list) if (!add_paraphrase(m, v, key)) return false;
    return true;
}

static bool add_probe(
    map *m, er_probe **at, size_t *n, const cJSON *prompt, const cJSON *target, const char *name) {
    er_probe p = {0}, *grown;
    if (!copy(m, &p.prompt, prompt, name) || !copy(m, &p.target, target, name)) goto bad;
    if (p.target && !*p.target) free(p.target), p.target = NULL;
    if (!p.prompt || !*p.prompt) {  // nothing to ask
        free(p.prompt);
        free(p.target);
        return true;
    }
    if (!(grown = realloc(*at, (*n + 1) * sizeof *grown))) {
        (void)memory_out(m);
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

static bool probes(map *m, er_probe **at, size_t *n, const cJSON *object, const char *key) {
    const cJSON *list = get(object, key), *v;
    if (!list) return true;
    if (!cJSON_IsArray(list)) return refuse(m, "'%s' is %s, not an array", key, kind(list));
    cJSON_ArrayForEach(v, list) {
        if (!cJSON_IsObject(v) && !cJSON_IsString(v))
            return refuse(m, "'%s' holds %s, not objects or strings", key, kind(v));
        const cJSON *prompt = cJSON_IsString(v) ? v : get(v, "prompt");
        if (!prompt) return refuse(m, "'%s' holds an object without 'prompt'", key);
        if (!add_probe(m, at, n, prompt, cJSON_IsString(v) ? NULL : first_of(get(v, "target")), key))
            return false;
    }
    return true;
}

// ---- the subject's place in a prompt that holds it in full ----

static bool occurs_folded(const char *prompt, const char *subject) {
    utf8proc_uint8_t *p = NULL, *s = NULL;
    utf8proc_option_t how = UTF8PROC_NULLTERM | UTF8PROC_CASEFOLD;
    bool found = utf8proc_map((const utf8proc_uint8_t *)prompt, 0, &p, how) > 0 &&
                 utf8proc_map((const utf8proc_uint8_t *)subject, 0, &s, how) > 0 &&
                 strstr((char *)p, (char *)s) != NULL;
    free(p);
    free(s);
    return found;
}

static bool cut_subject(map *m, const char *name) {
    char q[80];
    er_fact *f = &m->fact;
    char *prompt;
    if (!*f->subject || !*f->prompt) return true;  // refused by check(), with a better reason
    size_t n = occurrences(f->prompt, f->subject);
    if (n == 0 && occurs_folded(f->prompt, f->subject))
        return refuse(
            m, "subject %s occurs in '%s' only with other capitals", er_facts_quote(q, f->subject), name);
    if (n == 0) return refuse(m, "subject %s does not occur in '%s'", er_facts_quote(q, f->subject), name);
    m->repeated = n > 1;
    if (!(prompt = replaced(f->prompt, f->subject, "{}"))) return memory_out(m);
    free(f->prompt);
    f->prompt = prompt;
    return true;
}

// ---- formats ----

static bool map_errata(map *m, const cJSON *r) {
    er_fact *f = &m->fact;
    return need(m, &f->subject, r, "subject", "subject") && need(m, &f->prompt, r, "prompt", "prompt") &&
           need(m, &f->target, r, "target", "target") && copy(m, &f->old, get(r, "old"), "old") &&
           copy(m, &f->relation, get(r, "relation"), "relation") && paraphrases(m, r, "paraphrases") &&
           probes(m, &f->neighbors, &f->n_neighbors, r, "neighbors") &&
           probes(m, &f->portability, &f->n_portability, r, "portability");
}

static bool map_counterfact(map *m, const cJSON *r) {
    er_fact *f = &m->fact;
    const cJSON *w = get(r, "requested_rewrite"), *fresh = get(w, "target_new"),
                *true_one = get(w, "target_true"), *list, *v;
    if (!cJSON_IsObject(w)) return refuse(m, "'requested_rewrite' is %s, not an object", kind(w));
    if (fresh && !cJSON_IsObject(fresh)) return refuse(m, "'target_new' is %s, not an object", kind(fresh));
    if (true_one && !cJSON_IsObject(true_one))
        return refuse(m, "'target_true' is %s, not an object", kind(true_one));
    if (!need(m, &f->subject, w, "subject", "subject") || !need(m, &f->prompt, w, "prompt", "prompt") ||
        !need(m, &f->target, fresh, "str", "target_new.str") ||
        !copy(m, &f->old, get(true_one, "str"), "target_true.str") ||
        !copy(m, &f->relation, get(w, "relation_id"), "relation_id") ||
        !paraphrases(m, r, "paraphrase_prompts"))
        return false;
    list = get(r, "neighborhood_prompts");
    if (!list) return true;
    if (!cJSON_IsArray(list)) return refuse(m, "'neighborhood_prompts' is %s, not an array", kind(list));
    cJSON_ArrayForEach(v, list) {
        if (!add_probe(m, &f->neighbors, &f->n_neighbors, v, get(true_one, "str"), "neighborhood_prompts"))
            return false;
    }
    return true;
}

static bool map_easyedit(map *m, const cJSON *r) {
    er_fact *f = &m->fact;
    return need(m, &f->subject, r, "subject", "subject") && need(m, &f->prompt, r, "prompt", "prompt") &&
           need(m, &f->target, r, "target_new", "target_new") &&
           copy(m, &f->old, first_of(get(r, "ground_truth")), "ground_truth") &&
           copy(m, &f->relation, get(r, "relation_id"), "relation_id") && cut_subject(m, "prompt") &&
           add_paraphrase(m, get(r, "rephrase_prompt"), "rephrase_prompt") &&
           add_probe(m, &f->neighbors, &f->n_neighbors, get(r, "locality_prompt"),
               first_of(get(r, "locality_ground_truth")), "locality_prompt");
}

// `loc` is a question without its mark, which the published evaluation adds.
static bool add_zsre_neighbor(map *m, const cJSON *r) {
    const cJSON *loc = get(r, "loc");
    if (!loc) return true;
    if (!cJSON_IsString(loc)) return refuse(m, "'loc' is %s, not a string", kind(loc));
    size_t n = strlen(loc->valuestring);
    cJSON asked = {.type = cJSON_String, .valuestring = malloc(n + 2)};
    if (!asked.valuestring) return memory_out(m);
    (void)snprintf(asked.valuestring, n + 2, "%s%s", loc->valuestring,
        n > 0 && loc->valuestring[n - 1] == '?' ? "" : "?");
    bool ok = n == 0 || add_probe(m, &m->fact.neighbors, &m->fact.n_neighbors, &asked,
                            first_of(get(r, "loc_ans")), "loc");
    free(asked.valuestring);
    return ok;
}

static bool map_zsre(map *m, const cJSON *r) {
    er_fact *f = &m->fact;
    const cJSON *answer = first_of(get(r, "answers"));
    if (!need(m, &f->subject, r, "subject", "subject") || !need(m, &f->prompt, r, "src", "src")) return false;
    if (m->options && m->options->zsre_answers) {
        if (!answer) return refuse(m, "'answers' is missing or empty");
        if (!copy(m, &f->target, answer, "answers")) return false;
    } else if (!need(m, &f->target, r, "alt", "alt") || !copy(m, &f->old, answer, "answers")) {
        return false;
    }
    return cut_subject(m, "src") && add_paraphrase(m, get(r, "rephrase"), "rephrase") &&
           add_zsre_neighbor(m, r);
}

typedef struct format {
    const char *name, *keys;
    bool (*map)(map *, const cJSON *);
} format;
static const format formats[] = {
    [ER_FACTS_UNKNOWN] = {"unknown", "", NULL},
    [ER_FACTS_ERRATA] = {"errata", "subject, prompt, target", map_errata},
    [ER_FACTS_COUNTERFACT] = {"counterfact", "requested_rewrite", map_counterfact},
    [ER_FACTS_EASYEDIT] = {"easyedit", "subject, prompt, target_new", map_easyedit},
    [ER_FACTS_ZSRE] = {"zsre", "subject, src, alt", map_zsre},
};
#define N_FORMATS (sizeof formats / sizeof formats[0])

const char *er_facts_format_name(er_facts_format f) { return formats[f].name; }

// Two of errata's three keys are enough, so that a record without the third is told what it lacks; but not
// where another format's key names the answer.
er_facts_format er_facts_detect(const cJSON *r) {
    bool subject = get(r, "subject") != NULL, prompt = get(r, "prompt") != NULL,
         target = get(r, "target") != NULL;
    const cJSON *rewrite = get(r, "requested_rewrite");
    if (rewrite) return cJSON_IsArray(rewrite) ? ER_FACTS_UNKNOWN : ER_FACTS_COUNTERFACT;  // an array: MQuAKE
    if (get(r, "src") && subject)
        return get(r, "alt") || get(r, "answers") ? ER_FACTS_ZSRE : ER_FACTS_UNKNOWN;
    if (cJSON_IsObject(get(r, "locality")) || cJSON_IsObject(get(r, "portability")))
        return ER_FACTS_UNKNOWN;  // KnowEdit
    if (get(r, "target_new")) return subject && prompt ? ER_FACTS_EASYEDIT : ER_FACTS_UNKNOWN;
    if (get(r, "ans") || get(r, "labels") || get(r, "ground_truth")) return ER_FACTS_UNKNOWN;
    return subject + prompt + target >= 2 ? ER_FACTS_ERRATA : ER_FACTS_UNKNOWN;
}

void er_facts_unknown(char reason[ER_FACTS_REASON], const cJSON *record) {
    size_t n = 0, shown = 0;
    const cJSON *v;
    char known[200] = "", q[80];
    for (size_t i = 1, at = 0; i < N_FORMATS; i++)
        at += (size_t)snprintf(
            known + at, sizeof known - at, "%s%s (%s)", i > 1 ? ", " : "", formats[i].name, formats[i].keys);
    if (!cJSON_IsObject(record)) {
        (void)snprintf(reason, ER_FACTS_REASON, "the record is %s, not an object", kind(record));
        return;
    }
    n = (size_t)snprintf(reason, ER_FACTS_REASON, "format not recognised: keys");
    cJSON_ArrayForEach(v, record) {
        if (shown == 8 || n > 90) break;
        n += (size_t)snprintf(
            reason + n, ER_FACTS_REASON - n, "%s %s", shown++ ? "," : "", er_facts_quote(q, v->string));
    }
    if (n > ER_FACTS_REASON - 1) n = ER_FACTS_REASON - 1;
    (void)snprintf(reason + n, ER_FACTS_REASON - n, "%s; known formats: %s",
        v       ? ", ..."
        : shown ? ""
                : " none",
        known);
}

// ---- checks every format shares ----

// Line breaks and tabs are at home in a prompt ("Question: ...\nAnswer:") and nowhere else; other control
// characters are damage.
static bool has_control(const char *s, bool prompt) {
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (prompt && (c == '\n' || c == '\t' || c == '\r')) continue;
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)s[1] < 0xa0)) return true;
    }
    return false;
}

static bool check(map *m) {
    er_fact *f = &m->fact;
    size_t n = occurrences(f->prompt, "{}");
    if (!*f->subject) return refuse(m, "'subject' is empty");
    if (!*f->prompt) return refuse(m, "'prompt' is empty");
    if (!*f->target) return refuse(m, "'target' is empty");
    if (n == 0) return refuse(m, "'prompt' has no {} for the subject");
    if (n > 1) return refuse(m, "'prompt' has %zu {}, one is for the subject", n);
    if (strstr(f->subject, "{}")) return refuse(m, "'subject' holds {}");
    if (has_control(f->subject, false)) return refuse(m, "'subject' holds a control character");
    if (has_control(f->target, false)) return refuse(m, "'target' holds a control character");
    if (has_control(f->prompt, true)) return refuse(m, "'prompt' holds a control character");
    if (f->old && has_control(f->old, false)) return refuse(m, "the old target holds a control character");
    for (size_t i = 0; i < f->n_paraphrases; i++)
        if (has_control(f->paraphrases[i], true))
            return refuse(m, "paraphrase %zu holds a control character", i + 1);
    for (size_t i = 0; i < f->n_neighbors + f->n_portability; i++) {
        const er_probe *p = i < f->n_neighbors ? &f->neighbors[i] : &f->portability[i - f->n_neighbors];
        if (has_control(p->prompt, true) || (p->target && has_control(p->target, false)))
            return refuse(m, "a neighbour or portability prompt holds a control character");
    }
    return true;
}

static bool read_id(map *m, char **id, const cJSON *record) {
    const cJSON *v = get(record, "id");
    char number[32];
    if (!v) v = get(record, "case_id");
    if (!v) return true;
    if (cJSON_IsString(v)) {
        if (!copy(m, id, v, "id")) return false;
        if (*id && !**id) free(*id), *id = NULL;
        if (*id && has_control(*id, false)) return refuse(m, "'id' holds a control character");
        return true;
    }
    if (!cJSON_IsNumber(v)) return refuse(m, "'id' is %s, not a string or number", kind(v));
    (void)snprintf(number, sizeof number, "%.17g", v->valuedouble);
    return (*id = strdup(number)) != NULL || memory_out(m);
}

er_status er_facts_map(er_fact *out, char **id, bool *repeated, char reason[ER_FACTS_REASON],
    er_facts_format f, const cJSON *record, const er_facts_options *options) {
    map m = {.options = options, .reason = reason};
    reason[0] = '\0';
    *id = NULL;
    if (read_id(&m, id, record) && formats[f].map(&m, record) && check(&m)) {
        if (m.fact.old && (!*m.fact.old || strcmp(m.fact.old, m.fact.target) == 0))
            free(m.fact.old), m.fact.old = NULL;
        *repeated = m.repeated;
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
