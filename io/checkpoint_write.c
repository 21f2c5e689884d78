#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/checkpoint.h"
#include "io/log.h"
#include "io/os.h"
#include "io/safetensors.h"

#define VERIFY_CHUNK ((size_t)4 << 20)

static int compare_places(const void *a, const void *b) {
    const er_tensor *x = ((const er_edited_tensor *)a)->tensor, *y = ((const er_edited_tensor *)b)->tensor;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
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

// ---- which files travel ----

static bool left_behind(const char *name) {
    // The same weights in PyTorch's own format would stay unedited, and some loaders prefer them.
    return strcmp(name, "errata-manifest.json") == 0 ||
           (strncmp(name, "pytorch_model", 13) == 0 && strstr(name, ".bin"));
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, size_t n) {
    for (size_t i = 0; i < n; i++) free(names[i]);
    free(names);
}

// Names of the regular files of `dir` that travel, sorted.
static er_status list_files(char ***out, size_t *count, const char *dir) {
    er_status rc = ER_OK;
    char **names = NULL, *path = NULL;
    size_t n = 0, capacity = 0;
    DIR *d = opendir(dir);
    if (!d) ER_FAIL(ER_EIO, "%s: %s", dir, er_errno_text(errno));
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        free(path);
        if (!(path = er_path_join(dir, e->d_name))) ER_FAIL(ER_ENOMEM, "the path %s/%s", dir, e->d_name);
        if (left_behind(e->d_name)) continue;
        if (stat(path, &st) != 0) {
            er_warn("%s: not copied: %s", path, er_errno_text(errno));
            continue;
        }
        if (!S_ISREG(st.st_mode)) continue;
        if (n == capacity) {
            capacity = capacity ? 2 * capacity : 32;
            char **more = realloc(names, capacity * sizeof *more);
            if (!more) ER_FAIL(ER_ENOMEM, "%s: %zu file names", dir, capacity);
            names = more;
        }
        if (!(names[n] = strdup(e->d_name))) ER_FAIL(ER_ENOMEM, "the path %s", path);
        n++;
    }
    if (n) qsort(names, n, sizeof *names, compare_strings);
    *out = names, names = NULL;
    *count = n;
out:
    if (names) free_names(names, n);
    free(path);
    if (d) closedir(d);
    return rc;
}

// ---- the edits ----

// Reads the range of one edit back. The page cache may answer; what this catches is a wrong offset, a torn
// write, a full quota.
static er_status verify(int fd, const er_edited_tensor *e, char *buffer, const char *path) {
    for (uint64_t at = 0; at < e->tensor->bytes;) {
        uint64_t left = e->tensor->bytes - at;
        size_t n = left < VERIFY_CHUNK ? (size_t)left : VERIFY_CHUNK;
        er_status rc = er_pread_all(fd, buffer, n, e->tensor->offset + at, path);
        if (rc != ER_OK) return rc;
        if (memcmp(buffer, (const char *)e->bytes + at, n) != 0)
            return er_fail(ER_EIO, "%s: tensor '%s' reads back differently from what was written", path,
                e->tensor->name);
        at += n;
    }
    return ER_OK;
}

// A shard that changed its length since its header was checked would be published with holes.
static er_status check_copy(const er_checkpoint *base, size_t shard, const char *path) {
    struct stat st;
    uint64_t size = er_checkpoint_shard_size(base, shard);
    if (stat(path, &st) != 0) return er_fail(ER_EIO, "%s: %s", path, er_errno_text(errno));
    if ((uint64_t)st.st_size == size) return ER_OK;
    return er_fail(ER_EIO, "%s/%s: has %" PRIu64 " bytes, had %" PRIu64 " when it was opened",
        er_checkpoint_dir(base), er_checkpoint_shard_name(base, shard), (uint64_t)st.st_size, size);
}

// Overwrites the ranges of n edits, all of one shard, in its copy, and leaves it on the disk.
static er_status patch(const char *path, const er_edited_tensor *edits, size_t n) {
    er_status rc = ER_OK;
    char *buffer = malloc(VERIFY_CHUNK);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (!buffer) ER_FAIL(ER_ENOMEM, "%zu bytes to verify %s", VERIFY_CHUNK, path);
    if (fd < 0) ER_FAIL(ER_EIO, "%s: %s", path, er_errno_text(errno));
    for (size_t i = 0; i < n; i++)
        ER_TRY(
            er_pwrite_all(fd, edits[i].bytes, (size_t)edits[i].tensor->bytes, edits[i].tensor->offset, path));
    // Before the verification: delayed allocation reports a full disk only here.
    if (fsync(fd) != 0) ER_FAIL(ER_EIO, "%s: fsync: %s", path, er_errno_text(errno));
    for (size_t i = 0; i < n; i++) ER_TRY(verify(fd, &edits[i], buffer, path));
out:
    if (fd >= 0) close(fd);
    free(buffer);
    return rc;
}

static er_status copy_one(const er_checkpoint *base, er_output *o, const char *name) {
    char *from = er_path_join(er_checkpoint_dir(base), name);
    if (!from) return er_fail(ER_ENOMEM, "the path %s/%s", er_checkpoint_dir(base), name);
    er_status rc = er_output_copy(o, name, from);
    free(from);
    return rc;
}

// The n edits of one shard, n possibly 0.
static er_status finish_shard(
    const er_checkpoint *base, er_output *o, size_t shard, const er_edited_tensor *edits, size_t n) {
    const char *name = er_checkpoint_shard_name(base, shard);
    char *path = er_path_join(er_output_path(o), name);
    if (!path) return er_fail(ER_ENOMEM, "the path %s/%s", er_output_path(o), name);
    er_status rc = check_copy(base, shard, path);
    if (rc == ER_OK && n) rc = patch(path, edits, n);
    free(path);
    return rc;
}

er_status er_checkpoint_write(
    const er_checkpoint *base, er_output *o, const er_edited_tensor *edits, size_t n_edits) {
    er_status rc = ER_OK;
    er_edited_tensor *sorted = NULL;
    char **names = NULL;
    size_t n_names = 0;
    ER_TRY(er_output_check(er_output_dir(o), true, er_checkpoint_dir(base)));
    ER_TRY(sort_edits(&sorted, base, edits, n_edits));
    ER_TRY(list_files(&names, &n_names, er_checkpoint_dir(base)));
    for (size_t i = 0; i < n_names; i++) ER_TRY(copy_one(base, o, names[i]));
    for (size_t shard = 0, i = 0, end; shard < er_checkpoint_shards(base); shard++, i = end) {
        for (end = i; end < n_edits && sorted[end].tensor->shard == shard;) end++;
        ER_TRY(finish_shard(base, o, shard, sorted + i, end - i));
    }
out:
    free_names(names, n_names);
    free(sorted);
    return rc;
}
