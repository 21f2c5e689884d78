// Private to io/: the directory of a zip archive, with ZIP64.
#ifndef ER_ZIP_H
#define ER_ZIP_H
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

typedef struct er_zip_entry {
    char *name;
    int method;  // 0 stored, 8 deflated
    uint32_t crc;
    uint64_t packed, size, header;  // bytes in the file, bytes unpacked, where the local header is
} er_zip_entry;
typedef struct er_zip {  // zero-initialise; er_zip_free whatever er_zip_open returned
    char *path;
    er_zip_entry *entries;
    size_t count;
    uint64_t directory;  // where the central directory begins: members end before it
} er_zip;

// EFORMAT for anything that is not one whole archive; EUNSUPPORTED for encryption, several disks and other
// methods than 0 and 8.
er_status er_zip_open(er_zip *zip, int fd, uint64_t size, const char *path);
void er_zip_free(er_zip *zip);
// Where a member's packed bytes begin; the local header must agree, and they must end before the directory.
er_status er_zip_data_offset(uint64_t *at, const er_zip *zip, int fd, const er_zip_entry *e);
#endif
