#include "engine/store/target_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "io/base/clock.h"
#include "io/base/file.h"
#include "io/base/log.h"

#define MAGIC 0x315a5245u  // "ERZ1"
#define KEY 64
#define LOCK_TRIES 150
#define LOCK_PAUSE_US 20000  // three seconds in all

typedef struct head {  // of a record; then hidden floats, then the CRC-32 of both
    uint32_t magic, hidden;
    char digest[KEY];
} head;

struct er_target_store {
    int fd;
    char *path;
    size_t hidden, record;
    char *bytes;  // all records
    size_t count, capacity;
    size_t *slot;  // open hash of record indices + 1
    size_t slots;
    char *refusal;   // why it is read alone, or NULL
    bool dirty;      // records were written since the last sync
    bool sync_said;  // that they could not be brought to the disk
    double synced;   // when, in seconds
};

static size_t hash(const char *digest) {
    size_t h = 0;
    for (int i = 0; i < 16; i++) h = h * 31 + (unsigned char)digest[i];
    return h * 0x9e3779b97f4a7c15ull;
}

static const char *record_at(const er_target_store *s, size_t i) { return s->bytes + i * s->record; }
static const char *record_digest(const er_target_store *s, size_t i) {
    return record_at(s, i) + offsetof(head, digest);
}

static er_status rehash(er_target_store *s) {
    size_t n = 64;
    while (n < 4 * (s->count + 1)) n *= 2;
    size_t *slot = calloc(n, sizeof *slot);
    if (!slot) return er_fail(ER_ENOMEM, "%zu slots", n);
    free(s->slot);
    s->slot = slot;
    s->slots = n;
    for (size_t i = 0; i < s->count; i++) {
        size_t k = hash(record_digest(s, i)) & (n - 1);
        while (slot[k]) k = (k + 1) & (n - 1);
        slot[k] = i + 1;
    }
    return ER_OK;
}

static bool sound(const er_target_store *s, const char *record) {
    head h;
    uint32_t crc;
    memcpy(&h, record, sizeof h);
    memcpy(&crc, record + s->record - sizeof crc, sizeof crc);
    return h.magic == MAGIC && h.hidden == s->hidden &&
           crc == (uint32_t)crc32(0, (const unsigned char *)record, (uInt)(s->record - sizeof crc));
}

static er_status fail_on(const er_target_store *s) {
    return er_fail(ER_EIO, "%s: %s", s->path, strerror(errno));
}

// Others hold the lock for the length of a record; who holds it longer is stopped or gone astray, and a job
// does not wait for that. 0 or an errno.
static int take_lock(const er_target_store *s, int how) {
    for (int tries = 0; flock(s->fd, how | LOCK_NB) != 0; tries++) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK || tries == LOCK_TRIES || er_stop_requested()) return errno;
        (void)usleep(LOCK_PAUSE_US);
    }
    return 0;
}

static er_status refuse_puts(er_target_store *s, int why) {
    free(s->refusal);
    if (asprintf(&s->refusal, "%s: %s", s->path,
            why == EWOULDBLOCK ? "locked by another process" : strerror(why)) < 0)
        return s->refusal = NULL, er_fail(ER_ENOMEM, "value store");
    return ER_OK;
}

// Whole records only: what a killed writer left of one is cut off. Called under the lock.
static er_status trim(er_target_store *s, size_t *records) {
    struct stat st;
    if (fstat(s->fd, &st) != 0) return fail_on(s);
    if (!S_ISREG(st.st_mode)) return er_fail(ER_EIO, "%s: not a regular file", s->path);
    *records = (size_t)st.st_size / s->record;
    if (*records * s->record == (size_t)st.st_size || s->refusal) return ER_OK;
    er_warn("%s: a record was cut short and is dropped", s->path);
    return ftruncate(s->fd, (off_t)(*records * s->record)) == 0 ? ER_OK : fail_on(s);
}

// n records of a file, behind those that are there already.
static er_status take_records(er_target_store *s, int fd, const char *path, size_t n) {
    char *more = realloc(s->bytes, (s->count + n + 64) * s->record), *to;
    size_t before = s->count;
    if (!more) return er_fail(ER_ENOMEM, "%zu target values", n);
    s->bytes = more;
    s->capacity = s->count + n + 64;
    to = s->bytes + s->count * s->record;
    for (size_t got = 0; got < n * s->record;) {
        ssize_t r = pread(fd, to + got, n * s->record - got, (off_t)got);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return er_fail(ER_EIO, "%s: %s", path, strerror(errno));
        if (!r) return er_fail(ER_EIO, "%s: shorter than a moment ago", path);
        got += (size_t)r;
    }
    for (size_t i = before; i < before + n; i++) {
        if (!sound(s, record_at(s, i))) continue;
        if (i != s->count) memcpy(s->bytes + s->count * s->record, record_at(s, i), s->record);
        s->count++;
    }
    if (s->count != before + n)
        er_warn("%s: %zu damaged records are passed over", path, before + n - s->count);
    return ER_OK;
}

static er_status load(er_target_store *s) {
    size_t n = 0;
    er_status rc = trim(s, &n);
    return rc == ER_OK ? take_records(s, s->fd, s->path, n) : rc;
}

// The whole records of another rank's file, which may be at work. What cannot be read is found anew.
static er_status load_other(er_target_store *s, const char *path) {
    struct stat st;
    er_status rc = ER_OK;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) er_warn("%s: %s; not read", path, strerror(errno));
    else if (S_ISREG(st.st_mode)) rc = take_records(s, fd, path, (size_t)st.st_size / s->record);
    if (rc == ER_EIO) {
        er_warn("%s; not read", er_last_error());
        rc = ER_OK;
    }
    if (fd >= 0) (void)close(fd);
    return rc;
}

// Is this the store's file of some rank: values-<key>.bin or values-<key>.<rank>.bin?
static bool is_of_key(const char *name, const char *key) {
    size_t n = strlen("values-") + KEY;
    if (strncmp(name, "values-", 7) != 0 || strncmp(name + 7, key, KEY) != 0) return false;
    if (name[n] == '.' && name[n + 1] >= '0' && name[n + 1] <= '9')
        n += 1 + strspn(name + n + 1, "0123456789");
    return strcmp(name + n, ".bin") == 0;
}

static er_status load_others(er_target_store *s, const char *dir, const char *key, const char *own) {
    er_status rc = ER_OK;
    DIR *d = opendir(dir);
    for (struct dirent *e; rc == ER_OK && d && (e = readdir(d));) {
        if (!is_of_key(e->d_name, key) || strcmp(e->d_name, own) == 0) continue;
        char *path = er_path_join(dir, e->d_name);
        rc = path ? load_other(s, path) : er_fail(ER_ENOMEM, "a path");
        free(path);
    }
    if (d) (void)closedir(d);
    return rc;
}

// The file's name, should it be new. No more than that is lost where the file system cannot do it.
static void sync_name(const char *dir) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    if (fsync(fd) != 0 && errno != EINVAL) er_warn("%s: fsync: %s", dir, strerror(errno));
    (void)close(fd);
}

er_status er_target_store_open(er_target_store **out, const char *dir, const char *key, size_t hidden) {
    return er_target_store_open_rank(out, dir, key, hidden, 0);
}

er_status er_target_store_open_rank(
    er_target_store **out, const char *dir, const char *key, size_t hidden, size_t rank) {
    er_status rc = ER_OK;
    char name[128];
    er_target_store *s = calloc(1, sizeof *s);
    if (!s) return er_fail(ER_ENOMEM, "value store");
    s->fd = -1;
    s->hidden = hidden;
    s->record = sizeof(head) + hidden * sizeof(float) + sizeof(uint32_t);
    if (rank) (void)snprintf(name, sizeof name, "values-%.64s.%zu.bin", key, rank);
    else (void)snprintf(name, sizeof name, "values-%.64s.bin", key);
    rc = er_mkdirs(dir);
    if (rc == ER_ENOMEM)
        goto out;  // any other failure is that of the open, which may yet find a file to read
    er_cache_sweep(dir);
    if (!(s->path = er_path_join(dir, name))) ER_FAIL(ER_ENOMEM, "a path");
    if ((s->fd = open(s->path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0644)) < 0) {
        int why = errno;
        if ((s->fd = open(s->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) < 0)
            ER_FAIL(ER_EOUTPUT, "%s: %s", s->path, strerror(why));
        ER_TRY(refuse_puts(s, why));
    }
    int locked = take_lock(s, s->refusal ? LOCK_SH : LOCK_EX);
    if (locked && !s->refusal) ER_TRY(refuse_puts(s, locked));
    s->synced = er_clock();
    if (!s->refusal) sync_name(dir);
    rc = load(s);
    (void)flock(s->fd, LOCK_UN);
    if (rc == ER_OK) rc = load_others(s, dir, key, name);
    if (rc == ER_OK) rc = rehash(s);
    if (rc != ER_OK) goto out;
    *out = s;
    s = NULL;
out:
    er_target_store_close(s);
    return rc;
}

bool er_target_store_get(const er_target_store *s, const char *request_digest, float *z) {
    for (size_t k = hash(request_digest) & (s->slots - 1); s->slot[k]; k = (k + 1) & (s->slots - 1)) {
        size_t i = s->slot[k] - 1;
        if (memcmp(record_digest(s, i), request_digest, KEY) != 0) continue;
        memcpy(z, record_at(s, i) + sizeof(head), s->hidden * sizeof *z);
        return true;
    }
    return false;
}

const char *er_target_store_refusal(const er_target_store *s) { return s->refusal; }

// One record at the end of the file, or none.
static er_status append(er_target_store *s, const char *record) {
    size_t records = 0, done = 0;
    int why = take_lock(s, LOCK_EX);
    if (why) return er_fail(ER_EIO, "%s: lock: %s", s->path, strerror(why));
    er_status rc = trim(s, &records);
    while (rc == ER_OK && done < s->record) {
        ssize_t n = write(s->fd, record + done, s->record - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rc = fail_on(s);
        else if (n == 0) rc = er_fail(ER_EIO, "%s: nothing is taken any more", s->path);
        else done += (size_t)n;
    }
    if (rc != ER_OK && done > 0) (void)!ftruncate(s->fd, (off_t)(records * s->record));
    (void)flock(s->fd, LOCK_UN);
    return rc;
}

// What is written reaches the disk every few seconds, so that a machine that stops costs no more than these.
// The values are in memory too, and the job needs the file only to go on after it was interrupted: a disk
// that refuses is warned of.
static void sync_records(er_target_store *s) {
    s->synced = er_clock();
    if (!s->dirty) return;
    s->dirty = false;
    if (fdatasync(s->fd) == 0 || s->sync_said) return;
    s->sync_said = true;
    er_warn("%s: %s: values found may be lost should the machine stop", s->path, strerror(errno));
}

er_status er_target_store_put(er_target_store *s, const char *request_digest, const er_target_z *v) {
    if (s->refusal) return ER_OK;
    if (s->count == s->capacity) {
        char *more = realloc(s->bytes, 2 * s->capacity * s->record);
        if (!more) return er_fail(ER_ENOMEM, "%zu target values", 2 * s->capacity);
        s->bytes = more;
        s->capacity *= 2;
    }
    char *r = s->bytes + s->count * s->record;
    head h = {.magic = MAGIC, .hidden = (uint32_t)s->hidden};
    memcpy(h.digest, request_digest, KEY);
    memcpy(r, &h, sizeof h);
    memcpy(r + sizeof h, v->z, s->hidden * sizeof(float));
    uint32_t crc = (uint32_t)crc32(0, (const unsigned char *)r, (uInt)(s->record - sizeof crc));
    memcpy(r + s->record - sizeof crc, &crc, sizeof crc);
    er_status rc = append(s, r);
    if (rc != ER_OK) return rc;
    s->dirty = true;
    if (er_clock() - s->synced >= ER_VALUE_STORE_SYNC_S) sync_records(s);
    s->count++;  // lookups come before puts; the next opening indexes it
    return ER_OK;
}

size_t er_target_store_count(const er_target_store *s) { return s->count; }

void er_target_store_close(er_target_store *s) {
    if (!s) return;
    if (s->fd >= 0) {
        sync_records(s);
        if (close(s->fd) != 0 && !s->sync_said) er_warn("%s: close: %s", s->path, strerror(errno));
    }
    free(s->path);
    free(s->bytes);
    free(s->slot);
    free(s->refusal);
    free(s);
}
