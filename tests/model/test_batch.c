// The packer against what its header says: what stands on the device after the one copy, where a row is
// refused, and that the same rows again bring nothing.
#include "engine/forward/batch.h"
#include "tests/test.h"

static er_device *dev;
static const er_device_ops *real;
static size_t uploads, uploaded_bytes;

static er_status counted_upload(er_device *d, void *dst, const void *src, size_t bytes) {
    uploads++, uploaded_bytes += bytes;
    return real->upload(d, dst, src, bytes);
}

static int open_device(void **state) {
    static er_device_ops counting;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    (void)state;
    if (er_device_open(&dev, &o) != ER_OK) return -1;
    real = dev->op;
    counting = *real;
    counting.upload = counted_upload;
    dev->op = &counting;
    return 0;
}
static int close_device(void **state) {
    (void)state;
    dev->op = real;
    er_device_close(dev);
    return 0;
}

static void on_device(const er_batch *b, const int32_t *host, const int32_t *want, size_t n) {
    int32_t got[64];
    assert_true(n <= 64);
    OK(dev->op->download(dev, got, er_batch_dev(b, host), n * sizeof *got));
    for (size_t i = 0; i < n; i++) assert_int_equal(got[i], want[i]);
}
#define ON_DEVICE(b, array, ...)                                                                             \
    on_device(b, (b)->array, (const int32_t[]){__VA_ARGS__},                                                 \
        sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static const int32_t ids[] = {11, 12, 13, 14, 15, 16, 17, 18, 19};

static void rows_arrive(void **state) {
    (void)state;
    er_arena a = {.dev = dev}, counts = {0};
    er_batch b;
    OK(er_batch_take(&b, &counts, 9, 4));
    assert_int_equal(counts.bytes, er_batch_words(9, 4) * sizeof(int32_t));
    assert_int_equal(counts.host_bytes, counts.bytes);
    OK(er_batch_take(&b, &a, 9, 4));
    // Some rows continue, some store, one does both, in a batch that is not full.
    OK(er_batch_row(&b, ids, 3, ER_NO_KV, (er_kv_range){20, 3}));
    OK(er_batch_row(&b, ids + 3, 2, (er_kv_range){5, 4}, ER_NO_KV));
    OK(er_batch_row(&b, ids + 5, 3, (er_kv_range){9, 1}, (er_kv_range){10, 2}));
    assert_true(b.tokens == 8 && b.rows == 3 && b.longest == 3 && b.longest_prefix == 4 && b.has_store);
    assert_int_equal(b.cache_end, 23);
    uploads = 0;
    OK(er_batch_upload(&b, dev));
    OK(er_batch_upload(&b, dev));
    assert_int_equal(uploads, 1);
    ON_DEVICE(&b, token, 11, 12, 13, 14, 15, 16, 17, 18);
    ON_DEVICE(&b, pos, 0, 1, 2, 4, 5, 1, 2, 3);
    ON_DEVICE(&b, store_at, 20, 21, 22, -1, -1, 10, 11, -1);
    ON_DEVICE(&b, row_start, 0, 3, 5, 8);
    ON_DEVICE(&b, last, 2, 4, 7);
    ON_DEVICE(&b, prefix_at + 1, 5, 9);
    ON_DEVICE(&b, prefix_len, 0, 4, 1);
    FAILS(er_batch_row(&b, ids, 1, ER_NO_KV, ER_NO_KV), ER_EARG, "on the device already");
    er_arena_release(&a);
}

// What no row has does not travel; what the last batch had is forgotten.
static void only_what_is_there(void **state) {
    (void)state;
    er_arena a = {.dev = dev};
    er_batch b;
    OK(er_batch_take(&b, &a, 9, 4));
    OK(er_batch_row(&b, ids, 4, (er_kv_range){1, 2}, (er_kv_range){3, 4}));
    OK(er_batch_upload(&b, dev));
    for (size_t prefix = 0; prefix < 2; prefix++) {
        er_batch_clear(&b);
        OK(er_batch_row(&b, ids + 2, 2, (er_kv_range){7, prefix}, ER_NO_KV));
        OK(er_batch_row(&b, ids + 4, 5, ER_NO_KV, ER_NO_KV));
        assert_true(b.longest_prefix == prefix && !b.has_store && b.cache_end == (prefix ? 8 : 0));
        uploaded_bytes = 0;
        OK(er_batch_upload(&b, dev));
        assert_int_equal(uploaded_bytes, (7 + 7 + 3 + 2 + (prefix ? 4u : 0u)) * sizeof(int32_t));
        ON_DEVICE(&b, token, 13, 14, 15, 16, 17, 18, 19);
        ON_DEVICE(&b, row_start, 0, 2, 7);
        ON_DEVICE(&b, last, 1, 6);
        if (prefix) ON_DEVICE(&b, prefix_len, 1, 0);
    }
    er_arena_release(&a);
}

static void one_limit(void **state) {
    (void)state;
    er_arena a = {.dev = dev};
    er_batch b;
    OK(er_batch_take(&b, &a, 5, 2));
    assert_true(er_batch_fits(&b, 2, 5) && !er_batch_fits(&b, 1, 6) && !er_batch_fits(&b, 3, 0));
    OK(er_batch_row(&b, ids, 4, ER_NO_KV, ER_NO_KV));
    FAILS(er_batch_row(&b, ids, 2, ER_NO_KV, ER_NO_KV), ER_EARG,
        "6 tokens in 2 rows; there is room for 5 in 2");
    OK(er_batch_row(&b, ids, 0, ER_NO_KV, ER_NO_KV));
    assert_true(er_batch_fits(&b, 0, 1) && !er_batch_fits(&b, 1, 0));
    FAILS(er_batch_row(&b, ids, 1, ER_NO_KV, ER_NO_KV), ER_EARG,
        "5 tokens in 3 rows; there is room for 5 in 2");
    assert_true(b.tokens == 4 && b.rows == 2);
    er_arena_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_arrive),
        cmocka_unit_test(only_what_is_there),
        cmocka_unit_test(one_limit),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
