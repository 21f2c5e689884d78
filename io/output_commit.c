// The output gets its name: synced, then exchanged with what stood there or renamed.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/base/log.h"
#include "io/base/os.h"
#include "io/base/partial.h"
#include "io/base/path.h"
#include "io/base/signals.h"
#include "io/base/unfinished.h"
#include "io/output_internal.h"

// A folder that a killed job moved aside for its own output. It is removed only when that output is in place,
// and holds what errata replaces: nothing, or an output of errata.
static bool may_go(const char *path) {
    char *manifest = er_path_join(path, ER_MANIFEST);
    bool ours = manifest && er_file_exists(manifest);
    DIR *d = ours ? NULL : opendir(path);
    int entries = 0;
    for (; d && readdir(d); entries++) {}
    if (d) closedir(d);
    free(manifest);
    return ours || (d && entries == 2);
}

void er_output_sweep_replaced(const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = strlen(base);
    static const char infix[] = ".replaced-";
    if (!er_dir_exists(path)) return;
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    DIR *dir = folder ? opendir(folder) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (strncmp(e->d_name, base, n) != 0 || strncmp(e->d_name + n, infix, sizeof infix - 1) != 0)
            continue;
        const char *rest = e->d_name + n + sizeof infix - 1;
        if (!*rest || rest[strspn(rest, "0123456789")]) continue;
        char *left = er_path_join(folder, e->d_name);
        if (left && may_go(left)) er_partial_remove_stale(folder, e->d_name);
        free(left);
    }
    if (dir) closedir(dir);
    free(folder);
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
    ER_TRY(er_output_check_existing(o->dir, o->force));  // again: hours may lie between begin and commit
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
    er_output_sweep_replaced(o->dir);
out:
    return rc;
}
