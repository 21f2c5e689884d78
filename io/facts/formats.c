// A small reader for each published format.
#include "io/facts/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define get er_map_get

static bool map_errata(er_map *m, const cJSON *r) {
    er_fact *f = &m->fact;
    return er_map_name(m, &f->subject, r, "subject", "subject") &&
           er_map_prompt(m, &f->prompt, r, "prompt", "prompt") &&
           er_map_target(m, get(r, "target"), "target") && er_map_old(m, get(r, "old"), "old") &&
           er_map_relation(m, get(r, "relation"), "relation") &&
           er_map_paraphrases(m, get(r, "paraphrases"), "paraphrases") &&
           er_map_categories(m, ER_PROBE_NEIGHBOR, get(r, "neighbors"), "neighbors") &&
           er_map_categories(m, ER_PROBE_PORTABILITY, get(r, "portability"), "portability");
}

// {"prompt", "subject", "target_new": {"str"}, "target_true": {"str"}}: a request, alone or inside
// CounterFact's record.
static bool map_request(er_map *m, const cJSON *w) {
    er_fact *f = &m->fact;
    const cJSON *fresh = get(w, "target_new"), *old = get(w, "target_true");
    if (fresh && !cJSON_IsObject(fresh))
        return er_map_refuse(m, "'target_new' is %s, not an object", er_json_kind(fresh));
    if (cJSON_IsObject(old)) old = get(old, "str");
    return er_map_name(m, &f->subject, w, "subject", "subject") &&
           er_map_prompt(m, &f->prompt, w, "prompt", "prompt") &&
           er_map_target(m, get(fresh, "str"), "target_new.str") && er_map_old(m, old, "target_true.str") &&
           er_map_relation(m, get(w, "relation_id"), "relation_id");
}

static bool map_counterfact(er_map *m, const cJSON *r) {
    const cJSON *w = get(r, "requested_rewrite"), *answer = get(get(w, "target_true"), "str"), *v;
    const cJSON *list = get(r, "neighborhood_prompts");
    if (!cJSON_IsObject(w))
        return er_map_refuse(m, "'requested_rewrite' is %s, not an object", er_json_kind(w));
    if (!map_request(m, w) || !er_map_paraphrases(m, get(r, "paraphrase_prompts"), "paraphrase_prompts"))
        return false;
    if (!cJSON_IsArray(list)) return er_map_probes(m, ER_PROBE_NEIGHBOR, list, "neighborhood_prompts");
    cJSON_ArrayForEach(
        v, list) if (!er_map_probe(m, ER_PROBE_NEIGHBOR, v, cJSON_IsString(answer) ? answer : NULL, NULL,
                         "neighborhood_prompts")) return false;
    return true;
}

static bool map_memit(er_map *m, const cJSON *r) {
    return map_request(m, r) && er_map_mark_subject(m, "prompt");
}

static bool map_easyedit(er_map *m, const cJSON *r) {
    er_fact *f = &m->fact;
    const cJSON *asked = get(r, "locality_prompt");
    if (!er_map_name(m, &f->subject, r, "subject", "subject") ||
        !er_map_prompt(m, &f->prompt, r, "prompt", "prompt") ||
        !er_map_target(m, get(r, "target_new"), "target_new") ||
        !er_map_old(m, er_map_first_of(get(r, "ground_truth")), "ground_truth") ||
        !er_map_relation(m, get(r, "relation_id"), "relation_id") || !er_map_mark_subject(m, "prompt") ||
        !er_map_paraphrase(m, er_map_first_of(get(r, "rephrase_prompt")), "rephrase_prompt"))
        return false;
    return !asked || er_map_probe(m, ER_PROBE_NEIGHBOR, asked,
                         er_map_first_of(get(r, "locality_ground_truth")), NULL, "locality_prompt");
}

static bool map_knowedit(er_map *m, const cJSON *r) {
    er_fact *f = &m->fact;
    const char *subject = get(r, "subject") ? "subject" : "concept",
               *prompt = get(r, "prompt") ? "prompt" : "text",
               *target = get(r, "target_new") ? "target_new" : "labels";
    const cJSON *rephrase = get(r, "rephrase_prompt") ? get(r, "rephrase_prompt") : get(r, "rephrase");
    return er_map_name(m, &f->subject, r, subject, subject) &&
           er_map_prompt(m, &f->prompt, r, prompt, prompt) && er_map_target(m, get(r, target), target) &&
           er_map_old(m, er_map_first_of(get(r, "ground_truth")), "ground_truth") &&
           er_map_mark_subject(m, prompt) &&
           er_map_paraphrase(m, er_map_first_of(rephrase), "rephrase_prompt") &&
           er_map_categories(m, ER_PROBE_NEIGHBOR, get(r, "locality"), "locality") &&
           er_map_categories(m, ER_PROBE_PORTABILITY, get(r, "portability"), "portability");
}

// `loc` is a question without its mark, which the published evaluation adds.
static bool add_zsre_neighbor(er_map *m, const cJSON *r) {
    const cJSON *loc = get(r, "loc");
    if (!loc) return true;
    if (!cJSON_IsString(loc)) return er_map_probe(m, ER_PROBE_NEIGHBOR, loc, NULL, NULL, "loc");
    size_t n = strlen(loc->valuestring);
    cJSON asked = {.type = cJSON_String, .valuestring = malloc(n + 2)};
    if (!asked.valuestring) return er_map_no_memory(m);
    (void)snprintf(asked.valuestring, n + 2, "%s%s", loc->valuestring,
        n > 0 && loc->valuestring[n - 1] == '?' ? "" : "?");
    bool ok =
        n == 0 || er_map_probe(m, ER_PROBE_NEIGHBOR, &asked, er_map_first_of(get(r, "loc_ans")), NULL, "loc");
    free(asked.valuestring);
    return ok;
}

static bool map_zsre(er_map *m, const cJSON *r) {
    er_fact *f = &m->fact;
    const cJSON *answer = er_map_first_of(get(r, "answers"));
    if (!er_map_name(m, &f->subject, r, "subject", "subject") ||
        !er_map_prompt(m, &f->prompt, r, "src", "src"))
        return false;
    if (m->options && m->options->zsre_answers) {
        if (!answer) return er_map_refuse(m, "'answers' is missing or empty");
        if (!er_map_target(m, answer, "answers")) return false;
    } else if (!er_map_target(m, get(r, "alt"), "alt") || !er_map_old(m, answer, "answers")) {
        return false;
    }
    return er_map_mark_subject(m, "src") &&
           er_map_paraphrase(m, er_map_first_of(get(r, "rephrase")), "rephrase") && add_zsre_neighbor(m, r);
}

bool er_map_format(er_map *m, er_facts_format format, const cJSON *record) {
    static bool (*const mappers[ER_FACTS_FORMATS])(er_map *, const cJSON *) = {[ER_FACTS_ERRATA] = map_errata,
        [ER_FACTS_COUNTERFACT] = map_counterfact,
        [ER_FACTS_MEMIT] = map_memit,
        [ER_FACTS_EASYEDIT] = map_easyedit,
        [ER_FACTS_KNOWEDIT] = map_knowedit,
        [ER_FACTS_ZSRE] = map_zsre};
    return mappers[format](m, record);
}
