// Writing .npz as numpy does, byte for byte: stored members, a ZIP64 field in every local header, dates of
// 1980.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include "io/npy.h"
#include "io/base/os.h"
#include "io/base/partial.h"

#define ZIP64_VERSION 45u
// Python's zipfile turns to ZIP64 above it, though the format could go to twice that.
#define LIMIT ((uint64_t)INT32_MAX)
#define DATE_1980 0x21u
#define UNIX 3u
#define MODE_600 (0600u << 16)

typedef struct written {
    char *name;  // with .npy
    uint32_t crc;
    uint64_t size, header;
} written;

struct er_npz_writer {
    char *path, *temp;
    int fd;
    uint64_t at;
    written *members;
    size_t count, capacity;
};

static unsigned char *put(unsigned char *p, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) p[i] = (unsigned char)(v >> (8 * i));
    return p + bytes;
}

er_status er_npz_create(er_npz_writer **out, const char *path) {
    er_status rc = ER_OK;
    er_npz_writer *w = calloc(1, sizeof *w);
    if (!w) ER_FAIL(ER_ENOMEM, "%s", path);
    w->fd = -1;
    if (!(w->path = strdup(path))) ER_FAIL(ER_ENOMEM, "%s", path);
    ER_TRY(er_temp_create(&w->fd, &w->temp, path));
    *out = w, w = NULL;
out:
    er_npz_writer_free(w);
    return rc;
}

void er_npz_writer_free(er_npz_writer *w) {
    if (!w) return;
    if (w->fd >= 0) er_temp_discard(w->fd, w->temp);
    for (size_t i = 0; i < w->count; i++) free(w->members[i].name);
    free(w->members);
    free(w->temp);
    free(w->path);
    free(w);
}

static er_status append(er_npz_writer *w, const void *bytes, size_t n) {
    er_status rc = er_write_all(w->fd, bytes, n, w->path);
    w->at += n;
    return rc;
}

static er_status new_member(written **out, er_npz_writer *w, const char *member) {
    char *name = er_format("%s.npy", member);
    if (!name) return er_fail(ER_ENOMEM, "the member %s", member);
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 8;
        written *more = realloc(w->members, capacity * sizeof *more);
        if (!more) {
            free(name);
            return er_fail(ER_ENOMEM, "%zu members", capacity);
        }
        w->members = more, w->capacity = capacity;
    }
    *out = &w->members[w->count++];
    **out = (written){.name = name, .header = w->at};
    return ER_OK;
}

static er_status append_local(er_npz_writer *w, const written *m) {
    unsigned char b[64], *p = b;
    size_t name = strlen(m->name);
    p = put(p, 0x04034b50u, 4);
    p = put(p, ZIP64_VERSION, 2);
    p = put(p, 0, 2 + 2 + 2);  // flags, stored, midnight
    p = put(p, DATE_1980, 2);
    p = put(p, m->crc, 4);
    p = put(p, UINT32_MAX, 4);
    p = put(p, UINT32_MAX, 4);
    p = put(p, name, 2);
    p = put(p, 20, 2);
    er_status rc = append(w, b, (size_t)(p - b));
    if (rc == ER_OK) rc = append(w, m->name, name);
    p = put(b, 1, 2);
    p = put(p, 16, 2);
    p = put(p, m->size, 8);
    p = put(p, m->size, 8);
    return rc == ER_OK ? append(w, b, (size_t)(p - b)) : rc;
}

er_status er_npz_add(er_npz_writer *w, const char *member, const er_npy *a) {
    char header[1024];
    uint64_t elements, bytes;
    written *m = NULL;
    er_status rc;
    size_t n = er_npy_format_header(header, a), name = strlen(member);
    if (n == 0 || !er_npy_bytes(&elements, &bytes, a))
        return er_fail(ER_EARG, "%s: member '%s' is no array", w->path, member);
    if (name == 0 || name > 1000 || strchr(member, '/'))
        return er_fail(ER_EARG, "%s: '%s' is no member name", w->path, member);
    for (size_t i = 0; i < name; i++)  // what is not ASCII would need the UTF-8 flag
        if ((unsigned char)member[i] >= 0x80)
            return er_fail(ER_EARG, "%s: '%s' is no member name", w->path, member);
    for (size_t i = 0; i < w->count; i++)
        if (strncmp(w->members[i].name, member, name) == 0 && strcmp(w->members[i].name + name, ".npy") == 0)
            return er_fail(ER_EARG, "%s: member '%s' is added twice", w->path, member);
    if ((rc = new_member(&m, w, member)) != ER_OK) return rc;
    uLong crc = crc32(crc32(0, NULL, 0), (const Bytef *)header, (uInt)n);
    if (bytes) crc = crc32_z(crc, a->data, (size_t)bytes);
    m->crc = (uint32_t)crc;
    m->size = n + bytes;
    if ((rc = append_local(w, m)) != ER_OK || (rc = append(w, header, n)) != ER_OK) return rc;
    return append(w, a->data, (size_t)bytes);
}

static er_status append_central(er_npz_writer *w, const written *m) {
    unsigned char b[96], extra[32], *p = b, *x = extra + 4;
    size_t name = strlen(m->name);
    bool large = m->size > LIMIT, far = m->header > LIMIT;
    if (large) x = put(put(x, m->size, 8), m->size, 8);
    if (far) x = put(x, m->header, 8);
    size_t n_extra = large || far ? (size_t)(x - extra) : 0;
    (void)put(put(extra, 1, 2), n_extra ? n_extra - 4 : 0, 2);
    p = put(p, 0x02014b50u, 4);
    p = put(p, ZIP64_VERSION, 1);
    p = put(p, UNIX, 1);
    p = put(p, ZIP64_VERSION, 2);
    p = put(p, 0, 2 + 2 + 2);
    p = put(p, DATE_1980, 2);
    p = put(p, m->crc, 4);
    p = put(p, large ? UINT32_MAX : m->size, 4);
    p = put(p, large ? UINT32_MAX : m->size, 4);
    p = put(p, name, 2);
    p = put(p, n_extra, 2);
    p = put(p, 0, 2 + 2 + 2);  // comment, disk, internal attributes
    p = put(p, MODE_600, 4);
    p = put(p, far ? UINT32_MAX : m->header, 4);
    er_status rc = append(w, b, (size_t)(p - b));
    if (rc == ER_OK) rc = append(w, m->name, name);
    return rc == ER_OK ? append(w, extra, n_extra) : rc;
}

static uint64_t capped(uint64_t v, uint64_t most) { return v < most ? v : most; }

static er_status append_end(er_npz_writer *w, uint64_t begin) {
    unsigned char b[128], *p = b;
    uint64_t size = w->at - begin, end64 = w->at;
    if (w->count > 65535 || begin > LIMIT || size > LIMIT) {
        p = put(p, 0x06064b50u, 4);
        p = put(p, 44, 8);
        p = put(p, ZIP64_VERSION, 2);
        p = put(p, ZIP64_VERSION, 2);
        p = put(p, 0, 8);
        p = put(p, w->count, 8);
        p = put(p, w->count, 8);
        p = put(p, size, 8);
        p = put(p, begin, 8);
        p = put(p, 0x07064b50u, 4);
        p = put(p, 0, 4);
        p = put(p, end64, 8);
        p = put(p, 1, 4);
    }
    p = put(p, 0x06054b50u, 4);
    p = put(p, 0, 4);
    p = put(p, capped(w->count, 65535), 2);
    p = put(p, capped(w->count, 65535), 2);
    p = put(p, capped(size, UINT32_MAX), 4);
    p = put(p, capped(begin, UINT32_MAX), 4);
    p = put(p, 0, 2);
    return append(w, b, (size_t)(p - b));
}

er_status er_npz_finish(er_npz_writer *w) {
    uint64_t begin = w->at;
    er_status rc = ER_OK;
    for (size_t i = 0; i < w->count; i++) ER_TRY(append_central(w, &w->members[i]));
    ER_TRY(append_end(w, begin));
    rc = er_temp_publish(w->fd, w->temp, w->path);
    w->fd = -1;
out:
    return rc;
}
