#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/base/file.h"
#include "io/base/log.h"
#include "io/base/os.h"
#include "io/base/partial.h"
#include "io/base/signals.h"
#include "io/base/unfinished.h"

struct er_output {
    char *dir;      // no trailing slash
    char *partial;  // DIR.partial-<pid>
    char *parent;
    char *aside;           // what replace() moved the old folder to
    int lock, aside_lock;  // on the partial folder, and on that one
    bool force, committed;
};

// `dir` without trailing slashes and its parent folder, both malloc'd.
static er_status split(char **dir_out, char **parent_out, const char *path) {
    er_status rc = ER_OK;
    char *dir = strdup(path), *parent = NULL, *slash;
    const char *last;
    if (!dir) ER_FAIL(ER_ENOMEM, "the path %s", path);
    for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--) dir[n - 1] = '\0';
    slash = strrchr(dir, '/');
    last = slash ? slash + 1 : dir;
    if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        ER_FAIL(ER_EOUTPUT, "output '%s': not the name of a new folder", path);
    if (!(parent = strdup(slash ? dir : "."))) ER_FAIL(ER_ENOMEM, "the path %s", path);
    if (slash) parent[slash == dir ? 1 : slash - dir] = '\0';
    *dir_out = dir, dir = NULL;
    *parent_out = parent, parent = NULL;
out:
    free(dir);
    free(parent);
    return rc;
}

// 1: a folder without entries; 0: it has some; -1: cannot be listed.
static int is_empty(const char *dir) {
    int n = 0;
    DIR *d = opendir(dir);
    if (!d) return -1;
    for (struct dirent *e; (errno = 0, e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    bool broken = errno != 0;
    closedir(d);
    return broken ? -1 : n == 0;
}

static er_status check_existing(const char *dir, bool force) {
    er_status rc = ER_OK;
    struct stat st;
    char *manifest = NULL;
    if (lstat(dir, &st) != 0) {
        if (errno != ENOENT) ER_FAIL(ER_EOUTPUT, "%s: %s", dir, er_errno_text(errno));
        goto out;
    }
    if (!force) ER_FAIL(ER_EOUTPUT, "%s: exists already (--force replaces it)", dir);
    if (!S_ISDIR(st.st_mode)) ER_FAIL(ER_EOUTPUT, "%s: exists and is not a folder", dir);
    if (!(manifest = er_path_join(dir, ER_MANIFEST))) ER_FAIL(ER_ENOMEM, "the path %s", dir);
    if (is_empty(dir) != 1 && !er_file_exists(manifest))
        ER_FAIL(ER_EOUTPUT, "%s: exists and has no " ER_MANIFEST ": not an output of errata, so not replaced",
            dir);
out:
    free(manifest);
    return rc;
}

static bool is_inside(const char *d_ff, const char *outer) {
    size_t n = strlen(outer);
    return strncmp(d_ff, outer, n) == 0 && (d_ff[n] == '\0' || d_ff[n] == '/' || outer[n - 1] == '/');
}

// EOUTPUT when the folder to be is `model_dir` or lies inside it; links are resolved first.
static er_status check_outside(const char *dir, const char *parent, const char *model_dir) {
    er_status rc = ER_OK;
    char *model = realpath(model_dir, NULL), *above = realpath(parent, NULL), *self = realpath(dir, NULL);
    if (!model || !above) goto out;  // a missing folder is reported where it is opened
    if (is_inside(above, model) || (self && is_inside(self, model)))
        ER_FAIL(ER_EOUTPUT, "%s: is the model's own folder %s or inside it", dir, model_dir);
out:
    free(model);
    free(above);
    free(self);
    return rc;
}

// What a job makes beside DIR and in it must have room in a name and in a path; found out now, not at its
// end.
static er_status check_length(const char *dir, const char *parent) {
    static const char beside[] = ".replaced-4194304-1000";
    const char *slash = strrchr(dir, '/'), *name = slash ? slash + 1 : dir;
    long most = pathconf(parent, _PC_NAME_MAX);
    size_t room = most > 0 ? (size_t)most : NAME_MAX;
    if (strlen(name) + sizeof beside - 1 > room)
        return er_fail(ER_EOUTPUT, "output '%.60s...': its name has %zu bytes; %zu are possible", name,
            strlen(name), room - (sizeof beside - 1));
    if (strlen(dir) + sizeof beside + room >= PATH_MAX)
        return er_fail(ER_EOUTPUT, "output '%.60s...': its path has %zu bytes; %zu are possible", dir,
            strlen(dir), PATH_MAX - room - sizeof beside - 1);
    return ER_OK;
}

er_status er_output_check(const char *path, bool force, const char *model_dir) {
    er_status rc = ER_OK;
    char *dir = NULL, *parent = NULL;
    ER_TRY(split(&dir, &parent, path));
    ER_TRY(check_length(dir, parent));
    if (!er_dir_exists(parent)) ER_FAIL(ER_EOUTPUT, "%s: its parent folder %s does not exist", dir, parent);
    if (model_dir) ER_TRY(check_outside(dir, parent, model_dir));
    ER_TRY(check_existing(dir, force));
    if (access(parent, W_OK | X_OK) != 0)
        ER_FAIL(ER_EOUTPUT, "%s: cannot be created in %s: %s", dir, parent, er_errno_text(errno));
out:
    free(dir);
    free(parent);
    return rc;
}

er_status er_output_begin(er_output **out, const char *path, bool force) {
    er_status rc = ER_OK;
    er_output *o = calloc(1, sizeof *o);
    if (!o) ER_FAIL(ER_ENOMEM, "an output folder");
    o->lock = o->aside_lock = -1;
    ER_TRY(er_output_check(path, force, NULL));
    ER_TRY(split(&o->dir, &o->parent, path));
    o->force = force;
    er_partial_sweep(o->dir);
    er_replaced_sweep(o->dir);
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

static er_status fsync_all(const char *dir) {
    er_status rc = ER_OK;
    char *path = NULL;
    DIR *d = opendir(dir);
    if (!d) ER_FAIL(errno == ENOMEM ? ER_ENOMEM : ER_EIO, "%s: %s", dir, er_errno_text(errno));
    for (;;) {
        struct stat st;
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e && errno) ER_FAIL(ER_EIO, "%s: %s", dir, er_errno_text(errno));
        if (!e) break;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        free(path);
        if (!(path = er_path_join(dir, e->d_name))) ER_FAIL(ER_ENOMEM, "the path %s/%s", dir, e->d_name);
        if (lstat(path, &st) != 0) ER_FAIL(ER_EIO, "%s: %s", path, er_errno_text(errno));
        if (S_ISDIR(st.st_mode)) ER_TRY(fsync_all(path));
        else if (S_ISREG(st.st_mode)) ER_TRY(er_fsync_path(path));
        ER_TRY(er_stop_check("the output is not on the disk"));
    }
    ER_TRY(er_fsync_path(dir));
out:
    if (d) closedir(d);
    free(path);
    return rc;
}

// What stood aside is no longer needed: under a name that says so, a removal that is cut short can be taken
// up.
static void discard(const er_output *o, const char *aside) {
    char *gone = er_format("%s.partial-%ld-0", o->dir, (long)getpid());
    bool renamed = gone && rename(aside, gone) == 0;
    (void)er_remove_tree(renamed ? gone : aside);
    free(gone);
}

// An existing DIR gives way in one step where the file system can exchange two names. Elsewhere it is moved
// aside first and moved back should the second rename be refused; a crash between the two leaves it whole
// under DIR.replaced-<pid>, locked while it is there. *old: what the old folder is called now.
static er_status replace(const char **old, er_output *o) {
    if (renameat2(AT_FDCWD, o->partial, AT_FDCWD, o->dir, RENAME_EXCHANGE) == 0) {
        *old = o->partial;
        return ER_OK;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP && errno != ENOTTY)
        return er_fail(ER_EOUTPUT, "%s: cannot be replaced: %s", o->dir, er_errno_text(errno));
    if (!(o->aside = er_format("%s.replaced-%ld", o->dir, (long)getpid())))
        return er_fail(ER_ENOMEM, "the path %s", o->dir);
    if ((o->aside_lock = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0)
        er_partial_lock(o->aside_lock);
    if (rename(o->dir, o->aside) != 0)
        return er_fail(ER_EOUTPUT, "%s: cannot be moved aside: %s", o->dir, er_errno_text(errno));
    if (rename(o->partial, o->dir) != 0) {
        int e = errno;
        (void)rename(o->aside, o->dir);
        return er_fail(ER_EOUTPUT, "%s: cannot be replaced: %s", o->dir, er_errno_text(e));
    }
    er_unfinished_note(o->aside);
    *old = o->aside;
    return ER_OK;
}

static er_status put_in_place(const char **old, er_output *o) {
    struct stat st;
    if (lstat(o->dir, &st) == 0) return replace(old, o);
    int failed = renameat2(AT_FDCWD, o->partial, AT_FDCWD, o->dir, RENAME_NOREPLACE);
    if (failed && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
        failed = rename(o->partial, o->dir);
    return failed ? er_fail(ER_EOUTPUT, "%s: cannot be put in place: %s", o->dir, er_errno_text(errno))
                  : ER_OK;
}

er_status er_output_commit(er_output *o) {
    er_status rc = ER_OK;
    const char *old = NULL;
    ER_TRY(fsync_all(o->partial));
    ER_TRY(check_existing(o->dir, o->force));  // again: hours may lie between begin and commit
    er_unfinished_hold();
    rc = put_in_place(&old, o);
    er_unfinished_release();
    if (rc != ER_OK) goto out;
    o->committed = true;
    // The new one is in place whatever happens here; what stays is swept by the next output.
    if (old == o->partial && er_remove_tree(old) != ER_OK)
        er_warn("what was replaced is still there: %s", er_last_error());
    if (old && old != o->partial) discard(o, old);
    // The folder is in place; a power cut now could at worst show the old name.
    if (er_fsync_path(o->parent) != ER_OK) er_warn("%s: in place, but %s", o->dir, er_last_error());
    er_replaced_sweep(o->dir);
out:
    return rc;
}
