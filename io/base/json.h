// cJSON with the checks it lacks: UTF-8, control characters, \u0000, duplicate keys, trailing bytes, number
// range.
#ifndef ER_JSON_H
#define ER_JSON_H
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

// `name` is the file (and line) for messages: "facts.jsonl:12". EFORMAT says where: "…: byte 17: …". The
// caller cJSON_Delete()s.
er_status er_json_parse(cJSON **out, const char *text, size_t len, const char *name);
// The same of a file that Python's json wrote, as transformers does its configurations: NaN, Infinity,
// -Infinity and numbers that overflow are numbers. None of the getters below takes one that is not finite, so
// only keys that nobody asks for may have it.
er_status er_json_parse_python(cJSON **out, const char *text, size_t len, const char *name);
er_status er_json_read(cJSON **out, const char *path, size_t max_bytes);

// Typed getters on an object. Absent or null leaves *out as it is and is fine; a wrong type is EFORMAT naming
// `name` and key.
// 0 .. 2^53 - 1, integral
er_status er_json_get_u64(uint64_t *out, const cJSON *obj, const char *key, const char *name);
er_status er_json_get_f64(double *out, const cJSON *obj, const char *key, const char *name);  // finite
er_status er_json_get_bool(bool *out, const cJSON *obj, const char *key, const char *name);
// Borrowed from obj
er_status er_json_get_str(const char **out, const cJSON *obj, const char *key, const char *name);
#endif
