// Private to io/: what the characters of one plain YAML scalar mean.
#ifndef ER_YAML_PRIVATE_H
#define ER_YAML_PRIVATE_H
#include <stdbool.h>

typedef enum er_yaml_kind {
    ER_YAML_STRING,
    ER_YAML_NULL,
    ER_YAML_BOOL,
    ER_YAML_NUMBER,
    ER_YAML_INFINITE
} er_yaml_kind;
// By YAML 1.2's core schema. `number` is set for ER_YAML_NUMBER, and 0 or 1 for ER_YAML_BOOL; a number out of
// a double's range is ER_YAML_INFINITE, as .inf and .nan are.
er_yaml_kind er_yaml_plain(double *number, const char *text);
#endif
