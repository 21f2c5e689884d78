// The components of a tokenizer.json that come before the model: normalizer and pre_tokenizer. What is not
// known is refused by name.
#include <stdlib.h>
#include <string.h>
#include "io/base/json.h"
#include "io/tokenizer/load_internal.h"

static er_status add_norm(er_tokenizer *t, er_norm_kind kind, er_norm **out) {
    void *list = t->norms;
    er_status rc = er_list_grow(&list, &t->norm_count, sizeof *t->norms, "normalizers");
    t->norms = list;
    if (rc != ER_OK) return rc;
    *out = &t->norms[t->norm_count - 1];
    (*out)->kind = kind;
    return ER_OK;
}

static er_status load_replace(er_tokenizer *t, const cJSON *node, const char *name) {
    er_status rc = ER_OK;
    er_norm *n = NULL;
    const char *regex = NULL;
    ER_TRY(add_norm(t, NORM_REPLACE, &n));
    ER_TRY(er_part_pattern(&n->pattern, &regex, node, "Replace", name));
    if (regex) ER_TRY(er_pattern_regex(&n->pattern, regex, name));
    ER_TRY(er_part_string(&n->content, &n->len, node, "content", "Replace", name));
out:
    return rc;
}

er_status er_load_normalizer(er_tokenizer *t, const cJSON *node, const char *name) {
    er_status rc = ER_OK;
    er_norm *n = NULL;
    const char *type;
    if (!er_part_given(node)) return ER_OK;
    ER_TRY(er_part_type(&type, node, "normalizer", name));
    if (!strcmp(type, "NFC")) {
        ER_TRY(add_norm(t, NORM_NFC, &n));
    } else if (!strcmp(type, "Prepend")) {
        ER_TRY(add_norm(t, NORM_PREPEND, &n));
        ER_TRY(er_part_string(&n->content, &n->len, node, "prepend", type, name));
        t->marks_start = t->marks_start || n->len > 0;
    } else if (!strcmp(type, "Replace")) {
        ER_TRY(load_replace(t, node, name));
    } else if (!strcmp(type, "Sequence")) {
        const cJSON *list, *item;
        ER_TRY(er_part_list(&list, node, "normalizers", "normalizer", name));
        cJSON_ArrayForEach(item, list) ER_TRY(er_load_normalizer(t, item, name));
    } else {
        rc = er_part_unknown("normalizer", type, name);
    }
out:
    return rc;
}

// ---- pre_tokenizer ----

static er_status add_step(er_tokenizer *t, er_step **out) {
    void *list = t->steps;
    er_status rc = er_list_grow(&list, &t->step_count, sizeof *t->steps, "pre-tokenizers");
    t->steps = list;
    if (rc == ER_OK) *out = &t->steps[t->step_count - 1];
    return rc;
}

er_status er_load_byte_level(er_tokenizer *t, bool add_prefix_space, bool use_regex) {
    er_status rc = ER_OK;
    er_step *step = NULL;
    t->byte_level = true;
    if (add_prefix_space) {
        t->marks_start = true;
        ER_TRY(add_step(t, &step));
        step->match = MATCH_PREFIX;
    }
    if (use_regex) {
        ER_TRY(add_step(t, &step));
        step->match = MATCH_GPT2;
        step->behavior = SPLIT_ISOLATED;
    }
out:
    return rc;
}

static er_status load_split(er_tokenizer *t, const cJSON *node, const char *name) {
    static const char *const names[] = {
        "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    er_status rc = ER_OK;
    const char *regex = NULL, *behavior = NULL;
    er_step *step = NULL;
    ER_TRY(add_step(t, &step));
    step->match = MATCH_PATTERN;
    ER_TRY(er_part_pattern(&step->pattern, &regex, node, "Split", name));
    ER_TRY(er_part_bool(&step->invert, node, "invert", "Split", name));
    ER_TRY(er_json_get_str(&behavior, node, "behavior", name));
    size_t kind = 0;
    while (kind < 5 && (!behavior || strcmp(behavior, names[kind]))) kind++;
    if (kind == 5)
        ER_FAIL(ER_EFORMAT, "%s: 'Split' has an unknown behavior '%.40s'", name, behavior ? behavior : "");
    step->behavior = (er_behavior)kind;
    if (regex && !er_scan_known(regex, step)) ER_TRY(er_pattern_regex(&step->pattern, regex, name));
out:
    return rc;
}

static er_status load_digits(er_tokenizer *t, const cJSON *node, const char *name) {
    bool individual = false;
    er_step *step = NULL;
    er_status rc = er_part_bool(&individual, node, "individual_digits", "Digits", name);
    if (rc == ER_OK) rc = add_step(t, &step);
    if (rc != ER_OK) return rc;
    step->match = MATCH_NUMERIC;
    step->behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    return ER_OK;
}

// "add_prefix_space": false is how older files say "never"; they must not say both.
static er_status metaspace_scheme(er_scheme *out, const cJSON *node, const char *name) {
    static const char *const names[] = {"first", "never", "always"};
    const char *scheme = "always";
    bool prefix = true;
    size_t kind = 0;
    er_status rc = er_json_get_str(&scheme, node, "prepend_scheme", name);
    if (rc == ER_OK) rc = er_json_get_bool(&prefix, node, "add_prefix_space", name);
    if (rc != ER_OK) return rc;
    while (kind < 3 && strcmp(scheme, names[kind])) kind++;
    if (kind == 3)
        return er_fail(ER_EFORMAT, "%s: 'Metaspace' has an unknown prepend_scheme '%.40s'", name, scheme);
    if (!prefix && kind != SCHEME_NEVER)
        return er_fail(
            ER_EFORMAT, "%s: 'Metaspace' with add_prefix_space false and prepend_scheme '%s'", name, scheme);
    *out = (er_scheme)kind;
    return ER_OK;
}

static er_status load_metaspace(er_tokenizer *t, const cJSON *node, const char *name) {
    er_status rc = ER_OK;
    er_step *step = NULL;
    bool split = true;
    ER_TRY(add_step(t, &step));
    step->match = MATCH_METASPACE;
    ER_TRY(er_part_char(&step->pattern.literal, &step->pattern.len, node, "replacement", "Metaspace", name));
    ER_TRY(metaspace_scheme(&step->scheme, node, name));
    ER_TRY(er_json_get_bool(&split, node, "split", name));
    t->marks_start = t->marks_start || step->scheme != SCHEME_NEVER;
    if (!split) goto out;
    ER_TRY(add_step(t, &step));
    step->match = MATCH_PATTERN;
    step->behavior = SPLIT_NEXT;
    ER_TRY(er_part_char(&step->pattern.literal, &step->pattern.len, node, "replacement", "Metaspace", name));
out:
    return rc;
}

// ByteLevel maps to the byte alphabet, so it has to come last; *mapped tells that it came.
static er_status load_pre(er_tokenizer *t, const cJSON *node, bool *mapped, const char *name) {
    er_status rc = ER_OK;
    const char *type;
    ER_TRY(er_part_type(&type, node, "pre_tokenizer", name));
    if (!strcmp(type, "Sequence")) {
        const cJSON *list, *item;
        ER_TRY(er_part_list(&list, node, "pretokenizers", "pre_tokenizer", name));
        cJSON_ArrayForEach(item, list) ER_TRY(load_pre(t, item, mapped, name));
        goto out;
    }
    if (*mapped)
        ER_FAIL(ER_EUNSUPPORTED, "%s: pre_tokenizer '%.60s' behind ByteLevel is not supported", name, type);
    if (!strcmp(type, "ByteLevel")) {
        bool prefix = false, trim = false, regex = true;
        ER_TRY(er_part_bool(&prefix, node, "add_prefix_space", type, name));
        ER_TRY(er_part_bool(&trim, node, "trim_offsets", type, name));
        ER_TRY(er_json_get_bool(&regex, node, "use_regex", name));
        ER_TRY(er_load_byte_level(t, prefix, regex));
        *mapped = true;
    } else if (!strcmp(type, "Split")) {
        ER_TRY(load_split(t, node, name));
    } else if (!strcmp(type, "Metaspace")) {
        ER_TRY(load_metaspace(t, node, name));
    } else if (!strcmp(type, "Digits")) {
        ER_TRY(load_digits(t, node, name));
    } else {
        rc = er_part_unknown("pre_tokenizer", type, name);
    }
out:
    return rc;
}

er_status er_load_pre_tokenizer(er_tokenizer *t, const cJSON *node, const char *name) {
    bool mapped = false;
    return er_part_given(node) ? load_pre(t, node, &mapped, name) : ER_OK;
}
