// The cache: DIR/<digest>.npz. The digest is also a member, so that a file that was renamed or copied is not
// believed.
#include <stdlib.h>
#include <string.h>
#include "covariance/exchange_internal.h"
#include "io/base/file.h"

static er_status cache_path(char **out, const char *dir, const char *digest) {
    size_t n = strlen(digest);
    if (n != 64 || strspn(digest, "0123456789abcdef") != n)
        return er_fail(ER_EARG, "'%s' is no digest of 64 hex digits", digest);
    char name[80];
    memcpy(name, digest, n);
    memcpy(name + n, ".npz", sizeof ".npz");
    *out = er_path_join(dir, name);
    return *out ? ER_OK : er_fail(ER_ENOMEM, "path of %s", name);
}

static er_status check_digest(er_npz *z, const char *path, const char *digest) {
    er_npy a = {0};
    er_status rc = er_npz_read(&a, z, "digest");
    if (rc == ER_ENOENT) return er_fail(ER_EFORMAT, "%s: no member digest", path);
    if (rc != ER_OK) return rc;
    bool same = a.type == ER_NPY_U && a.elements == 1 && a.item_bytes == 4 * 64;
    for (size_t i = 0; same && i < 64; i++) {
        uint32_t c;
        memcpy(&c, (const char *)a.data + 4 * i, sizeof c);
        same = c == (uint32_t)(unsigned char)digest[i];
    }
    er_npy_free(&a);
    return same ? ER_OK : er_fail(ER_EFORMAT, "%s: holds another digest than its name", path);
}

er_status er_second_moment_cache_get(
    er_second_moment **out, er_device *dev, const char *cache_dir, const char *digest, size_t dim) {
    char *path = NULL;
    er_npz *z = NULL;
    er_status rc = ER_OK;
    ER_TRY(cache_path(&path, cache_dir, digest));
    ER_TRY(er_npz_open(&z, path));
    ER_TRY(check_digest(z, path, digest));
    ER_TRY(er_second_moment_read(out, dev, z, path, dim));
out:
    er_npz_close(z);
    free(path);
    return rc == ER_EUNSUPPORTED ? ER_EFORMAT : rc;
}

er_status er_second_moment_cache_put(
    const er_second_moment *m, er_device *dev, const char *cache_dir, const char *digest) {
    char *path = NULL;
    er_status rc = ER_OK;
    ER_TRY(cache_path(&path, cache_dir, digest));
    ER_TRY(er_mkdirs(cache_dir));
    ER_TRY(er_second_moment_write(m, dev, path, (int64_t)m->count, true, digest));
out:
    free(path);
    return rc;
}

er_status er_second_moment_load(er_second_moment **out, er_device *dev, const char *path, size_t dim) {
    er_npz *z = NULL;
    er_status rc = er_npz_open(&z, path);
    if (rc == ER_OK) rc = er_second_moment_read(out, dev, z, path, dim);
    er_npz_close(z);
    return rc;
}

er_status er_second_moment_save(const er_second_moment *m, er_device *dev, const char *path) {
    return er_second_moment_write(m, dev, path, (int64_t)m->count, true, NULL);
}
