// Names of files and folders: what stands there, making folders, removing them.
#include "io/base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/base/format.h"

bool er_file_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool er_dir_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *er_path_join(const char *dir, const char *name) {
    size_t n = strlen(dir);
    return er_format("%s%s%s", dir, n == 0 || dir[n - 1] == '/' ? "" : "/", name);
}

er_status er_mkdirs(const char *path) {
    er_status rc = ER_OK;
    char *copy = strdup(path);
    if (!copy) ER_FAIL(ER_ENOMEM, "the path %s", path);
    for (char *p = copy + 1; copy[0]; p++) {
        char c = *p;
        if (c != '/' && c != '\0') continue;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && !er_dir_exists(copy))
            ER_FAIL(ER_EOUTPUT, "%s: cannot be created: %s", copy, er_errno_text(errno));
        *p = c;
        if (c == '\0') break;
    }
out:
    free(copy);
    return rc;
}

// Works on descriptors relative to their folder, so that nothing outside the tree can be reached through a
// swapped link.
static er_status remove_at(int parent, const char *name, const char *path, int depth) {
    er_status rc = ER_OK;
    DIR *dir = NULL;
    int fd = -1;
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return ER_OK;
    if (errno != EISDIR && errno != EPERM)
        ER_FAIL(ER_EIO, "%s: remove %s: %s", path, name, er_errno_text(errno));
    if (depth > 64) ER_FAIL(ER_EIO, "%s: more than 64 folders deep", path);
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || !(dir = fdopendir(fd)))
        ER_FAIL(ER_EIO, "%s: remove %s: %s", path, name, er_errno_text(errno));
    for (struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            ER_TRY(remove_at(dirfd(dir), e->d_name, path, depth + 1));
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0)
        ER_FAIL(ER_EIO, "%s: remove %s: %s", path, name, er_errno_text(errno));
out:
    if (dir) closedir(dir);
    else if (fd >= 0) close(fd);
    return rc;
}

er_status er_remove_tree(const char *path) { return remove_at(AT_FDCWD, path, path, 0); }
