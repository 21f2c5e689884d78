// Whose format a record is of, by its keys; and for those that are not read, whose they are and what is in
// the way.
#include <stdio.h>
#include <string.h>
#include "io/facts/map.h"

#define get er_map_get

static const struct {
    const char *name, *keys;
} formats[ER_FACTS_FORMATS] = {
    [ER_FACTS_UNKNOWN] = {"unknown", ""},
    [ER_FACTS_ERRATA] = {"errata", "subject, prompt, target"},
    [ER_FACTS_COUNTERFACT] = {"counterfact", "requested_rewrite"},
    [ER_FACTS_MEMIT] = {"memit", "subject, prompt, target_new.str"},
    [ER_FACTS_EASYEDIT] = {"easyedit", "subject, prompt, target_new"},
    [ER_FACTS_KNOWEDIT] = {"knowedit", "easyedit's with locality, portability"},
    [ER_FACTS_ZSRE] = {"zsre", "subject, src, alt"},
};

const char *er_facts_format_name(er_facts_format f) { return formats[f].name; }

// Two of errata's three keys are enough, so that a record without the third is told what it lacks; but not
// where another format's key names the answer.
er_facts_format er_facts_detect(const cJSON *r) {
    bool subject = get(r, "subject") != NULL, prompt = get(r, "prompt") != NULL,
         target = get(r, "target") != NULL;
    const cJSON *rewrite = get(r, "requested_rewrite"), *fresh = get(r, "target_new");
    if (rewrite) return cJSON_IsArray(rewrite) ? ER_FACTS_UNKNOWN : ER_FACTS_COUNTERFACT;
    if (get(r, "src") && subject)
        return get(r, "alt") || get(r, "answers") ? ER_FACTS_ZSRE : ER_FACTS_UNKNOWN;
    if (get(r, "concept") && get(r, "text") && get(r, "labels")) return ER_FACTS_KNOWEDIT;
    if (cJSON_IsObject(fresh) && subject && prompt) return ER_FACTS_MEMIT;
    bool groups = cJSON_IsObject(get(r, "locality")) || cJSON_IsObject(get(r, "portability"));
    if (fresh && subject && prompt) return groups ? ER_FACTS_KNOWEDIT : ER_FACTS_EASYEDIT;
    if (subject && prompt && target && !fresh) return ER_FACTS_ERRATA;  // whatever else there is
    if (fresh || groups) return ER_FACTS_UNKNOWN;
    if (get(r, "ans") || get(r, "labels") || get(r, "ground_truth")) return ER_FACTS_UNKNOWN;
    return subject + prompt + target >= 2 ? ER_FACTS_ERRATA : ER_FACTS_UNKNOWN;
}

static const cJSON *list_in(const cJSON *r) {  // {"data": [{...}, ...]}
    const cJSON *v;
    cJSON_ArrayForEach(
        v, r) if (cJSON_IsArray(v) && cJSON_IsObject(v->child) && er_facts_detect(v->child)) return v;
    return NULL;
}

// Shapes that are known by name and not read; NULL for others.
static const char *shape(char dst[160], const cJSON *r) {
    const cJSON *list = list_in(r);
    char q[80];
    if (cJSON_IsArray(get(r, "requested_rewrite")))
        return "MQuAKE: 'requested_rewrite' is an array of edits, and one record is one edit here";
    if (get(r, "edit") && get(r, "example_type"))
        return "RippleEdits: the answer stands inside 'edit.prompt' and nowhere by itself";
    if (get(r, "update") && get(r, "ans"))
        return "WikiBigEdit: 'update' and 'ans' are for 'src' and 'alt' here";
    if (get(r, "src") && get(r, "ans")) return "UltraEdit's zsRE: its 'ans' is for 'alt' here";
    if (get(r, "subject") && get(r, "prompt") && get(r, "ans"))
        return "UltraEditBench: its 'ans' is for 'target_new' here";
    if (get(r, "equiv_prompt")) return "FEVER: it has no subject";
    if (get(r, "target_new") && !get(r, "subject"))
        return "EasyEdit's without 'subject': the edit needs to know whom it is about";
    if (get(r, "locality") || get(r, "portability"))
        return "KnowEdit's without 'subject', 'prompt' or 'target_new'";
    if (get(r, "messages") || get(r, "conversations")) return "chat transcripts: not facts";
    if (get(r, "instruction") && get(r, "output")) return "instructions for fine-tuning: not facts";
    if (get(r, "text") && cJSON_GetArraySize(r) <= 3)
        return "plain text: --covariance-text takes it, --facts does not";
    if (list) {
        (void)snprintf(dst, 160, "one object whose %s is the list of records: give that list alone",
            er_facts_quote(q, list->string));
        return dst;
    }
    if (cJSON_IsObject(r->child) && er_facts_detect(r->child))
        return "one object of records by name: give their list alone";
    return NULL;
}

static size_t list_keys(char *reason, size_t n, const cJSON *record) {
    size_t shown = 0;
    const cJSON *v;
    char q[80];
    n += (size_t)snprintf(reason + n, ER_FACTS_REASON - n, "keys");
    cJSON_ArrayForEach(v, record) {
        if (shown == 8 || n > 200) break;
        n += (size_t)snprintf(
            reason + n, ER_FACTS_REASON - n, "%s %s", shown++ ? "," : "", er_facts_quote(q, v->string));
    }
    return n + (size_t)snprintf(reason + n, ER_FACTS_REASON - n, "%s; ", v ? ", ..." : shown ? "" : " none");
}

void er_facts_unknown(char reason[ER_FACTS_REASON], const cJSON *record) {
    char known[240] = "", buffer[160];
    if (!cJSON_IsObject(record)) {
        (void)snprintf(reason, ER_FACTS_REASON, "the record is %s, not an object", er_json_kind(record));
        return;
    }
    const char *whose = shape(buffer, record);
    if (whose) {
        (void)snprintf(reason, ER_FACTS_REASON, "format not read: %s", whose);
        return;
    }
    for (size_t i = 1, at = 0; i < ER_FACTS_FORMATS; i++)
        at += (size_t)snprintf(
            known + at, sizeof known - at, "%s%s (%s)", i > 1 ? ", " : "", formats[i].name, formats[i].keys);
    size_t n = (size_t)snprintf(reason, ER_FACTS_REASON, "format not recognised: ");
    n = list_keys(reason, n, record);
    if (n < ER_FACTS_REASON) (void)snprintf(reason + n, ER_FACTS_REASON - n, "known formats: %s", known);
}
