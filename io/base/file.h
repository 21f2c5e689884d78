// Whole files in, whole outputs out, and digests.
#ifndef ER_FILE_H
#define ER_FILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "io/base/status.h"

// The whole of a regular file, NUL-terminated behind its `len` bytes; the caller frees. Never blocks: a pipe, a device, a
// socket or a folder is EFORMAT, as is a file above `max_bytes` or a name that the system refuses. ENOENT when it is missing or
// may not be read, EIO when it changed while it was read, EINTERRUPTED when a stop was asked for in a long one.
er_status er_file_read(char **out, size_t *len, const char *path, size_t max_bytes);
er_status er_file_size(
    uint64_t *size, const char *path);  // of what er_file_read would read; its errors, without reading
bool er_file_exists(const char *path);
bool er_dir_exists(const char *path);
char *er_path_join(const char *dir, const char *name);  // malloc'd; NULL when memory is out
er_status er_mkdirs(const char *path);                  // mkdir -p
er_status er_remove_tree(const char *path);             // rm -r of a folder made by us; a missing one is fine

// One file, whole or not at all: temp beside it, fsync, rename.
er_status er_file_write_atomic(const char *path, const void *bytes, size_t len);

#define ER_MANIFEST "errata-manifest.json"  // in a folder that errata wrote
#define ER_HISTORY "errata-history-"        // begins the names of files of keys of earlier edits

// Removes the unfinished files that killed processes left in a cache folder. A cache file is named by digests, so the next job
// need not write one of the same name and find them by that.
void er_cache_sweep(const char *folder);

// A folder that appears whole or not at all. begin makes DIR.partial-<pid> beside DIR (EOUTPUT when DIR exists and !force,
// or cannot be created); commit fsyncs everything and exchanges or renames it to DIR: at every instant the old folder or the
// new one is there, and the old one is removed last. With force, DIR may be replaced only when it is empty or holds an
// errata-manifest.json: what errata did not write, it does not delete. er_output_free without commit removes the partial folder; one that a killed
// job left is removed by the next begin for the same DIR (the living hold a lock on theirs), and so is an old folder that was
// moved aside. EOUTPUT at once when DIR is so long that what must stand beside it or in it could not be named.
typedef struct er_output er_output;
er_status er_output_begin(er_output **out, const char *dir, bool force);
// The checks of begin without making anything, for the start of a long job. `model_dir` (or NULL): EOUTPUT also when DIR is that
// folder or lies inside it.
er_status er_output_check(const char *dir, bool force, const char *model_dir);
const char *er_output_path(const er_output *o);  // the partial folder, borrowed
const char *er_output_dir(const er_output *o);   // what it will be called, borrowed
er_status er_output_write(er_output *o, const char *name, const void *bytes, size_t len);
er_status er_output_copy(
    er_output *o, const char *name, const char *from_path);  // reflink, copy_file_range, or read/write
// A new file of the partial folder, open for reading and writing (the caller closes it and frees the path), and its bytes copied
// from a descriptor. Names of all of these may have folders in them, "a/b", which are made; ".." is EARG.
er_status er_output_create(int *fd, char **path, er_output *o, const char *name);
er_status er_output_copy_from(er_output *o, const char *name, int from, uint64_t size, const char *from_path);
er_status er_output_commit(er_output *o);
void er_output_free(er_output *o);

// SHA-256 as 64 lower-case hex digits + NUL. The incremental form keys every cache and fills manifests.
typedef struct er_digest er_digest;
er_status er_digest_new(er_digest **out);
void er_digest_add(er_digest *d, const void *bytes, size_t len);
void er_digest_add_str(er_digest *d,
    const char *s);  // length-prefixed, so "ab"+"c" differs from "a"+"bc"; NULL is its own value
void er_digest_hex(er_digest *d, char hex[65]);  // of all added so far; the digest may go on
void er_digest_free(er_digest *d);
er_status er_file_digest(char hex[65], const char *path);
#endif
