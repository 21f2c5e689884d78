#include "engine/statistics.h"
#include "engine/statistics/documents_internal.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/generate/sampler.h"
#include "io/base/file.h"
#include "io/base/file_kind.h"
#include "io/base/json.h"
#include "io/base/signals.h"
#include "io/base/utf8.h"

#define MOST_BYTES ((size_t)8 << 30)

typedef struct er_document {
    size_t file, at, len, line;  // line: 1-based, for JSON Lines; 0: plain text
} er_document;

struct er_documents {
    const char *const *path;  // borrowed
    char **bytes;             // [files]
    char (*digest)[65];       // [files] of the bytes as they were read
    size_t *len;
    size_t files;
    er_document *at;
    size_t count, room;
};

size_t er_paragraph_length(const char *text, size_t len) {
    size_t at = 0;
    for (bool words = false, blank = false; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t next = end ? (size_t)(end - text) + 1 : len, i = at;
        while (i < next && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n')) i++;
        if (i == next) blank = words;  // blank lines at the very front go with the paragraph they precede
        else if (blank) break;
        else words = true;
        at = next;
    }
    return at;
}

static er_status add(er_documents *d, er_document doc) {
    er_status rc = er_stop_check("the text is not read yet");
    if (rc != ER_OK) return rc;
    if (d->count == d->room) {
        size_t room = d->room ? 2 * d->room : 256;
        er_document *p = realloc(d->at, room * sizeof *p);
        if (!p) return er_fail(ER_ENOMEM, "%zu documents", room);
        d->at = p, d->room = room;
    }
    d->at[d->count++] = doc;
    return ER_OK;
}

static er_status split_lines(er_documents *d, size_t file) {
    const char *text = d->bytes[file];
    size_t len = d->len[file], line = 1;
    for (size_t at = 0; at < len; line++) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - (text + at)) : len - at, i = 0;
        while (i < n && (text[at + i] == ' ' || text[at + i] == '\t' || text[at + i] == '\r')) i++;
        er_status rc = i < n ? add(d, (er_document){file, at, n, line}) : ER_OK;
        if (rc != ER_OK) return rc;
        at += n + 1;
    }
    return ER_OK;
}

static er_status split_paragraphs(er_documents *d, size_t file, size_t run_bytes) {
    const char *text = d->bytes[file];
    size_t len = d->len[file];
    for (size_t at = 0; at < len;) {
        size_t n = 0;
        while (n < run_bytes && at + n < len) n += er_paragraph_length(text + at + n, len - at - n);
        er_status rc = add(d, (er_document){file, at, n, 0});
        if (rc != ER_OK) return rc;
        at += n;
    }
    return ER_OK;
}

static void shuffle(er_documents *d, uint64_t seed) {
    for (size_t i = d->count; i > 1; i--) {
        size_t j = (size_t)(er_uniform(seed, 0, i) * (double)i);
        er_document t = d->at[i - 1];
        d->at[i - 1] = d->at[j], d->at[j] = t;
    }
}

static void drop_mark(char *text, size_t *len) {
    size_t n = er_utf8_mark(text, *len);
    if (n) memmove(text, text + n, (*len -= n) + 1);
}

static er_status digest_of(char hex[65], const char *bytes, size_t len) {
    er_digest *d = NULL;
    er_status rc = er_digest_new(&d);
    if (rc != ER_OK) return rc;
    er_digest_add(d, bytes, len);
    er_digest_hex(d, hex);
    er_digest_free(d);
    return ER_OK;
}

er_status er_documents_check(const er_documents *d, size_t file, const char *digest) {
    if (strcmp(d->digest[file], digest) == 0) return ER_OK;
    return er_fail(ER_EIO, "%s: is not what it was when the job began", d->path[file]);
}

er_status er_corpus_check(const char *const *paths, size_t n_paths) {
    for (size_t i = 0; i < n_paths; i++) {
        uint64_t size = 0;
        er_status rc = er_file_size(&size, paths[i]);
        if (rc == ER_OK && size == 0)
            rc = er_fail(ER_EFORMAT, "%s: is empty: a download that broke off, perhaps", paths[i]);
        if (rc == ER_OK && size > MOST_BYTES)
            rc = er_fail(ER_EFORMAT, "%s: %llu bytes of text, limit %zu", paths[i], (unsigned long long)size,
                MOST_BYTES);
        if (rc != ER_OK) return rc;
    }
    return ER_OK;
}

er_status er_documents_read(
    er_documents **out, const char *const *paths, size_t n_paths, size_t run_bytes, uint64_t seed) {
    er_status rc = ER_OK;
    er_documents *d = calloc(1, sizeof *d);
    if (!d) ER_FAIL(ER_ENOMEM, "documents");
    d->path = paths;
    d->bytes = calloc(n_paths + 1, sizeof *d->bytes);
    d->len = calloc(n_paths + 1, sizeof *d->len);
    d->digest = calloc(n_paths + 1, sizeof *d->digest);
    if (!d->bytes || !d->len || !d->digest) ER_FAIL(ER_ENOMEM, "%zu files", n_paths);
    for (d->files = 0; d->files < n_paths; d->files++) {
        size_t f = d->files;
        ER_TRY(er_file_read(&d->bytes[f], &d->len[f], paths[f], MOST_BYTES));
        ER_TRY(digest_of(d->digest[f], d->bytes[f], d->len[f]));
        ER_TRY(er_text_check(d->bytes[f], d->len[f], paths[f]));
        drop_mark(d->bytes[f], &d->len[f]);
        bool lines = d->bytes[f][strspn(d->bytes[f], " \t\r\n")] == '{';
        ER_TRY(lines ? split_lines(d, f) : split_paragraphs(d, f, run_bytes));
    }
    shuffle(d, seed);
    *out = d, d = NULL;
out:
    er_documents_free(d);
    return rc;
}

size_t er_documents_count(const er_documents *d) { return d->count; }

static er_status record_text(char **out, size_t *len, const char *line, size_t n, const char *name) {
    cJSON *record = NULL;
    const char *text = NULL;
    er_status rc = ER_OK;
    ER_TRY(er_json_parse(&record, line, n, name));
    if (!cJSON_IsObject(record)) ER_FAIL(ER_EFORMAT, "%s: not an object", name);
    ER_TRY(er_json_get_str(&text, record, "text", name));
    if (!text) ER_FAIL(ER_EFORMAT, "%s: no \"text\"", name);
    if (!(*out = strdup(text))) ER_FAIL(ER_ENOMEM, "%s: %zu bytes", name, strlen(text));
    *len = strlen(text);
out:
    cJSON_Delete(record);
    return rc;
}

er_status er_documents_text(char **out, size_t *len, const er_documents *d, size_t i) {
    const er_document *doc = &d->at[i];
    const char *bytes = d->bytes[doc->file] + doc->at;
    if (doc->line) {
        char name[512];
        snprintf(name, sizeof name, "%s:%zu", d->path[doc->file], doc->line);
        return record_text(out, len, bytes, doc->len, name);
    }
    char *copy = malloc(doc->len + 1);
    if (!copy) return er_fail(ER_ENOMEM, "%zu bytes of text", doc->len);
    memcpy(copy, bytes, doc->len);
    copy[doc->len] = 0;
    *out = copy;
    *len = doc->len;
    return ER_OK;
}

void er_documents_free(er_documents *d) {
    if (!d) return;
    for (size_t i = 0; d->bytes && i <= d->files; i++) free(d->bytes[i]);
    free(d->bytes);
    free(d->len);
    free(d->digest);
    free(d->at);
    free(d);
}
