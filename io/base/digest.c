// SHA-256. The one-shot contexts of libcrypto allocate when they are copied and may fail; the plain SHA-256
// state cannot, so a digest is never silently wrong. libcrypto still picks the SHA instructions of the
// processor.
#include "io/base/digest.h"

#define OPENSSL_API_COMPAT 0x10100000L
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "io/base/os.h"
#include "io/base/signals.h"

struct er_digest {
    SHA256_CTX state;
};

er_status er_digest_new(er_digest **out) {
    er_digest *d = calloc(1, sizeof *d);
    if (!d) return er_fail(ER_ENOMEM, "a digest");
    SHA256_Init(&d->state);
    *out = d;
    return ER_OK;
}

void er_digest_free(er_digest *d) { free(d); }

void er_digest_add(er_digest *d, const void *bytes, size_t len) {
    if (len) SHA256_Update(&d->state, bytes, len);
}

void er_digest_add_str(er_digest *d, const char *s) {
    unsigned char prefix[8];
    uint64_t len = s ? (uint64_t)strlen(s) : UINT64_MAX;
    for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)(len >> (8 * i));
    er_digest_add(d, prefix, sizeof prefix);
    if (s) er_digest_add(d, s, (size_t)len);
}

void er_digest_hex(er_digest *d, char hex[65]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[SHA256_DIGEST_LENGTH];
    SHA256_CTX copy = d->state;
    SHA256_Final(bytes, &copy);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[64] = '\0';
}

er_status er_file_digest(char hex[65], const char *path) {
    enum { CHUNK = 1 << 20 };
    er_status rc = ER_OK;
    er_digest *d = NULL;
    char *buffer = NULL;
    int fd = -1;
    er_file_id was = {0};
    struct stat st;
    ER_TRY(er_open_regular_at(&fd, &was, AT_FDCWD, path, path));
    ER_TRY(er_digest_new(&d));
    if (!(buffer = malloc(CHUNK))) ER_FAIL(ER_ENOMEM, "%d bytes to read %s", (int)CHUNK, path);
    for (uint64_t at = 0; at < was.size;) {
        size_t n = was.size - at < CHUNK ? (size_t)(was.size - at) : CHUNK;
        if (at % (64 * CHUNK) == 0 && at && er_stop_requested())
            ER_FAIL(ER_EINTERRUPTED, "%s: stopped while it was read", path);
        ER_TRY(er_pread_all(fd, buffer, n, at, path));
        er_digest_add(d, buffer, n);
        at += n;
    }
    if (fstat(fd, &st) != 0) ER_FAIL(ER_EIO, "%s: %s", path, er_errno_text(errno));
    const er_file_id now = er_file_id_of(&st);
    const char *changed = er_file_id_changed(&was, &now, false);
    if (changed) ER_FAIL(ER_EIO, "%s: %s: it changed while it was read", path, changed);
    er_digest_hex(d, hex);
out:
    if (fd >= 0) close(fd);
    free(buffer);
    er_digest_free(d);
    return rc;
}
