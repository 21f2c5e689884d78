// A folder of a tokenizer's files, made and removed with the group of tests.
#ifndef ER_TEST_TOKENIZER_FOLDER_H
#define ER_TEST_TOKENIZER_FOLDER_H
#include <unistd.h>
#include "io/base/file.h"
#include "tests/test.h"

static char folder[256];

// NULL removes it.
static inline void put_file(const char *name, const char *text) {
    char *path = er_path_join(folder, name);
    assert_non_null(path);
    if (text) OK(er_file_write_atomic(path, text, strlen(text)));
    else (void)unlink(path);
    free(path);
}

static inline int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/errata-tokenizer-%ld", (long)getpid());
    return er_mkdirs(folder) != ER_OK;
}
static inline int remove_folder(void **state) {
    (void)state;
    return er_remove_tree(folder) != ER_OK;
}
#endif
