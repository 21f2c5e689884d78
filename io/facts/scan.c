// Cuts a file into records without parsing them: lines of JSON Lines, objects over several lines, or the
// elements of a top-level array.
#include "io/facts/facts_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/stream.h"

#define CHUNK ((size_t)1 << 16)

struct er_facts_scan {
    er_stream *stream;  // NULL: `bytes` is all there is
    char *chunk;
    const char *bytes;
    size_t n, at;  // of `bytes`
    bool eof, is_lines;
    enum { START, LINES, ELEMENTS, BEHIND, DONE } state;  // BEHIND: the array is closed
    size_t line;                                          // of the last record
    int back[2];                                          // bytes read ahead and put back, the next one last
    size_t n_back;
    size_t newlines;  // read so far, of lines and objects
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

// The same, of what was put back first.
static er_status read_byte(er_facts_scan *s, int *c) {
    er_status rc = ER_OK;
    if (s->n_back) *c = s->back[--s->n_back];
    else rc = next_byte(s, c);
    return rc;
}
static void put_back(er_facts_scan *s, int c) {
    assert(s->n_back < sizeof s->back / sizeof *s->back);
    s->back[s->n_back++] = c;
}

static bool is_space(int c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// UTF-16 has a zero in every other byte of such a file; with or without a byte order mark it is told by the
// first two.
static er_status refuse_utf16(const er_facts_scan *s, int first, int second) {
    bool marked = (first == 0xff && second == 0xfe) || (first == 0xfe && second == 0xff);
    if (!marked && (first == 0) == (second == 0)) return ER_OK;
    return er_fail(ER_EFORMAT,
        "%s%sthe file is UTF-16 (it begins with the bytes %02X %02X): save it as UTF-8",
        s->stream ? er_stream_name(s->stream) : "", s->stream ? ": " : "", (unsigned)first, (unsigned)second);
}

// A byte order mark, as some editors put it, also where files were joined; what only looks so is caught as
// invalid UTF-8.
static er_status skip_mark(er_facts_scan *s, int *c) {
    er_status rc = ER_OK;
    if (*c != 0xef) return ER_OK;
    ER_TRY(read_byte(s, c));
    if (*c == 0xbb) ER_TRY(read_byte(s, c));
    if (*c == 0xbf) ER_TRY(read_byte(s, c));
out:
    return rc;
}

// The first byte that is not white space decides: '[' opens an array, anything else begins a line.
static er_status start(er_facts_scan *s) {
    er_status rc = ER_OK;
    int c = 0, second = 0;
    ER_TRY(read_byte(s, &c));
    ER_TRY(read_byte(s, &second));
    if (c >= 0 && second >= 0) ER_TRY(refuse_utf16(s, c, second));
    put_back(s, second);
    ER_TRY(skip_mark(s, &c));
    while (is_space(c)) {
        s->newlines += c == '\n';
        ER_TRY(read_byte(s, &c));
    }
    s->is_lines = c != '[';
    s->state = s->is_lines ? LINES : ELEMENTS;
    if (s->is_lines && c >= 0) put_back(s, c);
out:
    return rc;
}

// Is an object, still open at the end of a line, given up there? A line of JSON Lines that was cut off is
// followed by the next record, at the line's beginning; inside a pretty-printed object a bracket is indented
// or stands alone.
static er_status next_line_begins_anew(er_facts_scan *s, bool *anew) {
    er_status rc = ER_OK;
    int c = 0, second = 0;
    ER_TRY(read_byte(s, &c));
    *anew = c < 0;
    if (c == '{') {
        ER_TRY(read_byte(s, &second));
        *anew = second >= 0 && !is_space(second);
        put_back(s, second);
    }
    put_back(s, c);
out:
    return rc;
}

// One record: an object to its closing bracket, on however many lines, or whatever else stands on a line. A
// string does not go on over the end of a line, so a line that was damaged inside of one ends there.
static er_status read_value(er_facts_scan *s, bool *blank, int *last) {
    er_status rc = ER_OK;
    size_t depth = 0;
    bool in_string = false, escaped = false, object = false, anew = false;
    *blank = true;
    for (;;) {
        int c = 0;
        ER_TRY(read_byte(s, &c));
        if (*blank) ER_TRY(skip_mark(s, &c));
        *last = c;
        s->newlines += c == '\n';
        if (c < 0) break;
        if (c == '\n') {
            if (depth == 0 || in_string || !object) break;
            ER_TRY(next_line_begins_anew(s, &anew));
            if (anew) break;
        }
        if (*blank && is_space(c)) continue;
        if (*blank) object = c == '{';
        *blank = false;
        if (in_string) {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (object && depth == 0 && s->len) {  // the next object, on the same line
                put_back(s, c);
                break;
            }
            depth++;
        } else if (depth > 0 && (c == '}' || c == ']')) {
            depth--;
        }
        ER_TRY(append(s, (char)c));
    }
out:
    return rc;
}

static er_status next_line(er_facts_scan *s, er_facts_record *r) {
    er_status rc = ER_OK;
    bool blank = true;
    int c = 0;
    do {
        s->len = 0;
        s->line = s->newlines + 1;
        ER_TRY(read_value(s, &blank, &c));
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
        ER_TRY(read_byte(s, &c));
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
    do ER_TRY(read_byte(s, &c));
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
