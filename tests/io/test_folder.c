// A model folder as it was opened: read once, held open, and every way of changing it is told.
#include <fcntl.h>
#include "io/base/folder.h"
#include "tests/io/scratch.h"

static er_folder *open_ok(const char *dir) {
    er_folder *f = NULL;
    OK(er_folder_open(&f, dir));
    return f;
}

// A folder with a file that is read, one that is held and one that nobody asks for.
static er_folder *used_folder(const char *name) {
    char path[64];
    const char *bytes = NULL;
    size_t len = 0;
    uint64_t size = 0;
    int fd = -1;
    bool there = true;
    OK(er_mkdirs(in_scratch(name)));
    static const char *const files[] = {"read", "held", "other"};
    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", name, files[i]);
        put_text(path, "12345678");
    }
    er_folder *f = open_ok(in_scratch(name));
    OK(er_folder_read(&bytes, &len, f, "read", 100));
    assert_string_equal(bytes, "12345678");
    OK(er_folder_hold(&fd, &size, f, "held"));
    assert_true(fd >= 0 && size == 8);
    OK(er_folder_has(&there, f, "absent"));
    assert_false(there);
    OK(er_folder_check(f, true));
    return f;
}

// mtime moves with the clock's tick, so tests put it back or forward themselves.
static void set_mtime(const char *path, time_t t) {
    const struct timespec times[2] = {{.tv_sec = t}, {.tv_sec = t}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void rewrite(const char *path, const char *text, int flags) {
    int fd = open(path, O_WRONLY | flags);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)close(fd);
}

typedef enum way { RENAMED_OVER, REWRITTEN, CUT, GROWN, REMOVED, LINKED_ELSEWHERE, WAYS } way;
static const char *const words[WAYS] = {"another file stands in its place",
    "was written to after it was opened", "has 3 bytes, had 8 when it was opened",
    "has 10 bytes, had 8 when it was opened", "is gone", "another file stands in its place"};

static void change(const char *path, way w) {
    switch (w) {
    case RENAMED_OVER:
        assert_int_equal(rename(put_text("new", "12345678"), path), 0);
        break;
    case REWRITTEN:
        rewrite(path, "abcdefgh", 0);
        set_mtime(path, 1000000000);
        break;
    case CUT:
        assert_int_equal(truncate(path, 3), 0);
        break;
    case GROWN:
        rewrite(path, "90", O_APPEND);
        break;
    case REMOVED:
        assert_int_equal(unlink(path), 0);
        break;
    case LINKED_ELSEWHERE:
        put_text("blob", "12345678");  // before the old one frees its inode
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink(in_scratch("blob"), path), 0);
        break;
    case WAYS:
        break;
    }
}

static void tells_every_change(void **state) {
    (void)state;
    static const char *const files[] = {"read", "held"};
    for (int file = 0; file < 2; file++)
        for (int w = 0; w < WAYS; w++) {
            char name[32], path[64];
            (void)snprintf(name, sizeof name, "c%d%d", file, w);
            (void)snprintf(path, sizeof path, "%s/%s", name, files[file]);
            er_folder *f = used_folder(name);
            change(in_scratch(path), (way)w);
            FAILS(er_folder_check(f, false), ER_EIO, words[w]);
            assert_non_null(strstr(er_last_error(), path));
            er_folder_free(f);
        }
}

static void tells_what_appears_and_a_folder_in_its_place(void **state) {
    (void)state;
    er_folder *f = used_folder("a");
    put_text("a/absent", "x");
    FAILS(er_folder_check(f, false), ER_EIO, "a/absent: was not there before");
    er_folder_free(f);
    f = used_folder("b");
    assert_int_equal(rename(in_scratch("b"), in_scratch("b-old")), 0);
    FAILS(er_folder_check(f, false), ER_EIO, "b: is gone");
    OK(er_mkdirs(in_scratch("b")));
    FAILS(er_folder_check(f, false), ER_EIO, "another folder stands in its place");
    er_folder_free(f);
}

// What nobody read, a further hard link and a chmod are no change of the model. Only bytes that are not
// compared otherwise are doubted because of a ctime.
static void passes_over_what_does_not_matter(void **state) {
    (void)state;
    er_folder *f = used_folder("p");
    change(in_scratch("p/other"), REWRITTEN);
    put_text("p/fresh", "x");
    OK(er_folder_check(f, true));
    assert_int_equal(link(in_scratch("p/held"), in_scratch("p/second")), 0);
    assert_int_equal(chmod(in_scratch("p/read"), 0600), 0);
    OK(er_folder_check(f, false));
    usleep(20000);
    assert_int_equal(chmod(in_scratch("p/held"), 0640), 0);
    FAILS(er_folder_check(f, true), ER_EIO, "p/held: was changed after it was opened");
    OK(er_folder_check(f, false));
    er_folder_free(f);
}

// The bytes that were read are those that are given ever after.
static void reads_once(void **state) {
    (void)state;
    const char *again = NULL;
    size_t len = 0;
    int fd = -1;
    uint64_t size = 0;
    er_folder *f = used_folder("o");
    const char *kept = er_folder_kept(&len, f, "read");
    assert_int_equal(len, 8);
    change(in_scratch("o/read"), CUT);
    OK(er_folder_read(&again, &len, f, "read", 8));
    assert_ptr_equal(again, kept);
    assert_string_equal(again, "12345678");
    FAILS(er_folder_read(&again, &len, f, "read", 7), ER_EFORMAT, "8 bytes, limit 7");
    FAILS(er_folder_hold(&fd, &size, f, "read"), ER_EARG, "read already");
    assert_null(er_folder_kept(&len, f, "held"));
    er_folder_free(f);
}

static void refuses_what_is_no_file(void **state) {
    (void)state;
    const char *bytes = NULL;
    size_t len = 0;
    er_folder *f = NULL;
    char *name = malloc(5001);
    FAILS(er_folder_open(&f, in_scratch("nowhere")), ER_ENOENT, "nowhere: no such folder");
    FAILS(er_folder_open(&f, put_text("file", "x")), ER_ENOENT, "is a file; not a model folder");
    FAILS(er_folder_open(&f, in_scratch("file/below")), ER_ENOENT, "no such folder");
    memset(name, 'x', 5000), name[5000] = 0;
    FAILS(er_folder_open(&f, name), ER_ENOENT, "xxx...: file name too long");
    OK(er_mkdirs(in_scratch("n/folder")));
    assert_int_equal(mkfifo(in_scratch("n/fifo"), 0600), 0);
    assert_int_equal(symlink("loop", in_scratch("n/loop")), 0);
    assert_int_equal(symlink("/dev/zero", in_scratch("n/zero")), 0);
    f = open_ok(in_scratch("n"));
    FAILS(er_folder_read(&bytes, &len, f, "fifo", 9), ER_EFORMAT, "n/fifo: is a pipe, not a regular file");
    FAILS(er_folder_read(&bytes, &len, f, "zero", 9), ER_EFORMAT, "n/zero: is a device, not a regular file");
    FAILS(er_folder_read(&bytes, &len, f, "folder", 9), ER_EFORMAT, "n/folder: is a folder");
    FAILS(
        er_folder_read(&bytes, &len, f, "loop", 9), ER_EFORMAT, "n/loop: too many levels of symbolic links");
    FAILS(er_folder_read(&bytes, &len, f, "none", 9), ER_ENOENT, "n/none: no such file");
    name[300] = 0;
    FAILS(er_folder_read(&bytes, &len, f, name, 9), ER_EFORMAT, "file name too long");
    OK(er_folder_check(f, true));
    er_folder_free(f);
    if (geteuid() != 0) {
        put_text("n/secret", "x");
        assert_int_equal(chmod(in_scratch("n/secret"), 0), 0);
        f = open_ok(in_scratch("n"));
        FAILS(er_folder_read(&bytes, &len, f, "secret", 9), ER_ENOENT, "may not be read: permission denied");
        er_folder_free(f);
    }
    free(name);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tells_every_change),
        cmocka_unit_test(tells_what_appears_and_a_folder_in_its_place),
        cmocka_unit_test(passes_over_what_does_not_matter), cmocka_unit_test(reads_once),
        cmocka_unit_test(refuses_what_is_no_file)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
