// Descriptors: opening, reading, writing, copying, and telling that a file changed.
#include "io/base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/base/signals.h"

#define COPY_CHUNK ((size_t)1 << 20)
#define IO_CHUNK ((size_t)1 << 30)     // the kernel moves at most 2^31 - 4096 bytes a call
#define STOP_CHUNK ((size_t)64 << 20)  // a second of a slow disk, between two looks at whether to stop

// ---- identity ----

static int64_t nanoseconds(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

er_file_id er_file_id_of(const struct stat *st) {
    return (er_file_id){.dev = (uint64_t)st->st_dev,
        .ino = (uint64_t)st->st_ino,
        .size = (uint64_t)st->st_size,
        .mtime_ns = nanoseconds(st->st_mtim),
        .ctime_ns = nanoseconds(st->st_ctim)};
}

const char *er_file_id_changed(const er_file_id *was, const er_file_id *now, bool strict) {
    static _Thread_local char text[96];
    if (was->dev != now->dev || was->ino != now->ino) return "another file stands in its place";
    if (was->size != now->size) {
        (void)snprintf(text, sizeof text, "has %" PRIu64 " bytes, had %" PRIu64 " when it was opened",
            now->size, was->size);
        return text;
    }
    if (was->mtime_ns != now->mtime_ns) return "was written to after it was opened";
    return strict && was->ctime_ns != now->ctime_ns ? "was changed after it was opened" : NULL;
}

// ---- opening ----

const char *er_special_kind(mode_t mode) {
    return S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

static er_status refused(const char *path) {
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
        return er_fail(ER_ENOENT, "%s: no such file", path);
    case EACCES:
    case EPERM:
        return er_fail(ER_ENOENT, "%s: may not be read: %s", path, er_errno_text(errno));
    case ENXIO:
        return er_fail(ER_EFORMAT, "%s: is a socket, not a regular file", path);
    case ELOOP:
    case ENAMETOOLONG:
        return er_fail(
            ER_EFORMAT, "%.200s%s: %s", path, strlen(path) > 200 ? "..." : "", er_errno_text(errno));
    default:
        return er_fail(ER_EIO, "%s: %s", path, er_errno_text(errno));
    }
}

er_status er_open_regular_at(int *out, er_file_id *id, int dir, const char *name, const char *path) {
    er_status rc = ER_OK;
    struct stat st;
    int fd = er_open_at(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0) return refused(path);
    if (fstat(fd, &st) != 0) ER_FAIL(ER_EIO, "%s: %s", path, er_errno_text(errno));
    if (S_ISDIR(st.st_mode)) ER_FAIL(ER_EFORMAT, "%s: is a folder, not a file", path);
    if (!S_ISREG(st.st_mode))
        ER_FAIL(ER_EFORMAT, "%s: is %s, not a regular file", path, er_special_kind(st.st_mode));
    *out = fd, fd = -1;
    if (id) *id = er_file_id_of(&st);
out:
    if (fd >= 0) close(fd);
    return rc;
}

er_status er_open_regular(int *out, uint64_t *size, const char *path) {
    er_file_id id = {0};
    er_status rc = er_open_regular_at(out, &id, AT_FDCWD, path, path);
    if (rc == ER_OK) *size = id.size;
    return rc;
}

er_status er_pread_all(int fd, void *dst, size_t n, uint64_t offset, const char *path) {
    char *p = dst;
    while (n > 0) {
        if (er_stop_requested()) return er_fail(ER_EINTERRUPTED, "%s is not read to its end", path);
        ssize_t got = pread(fd, p, n < STOP_CHUNK ? n : STOP_CHUNK, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return er_fail(ER_EIO, "%s: read at byte %" PRIu64 ": %s", path, offset, er_errno_text(errno));
        if (got == 0)
            return er_fail(ER_EIO,
                "%s: ends at byte %" PRIu64 ", %zu bytes missing: it shrank after it was opened", path,
                offset, n);
        p += got, n -= (size_t)got, offset += (uint64_t)got;
    }
    return ER_OK;
}

er_status er_read_open(char **out, size_t *len, int fd, const er_file_id *id, const char *path, size_t most) {
    er_status rc = ER_OK;
    struct stat st;
    char *bytes = NULL;
    size_t size = (size_t)id->size;
    if (id->size > most) ER_FAIL(ER_EFORMAT, "%s: %" PRIu64 " bytes, limit %zu", path, id->size, most);
    if (!(bytes = malloc(size + 1))) ER_FAIL(ER_ENOMEM, "%zu bytes for %s", size, path);
    for (size_t at = 0; at < size; at += STOP_CHUNK) {
        if (at && er_stop_requested()) ER_FAIL(ER_EINTERRUPTED, "%s: stopped while it was read", path);
        ER_TRY(er_pread_all(fd, bytes + at, size - at < STOP_CHUNK ? size - at : STOP_CHUNK, at, path));
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

er_status er_write_all(int fd, const void *src, size_t n, const char *path) {
    const char *p = src;
    while (n > 0) {
        ssize_t put = write(fd, p, n < IO_CHUNK ? n : IO_CHUNK);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return er_fail(ER_EIO, "%s: write: %s", path, er_errno_text(errno));
        p += put, n -= (size_t)put;
    }
    return ER_OK;
}

er_status er_pwrite_all(int fd, const void *src, size_t n, uint64_t offset, const char *path) {
    const char *p = src;
    while (n > 0) {
        ssize_t put = pwrite(fd, p, n < IO_CHUNK ? n : IO_CHUNK, (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0)
            return er_fail(ER_EIO, "%s: write at byte %" PRIu64 ": %s", path, offset, er_errno_text(errno));
        p += put, n -= (size_t)put, offset += (uint64_t)put;
    }
    return ER_OK;
}

int er_open_at(int dir, const char *path, int flags, unsigned mode) {
    int fd;
    while ((fd = openat(dir, path, flags, mode)) < 0 && errno == EINTR) {}
    return fd;
}

int er_fsync(int fd) {
    int failed;
    while ((failed = fsync(fd)) != 0 && errno == EINTR) {}
    return failed;
}

er_status er_close_written(int fd, const char *path, er_status rc) {
    // Interrupted or not, the descriptor is gone: Linux closes it first.
    if (fd < 0 || close(fd) == 0 || errno == EINTR || rc != ER_OK) return rc;
    return er_fail(ER_EIO, "%s: close: %s", path, er_errno_text(errno));
}

er_status er_fsync_path(const char *path) {
    er_status rc = ER_OK;
    int fd = er_open_at(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return er_fail(ER_EIO, "%s: %s", path, er_errno_text(errno));
    // Some file systems know no fsync of a folder and say EINVAL; there is nothing more to be done there.
    if (er_fsync(fd) != 0 && errno != EINVAL)
        rc = er_fail(ER_EIO, "%s: fsync: %s", path, er_errno_text(errno));
    close(fd);
    return rc;
}

// Copies what is left after `done` bytes with a buffer.
static er_status copy_by_buffer(
    int to, int from, uint64_t done, uint64_t size, const char *to_path, const char *from_path) {
    er_status rc = ER_OK;
    char *buffer = malloc(COPY_CHUNK);
    if (!buffer) ER_FAIL(ER_ENOMEM, "%zu bytes to copy %s", COPY_CHUNK, from_path);
    while (done < size) {
        size_t n = size - done < COPY_CHUNK ? (size_t)(size - done) : COPY_CHUNK;
        ER_TRY(er_pread_all(from, buffer, n, done, from_path));
        ER_TRY(er_pwrite_all(to, buffer, n, done, to_path));
        done += n;
    }
out:
    free(buffer);
    return rc;
}

bool er_clone(int to, int from) { return ioctl(to, FICLONE, from) == 0; }

er_status er_copy_all(int to, int from, uint64_t size, const char *to_path, const char *from_path) {
    struct stat st;
    uint64_t done = 0;
    if (er_clone(to, from)) {
        done = size;
    } else {
        off_t in = 0, at = 0;
        while (done < size) {
            size_t want = size - done < STOP_CHUNK ? (size_t)(size - done) : STOP_CHUNK;
            if (er_stop_requested()) return er_fail(ER_EINTERRUPTED, "%s is not whole", to_path);
            ssize_t n = copy_file_range(from, &in, to, &at, want, 0);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
                return er_fail(
                    ER_EIO, "%s: write at byte %" PRIu64 ": %s", to_path, done, er_errno_text(errno));
            if (n <= 0)
                break;  // not on this pair of file systems: the buffer copies the rest, and names what is
                        // wrong
            done += (uint64_t)n;
        }
    }
    if (done < size) {
        er_status rc = copy_by_buffer(to, from, done, size, to_path, from_path);
        if (rc != ER_OK) return rc;
    }
    if (fstat(to, &st) != 0) return er_fail(ER_EIO, "%s: %s", to_path, er_errno_text(errno));
    if ((uint64_t)st.st_size != size)
        return er_fail(ER_EIO,
            "%s: copied %" PRIu64 " bytes, expected %" PRIu64 ": the file changed meanwhile", from_path,
            (uint64_t)st.st_size, size);
    return ER_OK;
}
