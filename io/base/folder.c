// The files of one folder, each opened once and remembered as it was.
#include "io/base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/base/file.h"
#include "io/base/file_kind.h"
#include "io/base/os.h"

typedef struct entry {
    char *name, *path;
    bool absent;
    int fd;  // held, or -1
    er_file_id id;
    char *bytes;  // kept, or NULL
    size_t len;
} entry;

struct er_folder {
    char *dir;
    int fd;
    er_file_id id;
    entry *at;
    size_t count;
};

void er_folder_free(er_folder *f) {
    if (!f) return;
    for (size_t i = 0; i < f->count; i++) {
        free(f->at[i].name);
        free(f->at[i].path);
        free(f->at[i].bytes);
        if (f->at[i].fd >= 0) close(f->at[i].fd);
    }
    if (f->fd >= 0) close(f->fd);
    free(f->at);
    free(f->dir);
    free(f);
}

const char *er_folder_dir(const er_folder *f) { return f->dir; }
int er_folder_fd(const er_folder *f) { return f->fd; }

// What it is instead.
static er_status is_a_file(const char *dir) {
    char said[512];
    (void)er_fail(ER_EFORMAT, "%s: is a file", dir);
    (void)er_file_kind_refuse(ER_EFORMAT, dir);
    (void)snprintf(said, sizeof said, "%s", er_last_error());
    return er_fail(ER_ENOENT, "%s; not a model folder", said);
}

er_status er_folder_open(er_folder **out, const char *dir) {
    er_status rc = ER_OK;
    struct stat st;
    er_folder *f = calloc(1, sizeof *f);
    if (!f) ER_FAIL(ER_ENOMEM, "the folder %s", dir);
    f->fd = er_open_at(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (f->fd < 0) {
        int e = errno;
        if (e == ENOTDIR && stat(dir, &st) == 0) ER_TRY(is_a_file(dir));
        if (e == ENOENT || e == ENOTDIR) ER_FAIL(ER_ENOENT, "%s: no such folder", dir);
        if (e == EMFILE || e == ENFILE || e == ENOMEM || e == EIO)
            ER_FAIL(ER_EIO, "%s: %s", dir, er_errno_text(e));
        ER_FAIL(ER_ENOENT, "%.200s%s: %s", dir, strlen(dir) > 200 ? "..." : "", er_errno_text(e));
    }
    if (fstat(f->fd, &st) != 0) ER_FAIL(ER_EIO, "%s: %s", dir, er_errno_text(errno));
    f->id = er_file_id_of(&st);
    if (!(f->dir = strdup(dir))) ER_FAIL(ER_ENOMEM, "the folder %s", dir);
    *out = f, f = NULL;
out:
    er_folder_free(f);
    return rc;
}

static entry *find(const er_folder *f, const char *name) {
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->at[i].name, name) == 0) return &f->at[i];
    return NULL;
}

static er_status add(entry **out, er_folder *f, const char *name) {
    if ((f->count & (f->count + 1)) == 0) {  // capacity is the next power of two
        entry *more = realloc(f->at, (2 * f->count + 1) * sizeof *more);
        if (!more) return er_fail(ER_ENOMEM, "%s: %zu files", f->dir, f->count);
        f->at = more;
    }
    entry *e = &f->at[f->count];
    *e = (entry){.fd = -1, .name = strdup(name), .path = er_path_join(f->dir, name)};
    if (!e->name || !e->path) {
        free(e->name);
        free(e->path);
        return er_fail(ER_ENOMEM, "the path %s/%s", f->dir, name);
    }
    f->count++;
    *out = e;
    return ER_OK;
}

er_status er_folder_has(bool *there, er_folder *f, const char *name) {
    struct stat st;
    entry *e = find(f, name);
    if (e) {
        *there = !e->absent;
        return ER_OK;
    }
    *there = fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (*there) return ER_OK;
    er_status rc = add(&e, f, name);
    if (rc == ER_OK) e->absent = true;
    return rc;
}

// The entry of a file, opened at the first call. Its descriptor is there until its bytes are kept.
static er_status opened(entry **out, er_folder *f, const char *name) {
    struct stat st;
    entry *e = find(f, name);
    if (e && e->absent) return er_fail(ER_ENOENT, "%s: no such file", e->path);
    if (!e) {
        er_status rc = add(&e, f, name);
        if (rc != ER_OK) return rc;
        rc = er_open_regular_at(&e->fd, &e->id, f->fd, name, e->path);
        if (rc != ER_OK) {
            e->absent = fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0;
            if (e->absent) return rc;
            free(e->name);
            free(e->path);
            f->count--;
            return rc;
        }
    }
    *out = e;
    return ER_OK;
}

er_status er_folder_read(const char **bytes, size_t *len, er_folder *f, const char *name, size_t max_bytes) {
    entry *e = NULL;
    er_status rc = opened(&e, f, name);
    if (rc == ER_OK && !e->bytes) {
        rc = er_read_open(&e->bytes, &e->len, e->fd, &e->id, e->path, max_bytes);
        if (rc == ER_OK) {
            close(e->fd);
            e->fd = -1;
        }
    }
    if (rc != ER_OK) return rc;
    if (e->len > max_bytes)
        return er_fail(ER_EFORMAT, "%s: %zu bytes, limit %zu", e->path, e->len, max_bytes);
    *bytes = e->bytes;
    *len = e->len;
    return ER_OK;
}

er_status er_folder_hold(int *fd, uint64_t *size, er_folder *f, const char *name) {
    entry *e = NULL;
    er_status rc = opened(&e, f, name);
    if (rc != ER_OK) return rc;
    if (e->fd < 0) return er_fail(ER_EARG, "%s: read already, so not held open", e->path);
    *fd = e->fd;
    *size = e->id.size;
    return ER_OK;
}

const char *er_folder_kept(size_t *len, const er_folder *f, const char *name) {
    const entry *e = find(f, name);
    if (!e || !e->bytes) return NULL;
    *len = e->len;
    return e->bytes;
}

// ---- has it changed? ----

static er_status changed(const char *path, const char *how) {
    return er_fail(ER_EIO, "%s: %s: the model changed during the job", path, how);
}

static er_status check_entry(const er_folder *f, const entry *e, bool strict) {
    struct stat st;
    er_file_id now;
    const char *how;
    if (e->absent)
        return fstatat(f->fd, e->name, &st, AT_SYMLINK_NOFOLLOW) == 0
                   ? changed(e->path, "was not there before")
                   : ER_OK;
    if (fstatat(f->fd, e->name, &st, 0) != 0)
        return changed(e->path, errno == ENOENT ? "is gone" : er_errno_text(errno));
    now = er_file_id_of(&st);
    if ((how = er_file_id_changed(&e->id, &now, strict && e->fd >= 0))) return changed(e->path, how);
    return ER_OK;
}

er_status er_folder_check(const er_folder *f, bool strict) {
    struct stat st;
    if (stat(f->dir, &st) != 0) return changed(f->dir, errno == ENOENT ? "is gone" : er_errno_text(errno));
    if ((uint64_t)st.st_dev != f->id.dev || (uint64_t)st.st_ino != f->id.ino)
        return changed(f->dir, "another folder stands in its place");
    for (size_t i = 0; i < f->count; i++) {
        er_status rc = check_entry(f, &f->at[i], strict);
        if (rc != ER_OK) return rc;
    }
    return ER_OK;
}
