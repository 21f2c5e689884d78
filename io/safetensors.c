// One safetensors file: u64 N, N bytes of JSON, data. Every rule of the format is checked before a tensor is
// handed out, so that all later reads are in bounds by construction. Here: the file; safetensors_header.c has
// the JSON.
#include "io/safetensors_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "io/base/file_kind.h"
#include "io/base/os.h"

#define MAX_HEADER 100000000u  // the format's own limit

size_t er_safetensors_count(const er_safetensors *s) { return s->count; }
const er_tensor *er_safetensors_at(const er_safetensors *s, size_t i) { return &s->tensors[i]; }
int er_safetensors_fd(const er_safetensors *s) { return s->fd; }
const char *er_safetensors_path(const er_safetensors *s) { return s->path; }
uint64_t er_safetensors_file_size(const er_safetensors *s) { return s->file_size; }
uint64_t er_safetensors_data_begin(const er_safetensors *s) { return s->data_begin; }
const char *er_safetensors_head_digest(const er_safetensors *s) { return s->head_digest; }

const er_tensor *er_safetensors_find(const er_safetensors *s, const er_tensor *t) {
    return s->count ? bsearch(t, s->tensors, s->count, sizeof *s->tensors, er_safetensors_compare) : NULL;
}

void er_safetensors_free(er_safetensors *s) {
    if (!s) return;
    if (s->fd >= 0 && !s->borrowed) close(s->fd);
    free(s->path);
    free(s->tensors);
    free(s->names);
    free(s->dims);
    free(s);
}

static bool is_print(const unsigned char first[8]) {
    for (int i = 0; i < 8; i++)
        if (first[i] < ' ' || first[i] > '~') return false;
    return true;
}

static er_status header_length(
    uint64_t *n, const unsigned char first[8], uint64_t file_size, const char *path) {
    uint64_t v = 0;
    if (file_size < 8)
        return er_fail(ER_EFORMAT, "%s: %" PRIu64 " bytes are no safetensors file", path, file_size);
    for (int i = 0; i < 8; i++) v |= (uint64_t)first[i] << (8 * i);
    // Eight printable bytes are no length that could occur.
    if (v > MAX_HEADER && is_print(first))
        return er_fail(
            ER_EFORMAT, "%s: begins with the text '%.8s': no safetensors file", path, (const char *)first);
    if (v > MAX_HEADER)
        return er_fail(ER_EFORMAT, "%s: a header of %" PRIu64 " bytes, limit %u", path, v, MAX_HEADER);
    if (v > file_size - 8)
        return er_fail(ER_EFORMAT,
            "%s: its header ends at byte %" PRIu64 ", the file at %" PRIu64
            ": it is cut short, as by a download that broke off",
            path, 8 + v, file_size);
    *n = v;
    return ER_OK;
}

static er_status new_file(er_safetensors **out, uint64_t file_size, const char *path) {
    er_safetensors *s = calloc(1, sizeof *s);
    if (!s || !(s->path = strdup(path))) {
        free(s);
        return er_fail(ER_ENOMEM, "%s", path);
    }
    s->fd = -1;
    s->file_size = file_size;
    *out = s;
    return ER_OK;
}

er_status er_safetensors_parse(
    er_safetensors **out, const char *bytes, size_t len, uint64_t file_size, const char *name) {
    er_status rc = ER_OK;
    er_safetensors *s = NULL;
    unsigned char first[8] = {0};
    uint64_t n = 0;
    if (len) memcpy(first, bytes, len < 8 ? len : 8);
    ER_TRY(new_file(&s, file_size, name));
    ER_TRY(header_length(&n, first, len < 8 ? len : file_size, name));
    if (n > len - 8)
        ER_FAIL(ER_EFORMAT, "%s: its header ends at byte %" PRIu64 ", only %zu are there", name, 8 + n, len);
    ER_TRY(er_safetensors_read_header(s, bytes + 8, (size_t)n));
    ER_TRY(er_safetensors_check_cover(s, 8 + n));
    s->data_begin = 8 + n;
    *out = s, s = NULL;
out:
    er_safetensors_free(s);
    return rc;
}

er_status er_safetensors_open_at(er_safetensors **out, int fd, uint64_t size, const char *path) {
    er_status rc = ER_OK;
    er_safetensors *s = NULL;
    er_digest *d = NULL;
    char *head = NULL;
    unsigned char first[8] = {0};
    uint64_t n = 0;
    if (size >= 8) ER_TRY(er_pread_all(fd, first, 8, 0, path));
    ER_TRY(header_length(&n, first, size, path));
    if (!(head = malloc((size_t)n + 8))) ER_FAIL(ER_ENOMEM, "%s: a header of %" PRIu64 " bytes", path, n);
    ER_TRY(er_pread_all(fd, head, (size_t)n + 8, 0, path));
    ER_TRY(er_safetensors_parse(&s, head, (size_t)n + 8, size, path));
    ER_TRY(er_digest_new(&d));
    er_digest_add(d, head, (size_t)n + 8);
    er_digest_hex(d, s->head_digest);
    s->fd = fd;
    s->borrowed = true;
    *out = s, s = NULL;
out:
    er_digest_free(d);
    free(head);
    er_safetensors_free(s);
    return er_file_kind_refuse(rc, path);
}

er_status er_safetensors_open(er_safetensors **out, const char *path) {
    uint64_t size = 0;
    int fd = -1;
    er_status rc = er_open_regular(&fd, &size, path);
    if (rc != ER_OK) return rc;
    if ((rc = er_safetensors_open_at(out, fd, size, path)) == ER_OK) (*out)->borrowed = false;
    else close(fd);
    return rc;
}
