// The components of a tokenizer.json that come behind the model: post_processor and decoder; and what the
// loaders of all components share. What is not known is refused by name.
#include <stdlib.h>
#include <string.h>
#include "io/base/json.h"
#include "io/tokenizer/load_internal.h"
#include "io/tokenizer/unicode.h"

bool er_part_given(const cJSON *node) { return node && !cJSON_IsNull(node); }

er_status er_part_type(const char **type, const cJSON *node, const char *part, const char *name) {
    *type = NULL;
    if (!cJSON_IsObject(node)) return er_fail(ER_EFORMAT, "%s: %s is not an object", name, part);
    er_status rc = er_json_get_str(type, node, "type", name);
    if (rc == ER_OK && !*type) return er_fail(ER_EFORMAT, "%s: %s has no type", name, part);
    return rc;
}

er_status er_part_list(
    const cJSON **list, const cJSON *node, const char *key, const char *part, const char *name) {
    *list = cJSON_GetObjectItemCaseSensitive(node, key);
    if (cJSON_IsArray(*list)) return ER_OK;
    return er_fail(ER_EFORMAT, "%s: %s 'Sequence' has no array '%s'", name, part, key);
}

er_status er_part_unknown(const char *part, const char *type, const char *name) {
    return er_fail(ER_EUNSUPPORTED, "%s: %s '%.60s' is not supported", name, part, type);
}

// A field that the reference insists on.
er_status er_part_bool(bool *out, const cJSON *node, const char *key, const char *type, const char *name) {
    if (!cJSON_IsBool(cJSON_GetObjectItemCaseSensitive(node, key)))
        return er_fail(ER_EFORMAT, "%s: '%s' has no true or false '%s'", name, type, key);
    return er_json_get_bool(out, node, key, name);
}

er_status er_part_string(
    char **out, size_t *len, const cJSON *node, const char *key, const char *type, const char *name) {
    const char *s = NULL;
    er_status rc = er_json_get_str(&s, node, key, name);
    if (rc != ER_OK) return rc;
    if (!s) return er_fail(ER_EFORMAT, "%s: '%s' has no '%s'", name, type, key);
    if (!(*out = strdup(s))) return er_fail(ER_ENOMEM, "a text of %zu bytes", strlen(s));
    *len = strlen(s);
    return ER_OK;
}

er_status er_part_char(
    char **out, size_t *len, const cJSON *node, const char *key, const char *type, const char *name) {
    er_status rc = er_part_string(out, len, node, key, type, name);
    if (rc == ER_OK && (*len == 0 || er_uc_width((unsigned char)**out) != *len))
        return er_fail(ER_EFORMAT, "%s: '%s': '%.40s' of %s is not one character", name, key, *out, type);
    return rc;
}

// Exactly one of {"String": ...} and {"Regex": ...}. A regular expression is left to the caller.
er_status er_part_pattern(
    er_pattern *out, const char **regex, const cJSON *node, const char *type, const char *name) {
    er_status rc = ER_OK;
    const char *literal = NULL;
    const cJSON *pattern = cJSON_GetObjectItemCaseSensitive(node, "pattern");
    *regex = NULL;
    if (cJSON_IsObject(pattern)) {
        ER_TRY(er_json_get_str(regex, pattern, "Regex", name));
        ER_TRY(er_json_get_str(&literal, pattern, "String", name));
    }
    if (!*regex == !literal)
        ER_FAIL(ER_EFORMAT, "%s: '%s' has no pattern of either Regex or String", name, type);
    if (literal) rc = er_pattern_literal(out, literal, type, name);
out:
    return rc;
}

er_status er_list_grow(void **list, size_t *count, size_t size, const char *what) {
    char *more = realloc(*list, (*count + 1) * size);
    if (!more) return er_fail(ER_ENOMEM, "%zu %s", *count + 1, what);
    memset(more + *count * size, 0, size);
    *list = more;
    ++*count;
    return ER_OK;
}

// ---- post_processor ----

er_status er_template_add(int32_t **list, size_t *count, int32_t id) {
    int32_t *more = realloc(*list, (*count + 1) * sizeof *more);
    if (!more) return er_fail(ER_ENOMEM, "a template of %zu tokens", *count + 1);
    *list = more;
    more[(*count)++] = id;
    return ER_OK;
}

#define MAX_TEMPLATE 64  // real ones have one or two tokens, and every text pays for them

static er_status template_too_long(const char *name) {
    return er_fail(ER_EUNSUPPORTED, "%s: 'TemplateProcessing' of more than %d tokens is not supported", name,
        MAX_TEMPLATE);
}

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
        if (t->before_count + t->after_count == MAX_TEMPLATE) ER_TRY(template_too_long(name));
        ER_TRY(er_template_add(list, count, (int32_t)x));
    }
out:
    return rc;
}

static er_status load_template(er_tokenizer *t, const cJSON *node, const char *name) {
    er_status rc = ER_OK;
    const cJSON *single = cJSON_GetObjectItemCaseSensitive(node, "single"), *piece;
    const cJSON *specials = cJSON_GetObjectItemCaseSensitive(node, "special_tokens");
    size_t texts = 0, pieces = 0;
    if (!cJSON_IsArray(single)) ER_FAIL(ER_EFORMAT, "%s: 'TemplateProcessing' has no array 'single'", name);
    cJSON_ArrayForEach(piece, single) {
        if (pieces++ > MAX_TEMPLATE) ER_TRY(template_too_long(name));
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
    ER_TRY(er_part_type(&type, node, "post_processor", name));
    if (!strcmp(type, "Sequence")) {
        const cJSON *list, *item;
        ER_TRY(er_part_list(&list, node, "processors", "post_processor", name));
        cJSON_ArrayForEach(item, list) ER_TRY(load_post(t, item, templates, name));
    } else if (!strcmp(type, "ByteLevel")) {
        bool prefix = false, trim = false;
        ER_TRY(er_part_bool(&prefix, node, "add_prefix_space", type, name));
        ER_TRY(er_part_bool(&trim, node, "trim_offsets", type, name));
        if (trim && t->trim)
            ER_FAIL(
                ER_EUNSUPPORTED, "%s: post_processor 'ByteLevel' that trims twice is not supported", name);
        if (trim) t->trim = true, t->trim_keeps_prefix = prefix;
    } else if (!strcmp(type, "TemplateProcessing")) {
        if ((*templates)++)
            ER_FAIL(ER_EUNSUPPORTED, "%s: two post_processors 'TemplateProcessing' are not supported", name);
        ER_TRY(load_template(t, node, name));
    } else {
        rc = er_part_unknown("post_processor", type, name);
    }
out:
    return rc;
}

er_status er_load_post_processor(er_tokenizer *t, const cJSON *node, const char *name) {
    size_t templates = 0;
    return er_part_given(node) ? load_post(t, node, &templates, name) : ER_OK;
}

// ---- decoder ----

static er_status add_decoder(er_tokenizer *t, er_decoder_kind kind, er_decoder **out) {
    void *list = t->decoders;
    er_status rc = er_list_grow(&list, &t->decoder_count, sizeof *t->decoders, "decoders");
    t->decoders = list;
    if (rc != ER_OK) return rc;
    *out = &t->decoders[t->decoder_count - 1];
    (*out)->kind = kind;
    return ER_OK;
}

er_status er_load_byte_decoder(er_tokenizer *t) {
    er_decoder *d;
    t->has_decoder = true;
    return add_decoder(t, DECODE_BYTES, &d);
}

// What the type says about its one step.
static er_status load_decoder_step(er_decoder *d, const cJSON *node, const char *type, const char *name) {
    er_status rc = ER_OK;
    const char *regex = NULL, *scheme = "always";
    if (d->kind == DECODE_REPLACE) {
        ER_TRY(er_part_pattern(&d->pattern, &regex, node, type, name));
        if (regex) ER_TRY(er_pattern_regex(&d->pattern, regex, name));
        ER_TRY(er_part_string(&d->content, &d->len, node, "content", type, name));
    } else if (d->kind == DECODE_STRIP) {
        ER_TRY(er_part_char(&d->content, &d->len, node, "content", type, name));
        ER_TRY(er_json_get_u64(&d->start, node, "start", name));
        ER_TRY(er_json_get_u64(&d->stop, node, "stop", name));
    } else if (d->kind == DECODE_METASPACE) {
        bool prefix = true;
        ER_TRY(er_part_char(&d->content, &d->len, node, "replacement", type, name));
        ER_TRY(er_json_get_str(&scheme, node, "prepend_scheme", name));
        ER_TRY(er_json_get_bool(&prefix, node, "add_prefix_space", name));
        d->drop_first = prefix && strcmp(scheme, "never") != 0;
    }
out:
    return rc;
}

er_status er_load_decoder(er_tokenizer *t, const cJSON *node, const char *name) {
    static const char *const names[] = {"ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"};
    er_status rc = ER_OK;
    er_decoder *d = NULL;
    const char *type;
    size_t kind = 0;
    if (!er_part_given(node)) return ER_OK;
    ER_TRY(er_part_type(&type, node, "decoder", name));
    t->has_decoder = true;
    if (!strcmp(type, "Sequence")) {
        const cJSON *list, *item;
        ER_TRY(er_part_list(&list, node, "decoders", "decoder", name));
        cJSON_ArrayForEach(item, list) ER_TRY(er_load_decoder(t, item, name));
        goto out;
    }
    while (kind < sizeof names / sizeof *names && strcmp(type, names[kind])) kind++;
    if (kind == sizeof names / sizeof *names) return er_part_unknown("decoder", type, name);
    ER_TRY(add_decoder(t, (er_decoder_kind)kind, &d));
    ER_TRY(load_decoder_step(d, node, type, name));
out:
    return rc;
}
