#include "io/checkpoint.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "io/file_kind.h"
#include "io/json_scan.h"
#include "io/os.h"
#include "io/safetensors.h"

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define MAX_INDEX ((size_t)256 << 20)
#define READ_CHUNK ((size_t)1 << 20)  // elements converted at a time

typedef struct shard {
    char *name;
    er_safetensors *file;
    dev_t dev;
    ino_t ino;
} shard;

struct er_checkpoint {
    char *dir;
    shard *shards;  // in name order
    size_t n_shards;
    er_tensor *tensors;  // in name order, for the search
    size_t count;
    char digest[65];
};

typedef struct mapping {  // one line of the index
    char *tensor, *file;
} mapping;

void er_checkpoint_free(er_checkpoint *c) {
    if (!c) return;
    for (size_t i = 0; i < c->n_shards; i++) {
        free(c->shards[i].name);
        er_safetensors_free(c->shards[i].file);
    }
    free(c->shards);
    free(c->tensors);
    free(c->dir);
    free(c);
}

const char *er_checkpoint_dir(const er_checkpoint *c) { return c->dir; }
size_t er_checkpoint_count(const er_checkpoint *c) { return c->count; }
const er_tensor *er_checkpoint_at(const er_checkpoint *c, size_t i) { return &c->tensors[i]; }
size_t er_checkpoint_shards(const er_checkpoint *c) { return c->n_shards; }
const char *er_checkpoint_shard_name(const er_checkpoint *c, size_t i) { return c->shards[i].name; }
const char *er_checkpoint_shard_path(const er_checkpoint *c, size_t i) {
    return er_safetensors_path(c->shards[i].file);
}
uint64_t er_checkpoint_shard_size(const er_checkpoint *c, size_t i) {
    return er_safetensors_file_size(c->shards[i].file);
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
    shard *s = &c->shards[c->n_shards];
    char *path = er_path_join(c->dir, name);
    memset(s, 0, sizeof *s);
    if (!path || !(s->name = strdup(name))) ER_FAIL(ER_ENOMEM, "the path %s/%s", c->dir, name);
    ER_TRY(er_safetensors_open(&s->file, path));
    if (fstat(er_safetensors_fd(s->file), &st) == 0) s->dev = st.st_dev, s->ino = st.st_ino;
    for (size_t i = 0; i < c->n_shards; i++)
        if (c->shards[i].dev == s->dev && c->shards[i].ino == s->ino)
            ER_FAIL(ER_EFORMAT, "%s: is the same file as %s", path, c->shards[i].name);
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
    }
    return ER_OK;
}

static er_status read_index(mapping **map, size_t *n, const char *path) {
    er_status rc = ER_OK;
    char *text = NULL, key[16];
    size_t len = 0;
    bool found = false;
    er_cursor c;
    ER_TRY(er_file_read(&text, &len, path, MAX_INDEX));
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
    free(text);
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
    ER_TRY(read_index(&map, &n, path));
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

er_status er_checkpoint_folder(const char *dir) {
    if (er_dir_exists(dir)) return ER_OK;
    if (!er_file_exists(dir)) return er_fail(ER_ENOENT, "%s: no such folder", dir);
    (void)er_fail(ER_EFORMAT, "%s: is a file", dir);
    (void)er_file_kind_refuse(ER_EFORMAT, dir);
    char said[512];
    (void)snprintf(said, sizeof said, "%s", er_last_error());
    return er_fail(ER_ENOENT, "%s; not a model folder", said);
}

er_status er_checkpoint_open(er_checkpoint **out, const char *dir) {
    er_status rc = ER_OK;
    struct stat st;
    er_checkpoint *c = calloc(1, sizeof *c);
    char *single = er_path_join(dir, SINGLE), *index = er_path_join(dir, INDEX);
    if (!c || !single || !index || !(c->dir = strdup(dir))) ER_FAIL(ER_ENOMEM, "the checkpoint %s", dir);
    ER_TRY(er_checkpoint_folder(dir));
    // lstat: a link to nowhere is named as such, not passed over. As in the Hugging Face loader the single
    // file comes first.
    if (lstat(single, &st) == 0) {
        if (!(c->shards = malloc(sizeof *c->shards))) ER_FAIL(ER_ENOMEM, "the checkpoint %s", dir);
        ER_TRY(open_shard(c, SINGLE));
        ER_TRY(gather(c));
    } else if (lstat(index, &st) == 0) {
        ER_TRY(open_sharded(c, index));
    } else {
        ER_TRY(no_weights(dir));
    }
    *out = c, c = NULL;
out:
    free(single);
    free(index);
    er_checkpoint_free(c);
    return rc;
}

// ---- reading ----

// Bytes [at, at + n) of the tensor.
static er_status read_part(const er_checkpoint *c, const er_tensor *t, void *dst, uint64_t at, size_t n) {
    const er_safetensors *file = c->shards[t->shard].file;
    return er_pread_all(er_safetensors_fd(file), dst, n, t->offset + at, er_safetensors_path(file));
}

er_status er_checkpoint_read(const er_checkpoint *c, const er_tensor *t, void *dst) {
    return read_part(c, t, dst, 0, (size_t)t->bytes);
}

er_status er_checkpoint_read_f32(const er_checkpoint *c, const er_tensor *t, float *dst) {
    er_status rc = ER_OK;
    size_t item = er_dtype_bits(t->dtype) / 8;
    char *stored = NULL;
    if (t->dtype == ER_F32) return er_checkpoint_read(c, t, dst);
    if (t->dtype != ER_F16 && t->dtype != ER_BF16 && t->dtype != ER_F64)
        return er_fail(ER_EUNSUPPORTED,
            "%s: tensor '%s' is stored as %s; only F32, F16, BF16 and F64 are computed on",
            er_safetensors_path(c->shards[t->shard].file), t->name, er_dtype_name(t->dtype));
    if (!(stored = malloc(READ_CHUNK * item)))
        ER_FAIL(ER_ENOMEM, "%zu bytes to read tensor '%s'", READ_CHUNK * item, t->name);
    for (uint64_t at = 0; at < t->elements; at += READ_CHUNK) {
        size_t n = t->elements - at < READ_CHUNK ? (size_t)(t->elements - at) : READ_CHUNK;
        ER_TRY(read_part(c, t, stored, at * item, n * item));
        er_to_f32(dst + at, stored, t->dtype, n);
    }
out:
    free(stored);
    return rc;
}

// ---- digest ----

static er_status add_tensor(
    er_digest *d, const er_checkpoint *c, const er_tensor *t, char *buffer, size_t size) {
    uint64_t head[2 + ER_MAX_RANK];
    er_digest_add_str(d, t->name);
    er_digest_add_str(d, er_dtype_name(t->dtype));
    head[0] = (uint64_t)t->rank;
    memcpy(head + 1, t->shape, (size_t)t->rank * sizeof *head);
    er_digest_add(d, head, ((size_t)t->rank + 1) * sizeof *head);
    for (uint64_t at = 0; at < t->bytes;) {
        size_t n = t->bytes - at < size ? (size_t)(t->bytes - at) : size;
        er_status rc = read_part(c, t, buffer, at, n);
        if (rc != ER_OK) return rc;
        er_digest_add(d, buffer, n);
        at += n;
    }
    return ER_OK;
}

er_status er_checkpoint_digest(er_checkpoint *c, char hex[65]) {
    er_status rc = ER_OK;
    er_digest *d = NULL;
    char *buffer = NULL, *config = NULL, config_hex[65] = "";
    size_t size = (size_t)4 << 20;
    if (c->digest[0]) {
        memcpy(hex, c->digest, sizeof c->digest);
        return ER_OK;
    }
    ER_TRY(er_digest_new(&d));
    if (!(buffer = malloc(size)) || !(config = er_path_join(c->dir, "config.json")))
        ER_FAIL(ER_ENOMEM, "%zu bytes to read %s", size, c->dir);
    for (size_t i = 0; i < c->count; i++) ER_TRY(add_tensor(d, c, &c->tensors[i], buffer, size));
    if (er_file_exists(config)) ER_TRY(er_file_digest(config_hex, config));
    er_digest_add_str(d, config_hex[0] ? config_hex : NULL);
    er_digest_hex(d, c->digest);
    memcpy(hex, c->digest, sizeof c->digest);
out:
    free(buffer);
    free(config);
    er_digest_free(d);
    return rc;
}
