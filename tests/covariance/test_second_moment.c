// Sums of keys against a double loop, and no mass lost over millions of rows.
#include "covariance/covariance.h"
#include "tests/test.h"

static er_device *dev;

static int open_device(void **state) {
    (void)state;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    o.threads = 1;  // millions of tiny updates: a second thread would only cost its wake-ups
    return er_device_open(&dev, &o) == ER_OK ? 0 : -1;
}
static int close_device(void **state) {
    (void)state;
    er_device_close(dev);
    return 0;
}

static float *dev_floats(size_t n) {
    void *p = NULL;
    OK(dev->op->alloc(dev, &p, n * sizeof(float)));
    return p;
}

static void sums_match(size_t dim, const size_t *pieces, size_t n_pieces) {
    er_second_moment *m = NULL;
    uint64_t seed = dim;
    size_t most = 0, rows = 0;
    for (size_t i = 0; i < n_pieces; i++) most = pieces[i] > most ? pieces[i] : most, rows += pieces[i];
    float *keys = dev_floats(most * dim), *scratch = dev_floats(dim * dim);
    float *host = malloc((most * dim + 1) * sizeof *host), *got = malloc(dim * dim * sizeof *got);
    double *want = calloc(dim * dim, sizeof *want), *sum = malloc(dim * dim * sizeof *sum);
    OK(er_second_moment_create(&m, dev, dim));
    for (size_t p = 0; p < n_pieces; p++) {
        for (size_t i = 0; i < pieces[p] * dim; i++) host[i] = (float)test_uniform(&seed) + 0.25f;
        for (size_t t = 0; t < pieces[p]; t++)
            for (size_t i = 0; i < dim; i++)
                for (size_t j = 0; j < dim; j++)
                    want[i * dim + j] += (double)host[t * dim + i] * (double)host[t * dim + j];
        OK(dev->op->upload(dev, keys, host, pieces[p] * dim * sizeof *host));
        OK(er_second_moment_update(dev, m, keys, scratch, pieces[p]));
    }
    assert_int_equal(m->count, rows);
    OK(er_second_moment_finish(dev, m));
    OK(dev->op->download(dev, sum, m->sum, dim * dim * sizeof *sum));
    double error = 0, size = 0;
    for (size_t i = 0; i < dim * dim; i++) {
        error += (sum[i] - want[i]) * (sum[i] - want[i]), size += want[i] * want[i];
        assert_true(sum[i] == sum[i % dim * dim + i / dim]);
    }
    // An fp32 tile of 1,024 products errs by about sqrt(1024) eps / 2 at worst in the norm.
    BELOW(sqrt(error / size), 2e-6);
    dev->op->release(dev, keys);
    dev->op->release(dev, scratch);
    er_second_moment_free(dev, m);
    free(host), free(got), free(want), free(sum);
}

static void test_against_double_loop(void **state) {
    (void)state;
    const size_t pieces[] = {1, 0, 7, 1023, 1024, 1025, 2300};
    sums_match(1, pieces, 7);
    sums_match(3, pieces, 7);
    sums_match(33, pieces, 7);
    sums_match(130, pieces, 7);
}

// One large key, then a million times three keys of ones. In fp32 the sum stands at 2^26, where neighbours
// are 8 apart, so each 3 would be rounded away; in fp64 nothing is.
static void test_small_keys_behind_a_large_one(void **state) {
    (void)state;
    enum { DIM = 2, TIMES = 1000000 };
    er_second_moment *m = NULL;
    float *keys = dev_floats(3 * DIM), *scratch = dev_floats(DIM * DIM);
    float large[DIM] = {8192, 8192}, ones[3 * DIM] = {1, 1, 1, 1, 1, 1};
    double sum[DIM * DIM];
    OK(er_second_moment_create(&m, dev, DIM));
    OK(dev->op->upload(dev, keys, large, sizeof large));
    OK(er_second_moment_update(dev, m, keys, scratch, 1));
    OK(dev->op->upload(dev, keys, ones, sizeof ones));
    for (int i = 0; i < TIMES; i++) OK(er_second_moment_update(dev, m, keys, scratch, 3));
    OK(er_second_moment_finish(dev, m));
    OK(dev->op->download(dev, sum, m->sum, sizeof sum));
    assert_int_equal(m->count, 3 * TIMES + 1);
    for (int i = 0; i < DIM * DIM; i++) NEAR(sum[i], 67108864.0 + 3.0 * TIMES, 1e-12 * 67108864.0);
    // What this test is about: the same additions in fp32 lose all three million.
    volatile float narrow = 67108864.0f;
    for (int i = 0; i < TIMES; i++) narrow += 3.0f;
    assert_true(narrow == 67108864.0f);
    dev->op->release(dev, keys);
    dev->op->release(dev, scratch);
    er_second_moment_free(dev, m);
}

// Three million keys (1, 3) in tiles of 1,024: 9 * 3e6 is beyond 2^24.
static void test_long_constant_text(void **state) {
    (void)state;
    enum { DIM = 2, TILE = 1024, TILES = 3000 };
    er_second_moment *m = NULL;
    float *keys = dev_floats(TILE * DIM), *scratch = dev_floats(DIM * DIM), host[TILE * DIM];
    double sum[DIM * DIM];
    for (size_t i = 0; i < TILE * DIM; i++) host[i] = i % 2 ? 3.0f : 1.0f;
    OK(er_second_moment_create(&m, dev, DIM));
    OK(dev->op->upload(dev, keys, host, sizeof host));
    for (int i = 0; i < TILES; i++) OK(er_second_moment_update(dev, m, keys, scratch, TILE));
    OK(er_second_moment_finish(dev, m));
    OK(dev->op->download(dev, sum, m->sum, sizeof sum));
    double n = (double)TILE * TILES;
    const double want[4] = {n, 3 * n, 3 * n, 9 * n};
    for (int i = 0; i < 4; i++) NEAR(sum[i], want[i], 1e-12 * want[i]);
    dev->op->release(dev, keys);
    dev->op->release(dev, scratch);
    er_second_moment_free(dev, m);
}

static void test_sizes(void **state) {
    (void)state;
    er_second_moment *m = NULL;
    FAILS(er_second_moment_create(&m, dev, 0), ER_EARG, "0 is no key size");
    FAILS(er_second_moment_create(&m, dev, (size_t)1 << 32), ER_EARG, "4294967296 is no key size");
    assert_null(m);
    er_second_moment_free(dev, NULL);
}

// Two of five dimensions are never used: they get the mean of the others, and nothing else changes.
static void test_idle_dimensions(void **state) {
    (void)state;
    enum { D = 5, ROWS = 9 };
    uint64_t seed = 4;
    float host[ROWS * D], *keys = dev_floats(ROWS * D), *scratch = dev_floats(D * D);
    double before[D * D], after[D * D], mean = 0;
    for (size_t i = 0; i < ROWS * D; i++)
        host[i] = i % D == 1 || i % D == 4 ? 0.0f : (float)test_uniform(&seed) + 0.25f;
    er_second_moment *m = NULL;
    size_t idle = 9;
    OK(er_second_moment_create(&m, dev, D));
    OK(er_second_moment_fill_dead(dev, m, &idle));  // all of them: nothing to go by
    assert_int_equal(idle, 0);
    OK(dev->op->upload(dev, keys, host, sizeof host));
    OK(er_second_moment_update(dev, m, keys, scratch, ROWS));
    OK(er_second_moment_finish(dev, m));
    OK(dev->op->download(dev, before, m->sum, sizeof before));
    for (size_t i = 0; i < D; i++) mean += before[i * D + i] / 3;
    for (int offloaded = 0; offloaded < 2; offloaded++) {
        if (offloaded) {  // as it was, then away from the device and back
            OK(dev->op->upload(dev, m->sum, before, sizeof before));
            OK(er_second_moment_offload(dev, m));
        }
        OK(er_second_moment_fill_dead(dev, m, &idle));
        assert_int_equal(idle, 2);
        NEAR(m->filled, 2 * mean, 1e-6 * mean);
        OK(er_second_moment_restore(dev, m));
        OK(dev->op->download(dev, after, m->sum, sizeof after));
        for (size_t i = 0; i < D * D; i++) {
            bool filled = i == 1 * D + 1 || i == 4 * D + 4;
            if (filled) NEAR(after[i], mean, 1e-6 * mean);
            else assert_true(after[i] == before[i]);
        }
    }
    OK(er_second_moment_fill_dead(dev, m, &idle));
    assert_int_equal(idle, 0);
    dev->op->release(dev, keys);
    dev->op->release(dev, scratch);
    er_second_moment_free(dev, m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_dimensions),
        cmocka_unit_test(test_against_double_loop),
        cmocka_unit_test(test_small_keys_behind_a_large_one),
        cmocka_unit_test(test_long_constant_text),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
