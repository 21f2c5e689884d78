// A model folder as it stood when it was opened. A job of hours reads its model more than once (settings,
// weights, tokenizer, digest, copy) and must see one model throughout: every file is opened once. Small files
// are kept as bytes, which parser, digest and copy share; weights are kept open. er_folder_check says when
// the folder has changed. Not safe to share between threads.
#ifndef ER_FOLDER_H
#define ER_FOLDER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

typedef struct er_folder er_folder;
// ENOENT when there is no such folder or it may not be entered.
er_status er_folder_open(er_folder **out, const char *dir);
void er_folder_free(er_folder *f);
const char *er_folder_dir(const er_folder *f);
// Is there anything of that name, a link to nowhere included? An answer that something is absent is
// remembered: the folder has changed when it appears later.
er_status er_folder_has(bool *there, er_folder *f, const char *name);
// The bytes of a file, NUL-terminated, read at the first call and owned by the folder. ENOENT when it is
// missing, EFORMAT when it is above `max_bytes` or no regular file, EIO when it changed while it was read.
er_status er_folder_read(const char **bytes, size_t *len, er_folder *f, const char *name, size_t max_bytes);
// The same file as a descriptor that stays open as long as the folder; borrowed.
er_status er_folder_hold(int *fd, uint64_t *size, er_folder *f, const char *name);
// EIO naming the first file that was read or held and is no longer what it was: replaced, rewritten, grown,
// cut, removed; or that was absent and is there. `strict`: a changed ctime of a held file counts too, which a
// caller that compares the bytes themselves need not ask for.
er_status er_folder_check(const er_folder *f, bool strict);

// For the copy of a folder: the bytes kept of `name`, or NULL when it was not read.
const char *er_folder_kept(size_t *len, const er_folder *f, const char *name);
int er_folder_fd(const er_folder *f);  // of the folder itself; borrowed
#endif
