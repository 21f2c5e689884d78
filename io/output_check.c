// May the output be made there? Asked before the job's first work, and again before it is put in place.
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/base/format.h"
#include "io/base/path.h"
#include "io/output_internal.h"

// `dir` without trailing slashes and its parent folder, both malloc'd.
er_status er_output_split(char **dir_out, char **parent_out, const char *path) {
    er_status rc = ER_OK;
    char *dir = strdup(path), *parent = NULL, *slash;
    const char *last;
    if (!dir) ER_FAIL(ER_ENOMEM, "the path %s", path);
    for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--) dir[n - 1] = '\0';
    slash = strrchr(dir, '/');
    last = slash ? slash + 1 : dir;
    if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        ER_FAIL(ER_EOUTPUT, "output '%s': not the name of a new folder", path);
    if (!(parent = strdup(slash ? dir : "."))) ER_FAIL(ER_ENOMEM, "the path %s", path);
    if (slash) parent[slash == dir ? 1 : slash - dir] = '\0';
    *dir_out = dir, dir = NULL;
    *parent_out = parent, parent = NULL;
out:
    free(dir);
    free(parent);
    return rc;
}

// 1: a folder without entries; 0: it has some; -1: cannot be listed.
static int is_empty(const char *dir) {
    int n = 0;
    DIR *d = opendir(dir);
    if (!d) return -1;
    for (struct dirent *e; (errno = 0, e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    bool broken = errno != 0;
    closedir(d);
    return broken ? -1 : n == 0;
}

er_status er_output_check_existing(const char *dir, bool force) {
    er_status rc = ER_OK;
    struct stat st;
    char *manifest = NULL;
    if (lstat(dir, &st) != 0) {
        if (errno != ENOENT) ER_FAIL(ER_EOUTPUT, "%s: %s", dir, er_errno_text(errno));
        goto out;
    }
    if (!force) ER_FAIL(ER_EOUTPUT, "%s: exists already (--force replaces it)", dir);
    if (!S_ISDIR(st.st_mode)) ER_FAIL(ER_EOUTPUT, "%s: exists and is not a folder", dir);
    if (!(manifest = er_path_join(dir, ER_MANIFEST))) ER_FAIL(ER_ENOMEM, "the path %s", dir);
    if (is_empty(dir) != 1 && !er_file_exists(manifest))
        ER_FAIL(ER_EOUTPUT, "%s: exists and has no " ER_MANIFEST ": not an output of errata, so not replaced",
            dir);
out:
    free(manifest);
    return rc;
}

static bool is_inside(const char *inner, const char *outer) {
    size_t n = strlen(outer);
    return strncmp(inner, outer, n) == 0 && (inner[n] == '\0' || inner[n] == '/' || outer[n - 1] == '/');
}

// EOUTPUT when the folder to be is `model_dir` or lies inside it; links are resolved first.
static er_status check_outside(const char *dir, const char *parent, const char *model_dir) {
    er_status rc = ER_OK;
    char *model = realpath(model_dir, NULL), *above = realpath(parent, NULL), *self = realpath(dir, NULL);
    if (!model || !above) goto out;  // a missing folder is reported where it is opened
    if (is_inside(above, model) || (self && is_inside(self, model)))
        ER_FAIL(ER_EOUTPUT, "%s: is the model's own folder %s or inside it", dir, model_dir);
out:
    free(model);
    free(above);
    free(self);
    return rc;
}

// What a job makes beside DIR and in it must have room in a name and in a path; found out now, not at its
// end.
static er_status check_length(const char *dir, const char *parent) {
    static const char beside[] = ".replaced-4194304-1000";
    const char *slash = strrchr(dir, '/'), *name = slash ? slash + 1 : dir;
    long most = pathconf(parent, _PC_NAME_MAX);
    size_t room = most > 0 ? (size_t)most : NAME_MAX;
    if (strlen(name) + sizeof beside - 1 > room)
        return er_fail(ER_EOUTPUT, "output '%.60s...': its name has %zu bytes; %zu are possible", name,
            strlen(name), room - (sizeof beside - 1));
    if (strlen(dir) + sizeof beside + room >= PATH_MAX)
        return er_fail(ER_EOUTPUT, "output '%.60s...': its path has %zu bytes; %zu are possible", dir,
            strlen(dir), PATH_MAX - room - sizeof beside - 1);
    return ER_OK;
}

er_status er_output_check(const char *path, bool force, const char *model_dir) {
    er_status rc = ER_OK;
    char *dir = NULL, *parent = NULL;
    ER_TRY(er_output_split(&dir, &parent, path));
    ER_TRY(check_length(dir, parent));
    if (!er_dir_exists(parent)) ER_FAIL(ER_EOUTPUT, "%s: its parent folder %s does not exist", dir, parent);
    if (model_dir) ER_TRY(check_outside(dir, parent, model_dir));
    ER_TRY(er_output_check_existing(dir, force));
    if (access(parent, W_OK | X_OK) != 0)
        ER_FAIL(ER_EOUTPUT, "%s: cannot be created in %s: %s", dir, parent, er_errno_text(errno));
out:
    free(dir);
    free(parent);
    return rc;
}
