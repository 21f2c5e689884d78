// SHA-256 as 64 lower-case hex digits and a NUL. The incremental form keys every cache and fills manifests.
#ifndef ER_DIGEST_H
#define ER_DIGEST_H
#include <stddef.h>
#include "io/base/status.h"

typedef struct er_digest er_digest;
er_status er_digest_new(er_digest **out);  // of nothing yet; ENOMEM. The caller frees
void er_digest_add(er_digest *d, const void *bytes, size_t len);
// The length goes in first, so that "ab" and "c" differ from "a" and "bc"; NULL is a value of its own.
void er_digest_add_str(er_digest *d, const char *s);
void er_digest_hex(er_digest *d, char hex[65]);  // of all added so far; the digest may go on
void er_digest_free(er_digest *d);               // NULL is fine

// Of a regular file's bytes. The errors of er_file_read, but no limit to its size.
er_status er_file_digest(char hex[65], const char *path);
#endif
