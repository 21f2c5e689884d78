// Where things are kept.
#ifndef ER_PATHS_H
#define ER_PATHS_H
#include "io/base/status.h"

// The cache folder, malloc'd: `given`, else $XDG_CACHE_HOME/errata, else ~/.cache/errata. NULL when `given`
// is "" or no home is known.
er_status er_cache_dir(char **out, const char *given);
#endif
