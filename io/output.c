// The folder that a job writes into: begun under another name, filled, given up or kept.
#include "io/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/base/os.h"
#include "io/base/partial.h"
#include "io/base/path.h"
#include "io/base/unfinished.h"
#include "io/output_internal.h"

er_status er_output_begin(er_output **out, const char *path, bool force) {
    er_status rc = ER_OK;
    er_output *o = calloc(1, sizeof *o);
    if (!o) ER_FAIL(ER_ENOMEM, "an output folder");
    o->lock = o->aside_lock = -1;
    ER_TRY(er_output_check(path, force, NULL));
    ER_TRY(er_output_split(&o->dir, &o->parent, path));
    o->force = force;
    er_partial_sweep(o->dir);
    er_output_sweep_replaced(o->dir);
    for (int i = 0;;
         i++) {  // a killed job with our process id, or a live one on another node, keeps its folder
        char *partial = i == 0 ? er_format("%s.partial-%ld", o->dir, (long)getpid())
                               : er_format("%s.partial-%ld-%d", o->dir, (long)getpid(), i);
        if (!partial) ER_FAIL(ER_ENOMEM, "the path %s", o->dir);
        er_unfinished_hold();
        int e = mkdir(partial, 0777) == 0 ? 0 : errno;
        if (!e) er_unfinished_note(partial);
        er_unfinished_release();
        if (!e) {
            o->partial = partial;
            break;
        }
        free(partial);
        if (e != EEXIST || i == 1000)
            ER_FAIL(ER_EOUTPUT, "%s: cannot be created in %s: %s", o->dir, o->parent, er_errno_text(e));
    }
    o->lock = open(o->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (o->lock >= 0) er_partial_lock(o->lock);
    *out = o, o = NULL;
out:
    er_output_free(o);
    return rc;
}

const char *er_output_path(const er_output *o) { return o->partial; }
const char *er_output_dir(const er_output *o) { return o->dir; }

void er_output_free(er_output *o) {
    if (!o) return;
    if (o->partial && !o->committed) (void)er_remove_tree(o->partial);
    er_unfinished_hold();
    if (o->partial) er_unfinished_forget(o->partial);
    if (o->aside) er_unfinished_forget(o->aside);
    er_unfinished_release();
    if (o->lock >= 0) close(o->lock);
    if (o->aside_lock >= 0) close(o->aside_lock);
    free(o->dir);
    free(o->partial);
    free(o->parent);
    free(o->aside);
    free(o);
}

// Every part of `name` is the name of a file or folder.
static bool is_below(const char *name) {
    for (const char *p = name;; p++) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.')) return false;
        p += n;
        if (!*p) return true;
    }
}

er_status er_output_create(int *fd, char **path, er_output *o, const char *name) {
    er_status rc = ER_OK;
    char *full = NULL, *slash = NULL;
    if (!is_below(name)) return er_fail(ER_EARG, "output file '%s': not a plain file name", name);
    if (!(full = er_path_join(o->partial, name))) ER_FAIL(ER_ENOMEM, "the path %s/%s", o->partial, name);
    if (strchr(name, '/')) {
        slash = strrchr(full, '/');
        *slash = '\0';
        rc = er_mkdirs(full);
        *slash = '/';
        if (rc != ER_OK) goto out;
    }
    *fd = er_open_at(AT_FDCWD, full, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (*fd < 0) ER_FAIL(errno == ENOSPC ? ER_EIO : ER_EOUTPUT, "%s: %s", full, er_errno_text(errno));
    *path = full, full = NULL;
out:
    free(full);
    return rc;
}

static er_status finish(int fd, const char *path) {
    if (er_fsync(fd) != 0) return er_fail(ER_EIO, "%s: fsync: %s", path, er_errno_text(errno));
    return ER_OK;
}

er_status er_output_write(er_output *o, const char *name, const void *bytes, size_t len) {
    er_status rc = ER_OK;
    char *path = NULL;
    int fd = -1;
    ER_TRY(er_output_create(&fd, &path, o, name));
    ER_TRY(er_write_all(fd, bytes, len, path));
    ER_TRY(finish(fd, path));
out:
    rc = er_close_written(fd, path, rc);
    free(path);
    return rc;
}

er_status er_output_copy_from(
    er_output *o, const char *name, int from, uint64_t size, const char *from_path) {
    er_status rc = ER_OK;
    char *path = NULL;
    int fd = -1;
    ER_TRY(er_output_create(&fd, &path, o, name));
    ER_TRY(er_copy_all(fd, from, size, path, from_path));
out:
    rc = er_close_written(fd, path, rc);
    free(path);
    return rc;
}

er_status er_output_copy(er_output *o, const char *name, const char *from_path) {
    uint64_t size = 0;
    int from = -1;
    er_status rc = er_open_regular(&from, &size, from_path);
    if (rc != ER_OK) return rc;
    rc = er_output_copy_from(o, name, from, size, from_path);
    close(from);
    return rc;
}
