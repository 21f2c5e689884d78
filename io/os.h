// Private to io/: descriptors and errno. Every function names the file and the system's own words in its
// message.
#ifndef ER_OS_H
#define ER_OS_H
#include <stdint.h>
#include <stdlib.h>
#include "io/status.h"

const char *er_errno_text(int e);  // "no space left on device"; valid until the thread's next call

// Opens a regular file for reading, symlinks followed, never blocking on a fifo. ENOENT when missing, EFORMAT
// when not regular.
er_status er_open_regular(int *fd, uint64_t *size, const char *path);
// Reading and copying ask for a stop between pieces (io/signals.h); writing does not, so that what was
// computed is kept. All n bytes or an error: a file that ends early (it shrank after it was opened) is EIO.
er_status er_pread_all(int fd, void *dst, size_t n, uint64_t offset, const char *path);
er_status er_write_all(int fd, const void *src, size_t n, const char *path);
er_status er_pwrite_all(int fd, const void *src, size_t n, uint64_t offset, const char *path);
er_status er_fsync_path(const char *path);  // a file or a folder
// Exactly `size` bytes of `from` to the empty file `to`: shared blocks where the file system can, else
// copied.
er_status er_copy_all(int to, int from, uint64_t size, const char *to_path, const char *from_path);
// printf into new memory; NULL when memory is out.
char *er_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#endif
