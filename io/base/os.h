// Private to io/: descriptors and errno. Every function names the file and the system's own words in its
// message.
#ifndef ER_OS_H
#define ER_OS_H
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "io/base/format.h"
#include "io/base/status.h"

// Which file a name stands for, and in which state: what is compared to tell that an input changed.
typedef struct er_file_id {
    uint64_t dev, ino, size;
    int64_t mtime_ns, ctime_ns;
} er_file_id;
er_file_id er_file_id_of(const struct stat *st);
// NULL when they are of one file in one state; else what happened, as words that go behind the file's name
// and are valid until the thread's next call. A ctime alone moves with a chmod or a further hard link too: it
// counts only when `strict`.
const char *er_file_id_changed(const er_file_id *was, const er_file_id *now, bool strict);

// Opens a regular file for reading, symlinks followed, never blocking on a pipe. ENOENT when it is missing or
// may not be read, EFORMAT when it is not regular or has a name that the system refuses. `id` may be NULL.
er_status er_open_regular(int *fd, uint64_t *size, const char *path);
// The same below the open folder `dir` (or AT_FDCWD); `path` is what messages call it.
er_status er_open_regular_at(int *fd, er_file_id *id, int dir, const char *name, const char *path);
// What kind of thing it is when it is neither file nor folder: "a pipe", "a device", "a socket".
const char *er_special_kind(mode_t mode);
// The whole of an open file, NUL-terminated; EFORMAT above `most` bytes, EIO when it changed meanwhile,
// EINTERRUPTED when a long one was asked to stop.
er_status er_read_open(char **out, size_t *len, int fd, const er_file_id *id, const char *path, size_t most);
// open(2), again where a signal interrupted it (network file systems, pipes); `dir` AT_FDCWD or a folder.
int er_open_at(int dir, const char *path, int flags, unsigned mode);
// fsync(2) likewise.
int er_fsync(int fd);
// Reading and copying ask for a stop between pieces (io/base/signals.h); writing does not, so that what was
// computed is kept. All n bytes or an error: a file that ends early (it shrank after it was opened) is EIO.
er_status er_pread_all(int fd, void *dst, size_t n, uint64_t offset, const char *path);
er_status er_write_all(int fd, const void *src, size_t n, const char *path);
er_status er_pwrite_all(int fd, const void *src, size_t n, uint64_t offset, const char *path);
// Closes what was written (-1: nothing): network file systems and quotas report here what write() took. `rc`
// when that is a failure already.
er_status er_close_written(int fd, const char *path, er_status rc);
er_status er_fsync_path(const char *path);  // a file or a folder
// Makes the empty file `to` share the blocks of `from`, as they are at this instant; false where the file
// system cannot.
bool er_clone(int to, int from);
// Exactly `size` bytes of `from` to the empty file `to`: shared blocks where the file system can, else
// copied.
er_status er_copy_all(int to, int from, uint64_t size, const char *to_path, const char *from_path);
#endif
