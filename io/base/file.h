// Whole files in and out.
#ifndef ER_FILE_H
#define ER_FILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/base/digest.h"
#include "io/base/path.h"
#include "io/base/status.h"

// The whole of a regular file, NUL-terminated behind its `len` bytes; the caller frees. Never blocks: a pipe,
// a device, a socket or a folder is EFORMAT, as is a file above `max_bytes` or a name that the system
// refuses. ENOENT when it is missing or may not be read, EIO when it changed while it was read, EINTERRUPTED
// when a stop was asked for in a long one.
er_status er_file_read(char **out, size_t *len, const char *path, size_t max_bytes);
// The size of what er_file_read would read, without reading it; its errors, but for those of reading.
er_status er_file_size(uint64_t *size, const char *path);

// One file, whole or not at all: a temporary one beside it, fsync, rename. EOUTPUT when it cannot be made or
// replaced, EIO.
er_status er_file_write_atomic(const char *path, const void *bytes, size_t len);

// Removes the unfinished files that killed processes left in a cache folder. er_file_write_atomic does so for
// the name it writes; but cache files are named by digests, and the next job need not write one of the same
// name.
void er_cache_sweep(const char *folder);
#endif
