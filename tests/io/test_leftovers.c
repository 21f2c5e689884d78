// What killed jobs leave in a cache or beside an output is removed at the next use; what others need is not.
#include <fcntl.h>
#include <sys/file.h>
#include "io/base/file.h"
#include "tests/io/scratch.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void age(const char *path) {
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static const char *old_file(const char *name) {
    age(put_text(name, "half"));
    return in_scratch(name);
}

static bool there(const char *name) { return access(in_scratch(name), F_OK) == 0; }

static void cache_files_of_the_dead(void **state) {
    (void)state;
    OK(er_mkdirs(in_scratch("cache")));
    static const char *const dead[] = {
        "cache/" HEX ".npz.partial-77-0000abcd", "cache/" HEX ".tokens.npz.partial-4194304-deadbeef"};
    static const char *const others[] = {"cache/" HEX ".npz", "cache/" HEX ".tokens.npz",
        "cache/values-" HEX ".bin", "cache/mine.npz.partial-77-0000abcd", "cache/" HEX ".npz.partial-mine",
        "cache/" HEX ".txt.partial-77-0000abcd", "cache/" HEX ".npz.partial-"};
    for (size_t i = 0; i < 2; i++) (void)old_file(dead[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) (void)old_file(others[i]);
    put_text("cache/" HEX ".npz.partial-78-0000abcd", "young");
    int live = open(old_file("cache/" HEX ".npz.partial-79-0000abcd"), O_RDONLY);
    assert_int_equal(flock(live, LOCK_EX | LOCK_NB), 0);
    er_cache_sweep(in_scratch("cache"));
    for (size_t i = 0; i < 2; i++)
        if (there(dead[i])) fail_msg("%s is still there", dead[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!there(others[i])) fail_msg("%s is gone", others[i]);
    assert_true(there("cache/" HEX ".npz.partial-78-0000abcd"));
    assert_true(there("cache/" HEX ".npz.partial-79-0000abcd"));
    (void)close(live);
    er_cache_sweep(in_scratch("no such cache"));
}

// A folder that was moved aside: removed once another stands in its place, kept as long as it is the only
// one.
static void folders_moved_aside(void **state) {
    (void)state;
    er_output *o = NULL;
    static const char *const all[] = {"r/out.replaced-77", "r/out.replaced-78", "r/out.replaced-79",
        "r/out.replaced-mine", "r/other.replaced-77"};
    for (size_t i = 0; i < 5; i++) {
        char name[64];
        OK(er_mkdirs(in_scratch(all[i])));
        (void)snprintf(name, sizeof name, "%s/%s", all[i], i == 1 ? "thesis.txt" : ER_MANIFEST);
        put_text(name, "x");
        age(in_scratch(all[i]));
    }
    int live = open(in_scratch("r/out.replaced-79"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(live, LOCK_EX | LOCK_NB), 0);
    OK(er_output_begin(&o, in_scratch("r/out"), false));
    assert_true(there("r/out.replaced-77"));  // nothing stands at r/out yet
    OK(er_output_write(o, ER_MANIFEST, "{}", 2));
    OK(er_output_commit(o));
    er_output_free(o);
    assert_false(there("r/out.replaced-77"));
    assert_true(there("r/out.replaced-78/thesis.txt"));  // not an output of errata
    assert_true(there("r/out.replaced-79"));             // a living job's
    assert_true(there("r/out.replaced-mine"));
    assert_true(there("r/other.replaced-77"));
    (void)close(live);
    OK(er_output_begin(&o, in_scratch("r/out"), true));  // the next use, now that its owner is dead
    assert_false(there("r/out.replaced-79"));
    er_output_free(o);
}

// Names that could not get their ".partial-..." are refused before the work, not after it.
static void names_too_long(void **state) {
    (void)state;
    char name[300], path[600];
    memset(name, 'x', sizeof name);
    static const size_t lengths[] = {240, 255, 256, 299};
    for (size_t i = 0; i < 4; i++) {
        name[lengths[i]] = 0;
        (void)snprintf(path, sizeof path, "%s/%s", scratch_dir, name);
        FAILS(er_output_check(path, false, NULL), ER_EOUTPUT, "its name has");
        name[lengths[i]] = 'x';
    }
    name[200] = 0;
    (void)snprintf(path, sizeof path, "%s/%s", scratch_dir, name);
    OK(er_output_check(path, false, NULL));
    char *deep = calloc(1, 8192);
    size_t n = (size_t)snprintf(deep, 8192, "%s", scratch_dir);
    while (n < 4000) n += (size_t)snprintf(deep + n, 8192 - n, "/.");
    (void)snprintf(deep + n, 8192 - n, "/out");
    FAILS(er_output_check(deep, false, NULL), ER_EOUTPUT, "its path has");
    free(deep);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cache_files_of_the_dead),
        cmocka_unit_test(folders_moved_aside), cmocka_unit_test(names_too_long)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
