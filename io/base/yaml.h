// A flat mapping of YAML as a cJSON object: what settings files are. Nothing of YAML that could surprise: one
// document in UTF-8, no anchor, alias or tag, no key twice.
#ifndef ER_YAML_H
#define ER_YAML_H
#include <cjson/cJSON.h>
#include <stddef.h>
#include "io/base/status.h"

#define ER_YAML_BYTES ((size_t)1 << 20)
#define ER_YAML_KEYS 1000
#define ER_YAML_DEPTH 32

// Values are scalars or sequences of scalars; for what is nested deeper an empty object or array stands in,
// and its content is passed over. Plain scalars are read by YAML 1.2's core schema: 1e-3 is a number, yes is
// a string; .inf and .nan are refused. EFORMAT says where: "NAME: line 3: ...". The caller cJSON_Delete()s.
er_status er_yaml_parse(cJSON **out, const char *text, size_t len, const char *name);
er_status er_yaml_read(cJSON **out, const char *path);  // a file of at most ER_YAML_BYTES
#endif
