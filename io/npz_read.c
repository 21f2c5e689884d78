// Reading .npz: the central directory says what is there, a stream over one member gives its bytes, and
// nothing is believed before the file's own size, the declared sizes and the shape agree.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include "io/base/file_kind.h"
#include "io/base/log.h"
#include "io/npy.h"
#include "io/base/os.h"
#include "io/base/zip.h"

_Static_assert(
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are read and written without swapping bytes");

#define STREAM_BUFFER ((size_t)256 << 10)
#define STOP_CHUNK ((size_t)64 << 20)  // between two looks at whether to stop
#define DEFLATE_RATIO 1032u            // the format cannot pack more bytes than that into one

struct er_npz {
    int fd;
    er_zip zip;
};

// What the file is, unless it is a zip archive of any kind: then the archive's own words say more.
static er_status refuse(er_status rc, int fd, uint64_t size, const char *path) {
    char two[2] = "";
    if (fd < 0 || (size >= 2 && er_pread_all(fd, two, 2, 0, path) != ER_OK) || !memcmp(two, "PK", 2))
        return rc;
    return er_file_kind_refuse(rc, path);
}

er_status er_npz_open(er_npz **out, const char *path) {
    er_status rc = ER_OK;
    uint64_t size = 0;
    er_npz *z = calloc(1, sizeof *z);
    if (!z) ER_FAIL(ER_ENOMEM, "%s", path);
    z->fd = -1;
    ER_TRY(er_open_regular(&z->fd, &size, path));
    ER_TRY(er_zip_open(&z->zip, z->fd, size, path));
    for (size_t i = 0; i < z->zip.count; i++) {
        char *name = z->zip.entries[i].name;
        size_t n = strlen(name);
        if (n >= 8 && strcmp(name + n - 8, "data.pkl") == 0)
            ER_FAIL(ER_EFORMAT, "%s: is a PyTorch checkpoint (it has a %s), not a NumPy archive", path, name);
        if (n > 4 && strcmp(name + n - 4, ".npy") == 0) name[n - 4] = '\0';
    }
    *out = z, z = NULL;
out:
    if (rc != ER_OK && z) rc = refuse(rc, z->fd, size, path);
    er_npz_close(z);
    return rc;
}

void er_npz_close(er_npz *z) {
    if (!z) return;
    if (z->fd >= 0) close(z->fd);
    er_zip_free(&z->zip);
    free(z);
}

size_t er_npz_count(const er_npz *z) { return z->zip.count; }
const char *er_npz_name(const er_npz *z, size_t i) { return z->zip.entries[i].name; }

// ---- the bytes of one member, in order ----

typedef struct stream {
    const er_zip_entry *entry;
    const char *path;
    int fd;
    uint64_t at, packed_left;  // where the next packed byte is, and how many are left
    uint64_t left;             // unpacked bytes still to come
    uLong crc;
    z_stream z;
    bool inflating;
    unsigned char *buffer;
} stream;

static er_status stream_open(stream *s, int fd, const er_zip *zip, const er_zip_entry *e) {
    memset(s, 0, sizeof *s);
    s->entry = e, s->path = zip->path, s->fd = fd;
    s->packed_left = e->packed, s->left = e->size;
    s->crc = crc32(0, NULL, 0);
    er_status rc = er_zip_data_offset(&s->at, zip, fd, e);
    if (rc != ER_OK) return rc;
    if (e->method == 0) return ER_OK;
    if (e->size / DEFLATE_RATIO > e->packed)
        return er_fail(ER_EFORMAT,
            "%s: member '%s': %" PRIu64 " packed bytes cannot hold the %" PRIu64 " declared", s->path,
            e->name, e->packed, e->size);
    if (!(s->buffer = malloc(STREAM_BUFFER)))
        return er_fail(ER_ENOMEM, "%zu bytes to unpack %s", STREAM_BUFFER, s->path);
    if (inflateInit2(&s->z, -MAX_WBITS) != Z_OK) return er_fail(ER_ENOMEM, "an inflater for %s", s->path);
    s->inflating = true;
    return ER_OK;
}

static void stream_close(stream *s) {
    if (s->inflating) inflateEnd(&s->z);
    free(s->buffer);
}

static er_status inflate_some(stream *s, unsigned char *dst, size_t n) {
    s->z.next_out = dst;
    s->z.avail_out = (uInt)n;
    while (s->z.avail_out > 0) {
        if (s->z.avail_in == 0 && s->packed_left > 0) {
            size_t take = s->packed_left < STREAM_BUFFER ? (size_t)s->packed_left : STREAM_BUFFER;
            er_status rc = er_pread_all(s->fd, s->buffer, take, s->at, s->path);
            if (rc != ER_OK) return rc;
            s->at += take, s->packed_left -= take;
            s->z.next_in = s->buffer, s->z.avail_in = (uInt)take;
        }
        int got = inflate(&s->z, Z_NO_FLUSH);
        if (got == Z_OK) continue;
        if (got == Z_STREAM_END && s->z.avail_out == 0) break;
        return er_fail(ER_EFORMAT, "%s: member '%s': its deflated data is broken", s->path, s->entry->name);
    }
    return ER_OK;
}

// The next n bytes; more than the member declares is an error.
static er_status stream_read(stream *s, void *dst, uint64_t n) {
    unsigned char *p = dst;
    if (n > s->left)
        return er_fail(ER_EFORMAT, "%s: member '%s' ends in its header", s->path, s->entry->name);
    while (n > 0) {
        size_t part = n < STOP_CHUNK ? (size_t)n : STOP_CHUNK;
        er_status rc;
        if (part == STOP_CHUNK && er_stop_requested())
            return er_fail(ER_EINTERRUPTED, "%s: stopped while it was read", s->path);
        if (s->inflating) {
            rc = inflate_some(s, p, part);
        } else {
            rc = er_pread_all(s->fd, p, part, s->at, s->path);
            s->at += part;
        }
        if (rc != ER_OK) return rc;
        s->crc = crc32_z(s->crc, p, part);
        p += part, n -= part, s->left -= part;
    }
    return ER_OK;
}

// ---- the array in it ----

// Writes the Fortran-ordered elements of `src` in C order: element (i_0 .. i_r-1) stands at sum i_k
// prod_{j<k} shape_j there.
static void to_c_order(char *dst, const char *src, const er_npy *a) {
    uint64_t index[ER_NPY_MAX_RANK] = {0}, stride[ER_NPY_MAX_RANK], from = 0;
    size_t item = (size_t)a->item_bytes;
    stride[0] = 1;
    for (int k = 1; k < a->rank; k++) stride[k] = stride[k - 1] * a->shape[k - 1];
    for (uint64_t i = 0; i < a->elements; i++) {
        memcpy(dst + i * item, src + from * item, item);
        for (int k = a->rank - 1; k >= 0; k--) {
            from += stride[k];
            if (++index[k] < a->shape[k]) break;
            from -= stride[k] * a->shape[k];
            index[k] = 0;
        }
    }
}

static er_status read_header(er_npy *a, bool *fortran, stream *s) {
    unsigned char head[12];
    char *text = NULL, *name = NULL;
    er_status rc = ER_OK;
    size_t len;
    ER_TRY(stream_read(s, head, ER_NPY_PREAMBLE));
    if (memcmp(head, "\x93NUMPY", 6) != 0)
        ER_FAIL(ER_EFORMAT, "%s: member '%s' is no npy array", s->path, s->entry->name);
    if (head[6] < 1 || head[6] > 3 || head[7] != 0)
        ER_FAIL(ER_EUNSUPPORTED, "%s: member '%s' is of npy version %d.%d", s->path, s->entry->name, head[6],
            head[7]);
    len = head[8] | (size_t)head[9] << 8;
    if (head[6] > 1) {
        ER_TRY(stream_read(s, head + 10, 2));
        len |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
    }
    if (len > ER_NPY_MAX_HEADER)
        ER_FAIL(ER_EFORMAT, "%s: member '%s': npy header of %zu bytes", s->path, s->entry->name, len);
    if (!(text = malloc(len + 1))) ER_FAIL(ER_ENOMEM, "%zu bytes of npy header", len);
    ER_TRY(stream_read(s, text, len));
    if (!(name = er_format("%s: member '%s'", s->path, s->entry->name))) ER_FAIL(ER_ENOMEM, "a name");
    ER_TRY(er_npy_parse_header(a, fortran, text, len, name));
out:
    free(name);
    free(text);
    return rc;
}

static er_status read_array(er_npy *out, stream *s) {
    er_status rc = ER_OK;
    er_npy a = {.data = NULL};
    bool fortran = false;
    char *turned = NULL;
    uint64_t bytes = 0;
    ER_TRY(read_header(&a, &fortran, s));
    (void)er_npy_bytes(&a.elements, &bytes, &a);
    if (bytes != s->left)
        ER_FAIL(ER_EFORMAT, "%s: member '%s' has %" PRIu64 " bytes of data, its shape needs %" PRIu64,
            s->path, s->entry->name, s->left, bytes);
    if (!(a.data = malloc(bytes ? (size_t)bytes : 1)))
        ER_FAIL(ER_ENOMEM, "%" PRIu64 " bytes for '%s'", bytes, s->entry->name);
    ER_TRY(stream_read(s, a.data, bytes));
    if (s->crc != s->entry->crc)
        ER_FAIL(ER_EFORMAT, "%s: member '%s': checksum %08lx, expected %08" PRIx32, s->path, s->entry->name,
            s->crc, s->entry->crc);
    if (fortran && a.rank > 1 && a.elements > 0) {
        if (!(turned = malloc((size_t)bytes + 1)))
            ER_FAIL(ER_ENOMEM, "%" PRIu64 " bytes for '%s'", bytes, s->entry->name);
        to_c_order(turned, a.data, &a);
        free(a.data);
        a.data = turned;
    }
    *out = a;
    a.data = NULL;
out:
    free(a.data);
    return rc;
}

er_status er_npz_read(er_npy *out, er_npz *z, const char *member) {
    const er_zip_entry *e = NULL;
    for (size_t i = 0; i < z->zip.count && !e; i++)
        if (strcmp(z->zip.entries[i].name, member) == 0) e = &z->zip.entries[i];
    if (!e) return er_fail(ER_ENOENT, "%s: has no member '%s'", z->zip.path, member);
    stream s;
    er_status rc = stream_open(&s, z->fd, &z->zip, e);
    if (rc == ER_OK) rc = read_array(out, &s);
    stream_close(&s);
    return rc;
}
