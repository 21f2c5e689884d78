// A flat mapping of YAML, from the events of libyaml.
#include "io/base/yaml.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>
#include "io/base/file.h"
#include "io/base/file_kind.h"
#include "io/base/json.h"
#include "io/base/utf8.h"
#include "io/base/yaml_internal.h"

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event;  // the last one read; owned
    const char *text, *name;
    size_t len, byte, chars;  // `byte` of the text is its character number `chars`
} reader;

static size_t line_of(const reader *r) { return r->event.start_mark.line + 1; }

#define REFUSE(r, what) refuse(r, line_of(r), what)
static er_status refuse(const reader *r, size_t line, const char *what) {
    return er_fail(ER_EFORMAT, "%s: line %zu: %s", r->name, line, what);
}

static size_t line_at(const reader *r, size_t byte) {
    size_t line = 1;
    for (size_t i = 0; i < byte && i < r->len; i++) line += r->text[i] == '\n';
    return line;
}

// The byte at which the event begins. Marks count characters and never go back.
static char first_byte(reader *r) {
    for (; r->chars < r->event.start_mark.index && r->byte < r->len; r->chars++) do
            r->byte++;
        while (r->byte < r->len && ((unsigned char)r->text[r->byte] & 0xc0) == 0x80);
    return r->byte < r->len ? r->text[r->byte] : '\0';
}

static er_status next(reader *r) {
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        memset(&r->event, 0, sizeof r->event);
        if (r->parser.error == YAML_MEMORY_ERROR) return er_fail(ER_ENOMEM, "%s: YAML", r->name);
        size_t line = r->parser.problem_mark.line + 1;
        if (r->parser.error == YAML_READER_ERROR) line = line_at(r, r->parser.problem_offset);
        return refuse(r, line, r->parser.problem ? r->parser.problem : "this is not YAML");
    }
    yaml_event_type_t type = r->event.type;
    if (type == YAML_ALIAS_EVENT) return REFUSE(r, "an alias, which settings do not need");
    if (type != YAML_SCALAR_EVENT && type != YAML_SEQUENCE_START_EVENT && type != YAML_MAPPING_START_EVENT)
        return ER_OK;
    // Looked at in the text, for the lone "!" leaves no trace in the event.
    char c = first_byte(r);
    if (c == '&') return REFUSE(r, "an anchor, which settings do not need");
    if (c == '!') return REFUSE(r, "a tag, which settings do not need");
    return ER_OK;
}

// A scalar's text as a C string, or NULL after a refusal.
static er_status scalar_text(const char **out, const reader *r) {
    const char *text = (const char *)r->event.data.scalar.value;
    if (strlen(text) != r->event.data.scalar.length) return REFUSE(r, "a NUL character");
    *out = text;
    return ER_OK;
}

static er_status read_scalar(cJSON **out, const reader *r) {
    const char *text = NULL;
    double number = 0;
    er_status rc = scalar_text(&text, r);
    if (rc != ER_OK) return rc;
    bool plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    er_yaml_kind kind = plain ? er_yaml_plain(&number, text) : ER_YAML_STRING;
    if (kind == ER_YAML_INFINITE) return REFUSE(r, "not a finite number");
    *out = kind == ER_YAML_NULL     ? cJSON_CreateNull()
           : kind == ER_YAML_BOOL   ? cJSON_CreateBool(number != 0)
           : kind == ER_YAML_NUMBER ? cJSON_CreateNumber(number)
                                    : cJSON_CreateString(text);
    return *out ? ER_OK : er_fail(ER_ENOMEM, "%s: a value", r->name);
}

// Over what a sequence or mapping that has just begun holds.
static er_status pass_over(reader *r) {
    er_status rc = ER_OK;
    for (size_t depth = 1; depth;) {
        ER_TRY(next(r));
        yaml_event_type_t t = r->event.type;
        if (t == YAML_SEQUENCE_START_EVENT || t == YAML_MAPPING_START_EVENT) depth++;
        if (t == YAML_SEQUENCE_END_EVENT || t == YAML_MAPPING_END_EVENT) depth--;
        if (depth > ER_YAML_DEPTH) rc = REFUSE(r, "nested too deeply");
        if (rc != ER_OK) goto out;
    }
out:
    return rc;
}

// The event at hand begins a value. Inside a sequence, only a scalar is read.
static er_status read_value(cJSON **out, reader *r, bool in_sequence) {
    er_status rc = ER_OK;
    cJSON *list = NULL, *item = NULL;
    if (r->event.type == YAML_SCALAR_EVENT) return read_scalar(out, r);
    bool sequence = r->event.type == YAML_SEQUENCE_START_EVENT;
    if (!(list = sequence ? cJSON_CreateArray() : cJSON_CreateObject()))
        ER_FAIL(ER_ENOMEM, "%s: a value", r->name);
    if (!sequence || in_sequence) ER_TRY(pass_over(r));
    while (sequence && !in_sequence) {
        ER_TRY(next(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT) break;
        ER_TRY(read_value(&item, r, true));
        if (!cJSON_AddItemToArray(list, item)) ER_FAIL(ER_ENOMEM, "%s: a list", r->name);
        item = NULL;
    }
    *out = list, list = NULL;
out:
    cJSON_Delete(item);
    cJSON_Delete(list);
    return rc;
}

static er_status read_member(cJSON *object, reader *r) {
    er_status rc = ER_OK;
    const char *text = NULL;
    char *key = NULL;
    cJSON *value = NULL;
    if (r->event.type != YAML_SCALAR_EVENT) return REFUSE(r, "a key that is not a scalar");
    ER_TRY(scalar_text(&text, r));
    if (!*text) ER_TRY(REFUSE(r, "a value without a key"));
    if (cJSON_GetObjectItemCaseSensitive(object, text))
        ER_FAIL(ER_EFORMAT, "%s: line %zu: '%.100s' occurs twice", r->name, line_of(r), text);
    if (!(key = strdup(text))) ER_FAIL(ER_ENOMEM, "%s: a key", r->name);
    ER_TRY(next(r));
    ER_TRY(read_value(&value, r, false));
    if (!cJSON_AddItemToObject(object, key, value)) ER_FAIL(ER_ENOMEM, "%s: a value", r->name);
    value = NULL;
out:
    free(key);
    cJSON_Delete(value);
    return rc;
}

static er_status read_document(cJSON *object, reader *r) {
    er_status rc = ER_OK;
    ER_TRY(next(r));  // the stream's start
    ER_TRY(next(r));
    if (r->event.type == YAML_STREAM_END_EVENT) ER_TRY(REFUSE(r, "not a mapping of keys to values"));
    if (r->event.data.document_start.tag_directives.start != r->event.data.document_start.tag_directives.end)
        ER_TRY(REFUSE(r, "a tag directive, which settings do not need"));
    ER_TRY(next(r));
    if (r->event.type != YAML_MAPPING_START_EVENT) ER_TRY(REFUSE(r, "not a mapping of keys to values"));
    for (size_t n = 0;; n++) {
        ER_TRY(next(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) break;
        if (n == ER_YAML_KEYS) ER_TRY(REFUSE(r, "too many keys"));
        ER_TRY(read_member(object, r));
    }
    ER_TRY(next(r));  // the document's end
    ER_TRY(next(r));
    if (r->event.type != YAML_STREAM_END_EVENT) ER_TRY(REFUSE(r, "a second document"));
out:
    return rc;
}

er_status er_yaml_parse(cJSON **out, const char *text, size_t len, const char *name) {
    er_status rc = ER_OK;
    // The parser would count a byte order mark as a column, and take the second key for another indentation.
    size_t mark = er_utf8_mark(text, len), bad = 0;
    reader r = {.text = text + mark, .name = name, .len = len - mark};
    cJSON *object = NULL;
    const er_file_kind *kind = er_file_kind_of(text, len);
    if (kind) return er_fail(ER_EFORMAT, "%s: %s", name, kind->words);
    if (len > ER_YAML_BYTES) return er_fail(ER_EFORMAT, "%s: %zu bytes, limit %zu", name, len, ER_YAML_BYTES);
    if (!er_utf8_valid(r.text, r.len, &bad)) return refuse(&r, line_at(&r, bad), "not UTF-8");
    if (!yaml_parser_initialize(&r.parser)) return er_fail(ER_ENOMEM, "%s: YAML", name);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.text, r.len);
    if (!(object = cJSON_CreateObject())) ER_FAIL(ER_ENOMEM, "%s: an object", name);
    ER_TRY(read_document(object, &r));
    *out = object, object = NULL;
out:
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    cJSON_Delete(object);
    return rc;
}

er_status er_yaml_read(cJSON **out, const char *path) {
    char *text = NULL;
    size_t len = 0;
    er_status rc = er_file_read(&text, &len, path, ER_YAML_BYTES);
    if (rc == ER_OK) rc = er_yaml_parse(out, text, len, path);
    free(text);
    return rc;
}
