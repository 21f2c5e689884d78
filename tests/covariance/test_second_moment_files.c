// Files of sums: what numpy wrote, what we write (byte for byte as numpy would), what must be refused, and
// the cache.
#include <sys/stat.h>
#include <unistd.h>
#include "covariance/covariance.h"
#include "io/base/file.h"
#include "io/base/log.h"
#include "tests/test.h"

#define DIM 6
#define ROWS 60
#define GOLDEN TEST_DATA "/golden/covariance/"

static er_device *dev;
static char dir[64];

static int set_up(void **state) {
    (void)state;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    er_log_set_level(ER_LOG_QUIET);
    strcpy(dir, "moment-files.XXXXXX");
    return er_device_open(&dev, &o) == ER_OK && mkdtemp(dir) ? 0 : -1;
}
static int tear_down(void **state) {
    (void)state;
    er_device_close(dev);
    return er_remove_tree(dir) == ER_OK ? 0 : -1;
}

static double golden_key(int r, int i) { return (7 * r + 3 * i) % 11 - 5 + (r + i) % 2; }

static double golden_sum(size_t i, size_t j) {
    double s = 0;
    for (int r = 0; r < ROWS; r++) s += golden_key(r, (int)i) * golden_key(r, (int)j);
    return s;
}

static void holds_golden(er_second_moment *m) {
    double sum[DIM * DIM];
    assert_int_equal(m->dim, DIM);
    assert_int_equal(m->count, ROWS);
    OK(dev->op->download(dev, sum, m->sum, sizeof sum));
    for (size_t i = 0; i < DIM * DIM; i++) assert_true(sum[i] == golden_sum(i / DIM, i % DIM));
}

static er_second_moment *golden_moment(void) {
    er_second_moment *m = NULL;
    double sum[DIM * DIM];
    for (size_t i = 0; i < DIM * DIM; i++) sum[i] = golden_sum(i / DIM, i % DIM);
    OK(er_second_moment_create(&m, dev, DIM));
    OK(dev->op->upload(dev, m->sum, sum, sizeof sum));
    m->count = ROWS;
    return m;
}

static char *in_dir(const char *name) {
    char *p = er_path_join(dir, name);
    assert_non_null(p);
    return p;
}

static void test_numpy_files(void **state) {
    (void)state;
    static const char *const files[] = {"f2", "f4", "f8", "deflated", "fortran"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        er_second_moment *m = NULL;
        snprintf(path, sizeof path, GOLDEN "%s.npz", files[i]);
        OK(er_second_moment_import(&m, dev, path, DIM));
        holds_golden(m);
        er_second_moment_free(dev, m);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *file, *message;
        size_t dim;
    } bad[] = {
        {"asymmetric", "not symmetric: mom2.mom2[4][1] is", DIM},
        {"nan", "mom2.mom2[2][3] is not finite", DIM},
        {"inf_diagonal", "mom2.mom2[5][5] is not finite", DIM},
        {"negative_diagonal", "mom2.mom2[3][3] is -1, below zero", DIM},
        {"not_square", "not a square matrix", DIM},
        {"vector", "not a square matrix", DIM},
        {"integers", "no floating-point numbers", DIM},
        {"count_zero", "mom2.count is 0", DIM},
        {"count_float", "mom2.count is not one integer", DIM},
        {"no_count", "no member mom2.count", DIM},
        {"no_sum", "no member mom2.mom2", DIM},
        {"none_sum", "not a square matrix", DIM},
        {"f4", "for keys of 6, the model's have 7", 7},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[512];
        er_second_moment *m = NULL;
        snprintf(path, sizeof path, GOLDEN "%s.npz", bad[i].file);
        FAILS(er_second_moment_import(&m, dev, path, bad[i].dim), ER_EFORMAT, bad[i].message);
        if (!strstr(er_last_error(), bad[i].file)) fail_msg("'%s' does not name the file", er_last_error());
        assert_null(m);
    }
    er_second_moment *m = NULL;
    FAILS(er_second_moment_import(&m, dev, GOLDEN "absent.npz", DIM), ER_ENOENT, "absent.npz");
}

static void same_bytes(const char *path, const char *golden) {
    char *a = NULL, *b = NULL;
    size_t n = 0, m = 0;
    OK(er_file_read(&a, &n, path, 1 << 20));
    OK(er_file_read(&b, &m, golden, 1 << 20));
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i]) fail_msg("byte %zu of %s is %d, numpy's is %d", i, path, a[i], b[i]);
    free(a), free(b);
}

// The reference reads with numpy: what we write must be what numpy would have written.
static void test_export_is_numpys(void **state) {
    (void)state;
    er_second_moment *m = golden_moment(), *back = NULL;
    for (int wide = 0; wide < 2; wide++) {
        char *path = in_dir(wide ? "f8.npz" : "f4.npz");
        OK(er_second_moment_export(m, dev, path, 100, wide));
        same_bytes(path, wide ? GOLDEN "f8.npz" : GOLDEN "f4.npz");
        OK(er_second_moment_import(&back, dev, path, DIM));
        holds_golden(back);
        er_second_moment_free(dev, back);
        free(path);
    }
    er_second_moment_free(dev, m);
}

static void test_export_refuses(void **state) {
    (void)state;
    er_second_moment *m = golden_moment();
    char *path = in_dir("refused.npz");
    double huge = 1e300, nan = (double)NAN;
    m->count = 0;
    FAILS(er_second_moment_export(m, dev, path, 1, 0), ER_EARG, "0 rows");
    m->count = ROWS;
    OK(dev->op->upload(dev, m->sum + 1, &huge, sizeof huge));
    FAILS(er_second_moment_export(m, dev, path, 1, 0), ER_ENUMERIC, "beyond fp32");
    OK(dev->op->upload(dev, m->sum + 8, &nan, sizeof nan));
    FAILS(er_second_moment_export(m, dev, path, 1, 1), ER_ENUMERIC, "[1][2] is not finite");
    assert_false(er_file_exists(path));
    er_second_moment_free(dev, m);
    free(path);
}

static const char digest[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static const char other[] = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static void test_cache(void **state) {
    (void)state;
    er_second_moment *m = golden_moment(), *back = NULL;
    char *cache = in_dir("made/on/demand");
    FAILS(er_second_moment_cache_get(&back, dev, cache, digest, DIM), ER_ENOENT, digest);
    OK(er_second_moment_cache_put(m, dev, cache, digest));
    OK(er_second_moment_cache_get(&back, dev, cache, digest, DIM));
    holds_golden(back);
    er_second_moment_free(dev, back);
    back = NULL;
    FAILS(er_second_moment_cache_get(&back, dev, cache, digest, DIM + 1), ER_EFORMAT, "for keys of 6");
    FAILS(er_second_moment_cache_get(&back, dev, cache, "../../etc", DIM), ER_EARG, "no digest");
    er_second_moment_free(dev, m);
    free(cache);
}

// Every truncation and every flipped byte of the stored sums is noticed; nothing else than EFORMAT comes of
// it.
static void test_damaged_cache(void **state) {
    (void)state;
    er_second_moment *m = golden_moment(), *back = NULL;
    char *cache = in_dir("damaged"), name[80], *bytes = NULL;
    size_t n = 0;
    snprintf(name, sizeof name, "%s.npz", digest);
    OK(er_second_moment_cache_put(m, dev, cache, digest));
    char *path = er_path_join(cache, name);
    OK(er_file_read(&bytes, &n, path, 1 << 20));
    for (size_t cut = 0; cut < n; cut += cut < 64 || n - cut < 64 ? 1 : 23) {
        OK(er_file_write_atomic(path, bytes, cut));
        assert_int_equal(er_second_moment_cache_get(&back, dev, cache, digest, DIM), ER_EFORMAT);
    }
    for (size_t at = 700; at < 1000; at += 13) {
        bytes[at] = (char)(bytes[at] ^ 4);
        OK(er_file_write_atomic(path, bytes, n));
        assert_int_equal(er_second_moment_cache_get(&back, dev, cache, digest, DIM), ER_EFORMAT);
        bytes[at] = (char)(bytes[at] ^ 4);
    }
    OK(er_file_write_atomic(path, bytes, n));
    OK(er_second_moment_cache_get(&back, dev, cache, digest, DIM));
    er_second_moment_free(dev, back);
    back = NULL;
    // The same file under another digest's name is not that digest's.
    snprintf(name, sizeof name, "%s.npz", other);
    char *renamed = er_path_join(cache, name);
    assert_int_equal(rename(path, renamed), 0);
    FAILS(er_second_moment_cache_get(&back, dev, cache, other, DIM), ER_EFORMAT, "another digest");
    free(path), free(renamed), free(bytes), free(cache);
    er_second_moment_free(dev, m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numpy_files),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_export_is_numpys),
        cmocka_unit_test(test_export_refuses),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_damaged_cache),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
