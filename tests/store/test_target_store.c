// Target values on disk: kept, found again, and never trusted when damaged.
#include "engine/store/target_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/file.h"
#include "io/base/log.h"
#include "tests/test.h"

enum { HIDDEN = 5 };
static const char key[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static char *folder(void) {
    static char path[64];
    (void)snprintf(path, sizeof path, "/tmp/errata-store-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}
static void digest_of(char out[65], unsigned i) { (void)snprintf(out, 65, "%064x", i * 2654435761u); }
static void put(er_target_store *s, unsigned i) {
    float z[HIDDEN];
    char digest[65];
    for (int j = 0; j < HIDDEN; j++) z[j] = (float)i + 0.25f * (float)j;
    digest_of(digest, i);
    er_target_z v = {.z = z};
    OK(er_target_store_put(s, digest, &v));
}
static bool has(const er_target_store *s, unsigned i) {
    float z[HIDDEN] = {0};
    char digest[65];
    digest_of(digest, i);
    if (!er_target_store_get(s, digest, z)) return false;
    for (int j = 0; j < HIDDEN; j++) assert_true(z[j] == (float)i + 0.25f * (float)j);
    return true;
}
static void file_of(char out[256], const char *dir) {
    (void)snprintf(out, 256, "%s/values-%s.bin", dir, key);
}

static void fill(const char *dir, unsigned n) {
    er_target_store *s = NULL;
    OK(er_target_store_open(&s, dir, key, HIDDEN));
    for (unsigned i = 0; i < n; i++) put(s, i);
    er_target_store_close(s);
}

static void test_kept_and_found(void **state) {
    (void)state;
    char *dir = folder();
    er_target_store *s = NULL;
    fill(dir, 300);
    OK(er_target_store_open(&s, dir, key, HIDDEN));
    assert_int_equal(er_target_store_count(s), 300);
    for (unsigned i = 0; i < 300; i++) assert_true(has(s, i));
    assert_false(has(s, 300));
    er_target_store_close(s);
    OK(er_remove_tree(dir));
}

static void test_cut_short_at_every_byte(void **state) {
    (void)state;
    char *dir = folder(), path[256];
    struct stat st;
    fill(dir, 3);
    file_of(path, dir);
    assert_int_equal(stat(path, &st), 0);
    off_t record = st.st_size / 3;
    for (off_t size = st.st_size - 1; size >= 2 * record; size--) {
        er_target_store *s = NULL;
        assert_int_equal(truncate(path, size), 0);
        OK(er_target_store_open(&s, dir, key, HIDDEN));
        assert_int_equal(er_target_store_count(s), 2);
        assert_true(has(s, 1));
        assert_false(has(s, 2));
        put(s, 2);  // goes where the damaged one was
        er_target_store_close(s);
        OK(er_target_store_open(&s, dir, key, HIDDEN));
        assert_true(has(s, 2));
        er_target_store_close(s);
    }
    OK(er_remove_tree(dir));
}

static void test_flipped_bits(void **state) {
    (void)state;
    char *dir = folder(), path[256];
    fill(dir, 3);
    file_of(path, dir);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    off_t record = st.st_size / 3;
    for (off_t at = record; at < 2 * record; at++) {  // anywhere in the second record: the others stay
        int fd = open(path, O_RDWR);
        char c = 0, flipped = 0;
        assert_int_equal(pread(fd, &c, 1, at), 1);
        flipped = (char)(c ^ 0x10);
        assert_int_equal(pwrite(fd, &flipped, 1, at), 1);
        er_target_store *s = NULL;
        OK(er_target_store_open(&s, dir, key, HIDDEN));
        assert_int_equal(er_target_store_count(s), 2);
        assert_true(has(s, 0));
        assert_false(has(s, 1));
        assert_true(has(s, 2));
        er_target_store_close(s);
        assert_int_equal(pwrite(fd, &c, 1, at), 1);
        (void)close(fd);
    }
    OK(er_remove_tree(dir));
}

static void test_two_jobs_share_a_file(void **state) {
    (void)state;
    char *dir = folder(), path[256];
    er_target_store *a = NULL, *b = NULL;
    OK(er_target_store_open(&a, dir, key, HIDDEN));
    OK(er_target_store_open(&b, dir, key, HIDDEN));
    for (unsigned i = 0; i < 40; i++) put(i % 2 ? a : b, i);
    file_of(path, dir);
    FILE *killed = fopen(path, "ab");  // a third job died in the middle of its record
    assert_non_null(killed);
    assert_int_equal(fwrite(path, 1, 17, killed), 17);
    assert_int_equal(fclose(killed), 0);
    put(a, 40);
    er_target_store_close(a);
    er_target_store_close(b);
    OK(er_target_store_open(&a, dir, key, HIDDEN));
    assert_int_equal(er_target_store_count(a), 41);
    for (unsigned i = 0; i <= 40; i++) assert_true(has(a, i));
    er_target_store_close(a);
    OK(er_remove_tree(dir));
}

// Ranks write files of their own, and each reads all of them, also what fewer ranks left, and what a killed
// one left half.
static void test_ranks_read_each_other(void **state) {
    (void)state;
    char *dir = folder(), path[256];
    er_target_store *s = NULL;
    for (unsigned rank = 0; rank < 12; rank++) {
        OK(er_target_store_open_rank(&s, dir, key, HIDDEN, rank));
        assert_int_equal(er_target_store_count(s), rank);
        for (unsigned i = 0; i < rank; i++) assert_true(has(s, i));
        put(s, rank);
        er_target_store_close(s);
    }
    (void)snprintf(path, sizeof path, "%s/values-%s.11.bin", dir, key);
    struct stat before, after;
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(truncate(path, before.st_size - 1), 0);
    (void)snprintf(path, sizeof path, "%s/values-%s.old.bin", dir, key);  // of nobody
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    OK(er_target_store_open(&s, dir, key, HIDDEN));
    assert_int_equal(er_target_store_count(s), 11);
    assert_true(has(s, 10));
    assert_false(has(s, 11));
    er_target_store_close(s);
    (void)snprintf(path, sizeof path, "%s/values-%s.11.bin", dir, key);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size - 1);  // another rank's file is left as it is
    OK(er_remove_tree(dir));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kept_and_found),
        cmocka_unit_test(test_cut_short_at_every_byte), cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_two_jobs_share_a_file), cmocka_unit_test(test_ranks_read_each_other)};
    er_log_set_level(ER_LOG_QUIET);  // each damaged record is warned about
    return cmocka_run_group_tests(tests, NULL, NULL);
}
