// Archives by numpy are read to their known values, ours equal numpy's byte for byte, and hostile ones are
// refused before anything large is allocated.
#include "tests/io/small_disk.h"

#include <sys/mman.h>
#include "io/npz.h"

#define GOLDEN TEST_DATA "/golden/npz"

static er_npz *open_ok(const char *path) {
    er_npz *z = NULL;
    OK(er_npz_open(&z, path));
    return z;
}

static er_npy read_ok(
    er_npz *z, const char *member, er_npy_type type, int rank, uint64_t s0, uint64_t s1, uint64_t s2) {
    er_npy a;
    const uint64_t shape[3] = {s0, s1, s2};
    uint64_t n = 1;
    OK(er_npz_read(&a, z, member));
    assert_int_equal(a.type, type);
    assert_int_equal(a.rank, rank);
    for (int i = 0; i < rank; i++) assert_int_equal(a.shape[i], shape[i]), n *= shape[i];
    assert_int_equal(a.elements, n);
    return a;
}

static void check_f4(er_npz *z, const char *member, int rank, uint64_t s0, uint64_t s1, int step) {
    er_npy a = read_ok(z, member, ER_NPY_F4, rank, s0, s1, 0);
    for (uint64_t i = 0; i < a.elements; i++) NEAR(((float *)a.data)[i], ((double)i * step - 3) / 8, 0);
    er_npy_free(&a);
}

static void check_f8(er_npz *z, const char *member) {
    er_npy a = read_ok(z, member, ER_NPY_F8, 3, 2, 3, 4);
    for (uint64_t i = 0; i < a.elements; i++) NEAR(((double *)a.data)[i], ((double)i * 2 - 3) / 8, 0);
    er_npy_free(&a);
}

static void check_plain(er_npz *z) {
    static const uint16_t halves[] = {0xb600, 0, 0x3600, 0x3a00, 0x3c80};  // -0.375 0 0.375 0.75 1.125
    static const uint32_t text[] = {'a', 'b', 0, 0xe9, 0x20ac, 0x1f600};
    uint64_t none = 0xfff8000000000002ull;
    check_f4(z, "f4", 2, 2, 3, 1);
    check_f8(z, "f8");
    er_npy a = read_ok(z, "f2", ER_NPY_F2, 1, 5, 0, 0);
    assert_memory_equal(a.data, halves, sizeof halves);
    er_npy_free(&a);
    a = read_ok(z, "i8", ER_NPY_I8, 2, 2, 2, 0);
    for (int i = 0; i < 4; i++) assert_true(((int64_t *)a.data)[i] == i - 2);
    er_npy_free(&a);
    a = read_ok(z, "i4", ER_NPY_I4, 1, 3, 0, 0);
    for (int i = 0; i < 3; i++) assert_true(((int32_t *)a.data)[i] == i - 1);
    er_npy_free(&a);
    a = read_ok(z, "u", ER_NPY_U, 1, 2, 0, 0);
    assert_int_equal(a.item_bytes, 12);
    assert_memory_equal(a.data, text, sizeof text);
    er_npy_free(&a);
    a = read_ok(z, "none", ER_NPY_F8, 0, 0, 0, 0);
    assert_memory_equal(a.data, &none, 8);
    er_npy_free(&a);
    a = read_ok(z, "empty", ER_NPY_F4, 2, 0, 3, 0);
    er_npy_free(&a);
}

static void check_fortran(er_npz *z) {
    check_f4(z, "fortran", 2, 3, 5, 1);
    check_f8(z, "fortran3");
}

static void reads_numpy(void **state) {
    (void)state;
    er_npy a;
    er_npz *z = open_ok(GOLDEN "/stored.npz");
    assert_int_equal(er_npz_count(z), 8);
    assert_string_equal(er_npz_name(z, 0), "f4");
    check_plain(z);
    FAILS(er_npz_read(&a, z, "absent"), ER_ENOENT, "stored.npz: has no member 'absent'");
    er_npz_close(z);
    z = open_ok(GOLDEN "/fortran.npz");
    check_fortran(z);
    er_npz_close(z);
    z = open_ok(GOLDEN "/deflated.npz");
    check_plain(z);
    check_fortran(z);
    er_npz_close(z);
    z = open_ok(GOLDEN "/zip64.npz");
    check_f4(z, "f4", 2, 2, 3, 1);
    check_f8(z, "f8");
    er_npz_close(z);
    z = open_ok(GOLDEN "/descriptors.npz");  // and npy versions 2 and 3, a comment, a member that is no array
    check_f4(z, "f4", 2, 2, 3, 1);
    check_f4(z, "v2", 2, 2, 3, 1);
    check_f4(z, "v3", 2, 2, 3, 1);
    FAILS(er_npz_read(&a, z, "readme.txt"), ER_EFORMAT, "is no npy array");
    er_npz_close(z);
}

static void reads_the_references_statistics(void **state) {
    (void)state;
    er_npz *z = open_ok(GOLDEN "/stats.npz");
    er_npy a = read_ok(z, "mom2.count", ER_NPY_I8, 0, 0, 0, 0);
    assert_true(*(int64_t *)a.data == 12345678901);
    er_npy_free(&a);
    a = read_ok(z, "sample_size", ER_NPY_I8, 0, 0, 0, 0);
    assert_true(*(int64_t *)a.data == 100000);
    er_npy_free(&a);
    a = read_ok(z, "mom2.constructor", ER_NPY_U, 0, 0, 0, 0);
    assert_int_equal(a.item_bytes, 4 * strlen("util.runningstats.SecondMoment()"));
    er_npy_free(&a);
    check_f4(z, "mom2.mom2", 2, 3, 3, 1);
    er_npz_close(z);
}

static void writes_what_numpy_writes(void **state) {
    (void)state;
    static const char *const all[] = {"stored", "stats"};
    for (int k = 0; k < 2; k++) {
        char path[512];
        size_t n = 0;
        char *bytes = NULL;
        er_npz_writer *w = NULL;
        (void)snprintf(path, sizeof path, GOLDEN "/%s.npz", all[k]);
        er_npz *z = open_ok(path);
        OK(er_npz_create(&w, in_scratch("copy.npz")));
        for (size_t i = 0; i < er_npz_count(z); i++) {
            er_npy a;
            OK(er_npz_read(&a, z, er_npz_name(z, i)));
            OK(er_npz_add(w, er_npz_name(z, i), &a));
            er_npy_free(&a);
        }
        OK(er_npz_finish(w));
        er_npz_writer_free(w);
        er_npz_close(z);
        OK(er_file_read(&bytes, &n, path, 1 << 20));
        file_holds(in_scratch("copy.npz"), bytes, n);
        free(bytes);
    }
}

static void writer_refuses_and_cleans_up(void **state) {
    (void)state;
    er_npz_writer *w = NULL;
    float x[2] = {1, 2};
    er_npy a = {.type = ER_NPY_F4, .rank = 1, .shape = {2}, .item_bytes = 4, .data = x}, b = a;
    OK(er_mkdirs(in_scratch("w")));
    FAILS(er_npz_create(&w, in_scratch("w/none/x.npz")), ER_EOUTPUT, "none/x.npz");
    OK(er_npz_create(&w, in_scratch("w/x.npz")));
    OK(er_npz_add(w, "a", &a));
    FAILS(er_npz_add(w, "a", &a), ER_EARG, "'a' is added twice");
    OK(er_npz_add(w, "a.npy", &a));
    FAILS(er_npz_add(w, "", &a), ER_EARG, "no member name");
    FAILS(er_npz_add(w, "../a", &a), ER_EARG, "no member name");
    b.rank = 9;
    FAILS(er_npz_add(w, "b", &b), ER_EARG, "'b' is no array");
    b = a, b.item_bytes = 8;
    FAILS(er_npz_add(w, "b", &b), ER_EARG, "'b' is no array");
    b = a, b.rank = 2, b.shape[0] = b.shape[1] = 1ull << 33;
    FAILS(er_npz_add(w, "b", &b), ER_EARG, "'b' is no array");
    er_npz_writer_free(w);
    assert_int_equal(count_entries(in_scratch("w")), 0);
    put_text("w/x.npz", "old");
    OK(er_npz_create(&w, in_scratch("w/x.npz")));
    OK(er_npz_add(w, "a", &a));
    file_holds(in_scratch("w/x.npz"), "old", 3);  // until finish
    OK(er_npz_finish(w));
    er_npz_writer_free(w);
    assert_int_equal(count_entries(in_scratch("w")), 1);
    er_npz_close(open_ok(in_scratch("w/x.npz")));
}

static const struct {
    const char *name;
    er_status code;
    const char *message;
} bad[] = {
    {"object", ER_EUNSUPPORTED, "pickled objects"},
    {"structured", ER_EUNSUPPORTED, "structured arrays"},
    {"big_endian", ER_EUNSUPPORTED, "'>f4'"},
    {"complex", ER_EUNSUPPORTED, "'<c8'"},
    {"truncated", ER_EFORMAT, "its end is missing: it is cut short"},
    {"cut_data", ER_EFORMAT, "its end is missing"},
    {"empty", ER_EFORMAT, "is empty"},
    {"crc", ER_EFORMAT, "expected 00000001"},
    {"crc_deflated", ER_EFORMAT, "expected 00000001"},
    {"deflate_broken", ER_EFORMAT, "deflated data is broken"},
    {"deflate_short", ER_EFORMAT, "deflated data is broken"},
    {"bomb", ER_EFORMAT, "packed bytes cannot hold the 4194304000128 declared"},
    {"stored_bomb", ER_EFORMAT, "is stored in 128 bytes and unpacks to 4194304000128"},
    {"shape_bomb", ER_EFORMAT, "has 0 bytes of data, its shape needs 4194304000000"},
    {"shape_overflow", ER_EFORMAT, "shape overflows"},
    {"extra_data", ER_EFORMAT, "has 25 bytes of data, its shape needs 24"},
    {"short_data", ER_EFORMAT, "has 23 bytes of data, its shape needs 24"},
    {"not_npy", ER_EFORMAT, "is no npy array"},
    {"version9", ER_EUNSUPPORTED, "npy version 9.0"},
    {"header_end", ER_EFORMAT, "ends in its header"},
    {"header_text", ER_EFORMAT, "unknown key"},
    {"header_code", ER_EFORMAT, "neither True nor False"},
    {"twice", ER_EFORMAT, "is there twice"},
    {"encrypted", ER_EUNSUPPORTED, "is encrypted"},
    {"method", ER_EUNSUPPORTED, "packed with method 12"},
    {"nul_name", ER_EFORMAT, "holds a NUL"},
    {"offset", ER_EFORMAT, "behind the directory"},
    {"wrong_local", ER_EFORMAT, "has no header at 4"},
    {"directory", ER_EFORMAT, "a directory of 9999 entries"},
};

static er_status read_first(const char *path) {
    er_npz *z = NULL;
    er_npy a;
    er_status rc = er_npz_open(&z, path);
    for (size_t i = 0; rc == ER_OK && i < er_npz_count(z); i++) {
        rc = er_npz_read(&a, z, er_npz_name(z, i));
        if (rc == ER_OK) er_npy_free(&a);
    }
    er_npz_close(z);
    return rc;
}

static void refuses_the_bad_ones(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[512];
        (void)snprintf(path, sizeof path, GOLDEN "/bad/%s.npz", bad[i].name);
        FAILS(read_first(path), bad[i].code, bad[i].message);
    }
    FAILS(read_first(in_scratch("none.npz")), ER_ENOENT, "none.npz: no such file");
    FAILS(read_first(scratch_dir), ER_EFORMAT, "is a folder");
}

// A path to a file in memory with these bytes: thousands of real files would wait for the disk.
static const char *in_memory(const char *bytes, size_t n) {
    static char path[64];
    static int fd = -1;
    if (fd < 0) fd = memfd_create("npz", MFD_CLOEXEC);
    assert_true(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, n, 0) == (ssize_t)n);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

// Cut anywhere or with any byte changed, an archive is refused or read; under a sanitizer neither may touch
// foreign memory.
static void truncated_and_changed_everywhere(void **state) {
    (void)state;
    static const char *const all[] = {"zip64", "descriptors"};
    for (int k = 0; k < 2; k++) {
        char path[512], *bytes = NULL;
        size_t n = 0;
        uint64_t seed = 1;
        (void)snprintf(path, sizeof path, GOLDEN "/%s.npz", all[k]);
        OK(er_file_read(&bytes, &n, path, 1 << 20));
        for (size_t cut = 0; cut < n; cut++) assert_int_equal(read_first(in_memory(bytes, cut)), ER_EFORMAT);
        for (size_t i = 0; i < n; i++) {
            char old = bytes[i];
            bytes[i] ^= (char)(1u + test_next(&seed) % 255);
            (void)read_first(in_memory(bytes, n));
            bytes[i] = old;
        }
        free(bytes);
    }
}

static int write_to_a_small_disk(void) {
    er_npz_writer *w = NULL;
    float *x = calloc(1 << 20, sizeof *x);
    er_npy a = {.type = ER_NPY_F4, .rank = 1, .shape = {1 << 20}, .item_bytes = 4, .data = x};
    OK(er_mkdirs(in_scratch("tiny")));
    if (!small_disk_mount(in_scratch("tiny"))) return NO_SMALL_DISK;
    OK(er_npz_create(&w, in_scratch("tiny/x.npz")));
    FAILS(er_npz_add(w, "a", &a), ER_EIO, "x.npz: write: no space left on device");
    er_npz_writer_free(w);
    assert_int_equal(count_entries(in_scratch("tiny")), 0);
    free(x);
    return 0;
}

static void disk_full(void **state) {
    (void)state;
    in_child(write_to_a_small_disk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_numpy),
        cmocka_unit_test(reads_the_references_statistics),
        cmocka_unit_test(writes_what_numpy_writes),
        cmocka_unit_test(writer_refuses_and_cleans_up),
        cmocka_unit_test(refuses_the_bad_ones),
        cmocka_unit_test(truncated_and_changed_everywhere),
        cmocka_unit_test(disk_full),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
