// The central directory of a zip archive, every field checked against the file.
#include "io/base/zip.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/os.h"

#define END_SIZE 22u
#define LOCATOR_SIZE 20u
#define END64_SIZE 56u
#define CENTRAL_SIZE 46u
#define LOCAL_SIZE 30u
#define MAX_DIRECTORY ((uint64_t)16 << 20)

static uint32_t le16(const unsigned char *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t le32(const unsigned char *p) { return le16(p) | le16(p + 2) << 16; }
static uint64_t le64(const unsigned char *p) { return le32(p) | (uint64_t)le32(p + 4) << 32; }

void er_zip_free(er_zip *zip) {
    for (size_t i = 0; i < zip->count; i++) free(zip->entries[i].name);
    free(zip->entries);
    free(zip->path);
    memset(zip, 0, sizeof *zip);
}

typedef struct directory {
    uint64_t at, size, count;
} directory;

// The ZIP64 end record, when a locator stands before the classic one at `end`; *at moves to it.
static er_status read_end64(directory *d, uint64_t *at, int fd, const char *path) {
    unsigned char b[END64_SIZE];
    er_status rc;
    if (*at < LOCATOR_SIZE + END64_SIZE) return ER_OK;
    if ((rc = er_pread_all(fd, b, LOCATOR_SIZE, *at - LOCATOR_SIZE, path)) != ER_OK) return rc;
    if (memcmp(b, "PK\6\7", 4) != 0) return ER_OK;
    uint64_t end64 = le64(b + 8);
    if (end64 > *at - LOCATOR_SIZE - END64_SIZE)
        return er_fail(ER_EFORMAT, "%s: its ZIP64 record lies at %" PRIu64, path, end64);
    if ((rc = er_pread_all(fd, b, END64_SIZE, end64, path)) != ER_OK) return rc;
    if (memcmp(b, "PK\6\6", 4) != 0)
        return er_fail(ER_EFORMAT, "%s: has no ZIP64 record at %" PRIu64, path, end64);
    if (le32(b + 16) != 0 || le32(b + 20) != 0 || le64(b + 24) != le64(b + 32))
        return er_fail(ER_EUNSUPPORTED, "%s: is one of several disks", path);
    *d = (directory){le64(b + 48), le64(b + 40), le64(b + 32)};
    *at = end64;
    return ER_OK;
}

// Finds the end record, behind which only a comment of the length it gives may stand.
static er_status find_directory(directory *d, int fd, uint64_t size, const char *path) {
    er_status rc = ER_OK;
    size_t n = size < END_SIZE + 65535u ? (size_t)size : END_SIZE + 65535u, i;
    unsigned char *tail = malloc(n + 1), *p;
    uint64_t at;
    if (!tail) ER_FAIL(ER_ENOMEM, "%zu bytes of %s", n, path);
    ER_TRY(er_pread_all(fd, tail, n, size - n, path));
    for (i = END_SIZE; i <= n; i++) {
        p = tail + n - i;
        if (memcmp(p, "PK\5\6", 4) == 0 && le16(p + 20) == i - END_SIZE) break;
    }
    if (i > n && size >= 4 && er_pread_all(fd, tail, 4, 0, path) == ER_OK && !memcmp(tail, "PK\3\4", 4))
        ER_FAIL(ER_EFORMAT, "%s: its end is missing: it is cut short, as by a download that broke off", path);
    if (i > n) ER_FAIL(ER_EFORMAT, "%s: is no zip archive", path);
    p = tail + n - i;
    if (le16(p + 4) != 0 || le16(p + 6) != 0 || le16(p + 8) != le16(p + 10))
        ER_FAIL(ER_EUNSUPPORTED, "%s: is one of several disks", path);
    *d = (directory){le32(p + 16), le32(p + 12), le16(p + 10)};
    at = size - i;
    ER_TRY(read_end64(d, &at, fd, path));
    if (d->size > MAX_DIRECTORY || d->count > d->size / CENTRAL_SIZE)
        ER_FAIL(ER_EFORMAT, "%s: a directory of %" PRIu64 " entries in %" PRIu64 " bytes", path, d->count,
            d->size);
    if (d->at > at || d->size != at - d->at)
        ER_FAIL(ER_EFORMAT, "%s: its directory of %" PRIu64 " bytes at %" PRIu64 " does not end at %" PRIu64,
            path, d->size, d->at, at);
out:
    free(tail);
    return rc;
}

// Fields of 0xffffffff stand in the ZIP64 extra field instead, in this order.
static bool read_extra(er_zip_entry *e, const unsigned char *p, size_t n) {
    uint64_t *fields[3] = {&e->size, &e->packed, &e->header};
    while (n >= 4) {
        size_t len = le16(p + 2), used = 4;
        if (len > n - 4) return false;
        for (int i = 0; le16(p) == 1 && i < 3; i++) {
            if (*fields[i] != UINT32_MAX) continue;
            if (used + 8 > len + 4) return false;
            *fields[i] = le64(p + used);
            used += 8;
        }
        p += len + 4, n -= len + 4;
    }
    return true;
}

static er_status read_entry(
    er_zip_entry *e, size_t *used, const unsigned char *p, size_t n, const er_zip *zip) {
    if (n < CENTRAL_SIZE || memcmp(p, "PK\1\2", 4) != 0)
        return er_fail(ER_EFORMAT, "%s: its directory is broken", zip->path);
    size_t name = le16(p + 28), extra = le16(p + 30), comment = le16(p + 32),
           total = CENTRAL_SIZE + name + extra + comment;
    if (total > n) return er_fail(ER_EFORMAT, "%s: its directory is broken", zip->path);
    if (memchr(p + CENTRAL_SIZE, 0, name))
        return er_fail(ER_EFORMAT, "%s: a member's name holds a NUL", zip->path);
    e->method = (int)le16(p + 10);
    e->crc = le32(p + 16);
    e->packed = le32(p + 20), e->size = le32(p + 24), e->header = le32(p + 42);
    if (!(e->name = strndup((const char *)p + CENTRAL_SIZE, name)))
        return er_fail(ER_ENOMEM, "%s: a name", zip->path);
    *used = total;
    if (!read_extra(e, p + CENTRAL_SIZE + name, extra))
        return er_fail(ER_EFORMAT, "%s: member '%s': its extra field is broken", zip->path, e->name);
    if (le16(p + 8) & 1) return er_fail(ER_EUNSUPPORTED, "%s: member '%s' is encrypted", zip->path, e->name);
    if (e->method != 0 && e->method != 8)
        return er_fail(
            ER_EUNSUPPORTED, "%s: member '%s' is packed with method %d", zip->path, e->name, e->method);
    if (e->method == 0 && e->packed != e->size)
        return er_fail(ER_EFORMAT, "%s: member '%s' is stored in %" PRIu64 " bytes and unpacks to %" PRIu64,
            zip->path, e->name, e->packed, e->size);
    return ER_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static er_status check_unique(const er_zip *zip) {
    er_status rc = ER_OK;
    char **names = malloc((zip->count + 1) * sizeof *names);
    if (!names) return er_fail(ER_ENOMEM, "%s: %zu names", zip->path, zip->count);
    for (size_t i = 0; i < zip->count; i++) names[i] = zip->entries[i].name;
    qsort(names, zip->count, sizeof *names, compare_names);
    for (size_t i = 1; i < zip->count && rc == ER_OK; i++)
        if (strcmp(names[i], names[i - 1]) == 0)
            rc = er_fail(ER_EFORMAT, "%s: member '%s' is there twice", zip->path, names[i]);
    free(names);
    return rc;
}

er_status er_zip_open(er_zip *zip, int fd, uint64_t size, const char *path) {
    er_status rc = ER_OK;
    directory d = {0, 0, 0};
    unsigned char *bytes = NULL;
    size_t at = 0, used = 0;
    if (!(zip->path = strdup(path))) ER_FAIL(ER_ENOMEM, "%s", path);
    ER_TRY(find_directory(&d, fd, size, path));
    zip->directory = d.at;
    bytes = malloc((size_t)d.size + 1);
    zip->entries = calloc((size_t)d.count + 1, sizeof *zip->entries);
    if (!bytes || !zip->entries) ER_FAIL(ER_ENOMEM, "%s: a directory of %" PRIu64 " bytes", path, d.size);
    ER_TRY(er_pread_all(fd, bytes, (size_t)d.size, d.at, path));
    for (uint64_t i = 0; i < d.count; i++, at += used) {
        zip->count++;
        ER_TRY(read_entry(&zip->entries[i], &used, bytes + at, (size_t)d.size - at, zip));
    }
    if (at != d.size)
        ER_FAIL(ER_EFORMAT, "%s: %" PRIu64 " bytes of its directory are no entry", path, d.size - at);
    ER_TRY(check_unique(zip));
out:
    free(bytes);
    return rc;
}

er_status er_zip_data_offset(uint64_t *at, const er_zip *zip, int fd, const er_zip_entry *e) {
    unsigned char b[LOCAL_SIZE];
    uint64_t begin;
    if (e->header > zip->directory || zip->directory - e->header < LOCAL_SIZE)
        return er_fail(ER_EFORMAT, "%s: member '%s' begins at %" PRIu64 ", behind the directory", zip->path,
            e->name, e->header);
    er_status rc = er_pread_all(fd, b, LOCAL_SIZE, e->header, zip->path);
    if (rc != ER_OK) return rc;
    begin = e->header + LOCAL_SIZE + le16(b + 26) + le16(b + 28);
    if (memcmp(b, "PK\3\4", 4) != 0 || le16(b + 8) != (uint32_t)e->method)
        return er_fail(
            ER_EFORMAT, "%s: member '%s' has no header at %" PRIu64, zip->path, e->name, e->header);
    if (begin > zip->directory || e->packed > zip->directory - begin)
        return er_fail(ER_EFORMAT, "%s: member '%s' of %" PRIu64 " bytes reaches behind %" PRIu64, zip->path,
            e->name, e->packed, zip->directory);
    *at = begin;
    return ER_OK;
}
