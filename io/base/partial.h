// Private to io/: what unfinished output is called, and who may clear it away. NAME.partial-<pid>-<salt>
// stands beside NAME; its maker holds a lock on it (flock, gone with the process, also by kill -9), so that
// the next job for the same NAME can tell what was left behind from what is being written.
#ifndef ER_PARTIAL_H
#define ER_PARTIAL_H
#include "io/base/status.h"

#define ER_PARTIAL_MIN_AGE_S 10  // younger ones may just not be locked yet

// Keeps the lock until `fd` is closed. Where the file system knows no locks nothing is ever swept.
void er_partial_lock(int fd);
// Removes what killed processes left of `path`; quiet about whatever it may not remove.
void er_partial_sweep(const char *path);
// The same of one entry of `folder`, whatever it is called: when it is old enough, ours, and nobody holds its
// lock.
void er_partial_remove_stale(const char *folder, const char *entry);

// A new file beside `path` (its name is malloc'd into *temp); publish syncs it, closes it and renames it to
// `path`. Publish closes the descriptor whatever its outcome, and removes the temporary where it fails.
er_status er_temp_create(int *fd, char **temp, const char *path);
er_status er_temp_publish(int fd, const char *temp, const char *path);
void er_temp_discard(int fd, const char *temp);  // instead of publish
#endif
