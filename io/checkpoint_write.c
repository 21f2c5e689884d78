// The edited copy of a checkpoint: shards with byte ranges replaced, and everything read back.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "io/checkpoint_internal.h"
#include "io/base/log.h"
#include "io/base/os.h"

#define COPY_CHUNK ((size_t)4 << 20)

static int compare_places(const void *a, const void *b) {
    const er_tensor *x = ((const er_edited_tensor *)a)->tensor, *y = ((const er_edited_tensor *)b)->tensor;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;  // as in the file: empty ones first
    return strcmp(x->name, y->name);
}

// A copy of the edits in file order; each must be a tensor of `base`, none may come twice.
static er_status sort_edits(
    er_edited_tensor **out, const er_checkpoint *base, const er_edited_tensor *edits, size_t n) {
    er_edited_tensor *sorted = malloc((n + 1) * sizeof *sorted);
    if (!sorted) return er_fail(ER_ENOMEM, "%zu edited tensors", n);
    if (n) memcpy(sorted, edits, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_places);
    for (size_t i = 0; i < n; i++) {
        er_status rc = ER_OK;
        const er_tensor *t = sorted[i].tensor, *own = er_checkpoint_find(base, t->name);
        if (!own || own->shard != t->shard || own->offset != t->offset || own->bytes != t->bytes)
            rc = er_fail(
                ER_EARG, "edited tensor '%s' does not belong to %s", t->name, er_checkpoint_dir(base));
        else if (i > 0 && strcmp(sorted[i - 1].tensor->name, t->name) == 0)
            rc = er_fail(ER_EARG, "tensor '%s' is edited twice", t->name);
        if (rc != ER_OK) {
            free(sorted);
            return rc;
        }
    }
    *out = sorted;
    return ER_OK;
}

// ---- the edits ----

// Reads the range of one edit back. The page cache may answer; what this catches is a wrong offset, a torn
// write, a full quota.
static er_status verify(int fd, const er_edited_tensor *e, char *buffer, const char *path) {
    for (uint64_t at = 0; at < e->tensor->bytes;) {
        uint64_t left = e->tensor->bytes - at;
        size_t n = left < COPY_CHUNK ? (size_t)left : COPY_CHUNK;
        er_status rc = er_pread_all(fd, buffer, n, e->tensor->offset + at, path);
        if (rc != ER_OK) return rc;
        if (memcmp(buffer, (const char *)e->bytes + at, n) != 0)
            return er_fail(ER_EIO, "%s: tensor '%s' reads back differently from what was written", path,
                e->tensor->name);
        at += n;
    }
    return ER_OK;
}

// ---- one shard ----

typedef struct copy {
    const er_shard *shard;
    int from, to;  // from == to: the file is a clone already, and is read back
    char *path;    // of `to`
    char *buffer;  // [COPY_CHUNK]
    er_digest *whole;
} copy;

// Bytes [at, at + n) of the shard, or of `edited` where they are replaced. `hex`: what the shard's own bytes
// are digested to, for the caller to compare.
static er_status copy_range(copy *c, uint64_t at, uint64_t n, const char *edited, char hex[65]) {
    er_status rc = ER_OK;
    er_digest *own = NULL;
    ER_TRY(er_digest_new(&own));
    for (uint64_t done = 0; done < n;) {
        size_t part = n - done < COPY_CHUNK ? (size_t)(n - done) : COPY_CHUNK;
        if (er_stop_requested()) ER_FAIL(ER_EINTERRUPTED, "%s: stopped while it was written", c->path);
        ER_TRY(er_pread_all(c->from, c->buffer, part, at + done, er_safetensors_path(c->shard->file)));
        er_digest_add(own, c->buffer, part);
        const char *bytes = edited ? edited + done : c->buffer;
        er_digest_add(c->whole, bytes, part);
        if (edited || c->from != c->to) ER_TRY(er_pwrite_all(c->to, bytes, part, at + done, c->path));
        done += part;
    }
    er_digest_hex(own, hex);
out:
    er_digest_free(own);
    return rc;
}

// Header and tensors cover a file without a hole (io/safetensors_header.c has checked it), so all of it is
// compared.
static er_status copy_shard(copy *c, const er_edited_tensor *edits, size_t n) {
    er_status rc = ER_OK;
    const er_safetensors *file = c->shard->file;
    char hex[65];
    ER_TRY(copy_range(c, 0, er_safetensors_data_begin(file), NULL, hex));
    if (strcmp(hex, er_safetensors_head_digest(file)) != 0)
        ER_FAIL(ER_EIO, "%s: its header is not what it was: the model changed during the job",
            er_safetensors_path(file));
    for (size_t i = 0, e = 0; i < er_safetensors_count(file); i++) {
        const er_tensor *t = er_safetensors_at(file, i);
        bool is_edited = e < n && strcmp(edits[e].tensor->name, t->name) == 0;
        ER_TRY(copy_range(c, t->offset, t->bytes, is_edited ? edits[e].bytes : NULL, hex));
        e += is_edited;
        if (c->shard->digest[i][0] && strcmp(hex, c->shard->digest[i]) != 0)
            ER_FAIL(ER_EIO, "%s: tensor '%s' is not what it was: the model changed during the job",
                er_safetensors_path(file), t->name);
    }
out:
    return rc;
}

// Delayed allocation reports a full disk only to fsync, so the edits are read back behind it.
static er_status sync_and_verify(copy *c, const er_edited_tensor *edits, size_t n) {
    if (er_fsync(c->to) != 0) return er_fail(ER_EIO, "%s: fsync: %s", c->path, er_errno_text(errno));
    for (size_t i = 0; i < n; i++) {
        er_status rc = verify(c->to, &edits[i], c->buffer, c->path);
        if (rc != ER_OK) return rc;
    }
    return ER_OK;
}

// The n edits of one shard, n possibly 0.
static er_status write_shard(const er_checkpoint *base, er_output *o, size_t shard,
    const er_edited_tensor *edits, size_t n, char digest[65]) {
    er_status rc = ER_OK;
    copy c = {.shard = &base->shards[shard], .to = -1};
    c.from = er_safetensors_fd(c.shard->file);
    if (!(c.buffer = malloc(COPY_CHUNK)))
        ER_FAIL(ER_ENOMEM, "%zu bytes to copy %s", COPY_CHUNK, c.shard->name);
    ER_TRY(er_digest_new(&c.whole));
    ER_TRY(er_output_create(&c.to, &c.path, o, c.shard->name));
    if (er_clone(c.to, c.from)) c.from = c.to;
    ER_TRY(copy_shard(&c, edits, n));
    ER_TRY(sync_and_verify(&c, edits, n));
    if (digest) er_digest_hex(c.whole, digest);
out:
    rc = er_close_written(c.to, c.path, rc);
    er_digest_free(c.whole);
    free(c.buffer);
    free(c.path);
    return rc;
}

er_status er_checkpoint_write(
    const er_checkpoint *base, er_output *o, const er_edited_tensor *edits, size_t n_edits) {
    return er_checkpoint_write_with(base, o, edits, n_edits, &(er_write_options){0});
}

er_status er_checkpoint_write_with(const er_checkpoint *base, er_output *o, const er_edited_tensor *edits,
    size_t n_edits, const er_write_options *options) {
    er_status rc = ER_OK;
    er_edited_tensor *sorted = NULL;
    ER_TRY(er_output_check(er_output_dir(o), true, er_checkpoint_dir(base)));
    ER_TRY(sort_edits(&sorted, base, edits, n_edits));
    ER_TRY(er_folder_check(base->folder, !base->watched));
    for (size_t shard = 0, i = 0, end; shard < base->n_shards; shard++, i = end) {
        for (end = i; end < n_edits && sorted[end].tensor->shard == shard;) end++;
        ER_TRY(write_shard(base, o, shard, sorted + i, end - i,
            options->shard_digest ? options->shard_digest[shard] : NULL));
    }
    ER_TRY(er_checkpoint_copy_others(base, o, options->copy_all));
    ER_TRY(er_folder_check(base->folder, !base->watched));
out:
    free(sorted);
    return rc;
}
