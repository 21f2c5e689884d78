// Cuts a file into records without parsing them: lines of JSON Lines, or the elements of a top-level array.
#include "io/facts/parts.h"

#include <stdlib.h>
#include <string.h>
#include "io/stream.h"

#define CHUNK ((size_t)1 << 16)

struct er_facts_scan {
    er_stream *stream;  // NULL: `bytes` is all there is
    char *chunk;
    const char *bytes;
    size_t n, at;  // of `bytes`
    bool eof, is_lines;
    enum { START, LINES, ELEMENTS, BEHIND, DONE } state;  // BEHIND: the array is closed
    size_t line;                                          // of the last record
    char *text;
    size_t len, capacity;
    bool too_long;
};

// The next byte, or -1 at the end.
static er_status next_byte(er_facts_scan *s, int *c) {
    while (s->at == s->n && !s->eof) {
        if (!s->stream) {
            s->eof = true;
            break;
        }
        er_status rc = er_stream_read(&s->n, s->stream, s->chunk, CHUNK, ER_FACTS_BYTES_MAX);
        if (rc != ER_OK) return rc;
        s->bytes = s->chunk;
        s->at = 0;
        s->eof = s->n == 0;
    }
    *c = s->at < s->n ? (unsigned char)s->bytes[s->at++] : -1;
    return ER_OK;
}

// Keeps one byte free for the terminator. Overlong records are read to their end but not kept, so that the
// one after them is found.
static er_status append(er_facts_scan *s, char c) {
    if (s->len + 1 >= s->capacity) {
        if (s->len + 1 >= ER_FACTS_RECORD_MAX) {
            s->too_long = true;
            return ER_OK;
        }
        size_t capacity = s->capacity ? 2 * s->capacity : 4096;
        char *text = realloc(s->text, capacity);
        if (!text) return er_fail(ER_ENOMEM, "record of more than %zu bytes", s->len);
        s->text = text;
        s->capacity = capacity;
    }
    s->text[s->len++] = c;
    return ER_OK;
}

static bool is_space(int c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// The first byte that is not white space decides: '[' opens an array, anything else is a line.
static er_status start(er_facts_scan *s) {
    er_status rc = ER_OK;
    int c = 0;
    size_t lines = 0;
    ER_TRY(next_byte(s, &c));
    if (c == 0xef) {  // a byte order mark, as some editors put it; a file that only looks so is caught as
                      // invalid UTF-8
        ER_TRY(next_byte(s, &c));
        if (c == 0xbb) ER_TRY(next_byte(s, &c));
        if (c == 0xbf) ER_TRY(next_byte(s, &c));
    }
    while (is_space(c)) {
        lines += c == '\n';
        ER_TRY(next_byte(s, &c));
    }
    s->is_lines = c != '[';
    s->state = s->is_lines ? LINES : ELEMENTS;
    if (!s->is_lines) goto out;
    s->line = lines;
    if (c >= 0) s->at--;  // at least this byte came from the present chunk
out:
    return rc;
}

static er_status next_line(er_facts_scan *s, er_facts_record *r) {
    er_status rc = ER_OK;
    int c = 0;
    bool blank = true;
    do {
        s->len = 0;
        blank = true;
        s->line++;
        for (;;) {
            ER_TRY(next_byte(s, &c));
            if (c < 0 || c == '\n') break;
            blank = blank && is_space(c);
            ER_TRY(append(s, (char)c));
        }
    } while (blank && c >= 0);
    if (blank) s->state = DONE;
    else r->line = s->line;
out:
    return rc;
}

// Reads to the comma or bracket that ends an element: nesting is counted outside strings only, and whether
// brackets pair up is the parser's business.
static er_status element(er_facts_scan *s, int *last, bool *blank) {
    er_status rc = ER_OK;
    size_t depth = 0;
    bool in_string = false, escaped = false;
    *blank = true;
    for (;;) {
        int c = 0;
        ER_TRY(next_byte(s, &c));
        *last = c;
        if (c < 0) break;
        if (in_string) {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (depth == 0 && (c == ',' || c == ']')) {
            break;
        } else if (depth > 0 && (c == '}' || c == ']')) {
            depth--;
        }
        if (*blank && is_space(c)) continue;
        *blank = false;
        ER_TRY(append(s, (char)c));
    }
out:
    return rc;
}

// Only white space may follow the array.
static er_status behind(er_facts_scan *s, er_facts_record *r) {
    er_status rc = ER_OK;
    int c = 0;
    s->state = DONE;
    do ER_TRY(next_byte(s, &c));
    while (is_space(c));
    if (c < 0) goto out;
    r->line = s->line + 1;
    r->damage = "something stands behind the end of the array";
out:
    return rc;
}

static er_status next_element(er_facts_scan *s, er_facts_record *r) {
    er_status rc = ER_OK;
    int c = 0;
    bool blank = true;
    s->len = 0;
    ER_TRY(element(s, &c, &blank));
    r->line = ++s->line;
    if (c < 0) {
        r->damage = blank ? "the array has no end: the file stops here" : "the file ends inside this record";
        s->state = DONE;
        goto out;
    }
    if (c == ']') s->state = BEHIND;
    if (!blank) goto out;
    if (c == ']' && s->line == 1) {  // an empty array
        r->line = 0;
        ER_TRY(behind(s, r));
    } else {
        r->damage = "nothing stands before this comma or bracket";
    }
out:
    return rc;
}

er_status er_facts_scan_next(er_facts_scan *s, er_facts_record *record, bool *end) {
    er_status rc = ER_OK;
    *record = (er_facts_record){.text = ""};
    s->too_long = false;
    if (s->state == START) ER_TRY(start(s));
    if (s->state == LINES) ER_TRY(next_line(s, record));
    else if (s->state == ELEMENTS) ER_TRY(next_element(s, record));
    else if (s->state == BEHIND) ER_TRY(behind(s, record));
    *end = record->line == 0;  // every record has one
    if (s->too_long && !record->damage) record->damage = "the record is longer than 16 MiB";
    if (*end || record->damage || !s->text) goto out;
    s->text[s->len] = '\0';
    record->text = s->text;
    record->len = s->len;
out:
    return rc;
}

bool er_facts_scan_is_lines(const er_facts_scan *s) { return s->is_lines; }

er_status er_facts_scan_open(er_facts_scan **out, const char *path) {
    er_status rc = ER_OK;
    er_facts_scan *s = calloc(1, sizeof *s);
    if (!s) return er_fail(ER_ENOMEM, "%s: a scanner", path);
    ER_TRY(er_stream_open(&s->stream, path));
    if (!(s->chunk = malloc(CHUNK))) ER_FAIL(ER_ENOMEM, "%s: %zu bytes", path, CHUNK);
    *out = s;
    s = NULL;
out:
    er_facts_scan_free(s);
    return rc;
}

const char *er_facts_scan_name(const er_facts_scan *s) { return er_stream_name(s->stream); }

er_status er_facts_scan_memory(er_facts_scan **out, const char *bytes, size_t len) {
    er_facts_scan *s = calloc(1, sizeof *s);
    if (!s) return er_fail(ER_ENOMEM, "a scanner");
    s->bytes = bytes;
    s->n = len;
    *out = s;
    return ER_OK;
}

void er_facts_scan_free(er_facts_scan *s) {
    if (!s) return;
    er_stream_free(s->stream);
    free(s->chunk);
    free(s->text);
    free(s);
}
