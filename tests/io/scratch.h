// A scratch folder per test program and shorthands for the files in it.
#ifndef ER_TEST_SCRATCH_H
#define ER_TEST_SCRATCH_H
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/base/file.h"
#include "io/output.h"
#include "tests/test.h"

static char scratch_dir[256];

static inline int scratch_make(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    (void)snprintf(scratch_dir, sizeof scratch_dir, "%s/errata-test-XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(scratch_dir) ? 0 : -1;
}
static inline int scratch_remove(void **state) {
    (void)state;
    return er_remove_tree(scratch_dir) == ER_OK ? 0 : -1;
}
// SCRATCH/name in one of eight rotating buffers.
static inline const char *in_scratch(const char *name) {
    static char paths[8][512];
    static unsigned turn;
    char *p = paths[turn++ % 8];
    (void)snprintf(p, sizeof paths[0], "%s/%s", scratch_dir, name);
    return p;
}
static inline const char *put_bytes(const char *name, const void *bytes, size_t len) {
    const char *path = in_scratch(name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0) fail_msg("cannot write %s", path);
    return path;
}
static inline const char *put_text(const char *name, const char *text) {
    return put_bytes(name, text, strlen(text));
}
static inline void file_holds(const char *path, const void *bytes, size_t len) {
    char *got = NULL;
    size_t n = 0;
    OK(er_file_read(&got, &n, path, 1 << 26));
    assert_int_equal(n, len);
    assert_memory_equal(got, bytes, len);
    free(got);
}
// Entries of a folder without . and ..; -1 when it is not there.
static inline int count_entries(const char *dir) {
    DIR *d = opendir(dir);
    if (!d) return -1;
    int n = -2;
    while (readdir(d)) n++;
    closedir(d);
    return n;
}
#endif
