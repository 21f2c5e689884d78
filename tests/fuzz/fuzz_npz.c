// Any archive, through a file in memory; every member is read.
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "io/npz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    static char path[64];
    er_npz *z = NULL;
    if (fd < 0) {
        fd = memfd_create("npz", MFD_CLOEXEC);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size) return 0;
    if (er_npz_open(&z, path) != ER_OK) return 0;
    for (size_t i = 0; i < er_npz_count(z); i++) {
        er_npy a;
        if (er_npz_read(&a, z, er_npz_name(z, i)) != ER_OK) continue;
        uint64_t n = 1;
        for (int k = 0; k < a.rank; k++) n *= a.shape[k];
        if (n != a.elements || a.rank > 8) abort();
        // Every byte must be there to be read.
        volatile unsigned char sum = 0;
        for (uint64_t b = 0; b < n * a.item_bytes; b++)
            sum = (unsigned char)(sum + ((unsigned char *)a.data)[b]);
        er_npy_free(&a);
    }
    er_npz_close(z);
    return 0;
}
