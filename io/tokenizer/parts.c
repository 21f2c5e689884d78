// The components of a tokenizer.json: normalizer, pre_tokenizer, post_processor, decoder. What is not known
// is refused by name.
#include <stdlib.h>
#include <string.h>
#include "io/json.h"
#include "io/tokenizer/internal.h"

static bool given(const cJSON *node) { return node && !cJSON_IsNull(node); }

static er_status type_of(const char **type, const cJSON *node, const char *part, const char *name) {
    *type = NULL;
    if (!cJSON_IsObject(node)) return er_fail(ER_EFORMAT, "%s: %s is not an object", name, part);
    er_status rc = er_json_get_str(type, node, "type", name);
    if (rc == ER_OK && !*type) return er_fail(ER_EFORMAT, "%s: %s has no type", name, part);
    return rc;
}

static er_status list_of(
    const cJSON **list, const cJSON *node, const char *key, const char *part, const char *name) {
    *list = cJSON_GetObjectItemCaseSensitive(node, key);
    if (cJSON_IsArray(*list)) return ER_OK;
    return er_fail(ER_EFORMAT, "%s: %s 'Sequence' has no array '%s'", name, part, key);
}

static er_status unknown(const char *part, const char *type, const char *name) {
    return er_fail(ER_EUNSUPPORTED, "%s: %s '%.60s' is not supported", name, part, type);
}

// A field that the reference insists on.
static er_status required_bool(
    bool *out, const cJSON *node, const char *key, const char *type, const char *name) {
    if (!cJSON_IsBool(cJSON_GetObjectItemCaseSensitive(node, key)))
        return er_fail(ER_EFORMAT, "%s: '%s' has no true or false '%s'", name, type, key);
    return er_json_get_bool(out, node, key, name);
}

// ---- normalizer ----

er_status er_load_normalizer(er_tokenizer *t, const cJSON *node, const char *name) {
    er_status rc = ER_OK;
    const char *type;
    if (!given(node)) return ER_OK;
    ER_TRY(type_of(&type, node, "normalizer", name));
    if (!strcmp(type, "NFC")) {
        t->nfc = true;  // twice is as good as once
    } else if (!strcmp(type, "Sequence")) {
        const cJSON *list, *item;
        ER_TRY(list_of(&list, node, "normalizers", "normalizer", name));
        cJSON_ArrayForEach(item, list) ER_TRY(er_load_normalizer(t, item, name));
    } else {
        rc = unknown("normalizer", type, name);
    }
out:
    return rc;
}

// ---- pre_tokenizer ----

static er_status add_step(er_tokenizer *t, er_step **out) {
    if (t->step_count == t->step_room) {
        size_t room = t->step_room * 2 + 4;
        er_step *more = realloc(t->steps, room * sizeof *more);
        if (!more) return er_fail(ER_ENOMEM, "%zu pre-tokenizers", room);
        t->steps = more;
        t->step_room = room;
    }
    t->steps[t->step_count] = (er_step){0};
    *out = &t->steps[t->step_count++];
    return ER_OK;
}

er_status er_load_byte_level(er_tokenizer *t, bool add_prefix_space, bool use_regex) {
    er_status rc = ER_OK;
    er_step *step = NULL;
    if (add_prefix_space) {
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
    const char *regex = NULL, *literal = NULL, *behavior = NULL;
    er_step *step = NULL;
    ER_TRY(add_step(t, &step));
    const cJSON *pattern = cJSON_GetObjectItemCaseSensitive(node, "pattern");
    if (cJSON_IsObject(pattern)) {
        ER_TRY(er_json_get_str(&regex, pattern, "Regex", name));
        ER_TRY(er_json_get_str(&literal, pattern, "String", name));
    }
    if (!regex == !literal) ER_FAIL(ER_EFORMAT, "%s: 'Split' has no pattern of either Regex or String", name);
    ER_TRY(required_bool(&step->invert, node, "invert", "Split", name));
    ER_TRY(er_json_get_str(&behavior, node, "behavior", name));
    size_t kind = 0;
    while (kind < 5 && (!behavior || strcmp(behavior, names[kind]))) kind++;
    if (kind == 5)
        ER_FAIL(ER_EFORMAT, "%s: 'Split' has an unknown behavior '%.40s'", name, behavior ? behavior : "");
    step->behavior = (er_behavior)kind;
    if (literal) {
        if (!*literal) ER_FAIL(ER_EUNSUPPORTED, "%s: 'Split' with an empty String is not supported", name);
        step->match = MATCH_LITERAL;
        if (!(step->literal = strdup(literal))) ER_FAIL(ER_ENOMEM, "a pattern of %zu bytes", strlen(literal));
        step->literal_len = strlen(literal);
    } else if (!er_scan_known(regex, step)) {
        step->match = MATCH_REGEX;
        ER_TRY(er_regex_new(&step->regex, regex, name));
    }
out:
    return rc;
}

static er_status load_digits(er_tokenizer *t, const cJSON *node, const char *name) {
    bool individual = false;
    er_step *step = NULL;
    er_status rc = required_bool(&individual, node, "individual_digits", "Digits", name);
    if (rc == ER_OK) rc = add_step(t, &step);
    if (rc != ER_OK) return rc;
    step->match = MATCH_NUMERIC;
    step->behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    return ER_OK;
}

// ByteLevel maps to the byte alphabet, so it has to come last; *mapped tells that it came.
static er_status load_pre(er_tokenizer *t, const cJSON *node, bool *mapped, const char *name) {
    er_status rc = ER_OK;
    const char *type;
    ER_TRY(type_of(&type, node, "pre_tokenizer", name));
    if (!strcmp(type, "Sequence")) {
        const cJSON *list, *item;
        ER_TRY(list_of(&list, node, "pretokenizers", "pre_tokenizer", name));
        cJSON_ArrayForEach(item, list) ER_TRY(load_pre(t, item, mapped, name));
        goto out;
    }
    if (*mapped)
        ER_FAIL(ER_EUNSUPPORTED, "%s: pre_tokenizer '%.60s' behind ByteLevel is not supported", name, type);
    if (!strcmp(type, "ByteLevel")) {
        bool prefix = false, trim = false, regex = true;
        ER_TRY(required_bool(&prefix, node, "add_prefix_space", type, name));
        ER_TRY(required_bool(&trim, node, "trim_offsets", type, name));
        ER_TRY(er_json_get_bool(&regex, node, "use_regex", name));
        ER_TRY(er_load_byte_level(t, prefix, regex));
        *mapped = true;
    } else if (!strcmp(type, "Split")) {
        ER_TRY(load_split(t, node, name));
    } else if (!strcmp(type, "Digits")) {
        ER_TRY(load_digits(t, node, name));
    } else {
        rc = unknown("pre_tokenizer", type, name);
    }
out:
    return rc;
}

er_status er_load_pre_tokenizer(er_tokenizer *t, const cJSON *node, const char *name) {
    bool mapped = false;
    er_status rc = given(node) ? load_pre(t, node, &mapped, name) : ER_OK;
    if (rc != ER_OK || mapped) return rc;
    return er_fail(
        ER_EUNSUPPORTED, "%s: no pre_tokenizer 'ByteLevel': only byte-level BPE is supported", name);
}

// ---- post_processor ----

static er_status put_ids(
    er_tokenizer *t, const cJSON *special, int32_t **list, size_t *count, const char *name) {
    er_status rc = ER_OK;
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(special, "ids"), *id;
    if (!cJSON_IsArray(ids)) ER_FAIL(ER_EFORMAT, "%s: a special token of the template has no ids", name);
    cJSON_ArrayForEach(id, ids) {
        double x = cJSON_IsNumber(id) ? id->valuedouble : -1;
        if (!(x >= 0) || x >= (double)t->vocab.ids || !t->vocab.by_id[(size_t)x].flags ||
            (double)(size_t)x != x)
            ER_FAIL(ER_EFORMAT, "%s: the template asks for id %.17g, which the vocabulary lacks", name, x);
        int32_t *more = realloc(*list, (*count + 1) * sizeof *more);
        if (!more) ER_FAIL(ER_ENOMEM, "a template of %zu tokens", *count + 1);
        *list = more;
        more[(*count)++] = (int32_t)x;
    }
out:
    return rc;
}

static er_status load_template(er_tokenizer *t, const cJSON *node, const char *name) {
    er_status rc = ER_OK;
    const cJSON *single = cJSON_GetObjectItemCaseSensitive(node, "single"), *piece;
    const cJSON *specials = cJSON_GetObjectItemCaseSensitive(node, "special_tokens");
    size_t texts = 0;
    if (!cJSON_IsArray(single)) ER_FAIL(ER_EFORMAT, "%s: 'TemplateProcessing' has no array 'single'", name);
    cJSON_ArrayForEach(piece, single) {
        const cJSON *text = cJSON_GetObjectItemCaseSensitive(piece, "Sequence");
        const cJSON *special = cJSON_GetObjectItemCaseSensitive(piece, "SpecialToken");
        const char *id = NULL;
        ER_TRY(er_json_get_str(&id, text ? text : special, "id", name));
        if (!id || (text && special))
            ER_FAIL(ER_EFORMAT, "%s: 'TemplateProcessing' has a piece without an id", name);
        if (text) {
            if (strcmp(id, "A") || ++texts > 1)
                ER_FAIL(ER_EUNSUPPORTED,
                    "%s: 'TemplateProcessing' of more than one sequence A is not supported", name);
            continue;
        }
        const cJSON *token = cJSON_GetObjectItemCaseSensitive(specials, id);
        if (!token)
            ER_FAIL(ER_EFORMAT, "%s: 'TemplateProcessing' does not explain its token '%.60s'", name, id);
        if (texts) ER_TRY(put_ids(t, token, &t->after, &t->after_count, name));
        else ER_TRY(put_ids(t, token, &t->before, &t->before_count, name));
    }
    if (!texts)
        ER_FAIL(ER_EUNSUPPORTED, "%s: 'TemplateProcessing' without a sequence A is not supported", name);
out:
    return rc;
}

static er_status load_post(er_tokenizer *t, const cJSON *node, size_t *templates, const char *name) {
    er_status rc = ER_OK;
    const char *type;
    ER_TRY(type_of(&type, node, "post_processor", name));
    if (!strcmp(type, "Sequence")) {
        const cJSON *list, *item;
        ER_TRY(list_of(&list, node, "processors", "post_processor", name));
        cJSON_ArrayForEach(item, list) ER_TRY(load_post(t, item, templates, name));
    } else if (!strcmp(type, "ByteLevel")) {
        bool prefix = false, trim = false;
        ER_TRY(required_bool(&prefix, node, "add_prefix_space", type, name));
        ER_TRY(required_bool(&trim, node, "trim_offsets", type, name));
        if (trim && t->trim)
            ER_FAIL(
                ER_EUNSUPPORTED, "%s: post_processor 'ByteLevel' that trims twice is not supported", name);
        if (trim) t->trim = true, t->trim_keeps_prefix = prefix;
    } else if (!strcmp(type, "TemplateProcessing")) {
        if ((*templates)++)
            ER_FAIL(ER_EUNSUPPORTED, "%s: two post_processors 'TemplateProcessing' are not supported", name);
        ER_TRY(load_template(t, node, name));
    } else {
        rc = unknown("post_processor", type, name);
    }
out:
    return rc;
}

er_status er_load_post_processor(er_tokenizer *t, const cJSON *node, const char *name) {
    size_t templates = 0;
    return given(node) ? load_post(t, node, &templates, name) : ER_OK;
}

// ---- decoder ----

// A second ByteLevel behind the first would be handed one long text; only where it changes nothing is it the
// identity, so no.
er_status er_load_decoder(er_tokenizer *t, const cJSON *node, const char *name) {
    er_status rc = ER_OK;
    const char *type;
    if (!given(node)) return ER_OK;
    ER_TRY(type_of(&type, node, "decoder", name));
    if (!strcmp(type, "ByteLevel")) {
        if (t->byte_decoder) ER_FAIL(ER_EUNSUPPORTED, "%s: two decoders 'ByteLevel' are not supported", name);
        t->byte_decoder = true;
    } else if (!strcmp(type, "Sequence")) {
        const cJSON *list, *item;
        ER_TRY(list_of(&list, node, "decoders", "decoder", name));
        cJSON_ArrayForEach(item, list) ER_TRY(er_load_decoder(t, item, name));
        if (!t->byte_decoder)
            ER_FAIL(ER_EUNSUPPORTED, "%s: decoder 'Sequence' of nothing is not supported", name);
    } else {
        rc = unknown("decoder", type, name);
    }
out:
    return rc;
}
