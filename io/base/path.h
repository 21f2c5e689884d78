// Names of files and folders.
#ifndef ER_PATH_H
#define ER_PATH_H
#include <stdbool.h>
#include "io/base/status.h"

bool er_file_exists(const char *path);                  // a regular file, or a link to one
bool er_dir_exists(const char *path);                   // a folder, or a link to one
char *er_path_join(const char *dir, const char *name);  // the caller frees; NULL when memory is out
// A folder and those above it, as mkdir -p makes them. EOUTPUT names the one that cannot be made.
er_status er_mkdirs(const char *path);
// A file, or a folder with all in it, as rm -r removes it; links are not followed. A missing one is fine.
// EIO.
er_status er_remove_tree(const char *path);
#endif
