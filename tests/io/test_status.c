// Messages are per thread and bounded; exit codes are the documented ones.
#include "tests/test.h"

#include <pthread.h>

static void *fail_elsewhere(void *arg) {
    (void)arg;
    (void)er_fail(ER_EIO, "in the other thread");
    return NULL;
}

static void messages(void **state) {
    (void)state;
    pthread_t other;
    char long_text[3000];
    assert_string_equal(er_last_error(), "");
    assert_int_equal(er_fail(ER_EFORMAT, "%s: byte %d", "x.json", 7), ER_EFORMAT);
    assert_string_equal(er_last_error(), "x.json: byte 7");
    assert_true(strncmp(er_last_error_place(), "test_status.c:", 14) == 0);
    assert_int_equal(pthread_create(&other, NULL, fail_elsewhere, NULL), 0);
    pthread_join(other, NULL);
    assert_string_equal(er_last_error(), "x.json: byte 7");
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    (void)er_fail(ER_EARG, "%s", long_text);
    assert_int_equal(strlen(er_last_error()), 1023);
}

static void exit_codes(void **state) {
    (void)state;
    static const int codes[] = {[ER_OK] = 0,
        [ER_ENOMEM] = 1,
        [ER_EIO] = 74,
        [ER_ENOENT] = 66,
        [ER_EFORMAT] = 65,
        [ER_EUNSUPPORTED] = 65,
        [ER_EARG] = 2,
        [ER_ECONFIG] = 78,
        [ER_EOUTPUT] = 73,
        [ER_ENUMERIC] = 70,
        [ER_EDEVICE] = 69,
        [ER_ENODEVICE] = 69,
        [ER_EINTERRUPTED] = 75};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        assert_int_equal(er_exit_code((er_status)i), codes[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(messages), cmocka_unit_test(exit_codes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
