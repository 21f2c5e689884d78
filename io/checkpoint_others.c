// Which files of a model folder travel beside the edited shards, and their copies.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "io/checkpoint_internal.h"
#include "io/base/log.h"
#include "io/base/os.h"
#include "io/weights_file.h"

#define MAX_DEPTH 16
#define MAX_SAID 100  // names in the warning

typedef struct walk {
    const er_checkpoint *c;
    er_output *o;
    bool copy_all;
    size_t left;                // files and folders left behind
    char said[MAX_SAID * 100];  // the first of them
    size_t failed;              // not copied for another reason
    char why[512];              // of the first
} walk;

static void leave(walk *w, const char *name, const char *kind) {
    size_t used = strlen(w->said);
    if (w->left++ < MAX_SAID)
        (void)snprintf(w->said + used, sizeof w->said - used, "%s%.60s (%s)", used ? ", " : "", name, kind);
}

static void not_copied(walk *w, const char *path, const char *why) {
    if (!w->failed++) (void)snprintf(w->why, sizeof w->why, "%.300s: %s", path, why);
}

// ---- names of a folder, sorted ----

typedef struct names {
    char **at;
    size_t count;
} names;

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_free(names *n) {
    for (size_t i = 0; i < n->count; i++) free(n->at[i]);
    free(n->at);
}

// `fd` is closed whatever happens.
static er_status names_of(names *out, int fd, const char *path) {
    er_status rc = ER_OK;
    names n = {0};
    DIR *d = fdopendir(fd);
    if (!d) {
        int why = errno;
        close(fd);
        return er_fail(why == ENOMEM ? ER_ENOMEM : ER_EIO, "%s: %s", path, er_errno_text(why));
    }
    for (struct dirent *e; (errno = 0, e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if ((n.count & (n.count + 1)) == 0) {  // capacity is the next power of two
            char **more = realloc(n.at, (2 * n.count + 1) * sizeof *more);
            if (!more) ER_FAIL(ER_ENOMEM, "%s: %zu file names", path, n.count);
            n.at = more;
        }
        if (!(n.at[n.count] = strdup(e->d_name))) ER_FAIL(ER_ENOMEM, "%s: a file name", path);
        n.count++;
    }
    if (errno) ER_FAIL(ER_EIO, "%s: %s", path, er_errno_text(errno));
    if (n.count) qsort(n.at, n.count, sizeof *n.at, compare_strings);
    *out = n, n = (names){0};
out:
    names_free(&n);
    closedir(d);
    return rc;
}

// ---- one entry ----

// The checkpoint's own files: a shard is written elsewhere, the manifest will be a new one.
static bool is_own(const er_checkpoint *c, const char *name) {
    if (strcmp(name, ER_MANIFEST) == 0 || strncmp(name, ER_HISTORY, strlen(ER_HISTORY)) == 0) return true;
    for (size_t i = 0; i < c->n_shards; i++)
        if (strcmp(c->shards[i].name, name) == 0) return true;
    return false;
}

// Looked into, judged and copied through one descriptor: it cannot be another file in between.
static er_status copy_file(walk *w, int dir, const char *entry, const char *name, const char *path) {
    int fd = -1;
    er_file_id id = {0};
    er_status rc = er_open_regular_at(&fd, &id, dir, entry, path);
    if (rc != ER_OK) {
        const char *said = er_last_error(),
                   *why = strncmp(said, path, strlen(path)) == 0 ? said + strlen(path) : said;
        not_copied(w, path, why + strspn(why, ": "));
        return ER_OK;
    }
    const char *kind = w->copy_all ? NULL : er_weights_kind(name, fd, id.size);
    if (kind) leave(w, name, kind);
    else if (er_stop_requested()) rc = er_fail(ER_EINTERRUPTED, "%s: stopped while it was copied", path);
    else rc = er_output_copy_from(w->o, name, fd, id.size, path);
    close(fd);
    return rc;
}

static er_status copy_folder(
    walk *w, int dir, const char *entry, const char *name, const char *path, int depth);

// `name` is the entry's path below the model's folder, `path` its full one.
static er_status copy_entry(
    walk *w, int dir, const char *entry, const char *name, const char *path, int depth) {
    struct stat st;
    size_t len = 0;
    const char *kept = depth ? NULL : er_folder_kept(&len, w->c->folder, name);
    if (!depth && is_own(w->c, name)) return ER_OK;
    if (kept) return er_output_write(w->o, name, kept, len);
    if (fstatat(dir, entry, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return copy_folder(w, dir, entry, name, path, depth + 1);
    if (fstatat(dir, entry, &st, 0) == 0 && S_ISDIR(st.st_mode)) not_copied(w, path, "a link to a folder");
    else return copy_file(w, dir, entry, name, path);
    return ER_OK;
}

static er_status copy_entries(
    walk *w, int dir, const names *n, const char *below, const char *above, int depth) {
    er_status rc = ER_OK;
    char *name = NULL, *path = NULL;
    for (size_t i = 0; i < n->count; i++) {
        if (!(name = below ? er_path_join(below, n->at[i]) : strdup(n->at[i])) ||
            !(path = er_path_join(above, n->at[i])))
            ER_FAIL(ER_ENOMEM, "the path %s/%s", above, n->at[i]);
        ER_TRY(copy_entry(w, dir, n->at[i], name, path, depth));
        free(name), free(path);
        name = path = NULL;
    }
out:
    free(name);
    free(path);
    return rc;
}

// A hidden folder is a tool's own (.git, .cache): it keeps copies of the weights. A folder without files that
// travel is not made.
static er_status copy_folder(
    walk *w, int dir, const char *entry, const char *name, const char *path, int depth) {
    names n = {0};
    if (entry[0] == '.' && !w->copy_all) {
        leave(w, name, "hidden folder");
        return ER_OK;
    }
    if (depth > MAX_DEPTH) {
        not_copied(w, path, "too many folders deep");
        return ER_OK;
    }
    int fd = er_open_at(dir, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    int again = fd < 0 ? -1 : er_open_at(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (again < 0) {
        not_copied(w, path, er_errno_text(errno));
        if (fd >= 0) close(fd);
        return ER_OK;
    }
    er_status rc = names_of(&n, again, path);
    if (rc == ER_OK) rc = copy_entries(w, fd, &n, name, path, depth);
    names_free(&n);
    close(fd);
    return rc;
}

static void say(const walk *w) {
    const char *dir = w->c->dir;
    if (w->left)
        er_warn(
            "%s: %zu left behind, which hold other weights than the edited ones: %s%s; --copy-all keeps them",
            dir, w->left, w->said, w->left > MAX_SAID ? ", ..." : "");
    if (w->failed) er_warn("%s: %zu files are not copied; first %s", dir, w->failed, w->why);
}

er_status er_checkpoint_copy_others(const er_checkpoint *c, er_output *o, bool copy_all) {
    walk w = {.c = c, .o = o, .copy_all = copy_all};
    names n = {0};
    int dir = er_folder_fd(c->folder), again = er_open_at(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (again < 0) return er_fail(ER_EIO, "%s: %s", c->dir, er_errno_text(errno));
    er_status rc = names_of(&n, again, c->dir);
    if (rc == ER_OK) rc = copy_entries(&w, dir, &n, NULL, c->dir, 0);
    if (rc == ER_OK) say(&w);
    names_free(&n);
    return rc;
}
