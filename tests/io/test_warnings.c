// What is warned of is kept: whatever the log level shows, once a text, by every list that is open in the
// thread.
#include "io/base/warnings.h"

#include <pthread.h>
#include "io/base/log.h"
#include "tests/test.h"

static void kept(void **state) {
    (void)state;
    er_warnings *outer = NULL, *d_ff = NULL;
    er_log_set_level(ER_LOG_QUIET);
    er_warn("before");
    OK(er_warnings_begin(&outer));
    er_warn("a %d", 1);
    OK(er_warnings_begin(&d_ff));
    er_warn("b \"%s\"", "x\n");
    er_warn("a %d", 1);
    er_info("not this");
    assert_int_equal(er_warnings_count(outer), 2);
    assert_string_equal(er_warnings_at(outer, 0), "a 1");
    assert_string_equal(er_warnings_at(outer, 1), "b \"x\n\"");
    assert_int_equal(er_warnings_count(d_ff), 2);
    er_warnings_end(outer);  // in any order
    er_warn("c");
    assert_int_equal(er_warnings_count(d_ff), 3);
    er_warnings *open = er_warnings_swap(NULL);
    er_warn("from within, and not of this");
    assert_ptr_equal(er_warnings_swap(open), NULL);
    assert_int_equal(er_warnings_count(d_ff), 3);
    er_warnings_end(d_ff);
    er_warn("after");
    er_warnings_end(NULL);
    assert_int_equal(er_warnings_count(NULL), 0);
}

static void as_json(void **state) {
    (void)state;
    er_warnings *w = NULL;
    cJSON *o = cJSON_CreateObject(), *none = cJSON_CreateObject();
    OK(er_warnings_begin(&w));
    OK(er_warnings_add_json(w, none));
    er_warn("b \"%s\"", "x\n");
    OK(er_warnings_add_json(w, o));
    char *text = cJSON_PrintUnformatted(o), *empty = cJSON_PrintUnformatted(none);
    assert_string_equal(text, "{\"warnings\":[\"b \\\"x\\n\\\"\"]}");
    assert_string_equal(empty, "{\"warnings\":[]}");
    free(text);
    free(empty);
    cJSON_Delete(o);
    cJSON_Delete(none);
    er_warnings_end(w);
}

static void *warn_elsewhere(void *unused) {
    er_warn("of another job");
    return unused;
}

static void of_this_thread(void **state) {
    (void)state;
    er_warnings *w = NULL;
    pthread_t t;
    OK(er_warnings_begin(&w));
    assert_int_equal(pthread_create(&t, NULL, warn_elsewhere, NULL), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_int_equal(er_warnings_count(w), 0);
    er_warnings_end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept), cmocka_unit_test(as_json), cmocka_unit_test(of_this_thread)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
