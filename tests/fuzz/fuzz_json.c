// Whatever the strict scanner accepts, cJSON reads too, and the cursor walks to the same end.
#include <stdlib.h>
#include <string.h>
#include "io/base/json.h"
#include "io/base/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cJSON *tree = NULL;
    const char *text = (const char *)data;
    er_status rc = er_json_parse(&tree, text, size, "input");
    if (rc == ER_ENOMEM) abort();  // a proven text that cJSON does not take
    if (rc != ER_OK) return 0;
    er_cursor c = er_cursor_over(text, size);
    if (cJSON_IsObject(tree)) {
        const cJSON *member = tree->child;
        if (!er_cursor_enter(&c, '{')) abort();
        for (; er_cursor_next(&c, '}'); member = member->next) {
            char *key = malloc(er_cursor_string_room(&c));
            if (!key) return 0;
            er_cursor_string(&c, key);
            if (!member || strcmp(key, member->string) != 0) abort();
            free(key);
            er_cursor_skip(&c);
        }
        if (member) abort();
    } else {
        er_cursor_skip(&c);
    }
    if (er_cursor_peek(&c) != '\0' || c.at != c.end) abort();
    cJSON_Delete(tree);
    return 0;
}
