// A folder that appears whole or not at all.
#ifndef ER_OUTPUT_H
#define ER_OUTPUT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

#define ER_MANIFEST "errata-manifest.json"  // in a folder that errata wrote
#define ER_HISTORY "errata-history-"        // begins the names of files of keys of earlier edits

// begin makes DIR.partial-<pid> beside DIR. commit syncs all of it and exchanges or renames it to DIR: at
// every instant the old folder or the new one is there, and the old one is removed last. er_output_free
// without commit removes the partial folder. One that a killed job left is removed by the next begin for the
// same DIR (the living hold a lock on theirs), and so is an old folder that was moved aside.
//
// EOUTPUT when DIR exists and !force, or cannot be created, or is so long that what must stand beside it or
// in it could not be named. With force, DIR may be replaced only when it is empty or holds an
// errata-manifest.json: what errata did not write, it does not delete.
typedef struct er_output er_output;
er_status er_output_begin(er_output **out, const char *dir, bool force);
// The checks of begin without making anything, for the start of a long job. `model_dir` (or NULL): EOUTPUT
// also when DIR is that folder or lies inside it.
er_status er_output_check(const char *dir, bool force, const char *model_dir);
const char *er_output_path(const er_output *o);  // the partial folder, borrowed
const char *er_output_dir(const er_output *o);   // what it will be called, borrowed

// Files of the partial folder. `name` may have folders in it, "a/b", which are made; ".." is EARG. create:
// open for reading and writing; the caller closes *fd and frees *path. The copies share blocks where the file
// system can; copy_from takes `size` bytes of the descriptor `from`, which messages call `from_path`.
er_status er_output_create(int *fd, char **path, er_output *o, const char *name);
er_status er_output_write(er_output *o, const char *name, const void *bytes, size_t len);
er_status er_output_copy(er_output *o, const char *name, const char *from_path);
er_status er_output_copy_from(er_output *o, const char *name, int from, uint64_t size, const char *from_path);

er_status er_output_commit(er_output *o);
void er_output_free(er_output *o);  // NULL is fine
#endif
