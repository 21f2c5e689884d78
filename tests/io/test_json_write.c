// A tree is printed whole or not at all: every allocation of its making and printing is failed in turn.
#include "io/base/json_write.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static long allocations, failing;  // the one that fails; 0: none

static void *sometimes(size_t n) { return ++allocations == failing ? NULL : malloc(n); }

static er_status make(char **out) {
    er_json_writer w = {0};
    cJSON *root = er_json_root(&w), *list = er_json_array(&w, root, "list"),
          *o = er_json_object(&w, root, "object");
    for (int i = 0; i < 3; i++) {
        cJSON *e = er_json_element(&w, list);
        er_json_number(&w, e, "i", i);
        er_json_text(&w, e, "text", i ? "quoted \"text\"" : NULL);
    }
    er_json_bool(&w, o, "yes", true);
    er_json_number(&w, o, "nan", (double)NAN);
    er_json_item(&w, o, "item", cJSON_CreateString("item"));
    er_json_item(&w, list, NULL, cJSON_CreateString("last"));
    er_status rc = er_json_print(out, root, &w, "the tree");
    cJSON_Delete(root);
    return rc;
}

static void test_whole_or_nothing(void **state) {
    (void)state;
    cJSON_Hooks hooks = {sometimes, free};
    cJSON_InitHooks(&hooks);
    char *whole = NULL, *text = NULL;
    failing = allocations = 0;
    assert_int_equal(make(&whole), ER_OK);
    long n = allocations;
    assert_true(n > 30);
    for (failing = 1; failing <= n; failing++) {
        text = NULL;
        allocations = 0;
        assert_int_equal(make(&text), ER_ENOMEM);
        assert_null(text);
        assert_string_equal(er_last_error(), "the tree as JSON");
    }
    allocations = 0;  // failing stands behind the last
    assert_int_equal(make(&text), ER_OK);
    assert_string_equal(text, whole);
    cJSON_InitHooks(NULL);
    cJSON *back = cJSON_Parse(whole);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(back, "list")), 4);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(cJSON_GetObjectItem(back, "object"), "nan")));
    cJSON_Delete(back);
    free(whole);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole_or_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
