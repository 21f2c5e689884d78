// Private to io/: bytes in order from a file, a pipe, a terminal or standard input, without ever blocking for
// good: while there is nothing to read a stop that was asked for is seen within a fifth of a second.
#ifndef ER_STREAM_H
#define ER_STREAM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

#define ER_STREAM_WRITER_S 30  // how long a named pipe may be without a writer

typedef struct er_stream er_stream;
// "-" is standard input. ENOENT when it is missing or may not be read, EFORMAT for a folder, a socket by its
// path or a device that is no terminal (/dev/zero has no end).
er_status er_stream_open(er_stream **out, const char *path);
// Up to `size` bytes; *got is 0 at the end and only there. EFORMAT when there are more than `most` in all,
// EINTERRUPTED when a stop was asked for, ENOENT when nobody opened the pipe for writing in time, EIO when a
// file changed while it was read.
er_status er_stream_read(size_t *got, er_stream *s, void *dst, size_t size, uint64_t most);
const char *er_stream_name(const er_stream *s);  // the path, "standard input" for "-"
void er_stream_free(er_stream *s);
#endif
