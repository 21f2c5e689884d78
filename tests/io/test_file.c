#include "tests/io/small_disk.h"

#include <fcntl.h>
#include <signal.h>

static void reads_whole_files(void **state) {
    (void)state;
    char *text = NULL;
    size_t n = 0;
    OK(er_file_read(&text, &n, put_bytes("a", "x\0y", 3), 3));
    assert_int_equal(n, 3);
    assert_memory_equal(text, "x\0y\0", 4);
    free(text);
    OK(er_file_read(&text, &n, put_text("empty", ""), 0));
    assert_int_equal(n, 0);
    assert_string_equal(text, "");
    free(text);
    FAILS(er_file_read(&text, &n, in_scratch("a"), 2), ER_EFORMAT, "3 bytes, limit 2");
    FAILS(er_file_read(&text, &n, in_scratch("none"), 9), ER_ENOENT, "none: no such file");
    FAILS(er_file_read(&text, &n, in_scratch("a/b"), 9), ER_ENOENT, "a/b");
    FAILS(er_file_read(&text, &n, scratch_dir, 9), ER_EFORMAT, "is a folder");
    assert_int_equal(mkfifo(in_scratch("fifo"), 0600), 0);
    FAILS(er_file_read(&text, &n, in_scratch("fifo"), 9), ER_EFORMAT,
        "not a regular file");  // and does not hang
}

static void paths(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
    for (size_t i = 0; i < 4; i++) {
        char *p = er_path_join(cases[i][0], cases[i][1]);
        assert_string_equal(p, cases[i][2]);
        free(p);
    }
}

static void makes_and_removes_trees(void **state) {
    (void)state;
    OK(er_mkdirs(in_scratch("t/u/v")));
    OK(er_mkdirs(in_scratch("t/u/v/")));
    assert_true(er_dir_exists(in_scratch("t/u/v")));
    put_text("t/u/f", "1");
    put_text("outside", "2");
    assert_int_equal(symlink(in_scratch("outside"), in_scratch("t/u/link")), 0);
    assert_int_equal(symlink(scratch_dir, in_scratch("t/u/v/up")), 0);
    FAILS(er_mkdirs(in_scratch("t/u/f/x")), ER_EOUTPUT, "t/u/f");
    OK(er_remove_tree(in_scratch("t")));
    assert_false(er_dir_exists(in_scratch("t")));
    assert_true(er_file_exists(in_scratch("outside")));  // links are removed, not followed
    OK(er_remove_tree(in_scratch("t")));
}

static void atomic_file(void **state) {
    (void)state;
    OK(er_mkdirs(in_scratch("atomic")));
    OK(er_file_write_atomic(in_scratch("atomic/f"), "one", 3));
    OK(er_file_write_atomic(in_scratch("atomic/f"), "second", 6));
    file_holds(in_scratch("atomic/f"), "second", 6);
    OK(er_mkdirs(in_scratch("atomic/d/x")));
    FAILS(er_file_write_atomic(in_scratch("atomic/d"), "x", 1), ER_EOUTPUT, "atomic/d");
    FAILS(er_file_write_atomic(in_scratch("atomic/none/f"), "x", 1), ER_EOUTPUT, "no such file or directory");
    assert_int_equal(count_entries(in_scratch("atomic")), 2);  // no temporary left
}

static void output_appears_whole(void **state) {
    (void)state;
    er_output *o = NULL;
    OK(er_output_begin(&o, in_scratch("out//"), false));
    assert_string_equal(er_output_dir(o), in_scratch("out"));
    assert_true(er_dir_exists(er_output_path(o)));
    OK(er_output_write(o, "a", "12", 2));
    OK(er_output_copy(o, "b", put_bytes("src", "source", 6)));
    FAILS(er_output_write(o, "a", "12", 2), ER_EOUTPUT, "file exists");
    FAILS(er_output_write(o, "../a", "12", 2), ER_EARG, "../a");
    FAILS(er_output_write(o, "..", "12", 2), ER_EARG, "..");
    FAILS(er_output_copy(o, "c", in_scratch("nothing")), ER_ENOENT, "nothing");
    assert_false(er_dir_exists(in_scratch("out")));
    OK(er_output_commit(o));
    er_output_free(o);
    file_holds(in_scratch("out/a"), "12", 2);
    file_holds(in_scratch("out/b"), "source", 6);
    assert_int_equal(count_entries(in_scratch("out")), 2);
    FAILS(er_output_begin(&o, in_scratch("out"), false), ER_EOUTPUT, "exists already");
}

static void output_left_uncommitted_vanishes(void **state) {
    (void)state;
    er_output *o = NULL;
    char partial[512];
    OK(er_output_begin(&o, in_scratch("gone"), false));
    (void)snprintf(partial, sizeof partial, "%s", er_output_path(o));
    OK(er_output_write(o, "a", "12", 2));
    er_output_free(o);
    assert_false(er_dir_exists(partial));
    assert_false(er_dir_exists(in_scratch("gone")));
}

static void age(const char *path) {
    const struct timespec old[2] = {{1000000, 0}, {1000000, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
}

// What a killed job left goes when the next one begins; what a living one holds, what is young and what is
// not ours stays.
static void leftovers_of_killed_jobs_are_swept(void **state) {
    (void)state;
    er_output *live = NULL, *o = NULL;
    OK(er_mkdirs(in_scratch("k/out.partial-77/sub")));
    OK(er_mkdirs(in_scratch("k/out.partial-78")));
    OK(er_mkdirs(in_scratch("k/out.partial-mine")));
    OK(er_mkdirs(in_scratch("k/other.partial-77")));
    put_text("k/f.partial-5-0000abcd", "x");
    age(in_scratch("k/out.partial-77"));
    age(in_scratch("k/out.partial-mine"));
    age(in_scratch("k/other.partial-77"));
    age(in_scratch("k/f.partial-5-0000abcd"));
    OK(er_output_begin(&live, in_scratch("k/out"), false));
    assert_false(er_dir_exists(in_scratch("k/out.partial-77")));
    assert_true(er_dir_exists(in_scratch("k/out.partial-78")));
    assert_true(er_dir_exists(in_scratch("k/out.partial-mine")));
    assert_true(er_dir_exists(in_scratch("k/other.partial-77")));
    age(er_output_path(live));
    OK(er_output_begin(&o, in_scratch("k/out"), false));
    assert_true(er_dir_exists(er_output_path(live)));
    er_output_free(o);
    OK(er_output_commit(live));
    er_output_free(live);
    OK(er_file_write_atomic(in_scratch("k/f"), "y", 1));
    assert_false(er_file_exists(in_scratch("k/f.partial-5-0000abcd")));
}

static void output_force(void **state) {
    (void)state;
    er_output *o = NULL;
    int before;
    OK(er_mkdirs(in_scratch("force/empty")));
    OK(er_mkdirs(in_scratch("force/foreign")));
    put_text("force/foreign/thesis.txt", "years of work");
    put_text("force/file", "x");
    FAILS(er_output_begin(&o, in_scratch("force/foreign"), true), ER_EOUTPUT, "not an output of errata");
    FAILS(er_output_begin(&o, in_scratch("force/file"), true), ER_EOUTPUT, "not a folder");
    for (int round = 0; round < 3; round++) {
        char text = (char)('0' + round);
        before = count_entries(in_scratch("force"));
        OK(er_output_begin(&o, in_scratch("force/empty"), true));
        OK(er_output_write(o, "errata-manifest.json", &text, 1));
        OK(er_output_commit(o));
        er_output_free(o);
        file_holds(in_scratch("force/empty/errata-manifest.json"), &text, 1);
        assert_int_equal(count_entries(in_scratch("force")), before);
    }
}

static void replace_for_ever(void) {
    for (unsigned i = 0;; i++) {
        er_output *o = NULL;
        if (er_output_begin(&o, in_scratch("killed"), true) != ER_OK) _exit(1);
        if (er_output_write(o, "a", &i, sizeof i) != ER_OK || er_output_write(o, "b", &i, sizeof i) != ER_OK)
            _exit(1);
        if (er_output_write(o, "errata-manifest.json", &i, sizeof i) != ER_OK || er_output_commit(o) != ER_OK)
            _exit(1);
        er_output_free(o);
    }
}

// Killed at any instant of replacing a folder, there is always one, and it is whole.
static void kill_while_replacing(void **state) {
    (void)state;
    uint64_t seed = 11;
    OK(er_mkdirs(in_scratch("killed")));
    for (int round = 0; round < 25; round++) {
        int status = 0;
        unsigned seen[3] = {0, 1, 2};
        static const char *const names[] = {"killed/a", "killed/b", "killed/errata-manifest.json"};
        (void)fflush(NULL);
        pid_t child = fork();
        if (child == 0) replace_for_ever();
        // A loaded machine may need long for the first one; without it the other rounds would prove nothing.
        for (int ms = 0; round == 0 && ms < 60000 && count_entries(in_scratch("killed")) < 3; ms++)
            usleep(1000);
        usleep(3000 + (unsigned)(test_next(&seed) % 20000));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_true(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
        assert_true(er_dir_exists(in_scratch("killed")));
        if (count_entries(in_scratch("killed")) == 0) continue;  // killed before the first was in place
        for (int i = 0; i < 3; i++) {
            char *bytes = NULL;
            size_t n = 0;
            OK(er_file_read(&bytes, &n, in_scratch(names[i]), 4));
            assert_int_equal(n, 4);
            memcpy(&seen[i], bytes, 4);
            free(bytes);
        }
        assert_true(seen[0] == seen[1] && seen[1] == seen[2]);
    }
    assert_int_equal(count_entries(in_scratch("killed")), 3);  // the replacing was really reached
}

// Someone else makes the folder between begin and commit.
static void output_overtaken(void **state) {
    (void)state;
    er_output *o = NULL;
    OK(er_output_begin(&o, in_scratch("race"), false));
    OK(er_mkdirs(in_scratch("race")));
    FAILS(er_output_commit(o), ER_EOUTPUT, "exists already");
    er_output_free(o);
    assert_int_equal(count_entries(in_scratch("race")), 0);
}

static void output_places_refused(void **state) {
    (void)state;
    er_output *o = NULL;
    OK(er_mkdirs(in_scratch("model/sub")));
    FAILS(er_output_begin(&o, in_scratch("no/where"), false), ER_EOUTPUT, "does not exist");
    FAILS(er_output_begin(&o, ".", true), ER_EOUTPUT, "not the name of a new folder");
    FAILS(er_output_begin(&o, "a/..", true), ER_EOUTPUT, "not the name of a new folder");
    FAILS(er_output_begin(&o, "/", true), ER_EOUTPUT, "not the name of a new folder");
    FAILS(er_output_begin(&o, "", true), ER_EOUTPUT, "not the name of a new folder");
    FAILS(er_output_begin(&o, "/proc/nothing", false), ER_EOUTPUT, "/proc/nothing");
    FAILS(er_output_check(in_scratch("model/out"), false, in_scratch("model")), ER_EOUTPUT, "inside it");
    FAILS(er_output_check(in_scratch("model/sub/out"), false, in_scratch("model/")), ER_EOUTPUT, "inside it");
    FAILS(er_output_check(in_scratch("model"), true, in_scratch("model")), ER_EOUTPUT, "inside it");
    assert_int_equal(symlink(in_scratch("model"), in_scratch("alias")), 0);
    FAILS(er_output_check(in_scratch("alias/out"), false, in_scratch("model")), ER_EOUTPUT, "inside it");
    OK(er_output_check(in_scratch("model2"), false, in_scratch("model")));
    if (geteuid() != 0) {
        OK(er_mkdirs(in_scratch("locked")));
        assert_int_equal(chmod(in_scratch("locked"), 0500), 0);
        FAILS(er_output_begin(&o, in_scratch("locked/out"), false), ER_EOUTPUT, "permission denied");
    }
}

static int fill_a_disk(void) {
    char *big = calloc(1, 2 << 20);
    er_output *o = NULL;
    OK(er_mkdirs(in_scratch("small")));
    if (!small_disk_mount(in_scratch("small"))) return NO_SMALL_DISK;
    put_bytes("big", big, 2 << 20);
    OK(er_output_begin(&o, in_scratch("small/out"), false));
    FAILS(er_output_write(o, "w.bin", big, 2 << 20), ER_EIO, "w.bin: write: no space left on device");
    er_output_free(o);
    OK(er_output_begin(&o, in_scratch("small/out"), false));
    FAILS(er_output_copy(o, "c.bin", in_scratch("big")), ER_EIO, "no space left on device");
    er_output_free(o);
    FAILS(er_file_write_atomic(in_scratch("small/f"), big, 2 << 20), ER_EIO, "no space left on device");
    assert_int_equal(count_entries(in_scratch("small")), 0);
    free(big);
    return 0;
}

static void disk_full_is_named_and_leaves_nothing(void **state) {
    (void)state;
    in_child(fill_a_disk);
}

static void digests(void **state) {
    (void)state;
    char hex[65], again[65];
    er_digest *d = NULL;
    // FIPS 180-2 examples.
    OK(er_digest_new(&d));
    er_digest_hex(d, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    er_digest_add(d, "a", 1);
    er_digest_hex(d, again);
    er_digest_add(d, "bc", 2);
    er_digest_hex(d, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    er_digest_free(d);
    OK(er_file_digest(hex, put_text("abc", "abc")));
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    static const char *const pairs[][2] = {
        {"ab", "c"}, {"a", "bc"}, {"abc", ""}, {"abc", NULL}, {NULL, "abc"}, {"", "abc"}};
    char all[6][65];
    for (int i = 0; i < 6; i++) {
        OK(er_digest_new(&d));
        er_digest_add_str(d, pairs[i][0]);
        er_digest_add_str(d, pairs[i][1]);
        er_digest_hex(d, all[i]);
        er_digest_free(d);
        for (int j = 0; j < i; j++) assert_string_not_equal(all[i], all[j]);
    }
    char *million = malloc(1000000 + (3 << 20));
    memset(million, 'a', 1000000);
    OK(er_file_digest(hex, put_bytes("million", million, 1000000)));
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_whole_files),
        cmocka_unit_test(paths),
        cmocka_unit_test(makes_and_removes_trees),
        cmocka_unit_test(atomic_file),
        cmocka_unit_test(output_appears_whole),
        cmocka_unit_test(output_left_uncommitted_vanishes),
        cmocka_unit_test(leftovers_of_killed_jobs_are_swept),
        cmocka_unit_test(output_force),
        cmocka_unit_test(kill_while_replacing),
        cmocka_unit_test(output_overtaken),
        cmocka_unit_test(output_places_refused),
        cmocka_unit_test(disk_full_is_named_and_leaves_nothing),
        cmocka_unit_test(digests),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
