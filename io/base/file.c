// One file, whole: read, measured, written.
#include "io/base/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "io/base/os.h"
#include "io/base/partial.h"

er_status er_file_read(char **out, size_t *len, const char *path, size_t max_bytes) {
    er_file_id id = {0};
    int fd = -1;
    er_status rc = er_open_regular_at(&fd, &id, AT_FDCWD, path, path);
    if (rc != ER_OK) return rc;
    rc = er_read_open(out, len, fd, &id, path, max_bytes);
    close(fd);
    return rc;
}

er_status er_file_size(uint64_t *size, const char *path) {
    int fd = -1;
    er_status rc = er_open_regular(&fd, size, path);
    if (fd >= 0) close(fd);
    return rc;
}

er_status er_file_write_atomic(const char *path, const void *bytes, size_t len) {
    char *temp = NULL;
    int fd = -1;
    er_status rc = er_temp_create(&fd, &temp, path);
    if (rc != ER_OK) return rc;
    if ((rc = er_write_all(fd, bytes, len, path)) == ER_OK) rc = er_temp_publish(fd, temp, path);
    else er_temp_discard(fd, temp);
    free(temp);
    return rc;
}
