// JSON under construction. cJSON returns NULL when memory is out, and takes NULL for a parent without a word;
// one flag collects that, and only a whole tree becomes text.
//
//     er_json_writer w = {0};
//     cJSON *root = er_json_root(&w);
//     er_json_number(&w, root, "layers", 12);
//     rc = er_json_print(&text, root, &w, "the manifest");
//     cJSON_Delete(root);
#ifndef ER_JSON_WRITE_H
#define ER_JSON_WRITE_H
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "io/base/status.h"

typedef struct er_json_writer {
    bool failed;  // something is missing from the tree
} er_json_writer;

cJSON *er_json_root(er_json_writer *w);                                // a new object; the caller's
cJSON *er_json_object(er_json_writer *w, cJSON *in, const char *key);  // borrowed, as the next two
cJSON *er_json_array(er_json_writer *w, cJSON *in, const char *key);
cJSON *er_json_element(er_json_writer *w, cJSON *array);  // an object at its end
// Puts `item`, which it takes over, under `key`; NULL: `in` is an array.
void er_json_item(er_json_writer *w, cJSON *in, const char *key, cJSON *item);
void er_json_text(er_json_writer *w, cJSON *in, const char *key, const char *value);  // NULL becomes null
void er_json_number(er_json_writer *w, cJSON *in, const char *key, double value);     // not finite: null
void er_json_bool(er_json_writer *w, cJSON *in, const char *key, bool value);

// The tree as text; the caller frees. ENOMEM names `what` when a part could not be made or printed.
er_status er_json_print(char **out, const cJSON *root, const er_json_writer *w, const char *what);
#endif
