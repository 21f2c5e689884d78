// The header of a safetensors file: each entry's type, shape and range, and the cover of the data by all of
// them.
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/json_scan.h"
#include "io/safetensors_internal.h"

#define SEEN_DTYPE 1
#define SEEN_SHAPE 2
#define SEEN_OFFSETS 4

static er_status read_dtype(er_tensor *t, er_cursor *c, const char *path) {
    char name[24];
    if (er_cursor_peek(c) != '"')
        return er_fail(ER_EFORMAT, "%s: tensor '%s': dtype is not a string", path, t->name);
    if (er_cursor_string_room(c) > sizeof name)
        return er_fail(ER_EFORMAT, "%s: tensor '%s': unknown dtype", path, t->name);
    er_cursor_string(c, name);
    if (!er_dtype_parse(&t->dtype, name))
        return er_fail(ER_EFORMAT, "%s: tensor '%s': unknown dtype '%s'", path, t->name, name);
    return ER_OK;
}

static er_status read_shape(er_tensor *t, uint64_t *dims, er_cursor *c, const char *path) {
    if (!er_cursor_enter(c, '['))
        return er_fail(ER_EFORMAT, "%s: tensor '%s': shape is not a list", path, t->name);
    t->rank = 0;
    while (er_cursor_next(c, ']')) {
        if (t->rank == ER_MAX_RANK)
            return er_fail(
                ER_EFORMAT, "%s: tensor '%s': more than %d dimensions", path, t->name, ER_MAX_RANK);
        if (!er_cursor_u64(c, &dims[t->rank]))
            return er_fail(ER_EFORMAT, "%s: tensor '%s': dimension %d is not an unsigned integer", path,
                t->name, t->rank);
        t->rank++;
    }
    return ER_OK;
}

static er_status read_offsets(uint64_t range[2], const er_tensor *t, er_cursor *c, const char *path) {
    int n = 0;
    if (!er_cursor_enter(c, '['))
        return er_fail(ER_EFORMAT, "%s: tensor '%s': data_offsets is not a list", path, t->name);
    for (; er_cursor_next(c, ']'); n++) {
        if (n == 2) return er_fail(ER_EFORMAT, "%s: tensor '%s': more than two data_offsets", path, t->name);
        if (!er_cursor_u64(c, &range[n]))
            return er_fail(
                ER_EFORMAT, "%s: tensor '%s': data_offsets[%d] is not an unsigned integer", path, t->name, n);
    }
    if (n < 2)
        return er_fail(ER_EFORMAT, "%s: tensor '%s': %d data_offsets instead of two", path, t->name, n);
    if (range[0] > range[1])
        return er_fail(ER_EFORMAT, "%s: tensor '%s': begins at %" PRIu64 ", behind its end at %" PRIu64, path,
            t->name, range[0], range[1]);
    return ER_OK;
}

// elements = prod(shape), bytes = elements * bits / 8, each product checked; a 0 anywhere makes a legal empty
// tensor, but only after the others have been multiplied, as the reference does.
static er_status size_tensor(er_tensor *t, const char *path) {
    uint64_t bits;
    t->elements = 1;
    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(t->elements, t->shape[i], &t->elements))
            return er_fail(
                ER_EFORMAT, "%s: tensor '%s': its shape has more than 2^64 elements", path, t->name);
    if (__builtin_mul_overflow(t->elements, (uint64_t)er_dtype_bits(t->dtype), &bits))
        return er_fail(ER_EFORMAT, "%s: tensor '%s': %" PRIu64 " elements of %s overflow", path, t->name,
            t->elements, er_dtype_name(t->dtype));
    if (bits % 8 != 0)
        return er_fail(ER_EFORMAT, "%s: tensor '%s': %" PRIu64 " elements of %s are no whole number of bytes",
            path, t->name, t->elements, er_dtype_name(t->dtype));
    t->bytes = bits / 8;
    return ER_OK;
}

// t->name is set; c stands on the entry's value.
static er_status read_entry(er_safetensors *s, er_tensor *t, er_cursor *c) {
    uint64_t range[2] = {0, 0}, dims[ER_MAX_RANK];
    int seen = 0;
    if (!er_cursor_enter(c, '{'))
        return er_fail(ER_EFORMAT, "%s: tensor '%s': its entry is not an object", s->path, t->name);
    while (er_cursor_next(c, '}')) {
        er_status rc = ER_OK;
        char key[16] = "";
        // A key too long for the buffer is none of the three; keys this program does not know are legal.
        if (er_cursor_string_room(c) <= sizeof key) er_cursor_string(c, key);
        else er_cursor_skip(c);
        if (strcmp(key, "dtype") == 0) seen |= SEEN_DTYPE, rc = read_dtype(t, c, s->path);
        else if (strcmp(key, "shape") == 0) seen |= SEEN_SHAPE, rc = read_shape(t, dims, c, s->path);
        else if (strcmp(key, "data_offsets") == 0)
            seen |= SEEN_OFFSETS, rc = read_offsets(range, t, c, s->path);
        else er_cursor_skip(c);
        if (rc != ER_OK) return rc;
    }
    if (seen != (SEEN_DTYPE | SEEN_SHAPE | SEEN_OFFSETS))
        return er_fail(ER_EFORMAT, "%s: tensor '%s': has no %s", s->path, t->name,
            !(seen & SEEN_DTYPE)   ? "dtype"
            : !(seen & SEEN_SHAPE) ? "shape"
                                   : "data_offsets");
    assert(s->dims_used + (size_t)t->rank <= s->dims_capacity);
    uint64_t *shape = s->dims + s->dims_used;
    memcpy(shape, dims, (size_t)t->rank * sizeof *shape);
    s->dims_used += (size_t)t->rank;
    t->shape = shape;
    er_status rc = size_tensor(t, s->path);
    if (rc != ER_OK) return rc;
    if (range[1] - range[0] != t->bytes)
        return er_fail(ER_EFORMAT,
            "%s: tensor '%s': its data is %" PRIu64 " bytes, its shape and dtype need %" PRIu64, s->path,
            t->name, range[1] - range[0], t->bytes);
    t->offset = range[0];
    return ER_OK;
}

static er_status check_metadata(er_cursor *c, const char *path) {
    if (!er_cursor_enter(c, '{')) return er_fail(ER_EFORMAT, "%s: __metadata__ is not an object", path);
    while (er_cursor_next(c, '}')) {
        er_cursor_skip(c);
        if (er_cursor_peek(c) != '"')
            return er_fail(ER_EFORMAT, "%s: __metadata__ holds something that is not a string", path);
        er_cursor_skip(c);
    }
    return ER_OK;
}

// Room for everything at once: a name is never longer than its text in the header, an entry takes 49 bytes at
// least and each dimension two.
static er_status reserve(er_safetensors *s, size_t header_len) {
    s->capacity = header_len / 49 + 1;
    s->tensors = calloc(s->capacity, sizeof *s->tensors);
    s->names = malloc(header_len + 1);
    s->dims_capacity = header_len / 2 + 1;
    s->dims = malloc(s->dims_capacity * sizeof *s->dims);
    if (!s->tensors || !s->names || !s->dims)
        return er_fail(ER_ENOMEM, "%s: a header of %zu bytes", s->path, header_len);
    return ER_OK;
}

er_status er_safetensors_read_header(er_safetensors *s, const char *json, size_t len) {
    er_cursor c = {json, json + len};
    er_status rc;
    if (len == 0 || json[0] != '{')
        return er_fail(ER_EFORMAT, "%s: its header does not begin with '{'", s->path);
    if ((rc = er_json_check(json, len, s->path)) != ER_OK || (rc = reserve(s, len)) != ER_OK) return rc;
    er_cursor_enter(&c, '{');
    while (er_cursor_next(&c, '}')) {
        char *name = s->names + s->names_used;
        size_t n = er_cursor_string(&c, name);
        if (strcmp(name, "__metadata__") == 0) {
            if ((rc = check_metadata(&c, s->path)) != ER_OK) return rc;
            continue;
        }
        assert(s->count < s->capacity);
        er_tensor *t = &s->tensors[s->count];
        t->name = name;
        if ((rc = read_entry(s, t, &c)) != ER_OK) return rc;
        s->names_used += n + 1;
        s->count++;
    }
    return ER_OK;
}

int er_safetensors_compare(const void *a, const void *b) {
    const er_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;  // empty ones first, where the next begins
    return strcmp(x->name, y->name);
}

// The data must be covered without hole, overlap or remainder. Turns offsets into positions in the file.
er_status er_safetensors_check_cover(er_safetensors *s, uint64_t data_begin) {
    uint64_t at = 0, data = s->file_size - data_begin;
    qsort(s->tensors, s->count, sizeof *s->tensors, er_safetensors_compare);
    for (size_t i = 0; i < s->count; i++) {
        er_tensor *t = &s->tensors[i];
        if (t->offset != at)
            return er_fail(ER_EFORMAT, "%s: tensor '%s' begins at %" PRIu64 " of the data, %s at %" PRIu64,
                s->path, t->name, t->offset, i == 0 ? "the first belongs" : "the one before it ends", at);
        if (t->bytes > data - at)
            return er_fail(ER_EFORMAT,
                "%s: tensor '%s' ends at %" PRIu64 " of the data, the file at %" PRIu64
                ": it is cut short, as by a download that broke off",
                s->path, t->name, at + t->bytes, data);
        t->offset += data_begin;
        at += t->bytes;
    }
    if (at != data)
        return er_fail(ER_EFORMAT, "%s: %" PRIu64 " bytes of data belong to no tensor", s->path, data - at);
    return ER_OK;
}
