// A model folder: its shards, their index, and the search by name.
#include "io/checkpoint_internal.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "io/base/file_kind.h"
#include "io/base/json_scan.h"
#include "io/base/os.h"
#include "io/safetensors.h"

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define MAX_INDEX ((size_t)256 << 20)

typedef struct mapping {  // one line of the index
    char *tensor, *file;
} mapping;

void er_checkpoint_free(er_checkpoint *c) {
    if (!c) return;
    for (size_t i = 0; i < c->n_shards; i++) {
        free(c->shards[i].name);
        er_safetensors_free(c->shards[i].file);
        free(c->shards[i].digest);
    }
    free(c->shards);
    free(c->tensors);
    if (c->owns_folder) er_folder_free(c->folder);
    free(c);
}

const char *er_checkpoint_dir(const er_checkpoint *c) { return er_folder_dir(c->folder); }
er_folder *er_checkpoint_folder_of(const er_checkpoint *c) { return c->folder; }
size_t er_checkpoint_count(const er_checkpoint *c) { return c->count; }
const er_tensor *er_checkpoint_at(const er_checkpoint *c, size_t i) { return &c->tensors[i]; }
size_t er_checkpoint_shards(const er_checkpoint *c) { return c->n_shards; }
const char *er_checkpoint_shard_name(const er_checkpoint *c, size_t i) { return c->shards[i].name; }
const char *er_checkpoint_shard_path(const er_checkpoint *c, size_t i) {
    return er_safetensors_path(c->shards[i].file);
}

static int compare_name(const void *name, const void *tensor) {
    return strcmp(name, ((const er_tensor *)tensor)->name);
}

const er_tensor *er_checkpoint_find(const er_checkpoint *c, const char *name) {
    return c->count ? bsearch(name, c->tensors, c->count, sizeof *c->tensors, compare_name) : NULL;
}

// ---- opening ----

static er_status open_shard(er_checkpoint *c, const char *name) {
    er_status rc = ER_OK;
    struct stat st;
    er_shard *s = &c->shards[c->n_shards];
    char *path = er_path_join(c->dir, name);
    uint64_t size = 0;
    int fd = -1;
    memset(s, 0, sizeof *s);
    if (!path || !(s->name = strdup(name))) ER_FAIL(ER_ENOMEM, "the path %s/%s", c->dir, name);
    ER_TRY(er_folder_hold(&fd, &size, c->folder, name));
    ER_TRY(er_safetensors_open_at(&s->file, fd, size, path));
    if (fstat(fd, &st) == 0) s->dev = st.st_dev, s->ino = st.st_ino;
    for (size_t i = 0; i < c->n_shards; i++)
        if (c->shards[i].dev == s->dev && c->shards[i].ino == s->ino)
            ER_FAIL(ER_EFORMAT, "%s: is the same file as %s", path, c->shards[i].name);
    s->digest = calloc(er_safetensors_count(s->file) + 1, sizeof *s->digest);
    if (!s->digest) ER_FAIL(ER_ENOMEM, "%s: digests of its tensors", path);
    c->n_shards++, s = NULL;
out:
    if (s) free(s->name), er_safetensors_free(s->file);
    free(path);
    return rc;
}

static int compare_tensors(const void *a, const void *b) {
    return strcmp(((const er_tensor *)a)->name, ((const er_tensor *)b)->name);
}

// All tensors of all shards in one list, by name; none may stand in two files.
static er_status gather(er_checkpoint *c) {
    size_t total = 0;
    for (size_t i = 0; i < c->n_shards; i++) total += er_safetensors_count(c->shards[i].file);
    if (!(c->tensors = malloc((total + 1) * sizeof *c->tensors)))
        return er_fail(ER_ENOMEM, "%s: %zu tensors", c->dir, total);
    for (size_t i = 0; i < c->n_shards; i++)
        for (size_t k = 0; k < er_safetensors_count(c->shards[i].file); k++) {
            c->tensors[c->count] = *er_safetensors_at(c->shards[i].file, k);
            c->tensors[c->count++].shard = (uint32_t)i;
        }
    qsort(c->tensors, c->count, sizeof *c->tensors, compare_tensors);
    for (size_t i = 1; i < c->count; i++)
        if (strcmp(c->tensors[i].name, c->tensors[i - 1].name) == 0)
            return er_fail(ER_EFORMAT, "%s: tensor '%s' is in both %s and %s", c->dir, c->tensors[i].name,
                c->shards[c->tensors[i - 1].shard].name, c->shards[c->tensors[i].shard].name);
    return ER_OK;
}

static void free_map(mapping *map, size_t n) {
    for (size_t i = 0; i < n; i++) free(map[i].tensor), free(map[i].file);
    free(map);
}

static er_status take_string(char **out, er_cursor *c, const char *path) {
    if (er_cursor_peek(c) != '"')
        return er_fail(ER_EFORMAT, "%s: weight_map holds something that is not a string", path);
    if (!(*out = malloc(er_cursor_string_room(c)))) return er_fail(ER_ENOMEM, "%s: a name", path);
    er_cursor_string(c, *out);
    return ER_OK;
}

static er_status read_weight_map(mapping **map, size_t *n, er_cursor *c, const char *path) {
    size_t capacity = 0;
    if (!er_cursor_enter(c, '{')) return er_fail(ER_EFORMAT, "%s: weight_map is not an object", path);
    while (er_cursor_next(c, '}')) {
        er_status rc;
        if (*n == capacity) {
            capacity = capacity ? 2 * capacity : 256;
            mapping *more = realloc(*map, capacity * sizeof *more);
            if (!more) return er_fail(ER_ENOMEM, "%s: %zu names", path, capacity);
            *map = more;
        }
        mapping *m = &(*map)[*n];
        m->tensor = m->file = NULL;
        (*n)++;
        if ((rc = take_string(&m->tensor, c, path)) != ER_OK ||
            (rc = take_string(&m->file, c, path)) != ER_OK)
            return rc;
        if (!*m->file || strchr(m->file, '/') || strchr(m->file, '\\') || m->file[0] == '.')
            return er_fail(ER_EFORMAT, "%s: tensor '%s' is mapped to '%s', which is no plain file name", path,
                m->tensor, m->file);
        if (strlen(m->file) > NAME_MAX)
            return er_fail(ER_EFORMAT,
                "%s: tensor '%.200s' is mapped to '%.60s...', a file name of %zu bytes: %d are possible",
                path, m->tensor, m->file, strlen(m->file), NAME_MAX);
    }
    return ER_OK;
}

static er_status read_index(mapping **map, size_t *n, er_checkpoint *checkpoint, const char *path) {
    er_status rc = ER_OK;
    const char *text = NULL;
    char key[16];
    size_t len = 0;
    bool found = false;
    er_cursor c;
    ER_TRY(er_folder_read(&text, &len, checkpoint->folder, INDEX, MAX_INDEX));
    ER_TRY(er_json_check(text, len, path));
    c = er_cursor_over(text, len);
    if (!er_cursor_enter(&c, '{')) ER_FAIL(ER_EFORMAT, "%s: not an object", path);
    while (er_cursor_next(&c, '}')) {
        key[0] = '\0';
        if (er_cursor_string_room(&c) <= sizeof key) er_cursor_string(&c, key);
        else er_cursor_skip(&c);
        if (strcmp(key, "weight_map") == 0) {
            found = true;
            ER_TRY(read_weight_map(map, n, &c, path));
        } else {
            er_cursor_skip(&c);
        }
    }
    if (!found || *n == 0) ER_FAIL(ER_EFORMAT, "%s: has no weight_map", path);
out:
    return rc;
}

static int compare_files(const void *a, const void *b) {
    return strcmp(((const mapping *)a)->file, ((const mapping *)b)->file);
}
static int compare_mapped(const void *a, const void *b) {
    return strcmp(((const mapping *)a)->tensor, ((const mapping *)b)->tensor);
}

// Index and shards must agree in both directions: a name that only one of them knows means a broken download
// or merge.
static er_status check_index(const er_checkpoint *c, mapping *map, size_t n, const char *path) {
    qsort(map, n, sizeof *map, compare_mapped);
    for (size_t i = 0, k = 0; i < n || k < c->count;) {
        int order = i == n ? 1 : k == c->count ? -1 : strcmp(map[i].tensor, c->tensors[k].name);
        if (order < 0)
            return er_fail(ER_EFORMAT, "%s: tensor '%s' is not in %s", path, map[i].tensor, map[i].file);
        const char *file = c->shards[c->tensors[k].shard].name;
        if (order > 0)
            return er_fail(ER_EFORMAT, "%s: does not list tensor '%s' of %s", path, c->tensors[k].name, file);
        if (strcmp(map[i].file, file) != 0)
            return er_fail(ER_EFORMAT, "%s: tensor '%s' is mapped to %s and stands in %s", path,
                map[i].tensor, map[i].file, file);
        i++, k++;
    }
    return ER_OK;
}

static er_status open_sharded(er_checkpoint *c, const char *path) {
    er_status rc = ER_OK;
    mapping *map = NULL;
    size_t n = 0, files = 0;
    ER_TRY(read_index(&map, &n, c, path));
    qsort(map, n, sizeof *map, compare_files);
    for (size_t i = 0; i < n; i++) files += i == 0 || strcmp(map[i].file, map[i - 1].file) != 0;
    if (!(c->shards = malloc(files * sizeof *c->shards))) ER_FAIL(ER_ENOMEM, "%s: %zu shards", path, files);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(map[i].file, map[i - 1].file) != 0) ER_TRY(open_shard(c, map[i].file));
    ER_TRY(gather(c));
    ER_TRY(check_index(c, map, n, path));
out:
    free_map(map, n);
    return rc;
}

// There are no safetensors: says what there is instead.
static er_status no_weights(const char *dir) {
    DIR *d = opendir(dir);
    char found[256] = "", broken[256] = "", part[256] = "";
    if (!d) return er_fail(ER_ENOENT, "%s: no such folder", dir);
    for (struct dirent *e; (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        bool other =
            dot && (strcmp(dot, ".bin") == 0 || strcmp(dot, ".gguf") == 0 || strcmp(dot, ".pth") == 0 ||
                       strcmp(dot, ".pt") == 0 || strcmp(dot, ".h5") == 0 || strcmp(dot, ".msgpack") == 0);
        bool first = strncmp(e->d_name, "pytorch_model", 13) == 0;  // the likeliest is the one to name
        if (other && (!found[0] || first)) (void)snprintf(found, sizeof found, "%s", e->d_name);
        if (dot && strstr(e->d_name, ".safetensors.")) (void)snprintf(broken, sizeof broken, "%s", e->d_name);
        if (dot && strcmp(dot, ".safetensors") == 0) (void)snprintf(part, sizeof part, "%s", e->d_name);
    }
    closedir(d);
    if (broken[0] && strcmp(broken, INDEX) != 0)
        return er_fail(
            ER_ENOENT, "%s: has %s but no " SINGLE ": a download that did not finish", dir, broken);
    if (part[0])
        return er_fail(
            ER_ENOENT, "%s: has %s but no " INDEX ", which says what is in each of several files", dir, part);
    if (found[0])
        return er_fail(
            ER_EUNSUPPORTED, "%s: has %s but no " SINGLE "; convert it to safetensors first", dir, found);
    return er_fail(ER_ENOENT, "%s: has neither " SINGLE " nor " INDEX, dir);
}

static er_status open_in(er_checkpoint *c) {
    er_status rc = ER_OK;
    bool single = false, index = false;
    char *path = er_path_join(c->dir, INDEX);
    if (!path) ER_FAIL(ER_ENOMEM, "the checkpoint %s", c->dir);
    // A link to nowhere is named as such, not passed over. As in the Hugging Face loader the single file
    // comes first; whether there is an index beside it is nobody's business then.
    ER_TRY(er_folder_has(&single, c->folder, SINGLE));
    if (!single) ER_TRY(er_folder_has(&index, c->folder, INDEX));
    if (single) {
        if (!(c->shards = malloc(sizeof *c->shards))) ER_FAIL(ER_ENOMEM, "the checkpoint %s", c->dir);
        ER_TRY(open_shard(c, SINGLE));
        ER_TRY(gather(c));
    } else if (index) {
        ER_TRY(open_sharded(c, path));
    } else {
        ER_TRY(no_weights(c->dir));
    }
out:
    free(path);
    return rc;
}

er_status er_checkpoint_open_in(er_checkpoint **out, er_folder *folder) {
    er_checkpoint *c = calloc(1, sizeof *c);
    if (!c) return er_fail(ER_ENOMEM, "the checkpoint %s", er_folder_dir(folder));
    c->folder = folder;
    c->dir = er_folder_dir(folder);
    er_status rc = open_in(c);
    if (rc == ER_OK) *out = c;
    else er_checkpoint_free(c);
    return rc;
}

er_status er_checkpoint_open(er_checkpoint **out, const char *dir) {
    er_folder *folder = NULL;
    er_status rc = er_folder_open(&folder, dir);
    if (rc != ER_OK) return rc;
    if ((rc = er_checkpoint_open_in(out, folder)) == ER_OK) (*out)->owns_folder = true;
    else er_folder_free(folder);
    return rc;
}
