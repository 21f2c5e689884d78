// Any bytes are a settings file: refused, or a flat object that is JSON.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "io/base/json.h"
#include "io/base/utf8.h"
#include "io/base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool promise) {
    if (!promise) abort();
}

static void check_value(const cJSON *v, int depth) {
    demand(!cJSON_IsNumber(v) || isfinite(v->valuedouble));
    demand(!cJSON_IsString(v) || er_utf8_valid(v->valuestring, strlen(v->valuestring), NULL));
    demand(!v->child || (depth == 0 && cJSON_IsArray(v)));
    for (const cJSON *x = v->child; x; x = x->next) check_value(x, depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cJSON *object = NULL, *again = NULL;
    if (er_yaml_parse(&object, (const char *)data, size, "fuzz") != ER_OK) return 0;
    demand(cJSON_IsObject(object) && cJSON_GetArraySize(object) <= ER_YAML_KEYS);
    for (const cJSON *v = object->child; v; v = v->next) {
        demand(v->string && *v->string);
        check_value(v, 0);
    }
    char *text = cJSON_PrintUnformatted(object);
    demand(text && er_json_parse(&again, text, strlen(text), "again") == ER_OK);
    demand(cJSON_Compare(object, again, true));
    free(text);
    cJSON_Delete(again);
    cJSON_Delete(object);
    return 0;
}
