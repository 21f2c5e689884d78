// The reader: records from the scanner, parsed one by one, mapped, collected.
#include "io/facts/facts_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/file.h"
#include "io/base/file_kind.h"
#include "io/base/json.h"
#include "io/base/log.h"

typedef struct reader {
    er_facts *facts;
    er_facts_scan *scan;
    const er_facts_options *options;
    er_facts_format format;
    size_t records, unknown;
    er_notes notes;
    char first_unknown[ER_FACTS_REASON], first_bad[ER_FACTS_REASON];
    size_t first_bad_line;
} reader;

// What the parser said, without the name it was given to put in front.
static const char *parser_reason(const char *name) {
    const char *said = er_last_error();
    size_t n = strlen(name);
    return strncmp(said, name, n) == 0 && strncmp(said + n, ": ", 2) == 0 ? said + n + 2 : said;
}

static er_status add_fact(er_facts *f, er_fact *fact, char **id, size_t line) {
    er_status rc = ER_OK;
    er_digest *d = NULL;
    char hex[65];
    if ((f->count & (f->count + 1)) == 0) {  // capacity is the next power of two
        er_fact *grown = realloc(f->at, (2 * f->count + 1) * sizeof *grown);
        if (!grown) ER_FAIL(ER_ENOMEM, "%s: %zu facts", f->path, f->count);
        f->at = grown;
    }
    if (!*id) {  // the same rewrite keeps its id when lines move
        ER_TRY(er_digest_new(&d));
        er_digest_add_str(d, fact->subject);
        er_digest_add_str(d, fact->prompt);
        er_digest_hex(d, hex);
        if (!(*id = strndup(hex, 16))) ER_FAIL(ER_ENOMEM, "%s: an id", f->path);
    }
    fact->id = *id;
    fact->line = line;
    *id = NULL;
    f->at[f->count++] = *fact;
    *fact = (er_fact){0};
out:
    er_digest_free(d);
    return rc;
}

static er_status reject(reader *r, size_t line, const char *id, const char *reason) {
    if (!r->first_bad[0]) {
        (void)snprintf(r->first_bad, sizeof r->first_bad, "%s", reason);
        r->first_bad_line = line;
    }
    return er_facts_add_reject(r->facts, line, id, reason);
}

// A record that fails the file's format may be a good one of another.
static void other_format(char reason[ER_FACTS_REASON], er_facts_format f, const cJSON *record) {
    er_facts_format own = er_facts_detect(record);
    size_t n = strlen(reason);
    if (own == f || own == ER_FACTS_UNKNOWN) return;
    (void)snprintf(reason + n, ER_FACTS_REASON - n,
        " (by its keys the record is %s; the file's first one is %s)", er_facts_format_name(own),
        er_facts_format_name(f));
}

static er_status read_record(reader *r, const er_facts_record *record) {
    static const char name[] = "record";
    er_status rc = ER_OK;
    cJSON *json = NULL;
    er_fact fact = {0};
    er_notes notes = {0};
    char *id = NULL, reason[ER_FACTS_REASON];
    if (record->damage) return reject(r, record->line, NULL, record->damage);
    rc = er_json_parse(&json, record->text, record->len, name);
    if (rc == ER_EFORMAT) return reject(r, record->line, NULL, parser_reason(name));
    if (rc != ER_OK) return rc;
    if (r->format == ER_FACTS_UNKNOWN)
        r->format = cJSON_IsObject(json) ? er_facts_detect(json) : ER_FACTS_UNKNOWN;
    if (r->format == ER_FACTS_UNKNOWN || !cJSON_IsObject(json)) {
        er_facts_unknown(reason, json);
        if (!r->unknown++) (void)snprintf(r->first_unknown, sizeof r->first_unknown, "%s", reason);
        rc = reject(r, record->line, NULL, reason);
        goto out;
    }
    ER_TRY(er_facts_map(&fact, &id, &notes, reason, r->format, json, r->options));
    if (reason[0]) {
        other_format(reason, r->format, json);
        ER_TRY(reject(r, record->line, id, reason));
    } else {
        ER_TRY(add_fact(r->facts, &fact, &id, record->line));
        if (!er_notes_take(&r->notes, &notes, record->line)) ER_FAIL(ER_ENOMEM, "%s: a note", r->facts->path);
    }
out:
    er_notes_clear(&notes);
    cJSON_Delete(json);
    er_fact_clear(&fact);
    free(id);
    return rc;
}

static er_status read_all(reader *r) {
    er_status rc = ER_OK;
    er_facts *f = r->facts;
    size_t limit = r->options && r->options->limit ? r->options->limit : SIZE_MAX;
    for (; r->records < limit; r->records++) {
        er_facts_record record;
        bool end = false;
        ER_TRY(er_facts_scan_next(r->scan, &record, &end));
        if (end) break;
        if (r->records == ER_FACTS_COUNT_MAX)
            ER_FAIL(ER_EFORMAT, "%s: more than %zu records", f->path, r->records);
        if (r->records == ER_FACTS_BAD_FIRST && f->count == 0)
            break;  // the rest of an endless stream is no better
        ER_TRY(read_record(r, &record));
    }
    f->is_lines = er_facts_scan_is_lines(r->scan);
    const char *place = f->is_lines ? "line" : "record";
    if (r->records == 0) ER_FAIL(ER_EFORMAT, "%s: holds no records", f->path);
    if (r->format == ER_FACTS_UNKNOWN && r->unknown) ER_FAIL(ER_EFORMAT, "%s: %s", f->path, r->first_unknown);
    if (r->format == ER_FACTS_UNKNOWN)
        ER_FAIL(ER_EFORMAT, "%s: none of %zu records can be read; %s %zu: %s", f->path, r->records, place,
            r->first_bad_line, r->first_bad);
    f->format = er_facts_format_name(r->format);
    er_notes_warn(&r->notes, f->path, place);
    ER_TRY(er_facts_merge(f));
out:
    return rc;
}

static er_status collect(
    er_facts **out, er_facts_scan *scan, const char *name, const er_facts_options *options) {
    er_status rc = ER_OK;
    reader r = {.scan = scan, .options = options, .facts = calloc(1, sizeof(er_facts))};
    if (!r.facts || !(r.facts->path = strdup(name))) ER_FAIL(ER_ENOMEM, "%s: facts", name);
    ER_TRY(read_all(&r));
    *out = r.facts;
    r.facts = NULL;
out:
    er_notes_clear(&r.notes);
    er_facts_free(r.facts);
    return rc;
}

er_status er_facts_read(er_facts **out, const char *path, const er_facts_options *options) {
    er_facts_scan *scan = NULL;
    er_status rc = er_facts_scan_open(&scan, path);
    if (rc == ER_OK) rc = collect(out, scan, er_facts_scan_name(scan), options);
    er_facts_scan_free(scan);
    return strcmp(path, "-") ? er_file_kind_refuse(rc, path)
                             : rc;  // what it is says more than its first bad record
}

er_status er_facts_parse(
    er_facts **out, const char *bytes, size_t len, const char *name, const er_facts_options *options) {
    er_facts_scan *scan = NULL;
    er_status rc = er_facts_scan_memory(&scan, bytes, len);
    if (rc == ER_OK) rc = collect(out, scan, name, options);
    er_facts_scan_free(scan);
    return rc;
}
