#include "io/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/base/log.h"
#include "io/base/os.h"
#include "io/base/partial.h"

#define READ_CHUNK ((size_t)64 << 20)  // between two looks at whether to stop

er_status er_read_open(char **out, size_t *len, int fd, const er_file_id *id, const char *path, size_t most) {
    er_status rc = ER_OK;
    struct stat st;
    char *bytes = NULL;
    size_t size = (size_t)id->size;
    if (id->size > most) ER_FAIL(ER_EFORMAT, "%s: %" PRIu64 " bytes, limit %zu", path, id->size, most);
    if (!(bytes = malloc(size + 1))) ER_FAIL(ER_ENOMEM, "%zu bytes for %s", size, path);
    for (size_t at = 0; at < size; at += READ_CHUNK) {
        if (at && er_stop_requested()) ER_FAIL(ER_EINTERRUPTED, "%s: stopped while it was read", path);
        ER_TRY(er_pread_all(fd, bytes + at, size - at < READ_CHUNK ? size - at : READ_CHUNK, at, path));
    }
    if (fstat(fd, &st) != 0) ER_FAIL(ER_EIO, "%s: %s", path, er_errno_text(errno));
    const er_file_id now = er_file_id_of(&st);
    const char *changed = er_file_id_changed(id, &now, false);
    if (changed) ER_FAIL(ER_EIO, "%s: %s: it changed while it was read", path, changed);
    bytes[size] = '\0';
    *len = size;
    *out = bytes, bytes = NULL;
out:
    free(bytes);
    return rc;
}

er_status er_file_read(char **out, size_t *len, const char *path, size_t max_bytes) {
    er_file_id id = {0};
    int fd = -1;
    er_status rc = er_open_regular_at(&fd, &id, AT_FDCWD, path, path);
    if (rc != ER_OK) return rc;
    rc = er_read_open(out, len, fd, &id, path, max_bytes);
    close(fd);
    return rc;
}

er_status er_file_size(uint64_t *size, const char *path) {
    int fd = -1;
    er_status rc = er_open_regular(&fd, size, path);
    if (fd >= 0) close(fd);
    return rc;
}

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

er_status er_file_write_atomic(const char *path, const void *bytes, size_t len) {
    char *temp = NULL;
    int fd = -1;
    er_status rc = er_temp_create(&fd, &temp, path);
    if (rc != ER_OK) return rc;
    if ((rc = er_write_all(fd, bytes, len, path)) == ER_OK) rc = er_temp_publish(fd, temp, path);
    else er_temp_discard(fd, temp);
    free(temp);
    return rc;
}
