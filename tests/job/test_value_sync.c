// The records of the value store reach the disk while they are found, not only when it is closed; a disk that
// refuses is warned of.
#include <errno.h>
#include <unistd.h>
#include "engine/store/target_store.h"
#include "io/base/file.h"
#include "io/base/log.h"
#include "io/base/warnings.h"
#include "tests/io/scratch.h"

enum { HIDDEN = 5 };
static const char key[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static int syncs;
static bool refuse;

// In place of the C library's.
int fdatasync(int fd) {
    (void)fd;
    syncs++;
    if (!refuse) return 0;
    errno = EIO;
    return -1;
}

static void put(er_target_store *s, unsigned i) {
    float z[HIDDEN] = {(float)i};
    char digest[65];
    (void)snprintf(digest, sizeof digest, "%064x", i);
    OK(er_target_store_put(s, digest, &(er_target_z){.z = z}));
}

static void synced_every_few_seconds(void **state) {
    (void)state;
    er_target_store *s = NULL;
    syncs = 0;
    OK(er_target_store_open(&s, in_scratch("a"), key, HIDDEN));
    for (unsigned i = 0; i < 100; i++) put(s, i);
    assert_true(syncs <= 1);  // not for each of them
    int before = syncs;
    usleep((useconds_t)(ER_VALUE_STORE_SYNC_S * 1e6) + 50000);
    put(s, 100);
    assert_int_equal(syncs, before + 1);
    for (unsigned i = 101; i < 200; i++) put(s, i);
    er_target_store_close(s);
    assert_int_equal(syncs, before + 2);
    OK(er_target_store_open(&s, in_scratch("a"), key, HIDDEN));
    er_target_store_close(s);
    assert_int_equal(syncs, before + 2);  // nothing new, nothing to be done
}

static void a_refusal_is_said_once_and_stops_nothing(void **state) {
    (void)state;
    er_target_store *s = NULL;
    er_warnings *w = NULL;
    refuse = true;
    OK(er_warnings_begin(&w));
    OK(er_target_store_open(&s, in_scratch("b"), key, HIDDEN));
    put(s, 0);
    usleep((useconds_t)(ER_VALUE_STORE_SYNC_S * 1e6) + 50000);
    put(s, 1);
    put(s, 2);
    er_target_store_close(s);
    assert_int_equal(er_warnings_count(w), 1);
    assert_non_null(strstr(er_warnings_at(w, 0), "values found may be lost"));
    er_warnings_end(w);
    refuse = false;
    OK(er_target_store_open(&s, in_scratch("b"), key, HIDDEN));
    assert_int_equal(er_target_store_count(s), 3);
    er_target_store_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(synced_every_few_seconds),
        cmocka_unit_test(a_refusal_is_said_once_and_stops_nothing)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
