// Runs a fuzz target over files and folders of a corpus without libFuzzer: each input whole, then each of its
// prefixes at a stride, so that every parser meets truncated files in every build.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t inputs;

// A copy of exactly `size` bytes, so that a sanitizer sees any read behind it.
static int run(const uint8_t *bytes, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) return 1;
    if (size) memcpy(copy, bytes, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    inputs++;
    return 0;
}

static int replay_file(const char *path, size_t size) {
    uint8_t *bytes = malloc(size ? size : 1);
    FILE *f = fopen(path, "rb");
    int bad = !bytes || !f || fread(bytes, 1, size, f) != size;
    size_t stride = size / 64 + 1;
    for (size_t n = 0; !bad && n < size; n += stride) bad = run(bytes, n);
    if (!bad) bad = run(bytes, size);
    if (bad) fprintf(stderr, "%s: cannot be read\n", path);
    if (f) fclose(f);
    free(bytes);
    return bad;
}

static int replay(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) return replay_file(path, (size_t)st.st_size);
    struct dirent **entry = NULL;
    int n = scandir(path, &entry, NULL, alphasort), bad = n < 0;
    for (int i = 0; i < n; i++) {
        char child[4096];
        if (!bad && entry[i]->d_name[0] != '.') {
            (void)snprintf(child, sizeof child, "%s/%s", path, entry[i]->d_name);
            bad = replay(child);
        }
        free(entry[i]);
    }
    free(entry);
    return bad;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (replay(argv[i])) return 1;
    printf("%zu inputs\n", inputs);
    return inputs == 0;
}
