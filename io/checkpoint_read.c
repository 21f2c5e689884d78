// Bytes of tensors, and the digests of what was read.
#include "io/checkpoint_internal.h"

#include <stdlib.h>
#include <string.h>
#include "io/base/log.h"
#include "io/base/os.h"

#define CONVERT_CHUNK ((size_t)1 << 20)  // elements converted at a time
#define READ_CHUNK                                                                                           \
    ((size_t)4 << 20)  // bytes digested while they are in the cache; then a look at whether to stop
#define MAX_CONFIG ((size_t)64 << 20)

char *er_checkpoint_tensor_digest(const er_checkpoint *c, const er_tensor *t) {
    const er_shard *s = &c->shards[t->shard];
    const er_tensor *own = er_safetensors_find(s->file, t);
    return s->digest[own - er_safetensors_at(s->file, 0)];
}

// ---- reading, chunk by chunk ----

typedef struct reader {
    const er_checkpoint *c;
    const er_tensor *t;
    er_digest *digest;  // NULL when nobody wants it
} reader;

static er_status reader_open(reader *r, const er_checkpoint *c, const er_tensor *t) {
    *r = (reader){c, t, NULL};
    return c->watched ? er_digest_new(&r->digest) : ER_OK;
}

// Bytes [at, at + n) of the tensor; the parts come in order and cover it.
static er_status reader_part(reader *r, void *dst, uint64_t at, size_t n) {
    const er_safetensors *file = r->c->shards[r->t->shard].file;
    for (size_t done = 0; done < n;) {
        size_t part = n - done < READ_CHUNK ? n - done : READ_CHUNK;
        if (er_stop_requested())
            return er_fail(ER_EINTERRUPTED, "%s: stopped while it was read", er_safetensors_path(file));
        er_status rc = er_pread_all(er_safetensors_fd(file), (char *)dst + done, part,
            r->t->offset + at + done, er_safetensors_path(file));
        if (rc != ER_OK) return rc;
        if (r->digest) er_digest_add(r->digest, (char *)dst + done, part);
        done += part;
    }
    return ER_OK;
}

// The first digest of a tensor is kept; what is read again must be the same.
static er_status reader_close(reader *r, er_status rc) {
    char hex[65];
    if (rc == ER_OK && r->digest) {
        char *known = er_checkpoint_tensor_digest(r->c, r->t);
        er_digest_hex(r->digest, hex);
        if (!known[0]) memcpy(known, hex, sizeof hex);
        else if (strcmp(known, hex) != 0)
            rc = er_fail(ER_EIO, "%s: tensor '%s' is not what it was: the model changed during the job",
                er_safetensors_path(r->c->shards[r->t->shard].file), r->t->name);
    }
    er_digest_free(r->digest);
    return rc;
}

er_status er_checkpoint_read(const er_checkpoint *c, const er_tensor *t, void *dst) {
    reader r;
    er_status rc = reader_open(&r, c, t);
    if (rc == ER_OK) rc = reader_part(&r, dst, 0, (size_t)t->bytes);
    return reader_close(&r, rc);
}

er_status er_checkpoint_read_f32(const er_checkpoint *c, const er_tensor *t, float *dst) {
    er_status rc = ER_OK;
    size_t item = er_dtype_bits(t->dtype) / 8;
    char *stored = NULL;
    reader r = {0};
    if (t->dtype == ER_F32) return er_checkpoint_read(c, t, dst);
    if (t->dtype != ER_F16 && t->dtype != ER_BF16 && t->dtype != ER_F64)
        return er_fail(ER_EUNSUPPORTED,
            "%s: tensor '%s' is stored as %s; only F32, F16, BF16 and F64 are computed on",
            er_safetensors_path(c->shards[t->shard].file), t->name, er_dtype_name(t->dtype));
    if (!(stored = malloc(CONVERT_CHUNK * item)))
        ER_FAIL(ER_ENOMEM, "%zu bytes to read tensor '%s'", CONVERT_CHUNK * item, t->name);
    ER_TRY(reader_open(&r, c, t));
    for (uint64_t at = 0; at < t->elements; at += CONVERT_CHUNK) {
        size_t n = t->elements - at < CONVERT_CHUNK ? (size_t)(t->elements - at) : CONVERT_CHUNK;
        ER_TRY(reader_part(&r, stored, at * item, n * item));
        er_to_f32(dst + at, stored, t->dtype, n);
    }
out:
    free(stored);
    return reader_close(&r, rc);
}

// ---- digest ----

void er_checkpoint_watch(er_checkpoint *c) { c->watched = true; }

// Reads what has not been read yet, without keeping it.
static er_status pass_over(const er_checkpoint *c, const er_tensor *t, char *buffer) {
    reader r;
    er_status rc = reader_open(&r, c, t);
    for (uint64_t at = 0; rc == ER_OK && at < t->bytes; at += READ_CHUNK)
        rc = reader_part(&r, buffer, at, t->bytes - at < READ_CHUNK ? (size_t)(t->bytes - at) : READ_CHUNK);
    return reader_close(&r, rc);
}

static void add_tensor(er_digest *d, const er_tensor *t, const char *bytes_hex) {
    uint64_t head[1 + ER_MAX_RANK];
    er_digest_add_str(d, t->name);
    er_digest_add_str(d, er_dtype_name(t->dtype));
    head[0] = (uint64_t)t->rank;
    memcpy(head + 1, t->shape, (size_t)t->rank * sizeof *head);
    er_digest_add(d, head, ((size_t)t->rank + 1) * sizeof *head);
    er_digest_add_str(d, bytes_hex);
}

static er_status add_config(er_digest *d, er_folder *folder) {
    er_status rc = ER_OK;
    er_digest *own = NULL;
    const char *text = NULL;
    char hex[65];
    bool there = false;
    size_t len = 0;
    ER_TRY(er_folder_has(&there, folder, "config.json"));
    if (there) {
        ER_TRY(er_folder_read(&text, &len, folder, "config.json", MAX_CONFIG));
        ER_TRY(er_digest_new(&own));
        er_digest_add(own, text, len);
        er_digest_hex(own, hex);
    }
    er_digest_add_str(d, there ? hex : NULL);
out:
    er_digest_free(own);
    return rc;
}

er_status er_checkpoint_digest(er_checkpoint *c, char hex[65]) {
    er_status rc = ER_OK;
    er_digest *d = NULL;
    char *buffer = NULL;
    if (c->digest[0]) {
        memcpy(hex, c->digest, sizeof c->digest);
        return ER_OK;
    }
    c->watched = true;
    ER_TRY(er_digest_new(&d));
    if (!(buffer = malloc(READ_CHUNK))) ER_FAIL(ER_ENOMEM, "%zu bytes to read %s", READ_CHUNK, c->dir);
    for (size_t i = 0; i < c->count; i++) {
        const char *known = er_checkpoint_tensor_digest(c, &c->tensors[i]);
        if (!known[0]) ER_TRY(pass_over(c, &c->tensors[i], buffer));
        add_tensor(d, &c->tensors[i], known);
    }
    ER_TRY(add_config(d, c->folder));
    er_digest_hex(d, c->digest);
    memcpy(hex, c->digest, sizeof c->digest);
out:
    free(buffer);
    er_digest_free(d);
    return rc;
}
