// Runs a fuzz target over every file of a folder: the corpus as an ordinary test, without libFuzzer. argv[1]
// is the folder.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
    int count = 0;
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (!dir) {
        (void)fprintf(stderr, "usage: %s FOLDER, which must exist\n", argv[0]);
        return 2;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        char *path = er_path_join(argv[1], e->d_name), *bytes = NULL;
        size_t len = 0;
        if (path && er_file_exists(path)) {
            if (er_file_read(&bytes, &len, path, 64 << 20) != ER_OK) {
                (void)fprintf(stderr, "%s\n", er_last_error());
                return 1;
            }
            // An exact copy: what reads behind the input's end is then seen by a sanitizer.
            uint8_t *copy = malloc(len ? len : 1);
            if (!copy) return 1;
            memcpy(copy, bytes, len);
            (void)LLVMFuzzerTestOneInput(copy, len);
            free(copy);
            free(bytes);
            count++;
        }
        free(path);
    }
    closedir(dir);
    printf("%d inputs\n", count);
    return count > 0 ? 0 : 1;
}
