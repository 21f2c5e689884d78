// Temporary files beside what they will be, and the sweep of those that killed processes left.
#include "io/base/partial.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "io/base/file.h"
#include "io/base/log.h"
#include "io/base/os.h"
#include "io/base/unfinished.h"

void er_partial_lock(int fd) { (void)flock(fd, LOCK_EX | LOCK_NB); }

// Is `path` old enough, and nobody's? Then the lock is ours, and *fd keeps it while the caller removes the
// thing.
static bool is_stale(int *fd, const char *path) {
    struct stat st;
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (f < 0) return false;
    if (fstat(f, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) && st.st_uid == geteuid() &&
        time(NULL) - st.st_mtime >= ER_PARTIAL_MIN_AGE_S && flock(f, LOCK_EX | LOCK_NB) == 0) {
        *fd = f;
        return true;
    }
    close(f);
    return false;
}

// Behind "NAME.partial-" stands what only we put there.
static bool is_partial_of(const char *entry, size_t name) {
    static const char infix[] = ".partial-";
    if (strncmp(entry + name, infix, sizeof infix - 1) != 0) return false;
    const char *rest = entry + name + sizeof infix - 1;
    return *rest && !rest[strspn(rest, "0123456789abcdef-")];
}

// Length of a cache file's name, "<64 hex digits>.npz" or "<64 hex digits>.tokens.npz", at the front; 0:
// none.
static size_t cache_name(const char *entry) {
    static const char *const ends[] = {".npz.", ".tokens.npz."};
    if (strspn(entry, "0123456789abcdef") != 64) return 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);
        if (strncmp(entry + 64, ends[i], n) == 0) return 64 + n - 1;
    }
    return 0;
}

void er_partial_remove_stale(const char *folder, const char *entry) {
    char *left = er_path_join(folder, entry);
    int fd = -1;
    if (left && is_stale(&fd, left)) {
        (void)er_remove_tree(left);
        close(fd);
    }
    free(left);
}

void er_partial_sweep(const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = strlen(base);
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    DIR *dir = folder ? opendir(folder) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (strncmp(e->d_name, base, n) == 0 && is_partial_of(e->d_name, n))
            er_partial_remove_stale(folder, e->d_name);
    if (dir) closedir(dir);
    free(folder);
}

void er_cache_sweep(const char *folder) {
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        size_t n = cache_name(e->d_name);
        if (n && is_partial_of(e->d_name, n)) er_partial_remove_stale(folder, e->d_name);
    }
    if (dir) closedir(dir);
}

er_status er_temp_create(int *out, char **temp_out, const char *path) {
    er_partial_sweep(path);
    unsigned salt = 0;  // process ids repeat between containers that share a file system
    (void)!getrandom(&salt, sizeof salt, GRND_NONBLOCK);
    char *temp = er_format("%s.partial-%ld-%08x", path, (long)getpid(), salt);
    if (!temp) return er_fail(ER_ENOMEM, "the path %s", path);
    er_unfinished_hold();
    int fd = er_open_at(AT_FDCWD, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) er_unfinished_note(temp);
    er_unfinished_release();
    if (fd < 0) {
        free(temp);
        return er_fail(ER_EOUTPUT, "%s: cannot be created: %s", path, er_errno_text(errno));
    }
    er_partial_lock(fd);
    *out = fd;
    *temp_out = temp;
    return ER_OK;
}

er_status er_temp_publish(int fd, const char *temp, const char *path) {
    er_status rc = ER_OK;
    char *folder = strdup(path), *slash;
    int synced = er_fsync(fd), sync_errno = errno, closed = close(fd), close_errno = errno;
    if (!folder) ER_FAIL(ER_ENOMEM, "the path %s", path);
    if (synced != 0) ER_FAIL(ER_EIO, "%s: fsync: %s", path, er_errno_text(sync_errno));
    if (closed != 0) ER_FAIL(ER_EIO, "%s: close: %s", path, er_errno_text(close_errno));
    er_unfinished_hold();
    int refused = rename(temp, path) == 0 ? 0 : errno;
    if (!refused) er_unfinished_forget(temp);
    er_unfinished_release();
    if (refused) ER_FAIL(ER_EOUTPUT, "%s: cannot be replaced: %s", path, er_errno_text(refused));
    slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    // The bytes are safe by now; only the new name could still be lost to a power cut.
    if (er_fsync_path(slash ? folder : ".") != ER_OK) er_warn("%s: in place, but %s", path, er_last_error());
out:
    if (rc != ER_OK) er_temp_discard(-1, temp);
    free(folder);
    return rc;
}

void er_temp_discard(int fd, const char *temp) {
    if (fd >= 0) close(fd);
    er_unfinished_hold();
    (void)unlink(temp);
    er_unfinished_forget(temp);
    er_unfinished_release();
}
