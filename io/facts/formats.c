// A small reader for each published format.
#include "io/facts/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "io/facts/chars.h"

#define get er_map_get

// ---- the subject's place in a prompt that holds it in full ----

static bool folds_to(const char *prompt, const char *subject) {
    utf8proc_uint8_t *p = NULL, *s = NULL;
    utf8proc_option_t how = UTF8PROC_NULLTERM | UTF8PROC_CASEFOLD;
    bool found = utf8proc_map((const utf8proc_uint8_t *)prompt, 0, &p, how) > 0 &&
                 utf8proc_map((const utf8proc_uint8_t *)subject, 0, &s, how) > 0 &&
                 strstr((char *)p, (char *)s) != NULL;
    free(p);
    free(s);
    return found;
}

// "U+2019 (...) there, U+0027 (...) in 'subject'": where the two spellings first part.
static void difference(char dst[180], const char *prompt, const er_found *at, const char *subject) {
    char a[64], b[64];
    size_t n = strlen(subject), i = 0;
    while (i < n && at->begin + i < at->end && prompt[at->begin + i] == subject[i]) i++;
    while (i && ((unsigned char)subject[i] & 0xc0) == 0x80) i--;
    size_t x = at->begin + i, y = i;
    uint32_t there = er_char_next(prompt, at->end, &x), here = er_char_next(subject, n, &y);
    (void)snprintf(dst, 180, "%s there, %s in 'subject'", there ? er_char_name(a, there) : "its end",
        here ? er_char_name(b, here) : "its end");
}

static bool refuse_subject(er_map *m, const char *name) {
    const er_fact *f = &m->fact;
    char q[80], differs[180];
    er_found found;
    if (folds_to(f->prompt, f->subject))
        return er_map_refuse(
            m, "subject %s occurs in '%s' only with other capitals", er_facts_quote(q, f->subject), name);
    if (!er_facts_find_loose(&found, f->prompt, f->subject)) return er_map_no_memory(m);
    if (!found.count)
        return er_map_refuse(m, "subject %s does not occur in '%s'", er_facts_quote(q, f->subject), name);
    difference(differs, f->prompt, &found, f->subject);
    return er_map_refuse(m, "subject %s occurs in '%s' only spelled otherwise: %s",
        er_facts_quote(q, f->subject), name, differs);
}

// The word of the prompt that the subject is a part of.
static void whole_word(char dst[80], const char *prompt, const er_found *at) {
    size_t len = strlen(prompt), begin = at->begin, end = at->end;
    for (size_t to = begin; begin && er_char_is_letter(er_char_before(prompt, &to)); begin = to) {}
    for (size_t to = end; end < len && er_char_is_letter(er_char_next(prompt, len, &to)); end = to) {}
    char *word = strndup(prompt + begin, end - begin);
    er_facts_quote(dst, word ? word : "");
    free(word);
}

static bool note_place(er_map *m, const er_found *at) {
    const er_fact *f = &m->fact;
    char q[80], word[80], detail[200];
    if (at->respelled) {
        difference(detail, f->prompt, at, f->subject);
        if (!er_map_note(m, er_notes_add(m->notes, detail,
                                "the subject is spelled otherwise in its prompt, whose "
                                "spelling is edited")))
            return false;
    }
    if (at->count > 1 &&
        !er_map_note(m, er_notes_add(m->notes, NULL,
                            "the subject occurs more than once in the prompt; its first place "
                            "is taken")))
        return false;
    if (at->place == ER_PLACE_WORD) return true;
    whole_word(word, f->prompt, at);
    (void)snprintf(detail, sizeof detail, "%s in %s", er_facts_quote(q, f->subject), word);
    return er_map_note(
        m, er_notes_add(m->notes, detail,
               at->place == ER_PLACE_BEGINS ? "the subject is the beginning of a longer word of its prompt"
                                            : "the subject stands only inside a longer word of its prompt"));
}

bool er_map_place_subject(er_map *m, const char *name) {
    er_fact *f = &m->fact;
    er_found at;
    const char *hole = strstr(f->prompt, "{}");
    if (hole && !strstr(hole + 2, "{}")) return true;  // it has its place
    if (!er_facts_find(&at, f->prompt, f->subject)) return er_map_no_memory(m);
    if (!at.count) return refuse_subject(m, name);
    if (!note_place(m, &at)) return false;
    size_t n = strlen(f->prompt);
    char *prompt = malloc(n + 3), *subject = strndup(f->prompt + at.begin, at.end - at.begin);
    if (!prompt || !subject) {
        free(prompt);
        free(subject);
        return er_map_no_memory(m);
    }
    (void)sprintf(prompt, "%.*s{}%s", (int)at.begin, f->prompt, f->prompt + at.end);
    free(f->prompt);
    free(f->subject);
    f->prompt = prompt;
    f->subject = subject;
    return true;
}

// ---- formats ----

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
    return map_request(m, r) && er_map_place_subject(m, "prompt");
}

static bool map_easyedit(er_map *m, const cJSON *r) {
    er_fact *f = &m->fact;
    const cJSON *asked = get(r, "locality_prompt");
    if (!er_map_name(m, &f->subject, r, "subject", "subject") ||
        !er_map_prompt(m, &f->prompt, r, "prompt", "prompt") ||
        !er_map_target(m, get(r, "target_new"), "target_new") ||
        !er_map_old(m, er_map_first_of(get(r, "ground_truth")), "ground_truth") ||
        !er_map_relation(m, get(r, "relation_id"), "relation_id") || !er_map_place_subject(m, "prompt") ||
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
           er_map_place_subject(m, prompt) &&
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
    return er_map_place_subject(m, "src") &&
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
