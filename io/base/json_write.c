// JSON under construction, with one flag for whatever failed.
#include "io/base/json_write.h"

#include <math.h>

static cJSON *made(er_json_writer *w, cJSON *item) {
    w->failed = w->failed || !item;
    return item;
}

cJSON *er_json_root(er_json_writer *w) { return made(w, cJSON_CreateObject()); }
cJSON *er_json_object(er_json_writer *w, cJSON *in, const char *key) {
    return made(w, cJSON_AddObjectToObject(in, key));
}
cJSON *er_json_array(er_json_writer *w, cJSON *in, const char *key) {
    return made(w, cJSON_AddArrayToObject(in, key));
}

void er_json_item(er_json_writer *w, cJSON *in, const char *key, cJSON *item) {
    bool added = item && (key ? cJSON_AddItemToObject(in, key, item) : cJSON_AddItemToArray(in, item));
    if (added) return;
    cJSON_Delete(item);
    w->failed = true;
}

cJSON *er_json_element(er_json_writer *w, cJSON *array) {
    cJSON *o = cJSON_CreateObject();
    if (o && cJSON_AddItemToArray(array, o)) return o;
    cJSON_Delete(o);
    return made(w, NULL);
}

void er_json_text(er_json_writer *w, cJSON *in, const char *key, const char *value) {
    (void)made(w, value ? cJSON_AddStringToObject(in, key, value) : cJSON_AddNullToObject(in, key));
}
void er_json_number(er_json_writer *w, cJSON *in, const char *key, double value) {
    (void)made(w, isfinite(value) ? cJSON_AddNumberToObject(in, key, value) : cJSON_AddNullToObject(in, key));
}
void er_json_bool(er_json_writer *w, cJSON *in, const char *key, bool value) {
    (void)made(w, cJSON_AddBoolToObject(in, key, value));
}

er_status er_json_print(char **out, const cJSON *root, const er_json_writer *w, const char *what) {
    char *text = w->failed || !root ? NULL : cJSON_Print(root);
    if (!text) return er_fail(ER_ENOMEM, "%s as JSON", what);
    *out = text;
    return ER_OK;
}
