#include "engine/job/paths.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/file.h"

er_status er_cache_dir(char **out, const char *given) {
    const char *home = getenv("HOME"), *xdg = getenv("XDG_CACHE_HOME");
    char *path = NULL;
    bool wanted = true;
    if (given && !*given) wanted = false;
    else if (given) path = strdup(given);
    else if (xdg && *xdg) path = er_path_join(xdg, "errata");
    else if (home && *home) path = er_path_join(home, ".cache/errata");
    else wanted = false;
    if (wanted && !path) return er_fail(ER_ENOMEM, "a path");
    *out = path;
    return ER_OK;
}
