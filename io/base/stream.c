// Bytes in order from a file or a pipe, with an eye on stop requests.
#include "io/base/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "io/base/log.h"
#include "io/base/os.h"

#define LOOK_MS 200  // between two looks at whether to stop

struct er_stream {
    int fd;
    char *name;
    bool is_file, is_named_pipe;
    er_file_id id;  // of a file
    uint64_t taken;
    time_t opened;
    bool waiting_said;
};

const char *er_stream_name(const er_stream *s) { return s->name; }

void er_stream_free(er_stream *s) {
    if (!s) return;
    if (s->fd >= 0) close(s->fd);
    free(s->name);
    free(s);
}

static time_t seconds(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static er_status refused(const char *name, int e) {
    if (e == ENXIO)
        return er_fail(
            ER_EFORMAT, "%s: is a socket, or a device that is not there, not a file or a pipe", name);
    if (e == ELOOP || e == ENAMETOOLONG)
        return er_fail(ER_EFORMAT, "%.200s%s: %s", name, strlen(name) > 200 ? "..." : "", er_errno_text(e));
    if (e == EBADF) return er_fail(ER_ENOENT, "%s: is closed", name);
    if (e == ENOENT || e == ENOTDIR) return er_fail(ER_ENOENT, "%s: no such file", name);
    if (e == EACCES || e == EPERM)
        return er_fail(ER_ENOENT, "%s: may not be read: %s", name, er_errno_text(e));
    return er_fail(ER_EIO, "%s: %s", name, er_errno_text(e));
}

er_status er_stream_open(er_stream **out, const char *path) {
    er_status rc = ER_OK;
    struct stat st;
    bool standard = strcmp(path, "-") == 0;
    er_stream *s = calloc(1, sizeof *s);
    if (!s) return er_fail(ER_ENOMEM, "%s", path);
    s->fd = -1;
    if (!(s->name = strdup(standard ? "standard input" : path))) ER_FAIL(ER_ENOMEM, "%s", path);
    s->fd = standard ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                     : er_open_at(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    if (s->fd < 0) ER_TRY(refused(s->name, errno));
    if (fstat(s->fd, &st) != 0) ER_FAIL(ER_EIO, "%s: %s", s->name, er_errno_text(errno));
    if (S_ISDIR(st.st_mode)) ER_FAIL(ER_EFORMAT, "%s: is a folder, not a file", s->name);
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode) && !isatty(s->fd))
        ER_FAIL(ER_EFORMAT, "%s: is %s, not a file or a pipe", s->name, er_special_kind(st.st_mode));
    s->is_file = S_ISREG(st.st_mode);
    s->is_named_pipe = S_ISFIFO(st.st_mode) && !standard;
    s->id = er_file_id_of(&st);
    s->opened = seconds();
    *out = s, s = NULL;
out:
    er_stream_free(s);
    return rc;
}

// What a file gives must be of one state of it.
static er_status check_end(const er_stream *s) {
    struct stat st;
    if (!s->is_file) return ER_OK;
    if (fstat(s->fd, &st) != 0) return er_fail(ER_EIO, "%s: %s", s->name, er_errno_text(errno));
    const er_file_id now = er_file_id_of(&st);
    const char *changed = er_file_id_changed(&s->id, &now, false);
    return changed ? er_fail(ER_EIO, "%s: %s: it changed while it was read", s->name, changed) : ER_OK;
}

// A named pipe that no one has opened for writing reads as if it had ended; poll tells the two apart, since
// it calls only the other one hung up. Nothing was ready when this is called.
static er_status no_writer_yet(er_stream *s) {
    time_t waited = seconds() - s->opened;
    if (waited >= ER_STREAM_WRITER_S)
        return er_fail(
            ER_ENOENT, "%s: nobody opened this pipe for writing within %d s", s->name, ER_STREAM_WRITER_S);
    if (waited >= 2 && !s->waiting_said) er_info("%s: waiting for what is written to this pipe", s->name);
    s->waiting_said = s->waiting_said || waited >= 2;
    return ER_OK;
}

// One look: *n is what read() gave, or -1 when there is nothing yet.
static er_status try_read(ssize_t *n, er_stream *s, void *dst, size_t size) {
    int ready = 1;
    if (!s->is_file) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        ready = poll(&p, 1, LOOK_MS);
        if (ready < 0 && errno != EINTR) return er_fail(ER_EIO, "%s: %s", s->name, er_errno_text(errno));
    }
    *n = -1;
    if (er_stop_requested()) return er_fail(ER_EINTERRUPTED, "%s: stopped while it was read", s->name);
    bool look = ready > 0 || (s->is_named_pipe && !s->taken);
    if (!look) return ER_OK;
    *n = read(s->fd, dst, size);
    if (*n < 0 && errno != EINTR && errno != EAGAIN)
        return er_fail(ER_EIO, "%s: %s", s->name, er_errno_text(errno));
    if (*n != 0 || ready > 0) return ER_OK;
    *n = -1;
    return no_writer_yet(s);
}

er_status er_stream_read(size_t *got, er_stream *s, void *dst, size_t size, uint64_t most) {
    ssize_t n = -1;
    if (s->is_file && s->id.size > most)  // known before a byte is read
        return er_fail(ER_EFORMAT, "%s: more than %" PRIu64 " bytes", s->name, most);
    while (n < 0) {
        er_status rc = try_read(&n, s, dst, size);
        if (rc != ER_OK) return rc;
    }
    s->taken += (uint64_t)n;
    if (s->taken > most) return er_fail(ER_EFORMAT, "%s: more than %" PRIu64 " bytes", s->name, most);
    *got = (size_t)n;
    return n == 0 ? check_end(s) : ER_OK;
}
